//! The wire form of [`super::protocol`]: header, fields, kinds and tags. It never changes, it only grows.

use super::protocol::{CRITICAL, DecodeError, MAX_MESSAGE};
use crate::process::Exit;

const MAGIC: [u8; 4] = *b"hull";
const FRAMING: u16 = 1;
const HEADER: usize = 16;

/// Bit of a kind: the message is a reply.
pub(super) const REPLY: u16 = 0x8000;

// Kinds and tags. A number once given is never given to anything else.
pub(super) const HELLO: u16 = 1;
pub(super) const STATUS: u16 = 2;
pub(super) const SIGNAL: u16 = 3;
pub(super) const RESIZE: u16 = 4;
pub(super) const WAIT: u16 = 5;
pub(super) const DONE: u16 = 6;
pub(super) const ERROR: u16 = 7;
pub(super) const CREATE: u16 = 8;
pub(super) const START: u16 = 9;
pub(super) const EXEC: u16 = 10;
pub(super) const ATTACH: u16 = 11;
pub(super) const REOPEN_LOG: u16 = 12;
pub(super) const PAUSE: u16 = 13;
pub(super) const DELETE: u16 = 14;
pub(super) const WATCH: u16 = 15;
pub(super) const SHUTDOWN: u16 = 16;
pub(super) const STARTED: u16 = 17;
pub(super) const ENDED: u16 = 18;
pub(super) const TAG_VERSION: u16 = 1;
pub(super) const TAG_NUMBER: u16 = 2;
pub(super) const TAG_ROWS: u16 = 3;
pub(super) const TAG_COLUMNS: u16 = 4;
pub(super) const TAG_PHASE: u16 = 5;
pub(super) const TAG_PID: u16 = 6;
pub(super) const TAG_EXIT_CODE: u16 = 7;
pub(super) const TAG_EXIT_SIGNAL: u16 = 8;
pub(super) const TAG_ERROR_KIND: u16 = 9;
pub(super) const TAG_TEXT: u16 = 10;
pub(super) const TAG_CONTAINER: u16 = 11;
pub(super) const TAG_EXEC: u16 = 12;
pub(super) const TAG_FOLDER: u16 = 13;
pub(super) const TAG_LOG: u16 = 14;
pub(super) const TAG_LOG_SIZE: u16 = 15;
pub(super) const TAG_LOG_FILES: u16 = 16;
pub(super) const TAG_FLAGS: u16 = 17;
pub(super) const TAG_NETWORK_NAMESPACE: u16 = 18;
pub(super) const TAG_HOSTNAME: u16 = 19;
pub(super) const TAG_CGROUP: u16 = 20;
pub(super) const TAG_SYSCTLS: u16 = 21;
pub(super) const TAG_ALL: u16 = 22;
/// The highest tag that this version knows.
const LAST_TAG: u16 = TAG_ALL;

/// A message being written, in fixed storage.
#[derive(Debug)]
pub struct Packet {
    bytes: [u8; MAX_MESSAGE],
    length: usize,
    overflowed: bool,
}

impl Packet {
    /// The encoded message.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    pub(super) fn new(kind: u16, sequence: u32) -> Packet {
        let mut packet = Packet { bytes: [0; MAX_MESSAGE], length: HEADER, overflowed: false };
        packet.bytes[0..4].copy_from_slice(&MAGIC);
        packet.bytes[4..6].copy_from_slice(&FRAMING.to_le_bytes());
        packet.bytes[6..8].copy_from_slice(&kind.to_le_bytes());
        packet.bytes[8..12].copy_from_slice(&sequence.to_le_bytes());
        packet
    }

    /// True if a field did not fit: then the packet must not be sent.
    pub fn overflowed(&self) -> bool {
        self.overflowed
    }

    /// Appends a field.
    pub(super) fn field(mut self, tag: u16, value: &[u8]) -> Packet {
        let end = self.length + 4 + value.len();
        let (Ok(length), true) = (u16::try_from(value.len()), end <= MAX_MESSAGE) else {
            self.overflowed = true;
            return self;
        };
        self.bytes[self.length..self.length + 2].copy_from_slice(&tag.to_le_bytes());
        self.bytes[self.length + 2..self.length + 4].copy_from_slice(&length.to_le_bytes());
        self.bytes[self.length + 4..end].copy_from_slice(value);
        self.length = end;
        let payload = (end - HEADER) as u16;
        self.bytes[12..14].copy_from_slice(&payload.to_le_bytes());
        self
    }

    pub(super) fn number(self, tag: u16, value: u32) -> Packet {
        self.field(tag, &value.to_le_bytes())
    }

    pub(super) fn long(self, tag: u16, value: u64) -> Packet {
        self.field(tag, &value.to_le_bytes())
    }

    /// Appends a text where there is one.
    pub(super) fn text(self, tag: u16, value: Option<&str>) -> Packet {
        match value {
            Some(text) => self.field(tag, text.as_bytes()),
            None => self,
        }
    }
}

