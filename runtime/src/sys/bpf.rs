//! Loading and attaching a cgroup device program.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::Errno;

/// One instruction, `struct bpf_insn`. `registers` holds the destination in its lower four bits, the source above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// Operation.
    pub code: u8,
    /// Source and destination register.
    pub registers: u8,
    /// Offset of a load or jump.
    pub offset: i16,
    /// Operand.
    pub immediate: i32,
}

const _: () = assert!(size_of::<Instruction>() == 8);

/// The part of `union bpf_attr` that `BPF_PROG_LOAD` reads in every kernel with device programs (4.15).
#[repr(C)]
struct LoadAttributes {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
    kernel_version: u32,
    flags: u32,
}

const _: () = assert!(size_of::<LoadAttributes>() == 48);

/// The part of `union bpf_attr` that `BPF_PROG_ATTACH` reads.
#[repr(C)]
struct AttachAttributes {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// Loads a `BPF_PROG_TYPE_CGROUP_DEVICE` program.
pub fn load_device_program(instructions: &[Instruction]) -> Result<OwnedFd, Errno> {
    const PROGRAM_LOAD: libc::c_int = 5;
    const CGROUP_DEVICE: u32 = 15;
    let attributes = LoadAttributes {
        program_type: CGROUP_DEVICE,
        instruction_count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buffer: 0,
        kernel_version: 0,
        flags: 0,
    };
    // SAFETY: the attributes have the kernel's layout, the pointers in them and the size given are valid over the
    // call; the kernel verifies the program.
    let program = unsafe {
        libc::syscall(libc::SYS_bpf, PROGRAM_LOAD, &raw const attributes, size_of::<LoadAttributes>())
    };
    let program = super::check(program)? as RawFd;
    // SAFETY: the kernel just made this descriptor for us, close-on-exec, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(program) })
}

/// Attaches a device program to a v2 cgroup; programs of parents keep running too.
pub fn attach_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<(), Errno> {
    const PROGRAM_ATTACH: libc::c_int = 8;
    const CGROUP_DEVICE: u32 = 6;
    const ALLOW_MULTI: u32 = 2;
    let attributes = AttachAttributes {
        target: cgroup.as_raw_fd() as u32,
        program: program.as_raw_fd() as u32,
        kind: CGROUP_DEVICE,
        flags: ALLOW_MULTI,
    };
    // SAFETY: the attributes have the kernel's layout and outlive the call; both descriptors are borrowed.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, PROGRAM_ATTACH, &raw const attributes, size_of::<AttachAttributes>())
    };
    super::check(result).map(drop)
}
