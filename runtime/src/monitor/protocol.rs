//! What a monitor and its callers say to each other: one of Hull's frozen interfaces.
//!
//! One message is one packet of a `SOCK_SEQPACKET` unix socket (see [`super::channel`]), at most
//! [`MAX_MESSAGE`] bytes, with at most [`super::channel::MAX_DESCRIPTORS`] descriptors beside it. All numbers are
//! little-endian:
//!
//! ```text
//!  0       4        6      8          12       14         16
//!  | magic | framing | kind | sequence | length | reserved | fields ...      length bytes in all
//!  | hull  | 1       | u16  | u32      | u16    | ignored  |
//!                                                           each field:  tag u16 | length u16 | value
//! ```
//!
//! A monitor lives as long as its containers and is therefore often older than the program that calls it. So:
//!
//! - `framing` and the header never change; everything else grows by adding kinds and fields
//! - a request of an unknown kind is answered by [`Reply::Error`] with [`ErrorKind::Unsupported`], never by silence
//! - a field with an unknown tag is skipped, unless the sender set [`CRITICAL`] in it: then the whole request is
//!   unsupported, because doing it without that field would be doing something else
//! - a value longer than the reader's type may grow in later versions: the known prefix is read
//! - callers open with [`Request::Hello`] and go by the version in the answer, not by guessing
//! - replies carry the sequence number of their request; those that take time ([`Request::Wait`], what is created or
//!   executed) may be answered after later requests
//!
//! Decoding borrows from the packet and encoding writes into a fixed buffer: neither allocates, neither panics on
//! any input, and neither can be made to read past the packet. Larger things than a packet (the process of an exec)
//! travel as a memory file beside the message.

mod request;

use thiserror::Error;

pub use self::request::{
    Attach, Create, CreateFlags, Exec, Pause, PauseFlags, Request, Streams, Subject, decode_request,
    encode_request,
};
pub use super::wire::Packet;
use super::wire::{self, Message, REPLY};
pub use crate::process::Exit;

/// Version of the vocabulary that this build speaks; raised whenever a kind or field is added.
///
/// 1: one container, its status, signals, size, end. 2: containers by name, pods, exec, attach, logs.
pub const VERSION: u16 = 2;

/// Longest message in bytes, header included.
pub const MAX_MESSAGE: usize = 4096;

/// Bit of a field's tag: who does not know the field must refuse the message.
pub const CRITICAL: u16 = 0x8000;

/// Longest text in bytes of an error; longer ones are cut at a character.
pub const MAX_TEXT: usize = 1024;

/// What a monitor answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply<'a> {
    /// Answer to [`Request::Hello`]: the version both sides speak.
    Hello {
        /// The lower of both versions.
        version: u16,
    },
    /// The request was carried out and has no result.
    Done,
    /// Answer to [`Request::Status`].
    Status {
        /// Where the container is in its life.
        phase: Phase,
        /// Its first process in the monitor's PID namespace; 0 before it exists and after it was reaped.
        pid: u32,
        /// How it ended, once it has.
        exit: Option<Exit>,
    },
    /// Answer to [`Request::Create`], [`Request::Pause`] and [`Request::Exec`]: the process is there. With a terminal
    /// of an exec, its master is the message's descriptor.
    Started {
        /// The process in the monitor's PID namespace.
        pid: u32,
    },
    /// Answer to [`Request::Wait`], and the last word after [`Request::Exec`] and [`Request::Attach`].
    Exited(Exit),
    /// To those who asked to [`Request::Watch`]: a container has ended, and its end is on disk.
    Ended {
        /// Its id.
        container: &'a str,
        /// How.
        exit: Exit,
    },
    /// The request was not carried out.
    Error {
        /// What callers decide by.
        kind: ErrorKind,
        /// For people: operation, object, cause.
        text: &'a str,
    },
}

