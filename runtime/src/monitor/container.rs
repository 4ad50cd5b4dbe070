//! One container as its monitor has it: its first process, its streams, and how far it is in its life.
//!
//! ```text
//!  Making --worker--> Created --start--> Starting --executed--> Running --reaped--> Draining --all passed on-->
//!                         \-----------------\----------reaped--------------------------/
//!  Removing --worker--> (forgotten)
//! ```
//!
//! Invariants: the end is written to status.json when all output was passed on and before anybody hears of it; the place is
//! forgotten, and the lock given back, when nothing of the container is left but its files.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Instant;

use super::callers::CallerId;
use super::log::{Log, Stream};
use super::output::{Audience, Departed, Output, SINKS};
use super::protocol::{CreateFlags, ErrorKind, Phase};
use super::status_record::StatusRecord;
use super::stdio::{Direction, End, Progress, Relay};
use super::streams::Ours;
use super::worker::{JobFailure, Made};
use crate::cgroup::oom_kills;
use crate::error::{Error, Result};
use crate::init::ParentEnd;
use crate::process::{self, Exit, Signal};

/// How far a container is.
#[derive(Debug)]
pub(super) enum State {
    /// A worker makes it.
    Making,
    /// It waits at its gate.
    Created(ParentEnd),
    /// It was let through and has not executed its command yet; who wants to know.
    Starting(ParentEnd, CallerId, u32),
    /// Its command runs.
    Running,
    /// Its first process has ended, and its last output is being passed on.
    Draining,
    /// A worker removes what the kernel still has of it.
    Removing,
}

/// What removing a container means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// It has a record of the runtime.
    Container,
    /// It holds the namespaces of a pod and has only this cgroup.
    Pause {
        /// Its path.
        cgroup: String,
    },
}

/// A stream out of a container.
#[derive(Debug)]
pub(super) enum Flow {
    /// Straight to the user of a foreground container.
    Relay(Relay),
    /// To a log and to whoever is attached.
    Output(Box<Output>),
}

/// A container under supervision.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) id: String,
    /// Its folder, where status.json goes; none for one that only its user sees.
    pub(super) folder: Option<PathBuf>,
    pub(super) kind: Kind,
    pub(super) state: State,
    pub(super) flags: CreateFlags,
    /// Killed when this caller leaves before it was started.
    pub(super) bound_to: Option<CallerId>,
    /// Kill it as soon as there is something to kill.
    pub(super) doomed: bool,
    pub(super) pid: i32,
    pub(super) pidfd: Option<OwnedFd>,
    pub(super) terminal: Option<OwnedFd>,
    pub(super) oom_counter: Option<OwnedFd>,
    /// Held until it is forgotten.
    pub(super) lock: Option<OwnedFd>,
    pub(super) log: Option<Log>,
    /// The monitor's ends of its pipes, until it is made.
    pub(super) pending: Ours,
    /// Where its input is written, while that is open and nobody has it.
    pub(super) stdin: Option<OwnedFd>,
    /// The input of whoever is attached.
    pub(super) input: Option<Relay>,
    /// Its output and error output, or what its terminal shows.
    pub(super) flows: Vec<Flow>,
    /// For the input and each of the flows: there may be something to copy.
    pub(super) ready: [bool; 3],
    pub(super) status: StatusRecord,
    pub(super) exit: Option<Exit>,
}

impl Container {
    /// A container that is being made.
    pub(super) fn new(id: &str, folder: Option<PathBuf>, kind: Kind, flags: CreateFlags) -> Container {
        Container {
            id: id.to_owned(),
            folder,
            kind,
            state: State::Making,
            flags,
            bound_to: None,
            doomed: false,
            pid: 0,
            pidfd: None,
            terminal: None,
            oom_counter: None,
            lock: None,
            log: None,
            pending: Ours::default(),
            stdin: None,
            input: None,
            flows: Vec::new(),
            ready: [true; 3],
            status: StatusRecord::default(),
            exit: None,
        }
    }