/// A framed message whose fields have been walked once, so that every lookup stays inside the packet.
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    pub(super) sequence: u32,
    fields: &'a [u8],
}

impl<'a> Message<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Message<'a>, DecodeError> {
        if bytes.len() < HEADER {
            return Err(DecodeError::Garbage("shorter than a header"));
        }
        if bytes.len() > MAX_MESSAGE {
            return Err(DecodeError::Garbage("longer than a message may be"));
        }
        let (header, fields) = bytes.split_at(HEADER);
        if header[0..4] != MAGIC {
            return Err(DecodeError::Garbage("wrong magic"));
        }
        let sequence = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
        let kind = u16_at(header, 6);
        if u16_at(header, 4) != FRAMING {
            return Err(DecodeError::Garbage("unknown framing"));
        }
        if usize::from(u16_at(header, 12)) != fields.len() {
            return Err(DecodeError::Garbage("length and packet disagree"));
        }
        let message = Message { kind, sequence, fields };
        message.check_fields()?;
        Ok(message)
    }

    /// Every field lies inside the packet, no unknown one is critical, and every number is whole: a short one would pass for one
    /// that is missing.
    fn check_fields(&self) -> Result<(), DecodeError> {
        let mut rest = self.fields;
        while !rest.is_empty() {
            let (tag, value, after) =
                split_field(rest).ok_or(DecodeError::Garbage("field beyond the packet"))?;
            if tag & CRITICAL != 0 && !(TAG_VERSION..=LAST_TAG).contains(&(tag & !CRITICAL)) {
                return Err(self.unsupported());
            }
            if value.len() < least_length(tag & !CRITICAL) {
                return Err(self.bad("a number that is too short"));
            }
            rest = after;
        }
        Ok(())
    }

    /// The first field with this tag.
    pub(super) fn field(&self, wanted: u16) -> Option<&'a [u8]> {
        let mut rest = self.fields;
        while let Some((tag, value, after)) = split_field(rest) {
            if tag & !CRITICAL == wanted {
                return Some(value);
            }
            rest = after;
        }
        None
    }

    pub(super) fn number(&self, tag: u16) -> Option<u32> {
        let value = self.field(tag)?;
        Some(u32::from_le_bytes(value.get(..4)?.try_into().ok()?))
    }

    pub(super) fn long(&self, tag: u16) -> Option<u64> {
        let value = self.field(tag)?;
        Some(u64::from_le_bytes(value.get(..8)?.try_into().ok()?))
    }

    /// A text that may be missing; what is no text is an error.
    pub(super) fn text(&self, tag: u16, field: &'static str) -> Result<Option<&'a str>, DecodeError> {
        let text = self.field(tag).map(std::str::from_utf8).transpose().map_err(|_| self.bad(field))?;
        // No text of the protocol may hold what ends one for the kernel.
        if text.is_some_and(|text| text.contains('\0')) { Err(self.bad(field)) } else { Ok(text) }
    }

    /// A text that has to be there.
    pub(super) fn required(&self, tag: u16, field: &'static str) -> Result<&'a str, DecodeError> {
        self.text(tag, field)?.filter(|text| !text.is_empty()).ok_or(self.bad(field))
    }

    pub(super) fn small(&self, tag: u16, field: &'static str) -> Result<u16, DecodeError> {
        self.number(tag).and_then(|number| u16::try_from(number).ok()).ok_or(self.bad(field))
    }

    pub(super) fn exit(&self) -> Result<Option<Exit>, DecodeError> {
        let byte = |tag| match self.number(tag) {
            None => Ok(None),
            Some(number) => u8::try_from(number).map(Some).map_err(|_| self.bad("exit")),
        };
        Ok(match (byte(TAG_EXIT_CODE)?, byte(TAG_EXIT_SIGNAL)?) {
            (_, Some(signal)) => Some(Exit::Signal(signal)),
            (Some(code), None) => Some(Exit::Code(code)),
            (None, None) => None,
        })
    }

    pub(super) fn bad(&self, field: &'static str) -> DecodeError {
        DecodeError::BadField { sequence: self.sequence, kind: self.kind, field }
    }

    pub(super) fn unsupported(&self) -> DecodeError {
        DecodeError::Unsupported { sequence: self.sequence, kind: self.kind }
    }
}

/// How many bytes the value of a field has at least.
fn least_length(tag: u16) -> usize {
    match tag {
        TAG_VERSION | TAG_NUMBER | TAG_ROWS | TAG_COLUMNS | TAG_PHASE | TAG_PID | TAG_EXIT_CODE
        | TAG_EXIT_SIGNAL | TAG_ERROR_KIND | TAG_EXEC | TAG_LOG_FILES | TAG_FLAGS | TAG_ALL => 4,
        TAG_LOG_SIZE => 8,
        _ => 0,
    }
}

/// Tag, value and what follows, of the first field in `bytes`.
fn split_field(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let header = bytes.get(..4)?;
    let length = usize::from(u16_at(header, 2));
    let value = bytes.get(4..4 + length)?;
    Some((u16_at(header, 0), value, &bytes[4 + length..]))
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}
