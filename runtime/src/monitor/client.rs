//! The caller's side of the monitor protocol.

use std::path::Path;
use std::time::Duration;

use thiserror::Error;

use super::channel::{ChannelError, Connection, Received};
use super::protocol::{
    DecodeError, ErrorKind, Exit, MAX_MESSAGE, Phase, Reply, Request, VERSION, decode_reply, encode_request,
};

/// How long a living monitor may take to answer anything but [`Client::wait`].
const PATIENCE: Duration = Duration::from_secs(10);

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
    #[error("the monitor refused: {text}")]
    Refused {
        /// Why, for programs.
        kind: ErrorKind,
        /// Why, for people.
        text: String,
    },
    /// The monitor went away, did not answer in time, or answered something else.
    #[error("the monitor {0}")]
    Silent(&'static str),
}

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

/// A conversation with one monitor.
#[derive(Debug)]
pub struct Client {
    connection: Connection,
    sequence: u32,
    version: u16,
}

impl Client {
    /// Connects to the monitor at `path` and agrees on a version.
    pub fn connect(path: &Path) -> Result<Client, ClientError> {
        let connection = Connection::connect(path)?;
        let mut client = Client { connection, sequence: 0, version: VERSION };
        client.version =
            client.ask(&Request::Hello { version: VERSION }, Some(PATIENCE), |reply| match reply {
                Reply::Hello { version } => Some(version),
                _ => None,
            })?;
        Ok(client)
    }

    /// The version both sides speak.
    pub fn version(&self) -> u16 {
        self.version
    }

    /// Asks how the container is.
    pub fn status(&mut self) -> Result<Status, ClientError> {
        self.ask(&Request::Status, Some(PATIENCE), |reply| match reply {
            Reply::Status { phase, pid, exit } => Some(Status { phase, pid, exit }),
            _ => None,
        })
    }

    /// Sends signal `number` to the container's first process.
    pub fn signal(&mut self, number: u32) -> Result<(), ClientError> {
        self.ask(&Request::Signal { number }, Some(PATIENCE), done)
    }

    /// Gives the container's terminal a new size.
    pub fn resize(&mut self, rows: u16, columns: u16) -> Result<(), ClientError> {
        self.ask(&Request::Resize { rows, columns }, Some(PATIENCE), done)
    }

    /// Waits until the container has ended, for at most `time`.
    pub fn wait(&mut self, time: Option<Duration>) -> Result<Exit, ClientError> {
        self.ask(&Request::Wait, time, |reply| match reply {
            Reply::Exited(exit) => Some(exit),
            _ => None,
        })
    }

    fn ask<T>(
        &mut self,
        request: &Request,
        patience: Option<Duration>,
        expected: impl Fn(Reply<'_>) -> Option<T>,
    ) -> Result<T, ClientError> {
        self.sequence = self.sequence.wrapping_add(1);
        self.connection.set_timeout(patience)?;
        self.connection.send(encode_request(request, self.sequence).as_bytes(), &[])?;
        let mut buffer = [0; MAX_MESSAGE];
        loop {
            let length = match self.connection.receive(&mut buffer)? {
                Received::Packet(length, _) => length,
                Received::Nothing => return Err(ClientError::Silent("did not answer in time")),
                Received::End => return Err(ClientError::Silent("went away before it answered")),
            };
            match decode_reply(&buffer[..length]).map_err(ClientError::Decode)? {
                // The late answer to an earlier request whose caller gave up.
                (sequence, _) if sequence != self.sequence => continue,
                (_, Reply::Error { kind, text }) => {
                    return Err(ClientError::Refused { kind, text: text.to_owned() });
                }
                (_, reply) => {
                    return expected(reply).ok_or(ClientError::Silent("answered something else"));
                }
            }
        }
    }
}

fn done(reply: Reply<'_>) -> Option<()> {
    (reply == Reply::Done).then_some(())
}