    /// Takes the monitor's ends of its streams: pipes, or the terminal that it has by now.
    pub(super) fn take_streams(&mut self, ours: Ours) -> Result<()> {
        let failed = || Error::system("prepare the streams of", self.id.clone());
        let mut flows = Vec::with_capacity(2);
        if let Some(terminal) = &self.terminal {
            let end = End::of_master(terminal.as_fd()).map_err(failed())?;
            flows.push(Flow::Output(Box::new(Output::new(end, Stream::Stdout))));
        }
        for (pipe, stream) in [(ours.stdout, Stream::Stdout), (ours.stderr, Stream::Stderr)] {
            if let Some(pipe) = pipe {
                let end = End::of_pipe(pipe).map_err(failed())?;
                flows.push(Flow::Output(Box::new(Output::new(end, stream))));
            }
        }
        self.flows = flows;
        self.stdin = ours.stdin;
        Ok(())
    }

    /// Where it is, in the protocol's words.
    pub(super) fn phase(&self) -> Phase {
        match self.state {
            State::Making => Phase::Creating,
            State::Created(_) | State::Starting(..) => Phase::Created,
            State::Running => Phase::Running,
            State::Draining | State::Removing => Phase::Stopped,
        }
    }

    /// Can a signal reach its first process?
    pub(super) fn is_alive(&self) -> bool {
        self.exit.is_none() && self.pidfd.is_some()
    }

    /// Sends its first process a signal; false if that is gone.
    pub(super) fn signal(&self, signal: Signal) -> Result<bool> {
        match &self.pidfd {
            Some(pidfd) if self.exit.is_none() => process::signal(pidfd.as_fd(), signal),
            _ => Ok(false),
        }
    }

    /// Ends it, now or once it is there.
    pub(super) fn kill(&mut self) {
        self.doomed = true;
        // It is gone already, or will be reaped soon.
        let _ = self.signal(Signal::KILL);
    }

    /// Its command was executed.
    pub(super) fn started(&mut self) -> Result<()> {
        self.state = State::Running;
        self.status = StatusRecord::running(self.pid)?;
        self.write_status()
    }

    /// Its first process was reaped: nothing goes in any more, and what was written is passed on.
    pub(super) fn ended(&mut self, exit: Exit) {
        self.exit = Some(exit);
        self.stdin = None;
        self.input = None;
        for flow in &mut self.flows {
            match flow {
                Flow::Relay(relay) => relay.drain(),
                Flow::Output(output) => output.drain(),
            }
        }
        self.ready = [true; 3];
        self.state = State::Draining;
    }

    /// Writes how it ended. One that was never started has no end, unless its start failed, which is written already.
    pub(super) fn write_end(&mut self) -> Result<()> {
        let Some(exit) = self.exit.filter(|_| self.status.started > 0) else { return Ok(()) };
        let oom = self.oom_counter.as_ref().is_some_and(|counter| oom_kills(counter.as_fd()) > 0);
        self.status = std::mem::take(&mut self.status).ended(exit, oom);
        self.write_status()
    }

    pub(super) fn write_status(&self) -> Result<()> {
        self.folder.as_ref().map_or(Ok(()), |folder| self.status.write(folder))
    }

    /// Takes what a worker made. For a pause that is all, for it runs at once.
    pub(super) fn made(&mut self, made: Made) -> Result<()> {
        self.pid = made.pid;
        self.pidfd = Some(made.pidfd);
        if self.kind != Kind::Container {
            return self.started();
        }
        let [gate, counter, terminal] = made.more;
        self.terminal = terminal;
        self.oom_counter = counter;
        if let Some(gate) = gate {
            self.state = State::Created(ParentEnd::from_descriptor(gate));
        }
        let ours = std::mem::take(&mut self.pending);
        self.take_streams(ours)
    }

    /// Its command could not be executed: the process will end by itself.
    pub(super) fn start_failed(&mut self, failure: &JobFailure) -> Result<()> {
        let code = match failure.kind {
            ErrorKind::CommandNotFound => 127,
            ErrorKind::NotExecutable => 126,
            _ => 128,
        };
        self.status = StatusRecord::failed(code, failure.text.clone())?;
        self.write_status()
    }

