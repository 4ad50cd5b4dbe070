//! The only unsafe code of this crate: system calls that rustix and nix lack.

pub mod bpf;
pub mod clone;
pub mod executable;
pub mod fd;
pub mod file;
pub mod memory;
pub mod mount;
pub mod pause;
pub mod process;
pub mod scheduling;
pub mod seccomp;

use rustix::io::Errno;

/// The result of a raw system call: its value, or the errno that the C library stored.
fn check(result: libc::c_long) -> Result<libc::c_long, Errno> {
    if result >= 0 {
        return Ok(result);
    }
    Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
}
