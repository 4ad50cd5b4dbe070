//! A container's terminal in the foreground: ours in raw mode, copied both ways.

use std::io::{stdin, stdout};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::Context;
use nix::sys::signal::SigSet;
use runtime::monitor::event_loop::{self, Watched};
use runtime::monitor::stdio::{Direction, End, Relay};
use runtime::process::Exit;
use runtime::terminal::{self, RawMode};

/// Gives the container's terminal the size of ours, before its command can ask.
pub fn take_size(master: &OwnedFd) -> anyhow::Result<()> {
    match terminal::size(stdout()).or_else(|| terminal::size(stdin())) {
        Some(size) => {
            terminal::set_size(master, size).context("cannot set the size of the container's terminal")
        }
        None => Ok(()),
    }
}

/// Copies between our streams and the terminal until the process has ended; returns how.
pub fn follow(process: BorrowedFd<'_>, pid: i32, master: &OwnedFd, signals: &SigSet) -> anyhow::Result<Exit> {
    let (input, output) = (stdin(), stdout());
    let is_terminal = rustix::termios::isatty(&input);
    // Dropped, and so undone, when the process has ended or copying failed.
    let _raw = if is_terminal {
        Some(RawMode::enter(&input).context("cannot set raw mode of our terminal")?)
    } else {
        None
    };
    let copied = "cannot copy the terminal";
    let relays = vec![
        Relay::new(
            End::of_user(input.as_fd(), Direction::Source).context(copied)?,
            End::of_master(master.as_fd()).context(copied)?,
        ),
        Relay::new(
            End::of_master(master.as_fd()).context(copied)?,
            End::of_user(output.as_fd(), Direction::Sink).context(copied)?,
        ),
    ];
    let ours = rustix::termios::isatty(&output).then(|| output.as_fd());
    Ok(event_loop::run(Watched {
        process,
        pid,
        signals,
        listener: None,
        relays,
        first_is_input: true,
        terminals: Some((ours, master.as_fd())),
    })?)
}
