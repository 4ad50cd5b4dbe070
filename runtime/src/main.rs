//! `roci`: an OCI runtime.
//!
//! Parse, log, dispatch, exit code; the work is done by the library. It begins in [`entry`], before its `main`.

#![cfg_attr(not(test), no_main)]

mod cli;
mod entry;

/// The code that the program ends with.
fn program() -> u8 {
    // First of all: no container may find a way to write this program, or look into it.
    let enters = cli::enters_containers(std::env::args_os().skip(1));
    match enters.then(runtime::security::own_executable::seal_or_reexec).transpose() {
        Ok(protection) => {
            runtime::sys::process::set_own_signals();
            cli::run(protection)
        }
        Err(error) => {
            cli::output::say(&format!("roci: error: {error}"));
            1
        }
    }
}
