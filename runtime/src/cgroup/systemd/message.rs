//! Messages of D-Bus as bytes (D-Bus Specification, "Message Protocol"): those that a client of systemd writes and reads.
//!
//! Little-endian both ways, as the peer is on this machine. What is read is bounded by [`LONGEST`] and never trusted for a
//! length or an offset.

/// The longest head or body of a message that is read; systemd's have a few hundred bytes.
pub(super) const LONGEST: usize = 64 << 10;
/// The longest name of a job, and of who sent a message (D-Bus Specification, "Valid Names").
const LONGEST_NAME: usize = 255;
/// What comes before the length of a message is known.
pub(super) const PREFIX: usize = 16;

/// Types of messages.
const METHOD_CALL: u8 = 1;
const METHOD_RETURN: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;

/// Codes of header fields.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SENDER: u8 = 7;
const SIGNATURE: u8 = 8;

/// Whom a call goes to, and which call it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Method {
    pub(super) destination: &'static str,
    pub(super) path: &'static str,
    pub(super) interface: &'static str,
    pub(super) member: &'static str,
}

/// The value of a property.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(String),
    Flag(bool),
    Byte(u8),
    Int16(i16),
    Uint16(u16),
    Int32(i32),
    Uint32(u32),
    Int64(i64),
    Number(u64),
    Double(f64),
    Bytes(Vec<u8>),
    /// The signature of its elements, and them.
    Array(String, Vec<Value>),
}

impl Value {
    /// Its type (D-Bus Specification, "Type System").
    pub(super) fn signature(&self) -> String {
        let basic = match self {
            Value::Text(_) => "s",
            Value::Flag(_) => "b",
            Value::Byte(_) => "y",
            Value::Int16(_) => "n",
            Value::Uint16(_) => "q",
            Value::Int32(_) => "i",
            Value::Uint32(_) => "u",
            Value::Int64(_) => "x",
            Value::Number(_) => "t",
            Value::Double(_) => "d",
            Value::Bytes(_) => "ay",
            Value::Array(element, _) => return format!("a{element}"),
        };
        basic.to_owned()
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        match self {
            Value::Text(text) => write_text(bytes, text),
            Value::Flag(flag) => write_number(bytes, u32::from(*flag)),
            Value::Byte(number) => bytes.push(*number),
            Value::Int16(number) => write_aligned(bytes, number.to_le_bytes()),
            Value::Uint16(number) => write_aligned(bytes, number.to_le_bytes()),
            Value::Int32(number) => write_aligned(bytes, number.to_le_bytes()),
            Value::Uint32(number) => write_aligned(bytes, number.to_le_bytes()),
            Value::Int64(number) => write_aligned(bytes, number.to_le_bytes()),
            Value::Number(number) => write_aligned(bytes, number.to_le_bytes()),
            Value::Double(number) => write_aligned(bytes, number.to_le_bytes()),
            Value::Bytes(content) => write_array(bytes, 1, |bytes| bytes.extend(content)),
            Value::Array(element, values) => write_array(bytes, alignment(element), |bytes| {
                values.iter().for_each(|value| value.write(bytes));
            }),
        }
    }
}

/// Where values of this type begin.
fn alignment(signature: &str) -> usize {
    match signature.as_bytes().first() {
        Some(b'n' | b'q') => 2,
        Some(b'b' | b'i' | b'u' | b's' | b'a') => 4,
        Some(b'x' | b't' | b'd') => 8,
        _ => 1,
    }
}

/// The arguments of a call.
#[derive(Debug, Default)]
pub(super) struct Body {
    bytes: Vec<u8>,
    signature: String,
}

impl Body {
    pub(super) fn text(mut self, text: &str) -> Body {
        self.signature.push('s');
        write_text(&mut self.bytes, text);
        self
    }

    pub(super) fn flag(mut self, flag: bool) -> Body {
        self.signature.push('b');
        write_number(&mut self.bytes, u32::from(flag));
        self
    }

    /// An array of names with values.
    pub(super) fn properties(mut self, properties: &[(&str, Value)]) -> Body {
        self.signature.push_str("a(sv)");
        write_array(&mut self.bytes, 8, |bytes| {
            for (name, value) in properties {
                align(bytes, 8);
                write_text(bytes, name);
                write_variant(bytes, value);
            }
        });
        self
    }

    /// The further units of `StartTransientUnit`: none.
    pub(super) fn no_units(mut self) -> Body {
        self.signature.push_str("a(sa(sv))");
        write_array(&mut self.bytes, 8, |_| {});
        self
    }

