//! Being attached to a container: its output comes here, what the user types goes there, and the keys `^P^Q` leave it alone
//! again.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result};
use engine::Record;
use runtime::monitor::client::Client;
use runtime::monitor::protocol::{Attach, Streams, Subject};
use runtime::monitor::stdio::{Direction, End, Relay};
use runtime::spec::from_image::TerminalSize;

use crate::session::{Ended, Session};

/// `^P`, then `^Q`: the keys that docker has for it.
const LEAVE: [u8; 2] = [0x10, 0x11];

/// An attachment that was agreed on with the monitor; nothing is lost between that and [`Attachment::follow`].
pub struct Attachment {
    client: Client,
    /// For signals and sizes: the other conversation waits for the container's end.
    control: Client,
    relays: Vec<Relay>,
    input: Option<Input>,
}

/// What the user types: a thread waits for it, so that a container that reads nothing stops nothing else.
struct Input {
    left: OwnedFd,
}

impl Attachment {
    /// Attaches to the streams of a container at the monitor that listens at `socket`.
    pub fn new(socket: &Path, record: &Record, interactive: bool) -> Result<Attachment> {
        let mut client = Client::connect(socket)?;
        let control = Client::connect(socket)?;
        let flags = rustix::pipe::PipeFlags::CLOEXEC;
        let pipe = || rustix::pipe::pipe_with(flags).context("cannot create a pipe");
        let (input, theirs_in) = match interactive {
            true => {
                let (theirs, ours) = pipe()?;
                (Some(ours), Some(theirs))
            }
            false => (None, None),
        };
        let (from_output, output) = pipe()?;
        // Both streams of a terminal are one.
        let errors = if record.tty { None } else { Some(pipe()?) };
        let streams = Streams { stdin: interactive, stdout: true, stderr: errors.is_some() };
        let mut theirs: Vec<BorrowedFd<'_>> = theirs_in.iter().map(AsFd::as_fd).collect();
        theirs.push(output.as_fd());
        theirs.extend(errors.iter().map(|(_, write)| write.as_fd()));
        client.attach(Attach { container: &record.id, streams }, &theirs)?;
        let mut relays = vec![relay(from_output, io::stdout().as_fd())?];
        if let Some((from_errors, _)) = errors {
            relays.push(relay(from_errors, io::stderr().as_fd())?);
        }
        let input = input.map(|input| pass_input(input, record.tty)).transpose()?;
        Ok(Attachment { client, control, relays, input })
    }

    /// Follows the container to its end, or until the user leaves. Our signals go to the container, if they are to.
    pub fn follow(self, record: &Record, proxy_signals: bool) -> Result<Ended> {
        let Attachment { mut client, control, relays, input } = self;
        let control = std::cell::RefCell::new(control);
        let subject = Subject::Container(&record.id);
        let resized = |size: TerminalSize| {
            // A container that has just ended has no size to set, and takes no signal.
            let _ = control.borrow_mut().resize(subject, size.rows, size.columns);
        };
        let signalled = |number: i32| {
            let _ = control.borrow_mut().signal(subject, number.unsigned_abs(), false);
        };
        let session = Session {
            relays,
            has_input: false,
            raw: record.tty && input.is_some(),
            from_terminal: record.tty,
            resized: record.tty.then(|| Box::new(resized) as Box<dyn FnMut(TerminalSize)>),
            signalled: proxy_signals.then(|| Box::new(signalled) as Box<dyn FnMut(i32)>),
            detach: input.as_ref().map(|input| input.left.as_fd()),
        };
        session.follow(&mut client)
    }
}

fn relay(from: OwnedFd, user: BorrowedFd<'_>) -> Result<Relay> {
    let failed = || "cannot prepare the standard streams";
    let sink = End::of_user(user, Direction::Sink).with_context(failed)?;
    Ok(Relay::new(End::of_pipe(from).with_context(failed)?, sink))
}

/// Copies our standard input to `input` until it ends, or until the keys that leave are pressed at a terminal.
fn pass_input(input: OwnedFd, at_terminal: bool) -> Result<Input> {
    let (left, leave) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).context("cannot create a pipe")?;
    std::thread::Builder::new()
        .spawn(move || {
            let leaves = copy_until_left(io::stdin().lock(), io::PipeWriter::from(input), at_terminal);
            if leaves {
                drop(leave);
            } else {
                // Its end would be read as the user's leaving.
                std::mem::forget(leave);
            }
        })
        .context("cannot start a thread")?;
    Ok(Input { left })
}

/// Whether it ended because of the keys. A key that may be the first of them is held back until the next one.
fn copy_until_left(mut from: impl Read, mut to: impl Write, at_terminal: bool) -> bool {
    let mut buffer = [0; 4096];
    let mut held = false;
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => return false,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return false,
        };
        let mut out = Vec::with_capacity(count + 1);
        for &byte in &buffer[..count] {
            if at_terminal && held {
                held = false;
                if byte == LEAVE[1] {
                    // What was typed before is the container's; that it cannot take it changes nothing.
                    let _ = to.write_all(&out);
                    return true;
                }
                out.push(LEAVE[0]);
            }
            if at_terminal && byte == LEAVE[0] {
                held = true;
            } else {
                out.push(byte);
            }
        }
        if to.write_all(&out).is_err() {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_keys_leave_and_one_does_not() {
        for (typed, expected, leaves) in [
            (&b"ls\n"[..], &b"ls\n"[..], false),
            (b"a\x10\x11b", b"a", true),
            (b"a\x10b\x11", b"a\x10b\x11", false),
            (b"\x10\x10\x11", b"\x10", true),
            (b"\x11\x10", b"\x11", false),
        ] {
            let mut seen = Vec::new();
            assert_eq!(copy_until_left(typed, &mut seen, true), leaves, "{typed:?}");
            assert_eq!(seen, expected, "{typed:?}");
        }
        let mut seen = Vec::new();
        assert!(!copy_until_left(&b"\x10\x11"[..], &mut seen, false));
        assert_eq!(seen, b"\x10\x11");
    }
}
