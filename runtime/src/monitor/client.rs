//! The caller's side of the monitor protocol: a conversation that blocks, and [`Watcher`] for event loops.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, SealFlags};
use thiserror::Error;

use super::channel::{ChannelError, Connection, MAX_DESCRIPTORS, Received};
use super::protocol::{
    Attach, Create, DecodeError, ErrorKind, Exec, Exit, MAX_MESSAGE, Pause, Phase, Reply, Request, Subject,
    VERSION, decode_reply, encode_request,
};

/// How long a living monitor may take for what it answers by itself.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long it may take to make, start or remove something: as long as a busy machine may need for that.
const LONG_PATIENCE: Duration = Duration::from_secs(120);

/// A failed conversation with a monitor.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The socket failed, or nobody listens.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The answer cannot be understood.
    #[error("cannot understand the monitor: {0}")]
    Decode(DecodeError),
    /// The monitor refused.
    #[error("{text}")]
    Refused {
        /// Why, for programs.
        kind: ErrorKind,
        /// Why, for people.
        text: String,
    },
    /// The monitor went away, did not answer in time, or answered something else.
    #[error("the monitor {0}")]
    Silent(&'static str),
    /// Paths or names are longer than a message.
    #[error("the request does not fit into a message of {MAX_MESSAGE} bytes: a path or name is too long")]
    TooLong,
    /// The process of an exec could not be put into a memory file.
    #[error("cannot hand the process over: {0}")]
    Process(rustix::io::Errno),
}

impl ClientError {
    /// Is there no monitor, or none any more?
    pub fn is_gone(&self) -> bool {
        matches!(self, ClientError::Channel(ChannelError::NoMonitor { .. }))
            || matches!(self, ClientError::Silent(GONE))
    }

    /// Is there a monitor that does not answer?
    pub fn is_late(&self) -> bool {
        matches!(self, ClientError::Channel(ChannelError::Late { .. }) | ClientError::Silent(LATE))
    }

    /// Why the monitor refused, if it did.
    pub fn refusal(&self) -> Option<ErrorKind> {
        match self {
            ClientError::Refused { kind, .. } => Some(*kind),
            _ => None,
        }
    }

    /// The exit code of an engine that met this before a command ran: 127 and 126 for a command that is missing or
    /// not executable, 125 for all else.
    pub fn exit_code(&self) -> u8 {
        match self.refusal() {
            Some(ErrorKind::CommandNotFound) => 127,
            Some(ErrorKind::NotExecutable) => 126,
            _ => 125,
        }
    }
}

const GONE: &str = "went away before it answered";
const LATE: &str = "did not answer in time";
const ELSE: ClientError = ClientError::Silent("answered something else");

/// How a container is, as its monitor sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Where it is in its life.
    pub phase: Phase,
    /// Its first process, 0 when there is none.
    pub pid: u32,
    /// How it ended, once it has.
    pub exit: Option<Exit>,
}

/// A process that was executed in a container.
#[derive(Debug)]
pub struct Executed {
    /// Its pid in the monitor's PID namespace.
    pub pid: u32,
    /// The master of its terminal, if it asked for one.
    pub terminal: Option<OwnedFd>,
}

/// A conversation with one monitor.
#[derive(Debug)]
pub struct Client {
    connection: Connection,
    sequence: u32,
    version: u16,
    /// Sequence number of this conversation's exec or attach, whose last word is still to come.
    session: Option<u32>,
}

impl Client {
    /// Connects to the monitor at `path` and agrees on a version.
    pub fn connect(path: &Path) -> Result<Client, ClientError> {
        let connection = Connection::connect(path)?;
        let mut client = Client { connection, sequence: 0, version: VERSION, session: None };
        client.version = client.ask(&Request::Hello { version: VERSION }, PATIENCE, |reply| match reply {
            Reply::Hello { version } => Some(version),
            _ => None,
        })?;
        Ok(client)
    }

    /// The version both sides speak.
    pub fn version(&self) -> u16 {
        self.version
    }

    /// Asks how a container is; the monitor's first one when none is named.
    pub fn status(&mut self, container: Option<&str>) -> Result<Status, ClientError> {
        self.ask(&Request::Status { container }, PATIENCE, |reply| match reply {
            Reply::Status { phase, pid, exit } => Some(Status { phase, pid, exit }),
            _ => None,
        })
    }

    /// Sends signal `number` to the first process of `subject`, or to `all` of its processes.
    pub fn signal(&mut self, subject: Subject<'_>, number: u32, all: bool) -> Result<(), ClientError> {
        self.ask(&Request::Signal { subject, number, all }, PATIENCE, done)
    }