    /// Something happened at an end of a stream.
    pub(super) fn stream_event(&mut self, index: usize, is_error: bool) {
        let Some(ready) = self.ready.get_mut(index) else { return };
        *ready = true;
        let logged = self.log.is_some();
        let relay = match index {
            0 => self.input.as_mut(),
            _ => match self.flows.get_mut(index - 1) {
                Some(Flow::Relay(relay)) => Some(relay),
                Some(Flow::Output(output)) if is_error => return output.drop_broken(logged),
                _ => None,
            },
        };
        // The writing end of a pipe says so when its last reader goes, also while nothing is written.
        if let Some(relay) = relay.filter(|relay| is_error && relay.sink_is_broken()) {
            relay.close();
        }
    }

    /// Copies a stream to a caller from now on: 0 is the output, 1 the error output, which a terminal does not have.
    pub(super) fn attach_sink(&mut self, index: usize, sink: &OwnedFd) -> Result<()> {
        let failed = || Error::system("attach to", self.id.clone());
        let sink = End::of_user(sink.as_fd(), Direction::Sink).map_err(failed())?;
        match self.flows.get_mut(index) {
            Some(Flow::Output(output)) => match output.attach(sink, Audience::Guest) {
                Ok(_) => Ok(()),
                Err(_) => Err(failed()(rustix::io::Errno::BUSY)),
            },
            // The user of a foreground container has it all.
            _ => Err(failed()(rustix::io::Errno::NOTSUP)),
        }
    }

    /// Copies what can be copied. True if more is left to do at once.
    pub(super) fn pump(&mut self, scratch: &mut [u8], now: Instant, gone: &mut Vec<Departed>) -> bool {
        if let (Some(input), true) = (&mut self.input, self.ready[0]) {
            self.ready[0] = input.pump() == Progress::Ready;
        } else {
            self.ready[0] = false;
        }
        for (flow, ready) in self.flows.iter().zip(&mut self.ready[1..]) {
            // A reader that takes nothing makes no event: its time being over is one.
            *ready |=
                matches!(flow, Flow::Output(output) if output.next_deadline().is_some_and(|it| it <= now));
        }
        // A terminal is one stream, and a pause has none.
        self.ready[1 + self.flows.len()..].fill(false);
        for (flow, ready) in self.flows.iter_mut().zip(&mut self.ready[1..]) {
            if *ready {
                *ready = Progress::Ready
                    == match flow {
                        Flow::Relay(relay) => relay.pump(),
                        Flow::Output(output) => {
                            let progress = output.pump(scratch, self.log.as_mut(), now);
                            gone.append(&mut output.departed());
                            progress
                        }
                    };
            }
        }
        if self.input.as_ref().is_some_and(|input| input.ends().is_none()) {
            self.input_ended();
        }
        self.ready.contains(&true)
    }

    /// The attached input is at its end, or its owner left.
    fn input_ended(&mut self) {
        self.input = None;
        if self.flags.stdin_once {
            self.stdin = None;
        }
    }

    /// Has all output been passed on?
    pub(super) fn is_drained(&self) -> bool {
        self.flows.iter().all(|flow| match flow {
            Flow::Relay(relay) => relay.ends().is_none(),
            Flow::Output(output) => output.is_finished(),
        })
    }

    /// When to look again although nothing happens.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let of = |flow: &Flow| match flow {
            Flow::Relay(_) => None,
            Flow::Output(output) => output.next_deadline(),
        };
        self.flows.iter().filter_map(of).min()
    }

    /// What to watch: descriptors with what is done to them, by the index in [`Container::ready`].
    pub(super) fn watched(&self) -> Vec<(usize, BorrowedFd<'_>, bool)> {
        let mut watched = Vec::new();
        let input = self.input.iter().map(|relay| (0, relay));
        let relays = self.flows.iter().enumerate().filter_map(|(index, flow)| match flow {
            Flow::Relay(relay) => Some((index + 1, relay)),
            Flow::Output(_) => None,
        });
        for (index, relay) in input.chain(relays) {
            if let Some((source, sink)) = relay.ends() {
                watched.extend([(index, source, false), (index, sink, true)]);
            }
        }
        for (index, flow) in self.flows.iter().enumerate() {
            if let Flow::Output(output) = flow {
                watched.extend(output.source().map(|source| (index + 1, source, false)));
                let sinks = (0..SINKS).filter_map(|slot| output.sink(slot));
                watched.extend(sinks.map(|sink| (index + 1, sink, true)));
            }
        }
        watched
    }
}
