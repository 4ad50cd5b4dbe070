//! Executing a command in a container and collecting what it prints.
//!
//! The reply does not wait for whoever inherited the pipes: it comes when the command has ended, after a short time for
//! what is still in them (CVE-2022-1708 is about the amount). While it runs no thread waits for it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use engine::exec::ExecSettings;
use runtime::monitor::client::Client;
use runtime::monitor::protocol::{Exec, Exit, Subject};
use runtime::process::Signal;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::pipe::PipeFlags;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;

use super::{Container, admission};
use crate::error::{Error, Result};
use crate::node::Node;
use crate::readable::Readable;

/// Bytes of each stream that are kept; more is read and dropped.
const LONGEST: usize = 16 << 20;
/// How long the pipes are read after the command has ended.
const DRAIN: Duration = Duration::from_millis(250);
/// How long a command that was killed may take to be gone.
const KILL_PATIENCE: Duration = Duration::from_secs(5);
/// How long the monitor may take to say what it is already saying.
const ANSWER: Duration = Duration::from_secs(5);

/// What came of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// What it wrote.
    pub stdout: Vec<u8>,
    /// What it complained about.
    pub stderr: Vec<u8>,
    /// Its exit code, or 128 and the signal.
    pub code: i32,
}

/// Executes `command` for at most `seconds`, for ever when that is 0.
pub async fn exec(
    node: &Arc<Node>,
    container: &Arc<Container>,
    command: Vec<String>,
    seconds: i64,
) -> Result<Output> {
    if command.first().is_none_or(String::is_empty) {
        return Err(Error::invalid("cmd", "it is empty"));
    }
    admission::use_running(&container.state()).map_err(|refusal| admission::refuse(container, refusal))?;
    let asked = Arc::clone(container);
    let started = node.blocking(move |node| start(node, &asked, command)).await?;
    let internal = |error: std::io::Error| Error::Internal(format!("cannot watch a command: {error}"));
    let session = Readable::new(Session(started.client))?;
    let mut stdout = Capture::new(started.stdout).map_err(internal)?;
    let mut stderr = Capture::new(started.stderr).map_err(internal)?;
    let exit = {
        let mut reading = std::pin::pin!(async { tokio::join!(stdout.fill(), stderr.fill()) });
        let mut all_read = false;
        let limit = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        let mut timeout = std::pin::pin!(tokio::time::sleep(limit));
        let exit = loop {
            tokio::select! {
                ready = session.wait() => {
                    ready?;
                    break true;
                }
                _ = &mut reading, if !all_read => all_read = true,
                () = &mut timeout, if !limit.is_zero() => break false,
            }
        };
        if exit && !all_read {
            // Somebody else may hold the pipes for as long as they like.
            let _ = tokio::time::timeout(DRAIN, &mut reading).await;
        }
        exit
    };
    let session = session.into_inner();
    match exit {
        true => {
            let exit = node.blocking(move |_| session.exit(ANSWER)).await?;
            Ok(Output { stdout: stdout.bytes, stderr: stderr.bytes, code: i32::from(exit.code()) })
        }
        false => {
            node.blocking(move |_| session.kill()).await?;
            Err(Error::Timeout { seconds })
        }
    }
}

struct Started {
    client: Client,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

fn start(node: &Node, container: &Container, command: Vec<String>) -> Result<Started> {
    let folder = node.containers.folder(&container.id);
    let settings = ExecSettings { args: command, ..ExecSettings::default() };
    let process = engine::exec::process(&folder, container.state().pid(), &settings)?;
    let null = rustix::fs::openat(CWD, "/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(Error::io("open", "/dev/null"))?;
    let pipe = || rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(Error::io("make", "a pipe"));
    let ((stdout, theirs), (stderr, their_errors)) = (pipe()?, pipe()?);
    let mut client = node.monitor(&container.pod)?;
    // It ends with this conversation, so with us and with a caller who gives up.
    let request = Exec { container: &container.id, terminal: false, bound: true };
    client.exec(request, &process, Some([null.as_fd(), theirs.as_fd(), their_errors.as_fd()]))?;
    Ok(Started { client, stdout, stderr })
}

/// A conversation in which a command runs.
struct Session(Client);

impl Session {
    fn exit(mut self, patience: Duration) -> Result<Exit> {
        Ok(self.0.session_exit(Some(patience))?)
    }

    fn kill(mut self) -> Result<()> {
        match self.0.signal(Subject::Exec, Signal::KILL.0.unsigned_abs(), false) {
            // It ended at the last moment.
            Err(error) if error.refusal().is_none() => return Err(error.into()),
            _ => {}
        }
        self.exit(KILL_PATIENCE).map(drop)
    }
}

impl AsFd for Session {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// One stream of a command, as far as it was read.
struct Capture {
    pipe: Receiver,
    bytes: Vec<u8>,
}

impl Capture {
    fn new(pipe: OwnedFd) -> std::io::Result<Capture> {
        Ok(Capture { pipe: Receiver::from_owned_fd(pipe)?, bytes: Vec::new() })
    }

    /// Reads to the end.
    async fn fill(&mut self) {
        let mut chunk = [0; 4096];
        loop {
            match self.pipe.read(&mut chunk).await {
                Ok(0) | Err(_) => return,
                Ok(count) => {
                    let room = LONGEST.saturating_sub(self.bytes.len());
                    self.bytes.extend_from_slice(&chunk[..count.min(room)]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_read_and_dropped() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).unwrap();
            let writing = std::thread::spawn(move || {
                let block = vec![b'x'; 1 << 20];
                for _ in 0..20 {
                    let mut rest = &block[..];
                    while !rest.is_empty() {
                        rest = &rest[rustix::io::write(&writer, rest).unwrap()..];
                    }
                }
            });
            let mut capture = Capture::new(reader).unwrap();
            capture.fill().await;
            assert_eq!(capture.bytes.len(), LONGEST);
            writing.join().unwrap();
        });
    }
}
