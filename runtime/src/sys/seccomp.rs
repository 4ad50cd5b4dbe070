//! Loading a system call filter.
#![allow(unsafe_code)]

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use rustix::io::Errno;

/// One instruction of classic BPF, `struct sock_filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip if a comparison holds.
    pub jump_true: u8,
    /// Instructions to skip if not.
    pub jump_false: u8,
    /// Operand.
    pub operand: u32,
}

const _: () = assert!(size_of::<Instruction>() == 8 && std::mem::offset_of!(Instruction, operand) == 4);

const SET_MODE_FILTER: libc::c_uint = 1;
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`.
pub const NEW_LISTENER: u32 = 1 << 3;

/// `struct sock_fprog`.
#[repr(C)]
struct Program {
    length: u16,
    instructions: *const Instruction,
}

/// `seccomp(SECCOMP_SET_MODE_FILTER)` for the calling thread. Does not allocate.
///
/// Needs no_new_privs or CAP_SYS_ADMIN. `flags` are `SECCOMP_FILTER_FLAG_*` without the listener.
pub fn set_filter(instructions: &[Instruction], flags: u32) -> Result<(), Errno> {
    match load(instructions, flags)? {
        0 => Ok(()),
        // With TSYNC the kernel returns the thread that could not be brought along.
        _ => Err(Errno::SRCH),
    }
}

/// As [`set_filter`], with a listener: the descriptor by which somebody answers the calls that the filter hands over. From
/// here on such a call of ours waits for them.
pub fn set_filter_with_listener(instructions: &[Instruction], flags: u32) -> Result<OwnedFd, Errno> {
    const TSYNC: u32 = 1 << 0;
    // With both, the thread that could not be brought along has to be told in another way (seccomp(2)).
    const TSYNC_ESRCH: u32 = 1 << 4;
    let flags = if flags & TSYNC != 0 { flags | TSYNC_ESRCH } else { flags };
    let number = load(instructions, flags | NEW_LISTENER)?;
    let number = RawFd::try_from(number).map_err(|_| Errno::BADF)?;
    // SAFETY: the kernel returned a new descriptor, which nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Does this kernel know a flag? Asked without a program, so that nothing is loaded: a kernel that knows the flag goes on
/// to the missing program.
pub fn is_flag_known(flag: u32) -> bool {
    const WAIT_KILLABLE_RECV: u32 = 1 << 5;
    // That one is refused without a listener.
    let flags = if flag == WAIT_KILLABLE_RECV { flag | NEW_LISTENER } else { flag };
    let nothing = std::ptr::null::<Program>();
    // SAFETY: a null program is answered with EFAULT before anything is done.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flags, nothing) };
    super::check(result) == Err(Errno::FAULT)
}

fn load(instructions: &[Instruction], flags: u32) -> Result<libc::c_long, Errno> {
    let length = u16::try_from(instructions.len()).map_err(|_| Errno::INVAL)?;
    let program = Program { length, instructions: instructions.as_ptr() };
    // SAFETY: `program` has the kernel's layout and points to `length` instructions that outlive the call; the
    // kernel copies and verifies them.
    super::check(unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flags, &raw const program) })
}