    /// The whole message.
    pub(super) fn call(self, method: Method, serial: u32) -> Vec<u8> {
        let mut bytes = vec![b'l', METHOD_CALL, 0, 1];
        write_number(&mut bytes, self.bytes.len() as u32);
        write_number(&mut bytes, serial);
        write_array(&mut bytes, 8, |bytes| {
            for (code, kind, text) in [
                (PATH, "o", method.path),
                (INTERFACE, "s", method.interface),
                (MEMBER, "s", method.member),
                (DESTINATION, "s", method.destination),
            ] {
                write_field(bytes, code, kind);
                write_text(bytes, text);
            }
            if !self.signature.is_empty() {
                write_field(bytes, SIGNATURE, "g");
                write_signature(bytes, &self.signature);
            }
        });
        align(&mut bytes, 8);
        bytes.extend(self.bytes);
        bytes
    }
}

fn align(bytes: &mut Vec<u8>, to: usize) {
    bytes.resize(bytes.len().next_multiple_of(to), 0);
}

/// Numbers begin at multiples of their size.
fn write_aligned<const SIZE: usize>(bytes: &mut Vec<u8>, number: [u8; SIZE]) {
    align(bytes, SIZE);
    bytes.extend(number);
}

fn write_number(bytes: &mut Vec<u8>, number: u32) {
    write_aligned(bytes, number.to_le_bytes());
}

fn write_text(bytes: &mut Vec<u8>, text: &str) {
    write_number(bytes, text.len() as u32);
    bytes.extend(text.as_bytes());
    bytes.push(0);
}

fn write_signature(bytes: &mut Vec<u8>, signature: &str) {
    bytes.push(signature.len() as u8);
    bytes.extend(signature.as_bytes());
    bytes.push(0);
}

fn write_field(bytes: &mut Vec<u8>, code: u8, kind: &str) {
    align(bytes, 8);
    bytes.push(code);
    write_signature(bytes, kind);
}

/// The length of an array counts neither itself nor the padding before the first element.
fn write_array(bytes: &mut Vec<u8>, alignment: usize, elements: impl FnOnce(&mut Vec<u8>)) {
    write_number(bytes, 0);
    let length = bytes.len() - 4;
    align(bytes, alignment);
    let start = bytes.len();
    elements(bytes);
    let written = (bytes.len() - start) as u32;
    bytes[length..length + 4].copy_from_slice(&written.to_le_bytes());
}

fn write_variant(bytes: &mut Vec<u8>, value: &Value) {
    write_signature(bytes, &value.signature());
    value.write(bytes);
}

/// What a received message is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Return,
    Error {
        name: String,
    },
    Signal {
        member: String,
    },
    /// A call to us, or a type that did not exist when this was written: both may be left alone.
    Other,
}

/// A message that was received.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) kind: Kind,
    /// The serial of the call that it answers.
    pub(super) reply_to: Option<u32>,
    /// The connection that it came from: the bus writes it, and nobody else.
    pub(super) sender: String,
    signature: String,
    body: Vec<u8>,
}

/// What the signal `JobRemoved` tells.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RemovedJob {
    /// Who tells it: anybody on the bus may send us a signal of that name.
    pub(super) sender: String,
    /// The job's path.
    pub(super) job: String,
    /// How it ended.
    pub(super) result: String,
}

/// The bytes are no message, by this rule.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Garbage(pub(super) &'static str);

/// The length of a whole message that starts with `prefix`.
pub(super) fn length(prefix: &[u8; PREFIX]) -> Result<usize, Garbage> {
    if prefix[0] != b'l' || prefix[3] != 1 {
        return Err(Garbage("a message of another version or byte order"));
    }
    let number = |at: usize| u32::from_le_bytes([prefix[at], prefix[at + 1], prefix[at + 2], prefix[at + 3]]);
    let (body, fields) = (number(4) as usize, number(12) as usize);
    if body > LONGEST || fields > LONGEST {
        return Err(Garbage("a message that is too long"));
    }
    Ok((PREFIX + fields).next_multiple_of(8) + body)
}

/// Reads a message of [`length`].
pub(super) fn parse(bytes: &[u8]) -> Result<Message, Garbage> {
    let mut reader = Reader { bytes, at: 0 };
    let prefix: &[u8; PREFIX] = bytes.first_chunk().ok_or(SHORT)?;
    if length(prefix)? != bytes.len() {
        return Err(SHORT);
    }
    reader.at = PREFIX - 4;
    let end = PREFIX + reader.number()? as usize;
    let (mut member, mut error, mut reply_to) = (None, None, None);
    let (mut signature, mut sender) = (String::new(), String::new());
    while reader.at < end {
        reader.align(8)?;
        let code = reader.byte()?;
        let text = match reader.signature()?.as_str() {
            "s" | "o" => reader.text()?,
            "g" => reader.signature()?,
            "u" => {
                let number = reader.number()?;
                reply_to = reply_to.or((code == REPLY_SERIAL).then_some(number));
                continue;
            }
            _ => return Err(Garbage("a header field of an unknown type")),
        };
        match code {
            MEMBER => member = Some(text),
            ERROR_NAME => error = Some(text),
            SENDER => sender = text,
            SIGNATURE => signature = text,
            _ => {}
        }
    }
    if reader.at != end {
        return Err(Garbage("a header field that is longer than all of them"));
    }
    let kind = match bytes[1] {
        METHOD_RETURN => Kind::Return,
        ERROR => Kind::Error { name: error.ok_or(Garbage("an error without a name"))? },
        SIGNAL => Kind::Signal { member: member.ok_or(Garbage("a signal without a name"))? },
        _ => Kind::Other,
    };
    reader.align(8)?;
    Ok(Message { kind, reply_to, sender, signature, body: bytes[reader.at..].to_vec() })
}