    /// Gives the terminal of `subject` a new size.
    pub fn resize(&mut self, subject: Subject<'_>, rows: u16, columns: u16) -> Result<(), ClientError> {
        self.ask(&Request::Resize { subject, rows, columns }, PATIENCE, done)
    }

    /// Waits until a container has ended and its end is on disk, for at most `time`.
    ///
    /// One that ended earlier is refused with [`ErrorKind::NotFound`]: its status.json tells how.
    pub fn wait(&mut self, container: Option<&str>, time: Option<Duration>) -> Result<Exit, ClientError> {
        let sequence = self.send(&Request::Wait { container }, &[])?;
        self.answer(sequence, time, |reply, _| exited(&reply))
    }

    /// Makes a container up to its gate; returns its first process.
    pub fn create(
        &mut self,
        create: Create<'_>,
        rootfs: BorrowedFd<'_>,
        lock: BorrowedFd<'_>,
    ) -> Result<u32, ClientError> {
        let sequence = self.send(&Request::Create(create), &[rootfs, lock])?;
        self.answer(sequence, Some(LONG_PATIENCE), |reply, _| started(&reply))
    }

    /// Runs the command of a created container; returns when it was executed.
    pub fn start(&mut self, container: &str) -> Result<(), ClientError> {
        self.ask(&Request::Start { container }, LONG_PATIENCE, done)
    }

    /// Makes the process that holds a pod's namespaces; returns it.
    pub fn pause(&mut self, pause: Pause<'_>, lock: BorrowedFd<'_>) -> Result<u32, ClientError> {
        let sequence = self.send(&Request::Pause(pause), &[lock])?;
        self.answer(sequence, Some(LONG_PATIENCE), |reply, _| started(&reply))
    }

    /// Runs `process` (JSON, as in config.json) in a container; [`Client::session_exit`] tells how it ends. `stdio` are
    /// its descriptors 0, 1 and 2 where it has no terminal.
    pub fn exec(
        &mut self,
        exec: Exec<'_>,
        process: &[u8],
        stdio: Option<[BorrowedFd<'_>; 3]>,
    ) -> Result<Executed, ClientError> {
        let file = memory_file(process).map_err(ClientError::Process)?;
        let mut descriptors = vec![file.as_fd()];
        descriptors.extend(stdio.into_iter().flatten());
        let sequence = self.send(&Request::Exec(exec), &descriptors)?;
        let executed = self.answer(sequence, Some(LONG_PATIENCE), |reply, terminal| {
            started(&reply).map(|pid| Executed { pid, terminal })
        })?;
        self.session = Some(sequence);
        Ok(executed)
    }

    /// Sends the container's output to `descriptors` (see [`Request::Attach`]) from now on; [`Client::session_exit`]
    /// tells how the container ends.
    pub fn attach(&mut self, attach: Attach<'_>, descriptors: &[BorrowedFd<'_>]) -> Result<(), ClientError> {
        let sequence = self.send(&Request::Attach(attach), descriptors)?;
        self.answer(sequence, Some(PATIENCE), |reply, _| done(reply))?;
        self.session = Some(sequence);
        Ok(())
    }

    /// Waits for the last word about this conversation's exec or attach, for at most `time`.
    pub fn session_exit(&mut self, time: Option<Duration>) -> Result<Exit, ClientError> {
        let Some(sequence) = self.session else {
            return Err(ClientError::Silent("was asked to execute nothing in this conversation"));
        };
        self.answer(sequence, time, |reply, _| exited(&reply))
    }

    /// Opens a container's log anew.
    pub fn reopen_log(&mut self, container: &str) -> Result<(), ClientError> {
        self.ask(&Request::ReopenLog { container }, PATIENCE, done)
    }

    /// Kills a container if it still lives, and returns when nothing of it is left but its files.
    pub fn delete(&mut self, container: &str) -> Result<(), ClientError> {
        self.ask(&Request::Delete { container }, LONG_PATIENCE, done)
    }

    /// Kills all containers of the monitor, which then ends.
    pub fn shutdown(&mut self) -> Result<(), ClientError> {
        self.ask(&Request::Shutdown, LONG_PATIENCE, done)
    }

    /// Turns the conversation into a stream of the ends of all containers.
    pub fn watch(mut self) -> Result<Watcher, ClientError> {
        let sequence = self.send(&Request::Watch, &[])?;
        self.answer(sequence, Some(PATIENCE), |reply, _| done(reply))?;
        self.connection.set_nonblocking()?;
        Ok(Watcher { connection: self.connection })
    }

