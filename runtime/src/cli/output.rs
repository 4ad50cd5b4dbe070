//! What is said on standard output and standard error.
//!
//! The printing macros panic where a stream cannot be written, and a panic ends this program with an abort: so a
//! closed pipe or a full disk behind a message would look like a crash.

use std::io::{ErrorKind, Write};

use anyhow::Context;

/// Says something to people. Where standard error cannot be written there is nobody to tell that to.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Prints a result. A reader that has seen enough is no failure; a result that could not be written is one.
pub fn print(text: &str) -> anyhow::Result<()> {
    print_on(text).map(drop)
}

/// As [`print()`], for who has more to print: false when nobody reads it any more.
pub fn print_on(text: &str) -> anyhow::Result<bool> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("cannot write to standard output"),
    }
}
