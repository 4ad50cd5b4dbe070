//! The hands of a monitor: a process for each piece of slow work.
//!
//! Making a container parses a large document, mounts and waits; in the monitor that would stop the loop and leave the
//! heap behind for the life of the pod. A worker is a fork of the monitor that does one job, sends its result and is
//! gone with all its memory. What it makes are the monitor's children, not its own (`CLONE_PARENT`).
//!
//! One that executes is an *executor*: it gets its orders by message and may be kept for the next one, as it has read by then
//! what the container is.
//!
//! Invariants: a worker keeps only the descriptors of its job, so no pipe or conversation outlives the monitor's end of it; it
//! is killed with its monitor; one that ends without a word has failed.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Instant;

use rustix::process::{Pid, Signal};

use super::channel::{ChannelError, Connection, MAX_DESCRIPTORS, Received};
use super::protocol::{ErrorKind, MAX_MESSAGE, Reply, decode_reply, encode_reply};
use crate::error::{Error, Kind};
use crate::process;
use crate::sys::clone::{Cloned, clone3, exit_now};
use crate::sys::fd::close_except;

/// Most descriptors that a job needs.
const MOST_KEPT: usize = 6;

/// The message of an [`Order`], whose descriptors say it all: a packet of no bytes would look like the end.
const ORDER: &[u8] = b"execute";

/// A process that a worker made.
#[derive(Debug)]
pub(super) struct Made {
    /// Its pid in the monitor's PID namespace.
    pub(super) pid: i32,
    /// It, a child of the monitor.
    pub(super) pidfd: OwnedFd,
    /// What came with it, without a gap: see the job.
    pub(super) more: [Option<OwnedFd>; MAX_DESCRIPTORS - 1],
}

/// What an executor is to execute.
#[derive(Debug)]
pub(super) struct Order {
    /// A memory file with the process as in config.json.
    pub(super) process: OwnedFd,
    /// Its descriptors 0, 1 and 2; missing where it has a terminal.
    pub(super) stdio: Option<[OwnedFd; 3]>,
}

/// What a job came to.
#[derive(Debug)]
pub(super) enum Outcome {
    /// A process.
    Made(Made),
    /// It is done.
    Done,
    /// It failed.
    Failed(JobFailure),
}

/// A failure as callers of the monitor get it.
#[derive(Debug)]
pub(super) struct JobFailure {
    /// For programs.
    pub(super) kind: ErrorKind,
    /// For people.
    pub(super) text: String,
}

impl From<Error> for JobFailure {
    fn from(error: Error) -> JobFailure {
        let kind = match error.kind() {
            Kind::CommandNotFound => ErrorKind::CommandNotFound,
            Kind::NotExecutable => ErrorKind::NotExecutable,
            Kind::NotFound => ErrorKind::NotFound,
            Kind::Exists => ErrorKind::Exists,
            Kind::InvalidState => ErrorKind::WrongPhase,
            _ => ErrorKind::Failed,
        };
        JobFailure { kind, text: error.to_string() }
    }
}

/// A worker at work.
#[derive(Debug)]
pub(super) struct Worker {
    connection: Connection,
    process: OwnedFd,
    /// Since when it works.
    pub(super) since: Instant,
    is_killed: bool,
}

impl Worker {
    /// Starts a process that does `job` and keeps no descriptors but `kept`.
    pub(super) fn start(
        kept: &[RawFd],
        job: impl FnOnce() -> Result<Outcome, JobFailure>,
    ) -> Result<Worker, JobFailure> {
        Worker::fork(kept, |monitor| {
            let outcome = job().unwrap_or_else(Outcome::Failed);
            tell(monitor, &outcome).is_ok()
        })
    }

    /// Starts an executor: a process that executes what it is ordered to, one after the other, as long as we keep it.
    pub(super) fn start_executor(
        mut execute: impl FnMut(Order) -> Result<Outcome, JobFailure>,
    ) -> Result<Worker, JobFailure> {
        Worker::fork(&[], |monitor| {
            while let Some(order) = next_order(monitor) {
                let outcome = execute(order).unwrap_or_else(Outcome::Failed);
                if tell(monitor, &outcome).is_err() {
                    return false;
                }
            }
            true
        })
    }

    fn fork(kept: &[RawFd], life: impl FnOnce(&Connection) -> bool) -> Result<Worker, JobFailure> {
        let (ours, its) = Connection::pair().map_err(|error| failed(error.to_string()))?;
        let monitor = rustix::process::getpid();
        match clone3(0, None) {
            Ok(Cloned::Child) => {
                let done = begin(monitor, &its, kept) && life(&its);
                exit_now(i32::from(!done))
            }
            // It is reaped with all children; what counts is the conversation.
            Ok(Cloned::Parent { pidfd, .. }) => {
                Ok(Worker { connection: ours, process: pidfd, since: Instant::now(), is_killed: false })
            }
            Err(errno) => Err(failed(format!("cannot start a worker: {errno}"))),
        }
    }

