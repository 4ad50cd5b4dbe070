//! Executing a command in a container and collecting what it prints.
//!
//! The reply does not wait for whoever inherited the pipes: it comes when the command has ended, after a short time for
//! what is still in them (CVE-2022-1708 is about the amount). While it runs no thread waits for it. What it prints beyond
//! what a reply, and the memory of all of them together, has room for is read and dropped; its exit code counts all the same.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use engine::exec::ExecSettings;
use runtime::monitor::client::Client;
use runtime::monitor::protocol::{Exec, Exit, Subject};
use runtime::process::Signal;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::pipe::PipeFlags;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{Container, admission, session};
use crate::error::{Error, Result};
use crate::node::Node;
use crate::readable::Readable;

/// Bytes of both streams together that are kept: the kubelet takes no reply of 16 MiB, and there is more in one.
const LONGEST: usize = (16 << 20) - (64 << 10);
/// Bytes that every command may print, however much the others do.
const OWN: usize = 64 << 10;
/// Commands at the same time; others wait.
const MOST: usize = 256;
/// Bytes that all commands together may have printed beyond their own, in shares.
const SHARED: usize = 64 << 20;
const SHARE: usize = 64 << 10;
/// How long the pipes are read after the command has ended.
const DRAIN: Duration = Duration::from_millis(250);
/// How long a command that was killed may take to be gone.
const KILL_PATIENCE: Duration = Duration::from_secs(5);
/// How long the monitor may take to say what it is already saying.
const ANSWER: Duration = Duration::from_secs(5);

/// What bounds the commands of a node together.
#[derive(Debug)]
pub struct Limits {
    turns: Semaphore,
    shares: Semaphore,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { turns: Semaphore::new(MOST), shares: Semaphore::new(SHARED / SHARE) }
    }
}

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
    // Never closed.
    let _turn = node.execs.turns.acquire().await;
    let asked = Arc::clone(container);
    let started = node.blocking(move |node| start(node, &asked, command)).await?;
    let internal = |error: std::io::Error| Error::Internal(format!("cannot watch a command: {error}"));
    let session = Readable::new(Session(started.client))?;
    let room = Room::new(&node.execs.shares);
    let mut stdout = Capture::new(started.stdout, &room).map_err(internal)?;
    let mut stderr = Capture::new(started.stderr, &room).map_err(internal)?;
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
            let id = container.id.clone();
            let killed = node.blocking(move |_| {
                // While the first process is there: its children are found by it.
                session::kill(started.pid, &id);
                session.kill()
            });
            if let Err(error) = killed.await {
                let container = container.short();
                tracing::warn!(
                    container,
                    "a command that took too long may be there still: {}",
                    error.chain()
                );
            }
            Err(Error::Timeout { seconds })
        }
    }
}

struct Started {
    client: Client,
    pid: u32,
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
    let stdio = [null.as_fd(), theirs.as_fd(), their_errors.as_fd()];
    let pid = client.exec(request, &process, Some(stdio))?.pid;
    Ok(Started { client, pid, stdout, stderr })
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

/// What a command may still print.
struct Room<'a> {
    shares: &'a Semaphore,
    given: Mutex<Given<'a>>,
}

struct Given<'a> {
    /// Bytes that the command may print without asking.
    left: usize,
    /// Bytes that it has printed.
    used: usize,
    /// What it got of the others.
    permits: Option<SemaphorePermit<'a>>,
}

impl<'a> Room<'a> {
    fn new(shares: &'a Semaphore) -> Room<'a> {
        Room { shares, given: Mutex::new(Given { left: OWN, used: 0, permits: None }) }
    }

    /// Room for `wanted` bytes, or for as many as there is.
    fn take(&self, wanted: usize) -> usize {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = wanted.min(LONGEST - given.used);
        while given.left < wanted {
            let Ok(permit) = self.shares.try_acquire() else { break };
            given.left += SHARE;
            match &mut given.permits {
                Some(permits) => permits.merge(permit),
                none => *none = Some(permit),
            }
        }
        let taken = wanted.min(given.left);
        given.left -= taken;
        given.used += taken;
        taken
    }
}

/// One stream of a command, as far as it was read.
struct Capture<'a, 'b> {
    pipe: Receiver,
    room: &'a Room<'b>,
    bytes: Vec<u8>,
}

impl<'a, 'b> Capture<'a, 'b> {
    fn new(pipe: OwnedFd, room: &'a Room<'b>) -> std::io::Result<Capture<'a, 'b>> {
        Ok(Capture { pipe: Receiver::from_owned_fd(pipe)?, room, bytes: Vec::new() })
    }

    /// Reads to the end.
    async fn fill(&mut self) {
        let mut chunk = [0; 4096];
        loop {
            match self.pipe.read(&mut chunk).await {
                Ok(0) | Err(_) => return,
                Ok(count) => self.bytes.extend_from_slice(&chunk[..self.room.take(count)]),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The writing of so many MiB, and what is read of it.
    fn pipe(mebibytes: usize) -> (std::thread::JoinHandle<()>, OwnedFd) {
        let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).unwrap();
        let writing = std::thread::spawn(move || {
            let block = vec![b'x'; 1 << 20];
            for _ in 0..mebibytes {
                let mut rest = &block[..];
                while !rest.is_empty() {
                    rest = &rest[rustix::io::write(&writer, rest).unwrap()..];
                }
            }
        });
        (writing, reader)
    }

    #[test]
    fn what_is_too_much_of_both_streams_together_is_read_and_dropped() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let limits = Limits::default();
            let room = Room::new(&limits.shares);
            let ((writing, one), (writing_too, other)) = (pipe(12), pipe(12));
            let mut stdout = Capture::new(one, &room).unwrap();
            let mut stderr = Capture::new(other, &room).unwrap();
            tokio::join!(stdout.fill(), stderr.fill());
            let kept = stdout.bytes.len() + stderr.bytes.len();
            assert_eq!(kept, LONGEST);
            let reply = k8s_cri::v1::ExecSyncResponse {
                stdout: stdout.bytes,
                stderr: stderr.bytes,
                exit_code: i32::MIN,
            };
            assert!(prost::Message::encoded_len(&reply) < 16 << 20);
            writing.join().unwrap();
            writing_too.join().unwrap();
        });
    }

    #[test]
    fn all_commands_together_have_a_limit_and_each_has_some_of_its_own() {
        let limits = Limits::default();
        let rooms: Vec<Room<'_>> = (0..8).map(|_| Room::new(&limits.shares)).collect();
        let taken: usize = rooms.iter().map(|room| room.take(usize::MAX)).sum();
        assert!((SHARED..=SHARED + 8 * OWN).contains(&taken), "{taken}");
        assert!(Room::new(&limits.shares).take(usize::MAX) >= OWN);
        drop(rooms);
        assert_eq!(Room::new(&limits.shares).take(usize::MAX), LONGEST);
    }
}
