//! Replacing the program image by descriptor while arguments and environment stay byte for byte the same.
#![allow(unsafe_code)]

use std::convert::Infallible;
use std::ffi::{CStr, CString, c_char};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStringExt;

use rustix::io::Errno;

unsafe extern "C" {
    static environ: *const *const c_char;
}

/// `execveat(directory, name)` with this process's own arguments and its untouched environment block.
///
/// An empty `name` executes the descriptor itself. The environment is passed as the kernel gave it to us, because
/// the standard library's view drops entries without `=`. Only returns on failure.
pub fn reexecute(directory: impl AsFd, name: &CStr) -> Result<Infallible, Errno> {
    let arguments: Vec<CString> =
        std::env::args_os().filter_map(|argument| CString::new(argument.into_vec()).ok()).collect();
    let mut pointers: Vec<*const c_char> = arguments.iter().map(|argument| argument.as_ptr()).collect();
    pointers.push(std::ptr::null());
    let flags = if name.is_empty() { libc::AT_EMPTY_PATH } else { 0 };
    // SAFETY: `pointers` is a null-terminated array of C strings that `arguments` keeps alive over the call;
    // `environ` is the C library's null-terminated block, which nobody changes as the caller is single-threaded.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            directory.as_fd().as_raw_fd(),
            name.as_ptr(),
            pointers.as_ptr(),
            environ,
            flags,
        )
    };
    Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
}