    fn ask<T>(
        &mut self,
        request: &Request<'_>,
        patience: Duration,
        expected: impl Fn(Reply<'_>) -> Option<T>,
    ) -> Result<T, ClientError> {
        let sequence = self.send(request, &[])?;
        self.answer(sequence, Some(patience), |reply, _| expected(reply))
    }

    fn send(&mut self, request: &Request<'_>, descriptors: &[BorrowedFd<'_>]) -> Result<u32, ClientError> {
        self.sequence = self.sequence.wrapping_add(1);
        let packet = encode_request(request, self.sequence);
        if packet.overflowed() {
            return Err(ClientError::TooLong);
        }
        self.connection.send(packet.as_bytes(), descriptors)?;
        Ok(self.sequence)
    }

    /// Reads until the answer to request `sequence` comes.
    fn answer<T>(
        &mut self,
        sequence: u32,
        patience: Option<Duration>,
        expected: impl Fn(Reply<'_>, Option<OwnedFd>) -> Option<T>,
    ) -> Result<T, ClientError> {
        let deadline = patience.map(|time| Instant::now() + time);
        let mut buffer = [0; MAX_MESSAGE];
        loop {
            // A time of nothing would mean for ever.
            let left = deadline.map(|deadline| {
                deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
            });
            self.connection.set_timeout(left)?;
            let (length, descriptors) = match self.connection.receive(&mut buffer)? {
                Received::Packet(length, descriptors) => (length, descriptors),
                Received::Nothing => return Err(ClientError::Silent(LATE)),
                Received::End => return Err(ClientError::Silent(GONE)),
            };
            match decode_reply(&buffer[..length]).map_err(ClientError::Decode)? {
                // The late answer to an earlier request whose caller gave up.
                (other, _) if other != sequence => continue,
                (_, Reply::Error { kind, text }) => {
                    return Err(ClientError::Refused { kind, text: text.to_owned() });
                }
                (_, reply) => {
                    let [first, ..]: [Option<OwnedFd>; MAX_DESCRIPTORS] = descriptors;
                    return expected(reply, first).ok_or(ELSE);
                }
            }
        }
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}

/// The ends of a monitor's containers as they come: readable when there is one. Never blocks.
#[derive(Debug)]
pub struct Watcher {
    connection: Connection,
}

/// What a [`Watcher`] saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A container ended; status.json has more.
    Ended {
        /// Its id.
        container: String,
        /// How.
        exit: Exit,
    },
    /// Nothing happened since the last event.
    Nothing,
    /// The monitor is gone.
    Gone,
}

impl Watcher {
    /// The next event.
    pub fn next_event(&mut self) -> Result<Event, ClientError> {
        let mut buffer = [0; MAX_MESSAGE];
        loop {
            let length = match self.connection.receive(&mut buffer)? {
                Received::Packet(length, _) => length,
                Received::Nothing => return Ok(Event::Nothing),
                Received::End => return Ok(Event::Gone),
            };
            match decode_reply(&buffer[..length]) {
                Ok((_, Reply::Ended { container, exit })) => {
                    return Ok(Event::Ended { container: container.to_owned(), exit });
                }
                // News that only a newer monitor has.
                Ok(_) | Err(DecodeError::Unsupported { .. }) => continue,
                Err(error) => return Err(ClientError::Decode(error)),
            }
        }
    }
}

impl AsFd for Watcher {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}

/// A sealed memory file: what the other side reads cannot change under it.
fn memory_file(content: &[u8]) -> Result<OwnedFd, rustix::io::Errno> {
    let file = rustix::fs::memfd_create("process", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut rest = content;
    while !rest.is_empty() {
        let written = rustix::io::retry_on_intr(|| rustix::io::write(&file, rest))?;
        rest = &rest[written..];
    }
    rustix::fs::fcntl_add_seals(
        &file,
        SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
    )?;
    Ok(file)
}

fn done(reply: Reply<'_>) -> Option<()> {
    (reply == Reply::Done).then_some(())
}

fn started(reply: &Reply<'_>) -> Option<u32> {
    match reply {
        Reply::Started { pid } => Some(*pid),
        _ => None,
    }
}

fn exited(reply: &Reply<'_>) -> Option<Exit> {
    match reply {
        Reply::Exited(exit) => Some(*exit),
        _ => None,
    }
}
