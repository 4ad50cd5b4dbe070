//! Calls that set how the kernel runs a process: its policy, its disk priority, its memory nodes, its personality.
#![allow(unsafe_code)]

use rustix::io::Errno;

use super::check;

/// The kernel's `struct sched_attr`, first version (Linux 3.14).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SchedulerAttributes {
    /// Size of the structure; filled in by [`sched_setattr`].
    pub size: u32,
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// For SCHED_OTHER and SCHED_BATCH.
    pub nice: i32,
    /// For SCHED_FIFO and SCHED_RR.
    pub priority: u32,
    /// For SCHED_DEADLINE, nanoseconds.
    pub runtime: u64,
    /// For SCHED_DEADLINE, nanoseconds.
    pub deadline: u64,
    /// For SCHED_DEADLINE, nanoseconds.
    pub period: u64,
}

const _: () = assert!(size_of::<SchedulerAttributes>() == 48);

/// `sched_setattr(2)` for the calling thread.
pub fn sched_setattr(attributes: &SchedulerAttributes) -> Result<(), Errno> {
    let attributes = SchedulerAttributes { size: size_of::<SchedulerAttributes>() as u32, ..*attributes };
    // SAFETY: the structure has the kernel's layout, names its own size, and outlives the call, which only reads it.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) }).map(drop)
}

/// `ioprio_set(2)` for the calling thread: the class in the upper three bits, the level in the others.
pub fn ioprio_set(priority: u16) -> Result<(), Errno> {
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    // SAFETY: no memory is passed.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, libc::c_int::from(priority)) })
        .map(drop)
}

/// `set_mempolicy(2)` for the calling thread, with the bit of each node set in `nodes`.
pub fn set_mempolicy(mode: u32, nodes: &[u64]) -> Result<(), Errno> {
    // The kernel reads one bit less than it is told.
    let bits = nodes.len() * 64 + 1;
    let place = if nodes.is_empty() { std::ptr::null() } else { nodes.as_ptr() };
    let bits = if nodes.is_empty() { 0 } else { bits };
    // SAFETY: the mask has as many words as the number of bits says, outlives the call, and is only read.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, place, bits) }).map(drop)
}

/// `personality(2)`.
pub fn personality(persona: u32) -> Result<(), Errno> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::personality(libc::c_ulong::from(persona)) }.into()).map(drop)
}
