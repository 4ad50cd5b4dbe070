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
//! - replies carry the sequence number of their request; [`Request::Wait`] may be answered after later requests
//!
//! Decoding borrows from the packet and encoding writes into a fixed buffer: neither allocates, neither panics on
//! any input, and neither can be made to read past the packet. Larger things than a packet (arguments and
//! environments of an exec, say) travel as a sealed memory file beside the message.

use thiserror::Error;

pub use super::wire::Packet;
use super::wire::{self, Message, REPLY};
pub use crate::process::Exit;

/// Version of the vocabulary that this build speaks; raised whenever a kind or field is added.
pub const VERSION: u16 = 1;

/// Longest message in bytes, header included.
pub const MAX_MESSAGE: usize = 4096;

/// Bit of a field's tag: who does not know the field must refuse the message.
pub const CRITICAL: u16 = 0x8000;

/// Longest text in bytes inside a message; longer ones are cut at a character.
pub const MAX_TEXT: usize = 1024;

/// What callers ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Opens a conversation: the newest version the caller speaks.
    Hello {
        /// The caller's [`VERSION`].
        version: u16,
    },
    /// Asks how the container is.
    Status,
    /// Sends a signal to the container's first process.
    Signal {
        /// Signal number, 1 to 64.
        number: u32,
    },
    /// Gives the container's terminal a new size.
    Resize {
        /// Height in characters.
        rows: u16,
        /// Width in characters.
        columns: u16,
    },
    /// Answered once the container has ended; at once if it already has.
    Wait,
}

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
    /// Answer to [`Request::Wait`].
    Exited(Exit),
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
    /// The monitor serves as many callers or waiters as it can.
    Busy,
    /// The kernel refused.
    Failed,
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

/// Writes `request` as a packet.
pub fn encode_request(request: &Request, sequence: u32) -> Packet {
    match *request {
        Request::Hello { version } => {
            Packet::new(wire::HELLO, sequence).number(wire::TAG_VERSION, u32::from(version))
        }
        Request::Status => Packet::new(wire::STATUS, sequence),
        Request::Signal { number } => Packet::new(wire::SIGNAL, sequence).number(wire::TAG_NUMBER, number),
        Request::Resize { rows, columns } => Packet::new(wire::RESIZE, sequence)
            .number(wire::TAG_ROWS, u32::from(rows))
            .number(wire::TAG_COLUMNS, u32::from(columns)),
        Request::Wait => Packet::new(wire::WAIT, sequence),
    }
}

/// Reads a request and its sequence number.
pub fn decode_request(bytes: &[u8]) -> Result<(u32, Request), DecodeError> {
    let message = Message::parse(bytes)?;
    let request = match message.kind {
        wire::HELLO => Request::Hello { version: message.small(wire::TAG_VERSION, "version")? },
        wire::STATUS => Request::Status,
        wire::SIGNAL => Request::Signal {
            number: message
                .number(wire::TAG_NUMBER)
                .filter(|number| (1..=64).contains(number))
                .ok_or(message.bad("signal number"))?,
        },
        wire::RESIZE => Request::Resize {
            rows: message.small(wire::TAG_ROWS, "rows")?,
            columns: message.small(wire::TAG_COLUMNS, "columns")?,
        },
        wire::WAIT => Request::Wait,
        _ => return Err(message.unsupported()),
    };
    Ok((message.sequence, request))
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
        Reply::Exited(exit) => exit_field(Packet::new(REPLY | wire::WAIT, sequence), exit),
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
    let reply = match message.kind & !REPLY {
        wire::HELLO => Reply::Hello { version: message.small(wire::TAG_VERSION, "version")? },
        wire::DONE => Reply::Done,
        wire::STATUS => Reply::Status {
            phase: phase_from(message.small(wire::TAG_PHASE, "phase")?),
            pid: message.number(wire::TAG_PID).ok_or(message.bad("pid"))?,
            exit: message.exit()?,
        },
        wire::WAIT => Reply::Exited(message.exit()?.ok_or(message.bad("exit"))?),
        wire::ERROR => Reply::Error {
            kind: error_from(message.small(wire::TAG_ERROR_KIND, "error kind")?),
            text: std::str::from_utf8(message.field(wire::TAG_TEXT).unwrap_or_default())
                .map_err(|_| message.bad("text"))?,
        },
        _ => return Err(message.unsupported()),
    };
    Ok((message.sequence, reply))
}