/// The part of a container's life that a monitor sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Being set up.
    Creating,
    /// Set up, and waits for its start.
    Created,
    /// Its first process runs.
    Running,
    /// Its first process ended.
    Stopped,
    /// A phase that only a newer monitor knows.
    Other(u16),
}

/// Why a request was not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The monitor does not know the request or a critical field of it.
    Unsupported,
    /// The packet is not a message, or a field is missing or out of range.
    Malformed,
    /// The container is not in a state where this can be done.
    WrongPhase,
    /// The monitor serves as many callers, waiters or containers as it can.
    Busy,
    /// The kernel refused, or the runtime failed.
    Failed,
    /// The monitor has no container of that name: there was none, or it has ended.
    NotFound,
    /// The command does not exist (exit code 127).
    CommandNotFound,
    /// The command exists and cannot be executed (exit code 126).
    NotExecutable,
    /// A container of that name exists already.
    Exists,
    /// The caller is attached no more: it did not take the output that there was for it.
    TooSlow,
    /// A kind that only a newer monitor knows.
    Other(u16),
}

/// A packet that could not be understood.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    /// Not a message of this protocol at all; there is no sequence number to answer to.
    #[error("not a monitor message: {0}")]
    Garbage(&'static str),
    /// Framed correctly, but unknown; answered with [`ErrorKind::Unsupported`].
    #[error("message kind {kind:#06x} is not supported by protocol version {VERSION}")]
    Unsupported {
        /// Sequence number to answer to.
        sequence: u32,
        /// Its kind.
        kind: u16,
    },
    /// Known, but a field is missing, short or out of range; answered with [`ErrorKind::Malformed`].
    #[error("message kind {kind:#06x} has a bad field: {field}")]
    BadField {
        /// Sequence number to answer to.
        sequence: u32,
        /// Its kind.
        kind: u16,
        /// Name of the field.
        field: &'static str,
    },
}

/// Writes `reply` as a packet that answers request `sequence`.
pub fn encode_reply(reply: &Reply<'_>, sequence: u32) -> Packet {
    match *reply {
        Reply::Hello { version } => {
            Packet::new(REPLY | wire::HELLO, sequence).number(wire::TAG_VERSION, u32::from(version))
        }
        Reply::Done => Packet::new(REPLY | wire::DONE, sequence),
        Reply::Status { phase, pid, exit } => {
            let packet = Packet::new(REPLY | wire::STATUS, sequence)
                .number(wire::TAG_PHASE, u32::from(phase_number(phase)))
                .number(wire::TAG_PID, pid);
            match exit {
                Some(exit) => exit_field(packet, exit),
                None => packet,
            }
        }
        Reply::Started { pid } => Packet::new(REPLY | wire::STARTED, sequence).number(wire::TAG_PID, pid),
        Reply::Exited(exit) => exit_field(Packet::new(REPLY | wire::WAIT, sequence), exit),
        Reply::Ended { container, exit } => exit_field(
            Packet::new(REPLY | wire::ENDED, sequence).field(wire::TAG_CONTAINER, cut(container).as_bytes()),
            exit,
        ),
        Reply::Error { kind, text } => Packet::new(REPLY | wire::ERROR, sequence)
            .number(wire::TAG_ERROR_KIND, u32::from(error_number(kind)))
            .field(wire::TAG_TEXT, cut(text).as_bytes()),
    }
}

