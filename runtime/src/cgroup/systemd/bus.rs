//! A connection to the system bus: calls one after the other, and the signals that come meanwhile.
//!
//! Ours, for a program with one thread that makes three calls: zbus is an async runtime with its macros, the crate rustbus
//! has stood still since 2023 and brings older versions of what we have, and libcgroups keeps its own client private.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::message::{self, Body, Garbage, Kind, Message, Method, PREFIX, RemovedJob};

/// Where the bus listens (D-Bus Specification, "Well-known Message Bus Instances").
pub(super) const SOCKET: &str = "/run/dbus/system_bus_socket";
/// How long one answer may take: what other clients of D-Bus grant.
const PATIENCE: Duration = Duration::from_secs(25);
/// Jobs that are kept until somebody asks: of all of the machine, of which one is ours.
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
    /// Nothing came within this time.
    Late(Duration),
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
            Failure::Io(error) => write!(formatter, "{SOCKET}: {error}"),
            Failure::Late(granted) => write!(formatter, "no answer within {} s", granted.as_secs()),
            Failure::Garbage(reason) => write!(formatter, "{SOCKET} sends {reason}"),
            Failure::Refused { name, message } => write!(formatter, "{message} ({name})"),
        }
    }
}

/// Until when somebody waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    ends: Instant,
    granted: Duration,
}

impl Deadline {
    /// So much time from now.
    pub(super) fn after(granted: Duration) -> Deadline {
        Deadline { ends: Instant::now() + granted, granted }
    }

    /// What is left, never nothing, which a socket would take for endless.
    fn left(self) -> Result<Duration, Failure> {
        match self.ends.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(Failure::Late(self.granted)),
            left => Ok(left),
        }
    }
}

/// The connection.
#[derive(Debug)]
pub(super) struct Bus {
    stream: UnixStream,
    /// Read and not yet asked for; never more than one message and a little.
    incoming: Vec<u8>,
    serial: u32,
    removed: VecDeque<RemovedJob>,
    /// For one answer.
    patience: Duration,
}

impl Bus {
    /// Connects as the user that we are.
    pub(super) fn connect() -> Result<Bus, Failure> {
        Bus::over(UnixStream::connect(SOCKET)?, PATIENCE)
    }

    fn over(stream: UnixStream, patience: Duration) -> Result<Bus, Failure> {
        let mut bus = Bus { stream, incoming: Vec::new(), serial: 0, removed: VecDeque::new(), patience };
        let deadline = Deadline::after(patience);
        let user = rustix::process::geteuid().as_raw().to_string();
        let user: String = user.bytes().map(|digit| format!("{digit:02x}")).collect();
        bus.send(format!("\0AUTH EXTERNAL {user}\r\n").as_bytes(), deadline)?;
        if !bus.line(deadline)?.starts_with(b"OK ") {
            return Err(Failure::Garbage("no welcome: it does not take us for who we are"));
        }
        bus.send(b"BEGIN\r\n", deadline)?;
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
        let deadline = Deadline::after(self.patience);
        self.send(&body.call(method, self.serial), deadline)?;
        loop {
            let message = self.receive(deadline)?;
            match &message.kind {
                Kind::Return if message.reply_to == Some(self.serial) => return Ok(message),
                Kind::Error { name } if message.reply_to == Some(self.serial) => {
                    return Err(Failure::Refused { name: name.clone(), message: message.text() });
                }
                _ => {
                    if let Some(job) = message.removed_job() {
                        // Those that were told longest ago are not what is about to be asked for.
                        self.removed.truncate(KEPT - 1);
                        self.removed.push_front(job);
                    }
                }
            }
        }
    }

    /// The next job that was told as removed, also while something else was waited for.
    pub(super) fn next_removed(&mut self, deadline: Deadline) -> Result<RemovedJob, Failure> {
        loop {
            if let Some(job) = self.removed.pop_back() {
                return Ok(job);
            }
            let message = self.receive(deadline)?;
            self.removed.extend(message.removed_job());
        }
    }

    fn receive(&mut self, deadline: Deadline) -> Result<Message, Failure> {
        loop {
            if let Some(prefix) = self.incoming.first_chunk::<PREFIX>() {
                let length = message::length(prefix)?;
                if self.incoming.len() >= length {
                    let message = message::parse(&self.incoming[..length]);
                    self.incoming.drain(..length);
                    return Ok(message?);
                }
            }
            self.read(deadline)?;
        }
    }

    /// One line of the conversation before the first message, with its end.
    fn line(&mut self, deadline: Deadline) -> Result<Vec<u8>, Failure> {
        const LONGEST: usize = 512;
        loop {
            if let Some(at) = self.incoming.windows(2).position(|end| end == b"\r\n") {
                return Ok(self.incoming.drain(..at + 2).collect());
            }
            if self.incoming.len() > LONGEST {
                return Err(Failure::Garbage("a welcome without end"));
            }
            self.read(deadline)?;
        }
    }

