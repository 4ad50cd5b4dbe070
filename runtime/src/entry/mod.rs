//! Where the C library's start-up code goes on.
//!
//! The standard library's own `main` looks up the bounds of the stack in the list of the process's mappings and sets up a
//! handler for its overflow: fifteen system calls and 50 microseconds, twice for each container, for a message that a
//! signal in the exit status tells as well. What else it does is here, and in [`runtime::sys::process::set_own_signals`].
#![allow(unsafe_code)]

#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
mod early;

use std::ffi::{c_char, c_int};

use runtime::sys::fd;

// SAFETY: this program has no other `main`, and this is the signature that the C library calls.
#[cfg_attr(not(test), unsafe(no_mangle))]
#[cfg_attr(test, allow(dead_code))]
extern "C" fn main(_count: c_int, _arguments: *const *const c_char) -> c_int {
    if let Err(errno) = fd::open_standard_streams() {
        crate::cli::output::say(&format!(
            "roci: error: cannot open /dev/null in place of a closed stream: {errno}"
        ));
        std::process::exit(1);
    }
    let code = crate::program();
    // Not a return: this writes out what is left in the buffers.
    std::process::exit(code.into())
}
