//! A container's terminal in the foreground: ours in raw mode, copied both ways.

use std::io::{stdin, stdout};
use std::os::fd::{BorrowedFd, OwnedFd};

use anyhow::Context;
use nix::sys::signal::SigSet;
use runtime::monitor::foreground::follow_terminal;
use runtime::process::Exit;
use runtime::terminal::{self, RawMode};

/// Readies the container's terminal before its command can look: the size is that of ours, and lines pass as they are.
pub fn ready(master: &OwnedFd) -> anyhow::Result<()> {
    terminal::pass_lines_as_they_are(master).context("cannot set the container's terminal")?;
    match terminal::size(stdout()).or_else(|| terminal::size(stdin())) {
        Some(size) => {
            terminal::set_size(master, size).context("cannot set the size of the container's terminal")
        }
        None => Ok(()),
    }
}

/// Copies between our streams and the terminal until the process has ended; returns how.
pub fn follow(process: BorrowedFd<'_>, pid: i32, master: &OwnedFd, signals: &SigSet) -> anyhow::Result<Exit> {
    let input = stdin();
    let is_terminal = rustix::termios::isatty(&input);
    // Dropped, and so undone, when the process has ended or copying failed.
    let _raw = if is_terminal {
        Some(RawMode::enter(&input).context("cannot set raw mode of our terminal")?)
    } else {
        None
    };
    let process = rustix::io::fcntl_dupfd_cloexec(process, 3).context("cannot follow the process")?;
    let master = rustix::io::fcntl_dupfd_cloexec(master, 3).context("cannot copy the terminal")?;
    Ok(follow_terminal(process, pid, master, signals)?)
}
