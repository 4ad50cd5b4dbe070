//! A connection to the system bus: calls one after the other, and the signals that come meanwhile.
//!
//! Ours, for a program with one thread that makes three calls: zbus is an async runtime with its macros, the crate rustbus
//! has stood still since 2023 and brings older versions of what we have, and libcgroups keeps its own client private.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::message::{self, Body, Garbage, Kind, Message, Method, PREFIX};

/// Where the bus listens (D-Bus Specification, "Well-known Message Bus Instances").
pub(super) const SOCKET: &str = "/run/dbus/system_bus_socket";
/// How long one answer may take: what other clients of D-Bus grant.
const PATIENCE: Duration = Duration::from_secs(25);
/// Signals that are kept until somebody asks: of all jobs of the machine, of which one is ours.
const KEPT: usize = 1024;

const HELLO: Method = bus_method("Hello");
const ADD_MATCH: Method = bus_method("AddMatch");

const fn bus_method(member: &'static str) -> Method {
    let bus = "org.freedesktop.DBus";
    Method { destination: bus, path: "/org/freedesktop/DBus", interface: bus, member }
}

/// What went wrong with the bus or with what was asked over it.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nobody there, or gone.
    Io(std::io::Error),
    /// What came back is not D-Bus.
    Garbage(&'static str),
    /// The call was answered with an error.
    Refused { name: String, message: String },
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure::Io(error)
    }
}

impl From<Garbage> for Failure {
    fn from(garbage: Garbage) -> Failure {
        Failure::Garbage(garbage.0)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Io(error) => match error.kind() {
                std::io::ErrorKind::WouldBlock => {
                    write!(formatter, "no answer within {} s", PATIENCE.as_secs())
                }
                _ => write!(formatter, "{SOCKET}: {error}"),
            },
            Failure::Garbage(reason) => write!(formatter, "{SOCKET} sends {reason}"),
            Failure::Refused { name, message } => write!(formatter, "{message} ({name})"),
        }
    }
}

/// The connection.
#[derive(Debug)]
pub(super) struct Bus {
    stream: UnixStream,
    serial: u32,
    signals: VecDeque<Message>,
}

impl Bus {
    /// Connects as the user that we are.
    pub(super) fn connect() -> Result<Bus, Failure> {
        let mut stream = UnixStream::connect(SOCKET)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let user = rustix::process::geteuid().as_raw().to_string();
        let user: String = user.bytes().map(|digit| format!("{digit:02x}")).collect();
        stream.write_all(format!("\0AUTH EXTERNAL {user}\r\n").as_bytes())?;
        if !read_line(&mut stream)?.starts_with("OK ") {
            return Err(Failure::Garbage("no welcome: it does not take us for who we are"));
        }
        stream.write_all(b"BEGIN\r\n")?;
        let mut bus = Bus { stream, serial: 0, signals: VecDeque::new() };
        bus.call(HELLO, Body::default())?;
        Ok(bus)
    }

    /// Asks for signals that the rule fits.
    pub(super) fn listen(&mut self, rule: &str) -> Result<(), Failure> {
        self.call(ADD_MATCH, Body::default().text(rule)).map(drop)
    }

    /// Makes a call and waits for its answer.
    pub(super) fn call(&mut self, method: Method, body: Body) -> Result<Message, Failure> {
        self.serial += 1;
        self.stream.write_all(&body.call(method, self.serial))?;
        let ends = Instant::now() + PATIENCE;
        loop {
            let message = self.receive(ends)?;
            match &message.kind {
                Kind::Signal { .. } => {
                    self.signals.truncate(KEPT - 1);
                    self.signals.push_front(message);
                }
                Kind::Return if message.reply_to == Some(self.serial) => return Ok(message),
                Kind::Error { name } if message.reply_to == Some(self.serial) => {
                    return Err(Failure::Refused { name: name.clone(), message: message.text() });
                }
                _ => {}
            }
        }
    }

    /// The next signal, also one that came while something else was waited for.
    pub(super) fn next_signal(&mut self, ends: Instant) -> Result<Message, Failure> {
        if let Some(signal) = self.signals.pop_back() {
            return Ok(signal);
        }
        loop {
            let message = self.receive(ends)?;
            if matches!(message.kind, Kind::Signal { .. }) {
                return Ok(message);
            }
        }
    }

    fn receive(&mut self, ends: Instant) -> Result<Message, Failure> {
        // A zero would mean for ever.
        let left = ends.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        self.stream.set_read_timeout(Some(left))?;
        let mut prefix = [0; PREFIX];
        self.stream.read_exact(&mut prefix)?;
        let mut bytes = prefix.to_vec();
        bytes.resize(message::length(&prefix)?, 0);
        self.stream.read_exact(&mut bytes[PREFIX..])?;
        Ok(message::parse(&bytes)?)
    }
}

/// One line of the conversation before the first message.
fn read_line(stream: &mut UnixStream) -> Result<String, Failure> {
    const LONGEST: usize = 512;
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        if line.len() > LONGEST {
            return Err(Failure::Garbage("a welcome without end"));
        }
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        line.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}