    /// Gives an executor its next order. One that is gone takes none.
    pub(super) fn give(&mut self, order: &Order) -> Result<(), JobFailure> {
        let descriptors = std::iter::once(&order.process).chain(order.stdio.iter().flatten());
        let descriptors: Vec<BorrowedFd<'_>> = descriptors.map(AsFd::as_fd).collect();
        self.since = Instant::now();
        self.connection.send(ORDER, &descriptors).map_err(|error| failed(error.to_string()))
    }

    /// Ends it: what it makes from now on is nothing.
    pub(super) fn kill(&mut self) {
        self.is_killed = true;
        // It is gone already, or will be reaped soon.
        let _ = process::signal(self.process.as_fd(), process::Signal::KILL);
    }

    /// Was it told to end?
    pub(super) fn is_killed(&self) -> bool {
        self.is_killed
    }

    /// What the job came to; `None` while it is going on.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        let mut buffer = [0; MAX_MESSAGE];
        let failed = |text: &str| Some(Outcome::Failed(failed(text.to_owned())));
        match self.connection.receive(&mut buffer) {
            Ok(Received::Nothing) => None,
            Ok(Received::Packet(length, descriptors)) => match decode_reply(&buffer[..length]) {
                Ok((_, Reply::Done)) => Some(Outcome::Done),
                Ok((_, Reply::Started { pid })) => {
                    made(pid, descriptors).or_else(|| failed("no process came"))
                }
                Ok((_, Reply::Error { kind, text })) => {
                    Some(Outcome::Failed(JobFailure { kind, text: text.to_owned() }))
                }
                _ => failed("the monitor's worker said something else"),
            },
            // Out of memory, most likely: nothing else kills it.
            Ok(Received::End) | Err(_) => failed("the monitor's worker ended before its work was done"),
        }
    }
}

impl AsFd for Worker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}

fn made(pid: u32, descriptors: [Option<OwnedFd>; MAX_DESCRIPTORS]) -> Option<Outcome> {
    let [pidfd, more @ ..] = descriptors;
    let pid = i32::try_from(pid).ok()?;
    Some(Outcome::Made(Made { pid, pidfd: pidfd?, more }))
}

fn failed(text: String) -> JobFailure {
    JobFailure { kind: ErrorKind::Failed, text }
}

/// Ties the worker to its monitor and leaves it the descriptors of its job; false if that is not possible.
fn begin(parent: Pid, monitor: &Connection, kept: &[RawFd]) -> bool {
    // A monitor that was killed before this line would not be missed by it.
    let parent_is_there = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).is_ok()
        && rustix::process::getppid() == Some(parent);
    let mut numbers = [i32::MAX; MOST_KEPT + 1];
    for (number, descriptor) in numbers.iter_mut().zip(kept.iter().chain([&monitor.as_fd().as_raw_fd()])) {
        *number = *descriptor;
    }
    kept.len() <= MOST_KEPT && parent_is_there && close_except(3, &mut numbers).is_ok()
}

/// Waits for an order; `None` when the monitor has no more.
fn next_order(monitor: &Connection) -> Option<Order> {
    let mut buffer = [0; MAX_MESSAGE];
    let Ok(Received::Packet(_, descriptors)) = monitor.receive(&mut buffer) else { return None };
    let [process, stdin, stdout, stderr] = descriptors;
    let stdio = match (stdin, stdout, stderr) {
        (Some(stdin), Some(stdout), Some(stderr)) => Some([stdin, stdout, stderr]),
        _ => None,
    };
    Some(Order { process: process?, stdio })
}

fn tell(monitor: &Connection, outcome: &Outcome) -> Result<(), ChannelError> {
    match outcome {
        Outcome::Done => monitor.send(encode_reply(&Reply::Done, 0).as_bytes(), &[]),
        Outcome::Failed(JobFailure { kind, text }) => {
            monitor.send(encode_reply(&Reply::Error { kind: *kind, text }, 0).as_bytes(), &[])
        }
        Outcome::Made(made) => {
            let descriptors: Vec<BorrowedFd<'_>> = std::iter::once(made.pidfd.as_fd())
                .chain(made.more.iter().flatten().map(AsFd::as_fd))
                .collect();
            let reply = Reply::Started { pid: made.pid.unsigned_abs() };
            monitor.send(encode_reply(&reply, 0).as_bytes(), &descriptors)
        }
    }
}
