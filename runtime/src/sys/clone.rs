//! `clone3(2)`: the child starts directly in its namespaces and cgroup, and the parent holds its pidfd from the first
//! moment.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::Errno;

use super::check;

/// The kernel's `struct clone_args` as of version 2 (Linux 5.7).
#[repr(C, align(8))]
#[derive(Debug, Default)]
struct Arguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

const _: () = assert!(size_of::<Arguments>() == 88);

/// Which side of the call this is.
#[derive(Debug)]
pub enum Cloned {
    /// The new process.
    Child,
    /// The caller, with the child's pid as the caller's namespace sees it.
    Parent {
        /// The child's pid.
        pid: i32,
        /// The child.
        pidfd: OwnedFd,
    },
}

/// Clones the calling process like fork, with namespace `flags` and, on cgroup v2, straight into a cgroup.
///
/// `CLONE_PARENT` among the flags makes the child a sibling of the caller.
/// The caller must be single-threaded, and the child may only work towards exec or exit.
pub fn clone3(flags: i32, cgroup: Option<BorrowedFd<'_>>) -> Result<Cloned, Errno> {
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    let mut pidfd: RawFd = -1;
    let mut arguments = Arguments {
        flags: (flags as u32 as u64) | libc::CLONE_PIDFD as u64,
        pidfd: &raw mut pidfd as u64,
        // A child that is not ours by CLONE_PARENT takes the signal of its sibling; the kernel wants 0 then.
        exit_signal: if flags & libc::CLONE_PARENT == 0 { libc::SIGCHLD as u64 } else { 0 },
        ..Arguments::default()
    };
    if let Some(cgroup) = cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: `arguments` has the layout and size the kernel expects and lives over the call, as does the `pidfd` it
    // points to. Without CLONE_VM the child gets a copy of all memory, and without a stack it goes on on its copy of
    // ours, as after fork; this program has one thread, so no lock can be held by a thread that is gone.
    let result =
        check(unsafe { libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of::<Arguments>()) })?;
    if result == 0 {
        return Ok(Cloned::Child);
    }
    // SAFETY: the kernel stored a new descriptor that nobody else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Cloned::Parent { pid: result as i32, pidfd })
}

/// Ends this process at once, without destructors or exit handlers: what a child of [`clone3`] ends with.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit only ends the process.
    unsafe { libc::_exit(code) }
}