/// Feeds arbitrary bytes to both decoders; whatever decodes must survive being encoded again. For fuzzing.
pub fn fuzz(data: &[u8]) {
    if let Ok((sequence, request)) = decode_request(data) {
        let again = encode_request(&request, sequence);
        assert_eq!(decode_request(again.as_bytes()), Ok((sequence, request)));
    }
    if let Ok((sequence, reply)) = decode_reply(data) {
        let again = encode_reply(&reply, sequence);
        let Ok((same, back)) = decode_reply(again.as_bytes()) else { panic!("a reply did not survive") };
        assert_eq!(same, sequence);
        match (reply, back) {
            (Reply::Error { text, .. }, Reply::Error { text: cut, .. }) => assert!(text.starts_with(cut)),
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
        Phase::Other(number) => number,
    }
}

fn phase_from(number: u16) -> Phase {
    match number {
        1 => Phase::Creating,
        2 => Phase::Running,
        3 => Phase::Stopped,
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
        other => ErrorKind::Other(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUESTS: [Request; 5] = [
        Request::Hello { version: 7 },
        Request::Status,
        Request::Signal { number: 64 },
        Request::Resize { rows: 24, columns: u16::MAX },
        Request::Wait,
    ];

    const REPLIES: [Reply<'static>; 8] = [
        Reply::Hello { version: 1 },
        Reply::Done,
        Reply::Status { phase: Phase::Running, pid: 4_000_000, exit: None },
        Reply::Status { phase: Phase::Stopped, pid: 0, exit: Some(Exit::Signal(9)) },
        Reply::Status { phase: Phase::Other(99), pid: 1, exit: None },
        Reply::Exited(Exit::Code(255)),
        Reply::Error { kind: ErrorKind::Busy, text: "cannot serve: too many callers" },
        Reply::Error { kind: ErrorKind::Other(77), text: "" },
    ];

    #[test]
    fn messages_survive_the_wire() {
        for (sequence, request) in REQUESTS.iter().enumerate() {
            let sequence = sequence as u32 + 40;
            let packet = encode_request(request, sequence);
            assert_eq!(decode_request(packet.as_bytes()), Ok((sequence, *request)));
        }
        for reply in &REPLIES {
            assert_eq!(decode_reply(encode_reply(reply, u32::MAX).as_bytes()), Ok((u32::MAX, *reply)));
        }
    }

    #[test]
    fn the_frozen_bytes_of_a_signal_request() {
        let packet = encode_request(&Request::Signal { number: 15 }, 2);
        let expected = b"hull\x01\0\x03\0\x02\0\0\0\x08\0\0\0\x02\0\x04\0\x0f\0\0\0";
        assert_eq!(packet.as_bytes(), expected);
    }

    #[test]
    fn every_truncation_and_every_flipped_byte_is_an_error_or_another_message() {
        for request in &REQUESTS {
            let packet = encode_request(request, 1);
            for end in 0..packet.as_bytes().len() {
                assert!(decode_request(&packet.as_bytes()[..end]).is_err());
            }
            for position in 0..packet.as_bytes().len() {
                for value in [0, 1, 0x7f, 0x80, 0xff] {
                    let mut bytes = packet.as_bytes().to_vec();
                    bytes[position] = value;
                    fuzz(&bytes);
                }
            }
        }
    }

    #[test]
    fn noise_never_panics() {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        for round in 0..20_000usize {
            let mut bytes = encode_reply(&REPLIES[round % REPLIES.len()], 3).as_bytes().to_vec();
            for _ in 0..1 + round % 8 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = (state >> 33) as usize % bytes.len();
                bytes[at] = (state >> 24) as u8;
            }
            fuzz(&bytes);
        }
        fuzz(&vec![0xff; MAX_MESSAGE * 2]);
    }

    #[test]
    fn oversized_packets_are_garbage() {
        let mut bytes = encode_request(&Request::Status, 1).as_bytes().to_vec();
        bytes.resize(MAX_MESSAGE + 1, 0);
        assert!(matches!(decode_request(&bytes), Err(DecodeError::Garbage(_))));
    }

    #[test]
    fn a_newer_callers_unknown_request_can_be_answered() {
        let packet = Packet::new(0x0777, 5).field(900, b"future");
        assert_eq!(
            decode_request(packet.as_bytes()),
            Err(DecodeError::Unsupported { sequence: 5, kind: 0x0777 })
        );
    }

    #[test]
    fn unknown_fields_are_skipped_unless_critical() {
        let packet = Packet::new(wire::SIGNAL, 1).field(900, b"hint").number(wire::TAG_NUMBER, 9);
        assert_eq!(decode_request(packet.as_bytes()), Ok((1, Request::Signal { number: 9 })));
        let packet = Packet::new(wire::SIGNAL, 1).field(900 | CRITICAL, b"x").number(wire::TAG_NUMBER, 9);
        assert!(matches!(decode_request(packet.as_bytes()), Err(DecodeError::Unsupported { .. })));
        let packet = Packet::new(wire::SIGNAL, 1).number(wire::TAG_NUMBER | CRITICAL, 9);
        assert_eq!(decode_request(packet.as_bytes()), Ok((1, Request::Signal { number: 9 })));
    }

    #[test]
    fn a_value_that_grew_is_read_by_its_known_prefix() {
        let packet = Packet::new(wire::SIGNAL, 1).field(wire::TAG_NUMBER, &[9, 0, 0, 0, 1, 2, 3]);
        assert_eq!(decode_request(packet.as_bytes()), Ok((1, Request::Signal { number: 9 })));
    }

    #[test]
    fn signals_out_of_range_are_refused_with_the_field() {
        for number in [0, 65, u32::MAX] {
            let packet = Packet::new(wire::SIGNAL, 1).number(wire::TAG_NUMBER, number);
            assert!(matches!(decode_request(packet.as_bytes()), Err(DecodeError::BadField { .. })));
        }
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        let text = "ü".repeat(MAX_TEXT);
        let packet = encode_reply(&Reply::Error { kind: ErrorKind::Failed, text: &text }, 1);
        let Ok((_, Reply::Error { text: cut, .. })) = decode_reply(packet.as_bytes()) else { panic!() };
        assert_eq!(cut.len(), MAX_TEXT);
        assert!(text.starts_with(cut));
    }
}