const SHORT: Garbage = Garbage("a message that ends too early");

impl Message {
    /// The first argument, a text or a path; empty where it is something else.
    pub(super) fn text(&self) -> String {
        let reader = || Reader { bytes: &self.body, at: 0 };
        let text = match self.signature.chars().next() {
            Some('s' | 'o') => reader().text(),
            Some('v') => reader().variant_text(),
            _ => Err(SHORT),
        };
        text.unwrap_or_default()
    }

    /// What it tells, if it is a `JobRemoved` that could be systemd's.
    pub(super) fn removed_job(&self) -> Option<RemovedJob> {
        if !matches!(&self.kind, Kind::Signal { member } if member == "JobRemoved")
            || self.signature != "uoss"
        {
            return None;
        }
        let mut reader = Reader { bytes: &self.body, at: 0 };
        reader.number().ok()?;
        let job = reader.text().ok()?;
        reader.text().ok()?;
        let result = reader.text().ok()?;
        let all = [&self.sender, &job, &result];
        // Many are kept for a while.
        let is_short = all.iter().all(|text| text.len() <= LONGEST_NAME);
        is_short.then(|| RemovedJob { sender: self.sender.clone(), job, result })
    }
}

/// A place in a message; alignment counts from its start.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn take(&mut self, count: usize) -> Result<&[u8], Garbage> {
        let end = self.at.checked_add(count).ok_or(SHORT)?;
        let taken = self.bytes.get(self.at..end).ok_or(SHORT)?;
        self.at = end;
        Ok(taken)
    }

    fn align(&mut self, to: usize) -> Result<(), Garbage> {
        self.take(self.at.next_multiple_of(to) - self.at).map(drop)
    }

    fn byte(&mut self) -> Result<u8, Garbage> {
        Ok(self.take(1)?[0])
    }

    fn number(&mut self) -> Result<u32, Garbage> {
        self.align(4)?;
        self.take(4)?.try_into().map(u32::from_le_bytes).map_err(|_| SHORT)
    }

    fn text(&mut self) -> Result<String, Garbage> {
        let length = self.number()? as usize;
        self.characters(length)
    }

    fn signature(&mut self) -> Result<String, Garbage> {
        let length = usize::from(self.byte()?);
        self.characters(length)
    }

    fn variant_text(&mut self) -> Result<String, Garbage> {
        if self.signature()? == "s" { self.text() } else { Err(Garbage("a value that is no text")) }
    }

    /// Text and the NUL after it.
    fn characters(&mut self, length: usize) -> Result<String, Garbage> {
        let text = String::from_utf8(self.take(length)?.to_vec());
        let text = text.map_err(|_| Garbage("a text that is not UTF-8"))?;
        if self.byte()? == 0 { Ok(text) } else { Err(Garbage("a text without its end")) }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const METHOD: Method =
        Method { destination: "org.example", path: "/org/example", interface: "org.example.A", member: "Do" };

    /// A message with these header fields, each a code, a type and a value, and this body.
    fn received(kind: u8, fields: &[(u8, &str, &str)], reply_to: u32, body: Body) -> Vec<u8> {
        let mut bytes = vec![b'l', kind, 0, 1];
        write_number(&mut bytes, body.bytes.len() as u32);
        write_number(&mut bytes, 9);
        write_array(&mut bytes, 8, |bytes| {
            for (code, kind, text) in fields {
                write_field(bytes, *code, kind);
                write_text(bytes, text);
            }
            write_field(bytes, REPLY_SERIAL, "u");
            write_number(bytes, reply_to);
            write_field(bytes, SIGNATURE, "g");
            write_signature(bytes, &body.signature);
        });
        align(&mut bytes, 8);
        bytes.extend(body.bytes);
        bytes
    }

    /// The answer of `:1.1` to the call with this serial.
    pub(in super::super) fn answer(serial: u32, text: &str) -> Vec<u8> {
        received(METHOD_RETURN, &[(SENDER, "s", ":1.1")], serial, Body::default().text(text))
    }

    /// The signal `JobRemoved`.
    pub(in super::super) fn removed(sender: &str, job: &str, result: &str) -> Vec<u8> {
        let mut body = Body { bytes: 7_u32.to_le_bytes().to_vec(), signature: "uoss".to_owned() };
        [job, "a.scope", result].iter().for_each(|text| write_text(&mut body.bytes, text));
        received(SIGNAL, &[(SENDER, "s", sender), (MEMBER, "s", "JobRemoved")], 0, body)
    }

    /// The call as an answer: only the type differs.
    fn message(body: Body, kind: u8) -> Vec<u8> {
        let mut bytes = body.call(METHOD, 7);
        bytes[1] = kind;
        bytes
    }

    #[test]
    fn a_call_has_the_bytes_of_the_specification() {
        let bytes = Body::default().text("hi").call(METHOD, 7);
        let header = b"l\x01\x00\x01\x07\x00\x00\x00\x07\x00\x00\x00\x5f\x00\x00\x00";
        assert_eq!(&bytes[..16], header);
        assert_eq!(&bytes[16..40], b"\x01\x01o\x00\x0c\x00\x00\x00/org/example\x00\x00\x00\x00");
        assert_eq!(&bytes[bytes.len() - 15..], b"\x08\x01g\x00\x01s\x00\x00\x02\x00\x00\x00hi\x00");
        let prefix = bytes.first_chunk().unwrap();
        assert_eq!(length(prefix), Ok(bytes.len()));
    }

    #[test]
    fn values_are_aligned_and_counted() {
        let processes = Value::Array("u".to_owned(), vec![Value::Uint32(9)]);
        let properties = [("A", Value::Flag(true)), ("Bits", Value::Bytes(vec![3])), ("P", processes)];
        let body = Body::default().properties(&properties);
        assert_eq!(body.signature, "a(sv)");
        let mut expected = b"\x3c\x00\x00\x00\x00\x00\x00\x00".to_vec();
        expected.extend(b"\x01\x00\x00\x00A\x00\x01b\x00\x00\x00\x00\x01\x00\x00\x00");
        expected.extend(b"\x04\x00\x00\x00Bits\x00\x02ay\x00\x00\x00\x00\x01\x00\x00\x00\x03\x00\x00\x00");
        expected.extend(b"\x01\x00\x00\x00P\x00\x02au\x00\x00\x00\x04\x00\x00\x00\x09\x00\x00\x00");
        expected[0] = (expected.len() - 8) as u8;
        assert_eq!(body.bytes, expected);
    }

    #[test]
    fn answers_are_read() {
        let answer = parse(&message(Body::default().text("/job/1"), METHOD_RETURN)).unwrap();
        assert_eq!((&answer.kind, answer.text()), (&Kind::Return, "/job/1".to_owned()));
        let signal = parse(&message(Body::default(), SIGNAL)).unwrap();
        assert_eq!(signal.kind, Kind::Signal { member: "Do".to_owned() });
        assert_eq!((signal.text(), signal.removed_job()), (String::new(), None));
        assert_eq!(parse(&message(Body::default(), ERROR)), Err(Garbage("an error without a name")));
        assert_eq!(parse(&message(Body::default(), 9)).unwrap().kind, Kind::Other);
    }

    #[test]
    fn a_removed_job_is_told_with_who_says_so() {
        let job = |bytes: &[u8]| parse(bytes).unwrap().removed_job();
        let expected = RemovedJob { sender: ":1.1".into(), job: "/job/1".into(), result: "done".into() };
        assert_eq!(job(&removed(":1.1", "/job/1", "done")), Some(expected));
        assert_eq!(job(&removed(":1.1", &"x".repeat(256), "done")), None);
        let mut other = removed(":1.1", "/job/1", "done");
        let at = other.windows(3).position(|word| word == b"Job").unwrap();
        other[at] = b'j';
        assert_eq!(job(&other), None);
    }

    #[test]
    fn damage_is_refused_and_never_panics() {
        let call = message(Body::default().text("hello").flag(true), SIGNAL);
        for whole in [call, removed(":1.1", "/job/1", "done")] {
            for end in 0..whole.len() {
                assert!(parse(&whole[..end]).is_err(), "{end}");
            }
            for at in 0..whole.len() {
                for value in [0, 1, 8, 127, 255] {
                    let mut bytes = whole.clone();
                    bytes[at] = value;
                    if let Ok(message) = parse(&bytes) {
                        let _ = (message.text(), message.removed_job());
                    }
                }
            }
            let mut huge = whole;
            huge[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
            assert_eq!(length(huge.first_chunk().unwrap()), Err(Garbage("a message that is too long")));
        }
        // Header fields that end where the body is.
        let mut reaching = removed(":1.1", "/job/1", "done");
        reaching[12] -= 8;
        reaching[4] += 8;
        assert_eq!(parse(&reaching), Err(Garbage("a header field that is longer than all of them")));
    }
}