/// Reads a reply and the sequence number of the request it answers.
pub fn decode_reply(bytes: &[u8]) -> Result<(u32, Reply<'_>), DecodeError> {
    let message = Message::parse(bytes)?;
    if message.kind & REPLY == 0 {
        return Err(message.unsupported());
    }
    let pid = || message.number(wire::TAG_PID).ok_or(message.bad("pid"));
    let exit = || message.exit()?.ok_or(message.bad("exit"));
    let reply = match message.kind & !REPLY {
        wire::HELLO => Reply::Hello { version: message.small(wire::TAG_VERSION, "version")? },
        wire::DONE => Reply::Done,
        wire::STATUS => Reply::Status {
            phase: phase_from(message.small(wire::TAG_PHASE, "phase")?),
            pid: pid()?,
            exit: message.exit()?,
        },
        wire::STARTED => Reply::Started { pid: pid()? },
        wire::WAIT => Reply::Exited(exit()?),
        wire::ENDED => {
            Reply::Ended { container: message.required(wire::TAG_CONTAINER, "container")?, exit: exit()? }
        }
        wire::ERROR => Reply::Error {
            kind: error_from(message.small(wire::TAG_ERROR_KIND, "error kind")?),
            text: message.text(wire::TAG_TEXT, "text")?.unwrap_or_default(),
        },
        _ => return Err(message.unsupported()),
    };
    Ok((message.sequence, reply))
}

/// Feeds arbitrary bytes to both decoders; whatever decodes must survive being encoded again. For fuzzing.
pub fn fuzz(data: &[u8]) {
    if let Ok((sequence, request)) = decode_request(data) {
        let again = encode_request(&request, sequence);
        // What a packet leaves out is written out, and may then be too long.
        if again.overflowed() {
            return;
        }
        assert_eq!(decode_request(again.as_bytes()), Ok((sequence, request)));
    }
    if let Ok((sequence, reply)) = decode_reply(data) {
        let again = encode_reply(&reply, sequence);
        let Ok((same, back)) = decode_reply(again.as_bytes()) else { panic!("a reply did not survive") };
        assert_eq!(same, sequence);
        match (reply, back) {
            (Reply::Error { text, .. }, Reply::Error { text: cut, .. }) => assert!(text.starts_with(cut)),
            (Reply::Ended { container, .. }, Reply::Ended { container: cut, .. }) => {
                assert!(container.starts_with(cut));
            }
            (reply, back) => assert_eq!(reply, back),
        }
    }
}

fn exit_field(packet: Packet, exit: Exit) -> Packet {
    match exit {
        Exit::Code(code) => packet.number(wire::TAG_EXIT_CODE, u32::from(code)),
        Exit::Signal(signal) => packet.number(wire::TAG_EXIT_SIGNAL, u32::from(signal)),
    }
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn phase_number(phase: Phase) -> u16 {
    match phase {
        Phase::Creating => 1,
        Phase::Running => 2,
        Phase::Stopped => 3,
        Phase::Created => 4,
        Phase::Other(number) => number,
    }
}

fn phase_from(number: u16) -> Phase {
    match number {
        1 => Phase::Creating,
        2 => Phase::Running,
        3 => Phase::Stopped,
        4 => Phase::Created,
        other => Phase::Other(other),
    }
}

fn error_number(kind: ErrorKind) -> u16 {
    match kind {
        ErrorKind::Unsupported => 1,
        ErrorKind::Malformed => 2,
        ErrorKind::WrongPhase => 3,
        ErrorKind::Busy => 4,
        ErrorKind::Failed => 5,
        ErrorKind::NotFound => 6,
        ErrorKind::CommandNotFound => 7,
        ErrorKind::NotExecutable => 8,
        ErrorKind::Exists => 9,
        ErrorKind::TooSlow => 10,
        ErrorKind::Other(number) => number,
    }
}

fn error_from(number: u16) -> ErrorKind {
    match number {
        1 => ErrorKind::Unsupported,
        2 => ErrorKind::Malformed,
        3 => ErrorKind::WrongPhase,
        4 => ErrorKind::Busy,
        5 => ErrorKind::Failed,
        6 => ErrorKind::NotFound,
        7 => ErrorKind::CommandNotFound,
        8 => ErrorKind::NotExecutable,
        9 => ErrorKind::Exists,
        10 => ErrorKind::TooSlow,
        other => ErrorKind::Other(other),
    }
}

#[cfg(test)]
mod tests;
