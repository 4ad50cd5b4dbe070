//! Calls on processes: signals by number, keyrings, the session, helper programs.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::signal::SigSet;
use rustix::io::Errno;

use super::check;
use super::fd::{Range, close_range};

/// `pidfd_send_signal(2)` with any number: rustix knows only named signals, and `kill` takes real-time ones and 0.
pub fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<(), Errno> {
    // SAFETY: no memory is passed; the descriptor is borrowed and thus open.
    check(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::c_void>(),
            0,
        )
    })
    .map(drop)
}

/// The pid of a child that has ended and was not reaped yet, which it stays; `None` when there is none.
///
/// rustix does not tell the pid, and nix fails on children that a real-time signal killed.
pub fn dead_child() -> Result<Option<i32>, Errno> {
    let mut status = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `status` is a siginfo_t that outlives the call, which fills it in.
    let result = unsafe { libc::waitid(libc::P_ALL, 0, status.as_mut_ptr(), options) };
    match check(result.into()) {
        Ok(_) => {}
        Err(Errno::CHILD) => return Ok(None),
        Err(errno) => return Err(errno),
    }
    // SAFETY: all zero is a valid siginfo_t, and where a child was found the kernel filled in the fields of one.
    let pid = unsafe { status.assume_init().si_pid() };
    Ok(Some(pid).filter(|pid| *pid != 0))
}

/// Waits for one of `signals`, which are blocked, and takes it (sigwaitinfo(2)). nix has no names for real-time ones and loses them.
pub fn wait_signal(signals: &SigSet) -> Result<i32, Errno> {
    loop {
        // SAFETY: the set is borrowed and only read, and no information is asked for.
        let signal = unsafe { libc::sigwaitinfo(signals.as_ref(), std::ptr::null_mut()) };
        match check(signal.into()) {
            Err(Errno::INTR) => {}
            result => return result.map(|_| signal),
        }
    }
}

/// The effective user that this program was started as, in the numbers of its user namespace. The kernel told it at the
/// exec, so asking costs no call; this program does not change it but in the children that become a container's.
pub fn effective_user() -> u32 {
    // SAFETY: getauxval only reads the vector that the kernel left on our stack; every process has this entry.
    unsafe { libc::getauxval(libc::AT_EUID) as u32 }
}

/// Gives the process a session keyring of its own, so that it sees none of the caller's keys.
pub fn join_session_keyring(name: &CStr) -> Result<(), Errno> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: `name` is a C string that outlives the call, which only reads it.
    check(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) }).map(drop)
}

/// What this program makes of signals, whatever its caller does. A write to a pipe that nobody reads fails instead of ending it.
/// The ends of its children can be waited for: an ignored SIGCHLD stays so over exec, and then the kernel reaps them itself
/// and tells nobody (waitid(2)).
pub fn set_own_signals() {
    // SAFETY: neither ignoring a signal nor its default runs code of ours.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
    }
}

/// Gives a new process the signal state that programs expect: nothing blocked and nothing ignored, whatever our caller had.
/// What is ignored stays so over exec, and this program itself ignores SIGPIPE.
pub fn reset_signals() {
    let ignored = ignored_signals();
    // The kernel's own sigaction: the default handler, no flags, no mask. The C library refuses two of the numbers.
    const DEFAULT: [u64; 4] = [0; 4];
    for signal in (1..=64).filter(|signal| ignored >> (signal - 1) & 1 == 1) {
        // SAFETY: the kernel reads a structure of this size and writes none; no code of ours can run in signal context.
        // SIGKILL and SIGSTOP, which cannot be ignored, are refused.
        unsafe {
            libc::syscall(libc::SYS_rt_sigaction, signal, DEFAULT.as_ptr(), std::ptr::null_mut::<u64>(), 8);
        }
    }
    // Cannot fail: the set is valid and the operation known.
    let _ = SigSet::empty().thread_set_mask();
}

/// The signals that this process ignores, one bit each. Asked at once, for to ask for each takes a call; all of them where
/// /proc does not tell.
fn ignored_signals() -> u64 {
    let mut buffer = [0; 4096];
    let length = super::file::read_into("/proc/self/status", &mut buffer).unwrap_or(0);
    let text = String::from_utf8_lossy(&buffer[..length]);
    let line = text.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(u64::MAX)
}

/// Lets the signals that ask a process to end do so, also where it is the first of a PID namespace: without a handler the
/// kernel drops them there. What is executed later has the defaults again.
pub fn end_when_asked() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT] {
        let handler: extern "C" fn(libc::c_int) = end_by;
        // SAFETY: the handler makes one call that is safe in signal context, and never returns to what it interrupted.
        unsafe { libc::signal(signal, handler as libc::sighandler_t) };
    }
}

extern "C" fn end_by(signal: libc::c_int) {
    super::clone::exit_now(128 + signal)
}

/// Makes `command` start with no descriptors but its three, whatever our own parent left open in us.
pub fn close_descriptors(command: &mut Command) {
    let close = || close_range(3, RawFd::MAX, Range::CloseOnExec).map_err(Into::into);
    // SAFETY: between fork and exec the closure makes one system call: it neither allocates nor takes a lock. The
    // descriptors that it marks, the standard library's own pipe for errors among them, stay open until the exec.
    unsafe { command.pre_exec(close) };
}