    /// Reads what there is, at least one byte.
    fn read(&mut self, deadline: Deadline) -> Result<(), Failure> {
        let mut buffer = [0; 4096];
        // Before each one, or a peer that sends byte by byte would be waited for without end.
        self.stream.set_read_timeout(Some(deadline.left()?))?;
        match self.stream.read(&mut buffer) {
            Ok(0) => Err(Failure::Io(ErrorKind::UnexpectedEof.into())),
            Ok(count) => {
                self.incoming.extend(&buffer[..count]);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Err(Failure::Late(deadline.granted)),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn send(&mut self, mut bytes: &[u8], deadline: Deadline) -> Result<(), Failure> {
        while !bytes.is_empty() {
            self.stream.set_write_timeout(Some(deadline.left()?))?;
            match self.stream.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Err(Failure::Late(deadline.granted));
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::thread;

    use super::*;

    const METHOD: Method = bus_method("Do");
    const JOB: &str = "/org/freedesktop/systemd1/job/7";
    /// For what comes, however busy the machine is, and for what does not come.
    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(50);

    /// A bus that says these bytes after its welcome and the answer to Hello, and then no more.
    pub(in super::super) fn bus_that_sends(bytes: Vec<u8>) -> (Bus, thread::JoinHandle<UnixStream>) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let server = thread::spawn(move || {
            let _ = theirs.write_all(b"OK 0123\r\n");
            let _ = theirs.write_all(&message::tests::answer(1, ""));
            // Fails where the other side gave up.
            let _ = theirs.write_all(&bytes);
            theirs
        });
        (Bus::over(ours, LONG).unwrap(), server)
    }

    fn call_to_one_that_sends(bytes: Vec<u8>, patience: Duration) -> Result<Message, Failure> {
        let (mut bus, server) = bus_that_sends(bytes);
        bus.patience = patience;
        let answer = bus.call(METHOD, Body::default());
        drop(bus);
        drop(server.join().unwrap());
        answer
    }

    #[test]
    fn an_answer_is_found_among_others() {
        let mut bytes = message::tests::answer(99, "");
        bytes.extend(message::tests::removed(":1.1", JOB, "done"));
        bytes.extend(message::tests::answer(2, ""));
        let (mut bus, server) = bus_that_sends(bytes);
        assert_eq!(bus.call(METHOD, Body::default()).unwrap().reply_to, Some(2));
        let job = bus.next_removed(Deadline::after(LONG)).unwrap();
        assert_eq!((&*job.job, &*job.result), (JOB, "done"));
        drop(server.join().unwrap());
    }

    #[test]
    fn one_that_says_nothing_is_not_waited_for() {
        assert!(matches!(call_to_one_that_sends(Vec::new(), SHORT), Err(Failure::Late(_))));
        // The beginning of an answer is none.
        let mut half = message::tests::answer(2, "");
        half.pop();
        assert!(matches!(call_to_one_that_sends(half, SHORT), Err(Failure::Late(_))));
    }

    #[test]
    fn one_that_never_stops_is_neither_waited_for_nor_remembered() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let server = thread::spawn(move || {
            let _ = theirs.write_all(b"OK 0123\r\n");
            let _ = theirs.write_all(&message::tests::answer(1, ""));
            while theirs.write_all(&message::tests::removed(":1.1", JOB, "done")).is_ok() {}
        });
        let mut bus = Bus::over(ours, LONG).unwrap();
        bus.patience = SHORT;
        assert!(matches!(bus.call(METHOD, Body::default()), Err(Failure::Late(_))));
        assert!(bus.removed.len() <= KEPT);
        assert!(bus.incoming.len() <= 2 * message::LONGEST + 4096);
        drop(bus);
        server.join().unwrap();
    }

    #[test]
    fn what_is_no_message_ends_the_conversation() {
        assert!(matches!(call_to_one_that_sends(vec![0; 64], LONG), Err(Failure::Garbage(_))));
        let mut huge = message::tests::answer(2, "");
        huge[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(call_to_one_that_sends(huge, LONG), Err(Failure::Garbage(_))));

        for (welcome, expected) in
            [(&b"REJECTED EXTERNAL\r\n"[..], "no welcome"), (&[b'x'; 600], "a welcome without end")]
        {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            theirs.write_all(welcome).unwrap();
            let failure = Bus::over(ours, LONG).unwrap_err().to_string();
            assert!(failure.contains(expected), "{failure}");
        }
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        assert!(matches!(Bus::over(ours, LONG), Err(Failure::Io(_))));
    }
}
