//! One container as its monitor has it: its first process, its streams, and how far it is in its life.
//!
//! ```text
//!  Making --worker--> Created --start--> Starting --executed--> Running --reaped--> Draining --all passed on-->
//!                         \--gate closed--> Failing --------------reaped---------------/
//!  Removing --worker--> (forgotten), or Unwritten while its end cannot be written
//! ```
//!
//! Invariants: the end is written to status.json when all output was passed on and before anybody hears of it, unless that is
//! not possible: then it is told from memory and tried again for a while. The place is forgotten, and the lock given back, when
//! nothing of the container is left but its files.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::callers::CallerId;
use super::log::{Log, Stream};
use super::output::{AttachError, Departure, Output};
use super::protocol::{CreateFlags, ErrorKind, Phase};
use super::status_record::StatusRecord;
use super::stdio::{Direction, End, Progress, Relay};
use super::streams::Ours;
use super::worker::{JobFailure, Made};
use crate::cgroup::oom_kills;
use crate::error::{Error, Result};
use crate::init::ParentEnd;
use crate::process::{self, Exit, Signal};

/// Output streams of a container: its output and its error output.
pub(super) const STREAMS: usize = 2;

/// How long the last output of a container that was told to end is offered to a foreground user.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// How long an end that cannot be written is kept, and how often it is tried.
const UNWRITTEN: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_secs(1);

/// How far a container is.
#[derive(Debug)]
pub(super) enum State {
    /// A worker makes it.
    Making,
    /// It waits at its gate.
    Created(ParentEnd),
    /// It was let through and has not executed its command yet; who wants to know.
    Starting(ParentEnd, CallerId, u32),
    /// It will never execute its command, and ends by itself.
    Failing,
    /// Its command runs.
    Running,
    /// Its first process has ended, and its last output is being passed on.
    Draining,
    /// A worker removes what the kernel still has of it.
    Removing,
    /// Nothing is left of it but an end that could not be written: when to try again, and until when.
    Unwritten(Instant, Instant),
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
    pub(super) ready: [bool; 1 + STREAMS],
    pub(super) status: StatusRecord,
    /// What the record on disk does not say.
    is_unwritten: bool,
    pub(super) exit: Option<Exit>,
    /// When those who do not take its last output are given up.
    given_up: Option<Instant>,
    /// Ends of streams that are not used any more. A descriptor that somebody else has a copy of stays in an epoll until it
    /// is taken out.
    pub(super) retired: Vec<End>,
    /// Readers that were too slow: the stream's index and the slot that they had there.
    pub(super) cut_off: Vec<(usize, usize)>,
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
            ready: [true; 1 + STREAMS],
            status: StatusRecord::default(),
            is_unwritten: false,
            exit: None,
            given_up: None,
            retired: Vec::new(),
            cut_off: Vec::new(),
        }
    }

    /// Takes the monitor's ends of its streams: pipes, or the terminal that it has by now.
    pub(super) fn take_streams(&mut self, ours: Ours) -> Result<()> {
        let failed = || Error::system("prepare the streams of", self.id.clone());
        let mut flows = Vec::with_capacity(2);
        if let Some(terminal) = &self.terminal {
            let end = End::of_master(terminal.as_fd()).map_err(failed())?;
            flows.push(Flow::Output(Box::new(Output::new(end, Stream::Stdout, None))));
        }
        for (pipe, stream) in [(ours.stdout, Stream::Stdout), (ours.stderr, Stream::Stderr)] {
            if let Some(pipe) = pipe {
                let end = End::of_pipe(pipe).map_err(failed())?;
                flows.push(Flow::Output(Box::new(Output::new(end, stream, None))));
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
            State::Created(_) | State::Starting(..) | State::Failing => Phase::Created,
            State::Running => Phase::Running,
            State::Draining | State::Removing | State::Unwritten(..) => Phase::Stopped,
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

    /// Ends it, now or once it is there. Nobody waits long for readers of its last output then.
    pub(super) fn kill(&mut self) {
        self.doomed = true;
        if matches!(self.state, State::Draining) {
            self.give_up();
        }
        // It is gone already, or will be reaped soon.
        let _ = self.signal(Signal::KILL);
    }

    /// Its command was executed.
    pub(super) fn started(&mut self) -> Result<()> {
        self.state = State::Running;
        self.status = StatusRecord::running(self.pid)?;
        self.write_status()
    }

    fn give_up(&mut self) {
        self.given_up.get_or_insert_with(|| Instant::now() + LAST_WORDS);
        self.ready = [true; 1 + STREAMS];
    }

    /// Is it over with its last output, whether that was taken or not?
    pub(super) fn is_given_up(&self, now: Instant) -> bool {
        self.given_up.is_some_and(|given_up| given_up <= now)
    }

    /// Its first process was reaped: nothing goes in any more, and what was written is passed on.
    pub(super) fn ended(&mut self, exit: Exit) {
        self.exit = Some(exit);
        self.stdin = None;
        self.close_input();
        for flow in &mut self.flows {
            match flow {
                Flow::Relay(relay) => relay.drain(),
                Flow::Output(output) => output.drain(),
            }
        }
        self.ready = [true; 1 + STREAMS];
        self.state = State::Draining;
        if self.doomed {
            self.give_up();
        }
    }

    /// Writes how it ended. One that was never started has no end, unless its start failed, which is on record already.
    pub(super) fn write_end(&mut self) {
        if let Some(exit) = self.exit.filter(|_| self.status.started > 0 && !self.status.has_ended()) {
            let oom = self.oom_counter.as_ref().is_some_and(|counter| oom_kills(counter.as_fd()) > 0);
            self.status = std::mem::take(&mut self.status).ended(exit, oom);
            self.is_unwritten = true;
        }
        self.write_again();
    }

    /// Writes what could not be written before; false while that is still so.
    pub(super) fn write_again(&mut self) -> bool {
        // Without its folder there is nobody to read it.
        let is_lost = |folder: &PathBuf| self.status.write(folder).is_err() && folder.exists();
        self.is_unwritten = self.is_unwritten && self.folder.as_ref().is_some_and(is_lost);
        !self.is_unwritten
    }

    /// Nothing else of it is left: keeps its end for a while if that is nowhere else.
    pub(super) fn keep_unwritten(&mut self, now: Instant) -> bool {
        if self.write_again() {
            return false;
        }
        self.state = State::Unwritten(now + RETRY, now + UNWRITTEN);
        true
    }

    /// Tries to write its end again when it is time to; true when it need not be kept any more.
    pub(super) fn is_done(&mut self, now: Instant) -> bool {
        let State::Unwritten(again, until) = self.state else { return false };
        if again > now {
            return false;
        }
        self.state = State::Unwritten(now + RETRY, until);
        self.write_again() || until <= now
    }

    fn write_status(&self) -> Result<()> {
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
    pub(super) fn start_failed(&mut self, failure: &JobFailure) {
        let code = match failure.kind {
            ErrorKind::CommandNotFound => 127,
            ErrorKind::NotExecutable => 126,
            _ => 128,
        };
        if let Ok(status) = StatusRecord::failed(code, failure.text.clone()) {
            self.status = status;
            self.is_unwritten = true;
            self.write_again();
        }
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
        match relay.filter(|relay| relay.is_cut_off(is_error)) {
            Some(_) if index == 0 => self.input_ended(),
            Some(relay) => relay.close(),
            None => {}
        }
    }

    /// What a caller's descriptor is as a sink of a stream: 0 is the output, 1 the error output, which a terminal does not
    /// have.
    pub(super) fn sink_of(&self, index: usize, sink: &OwnedFd) -> Result<End, JobFailure> {
        let refuse = |kind, text| Err(JobFailure { kind, text });
        match self.flows.get(index) {
            Some(Flow::Output(output)) => match output.free_slot() {
                Ok(_) => {}
                Err(error @ AttachError::Full) => return refuse(ErrorKind::Busy, error.to_string()),
                Err(error @ AttachError::Ended) => return refuse(ErrorKind::WrongPhase, error.to_string()),
            },
            Some(Flow::Relay(_)) => {
                let text = "the user of a foreground container without a log has its output";
                return refuse(ErrorKind::Unsupported, text.to_owned());
            }
            None => return refuse(ErrorKind::WrongPhase, "the container has no such stream".to_owned()),
        }
        let failed = Error::system("attach to", self.id.clone());
        Ok(End::of_user(sink.as_fd(), Direction::Sink).map_err(failed)?)
    }

    /// Copies a stream to a caller from now on; returns the slot it has there.
    pub(super) fn attach_sink(&mut self, index: usize, sink: End) -> Option<usize> {
        match self.flows.get_mut(index) {
            Some(Flow::Output(output)) => output.attach(sink, self.folder.clone()).ok(),
            _ => None,
        }
    }

    /// Takes the sinks of an attachment back.
    pub(super) fn detach_sinks(&mut self, slots: [Option<usize>; STREAMS]) {
        for (flow, slot) in self.flows.iter_mut().zip(slots) {
            if let (Flow::Output(output), Some(slot)) = (flow, slot) {
                self.retired.extend(output.detach(slot));
            }
        }
        // The end of a stream may have waited for one of them.
        self.ready = [true; 1 + STREAMS];
    }

    /// Drops the attached input.
    pub(super) fn close_input(&mut self) {
        let ends = self.input.take().and_then(|mut input| input.take_ends());
        self.retired.extend(ends.into_iter().flat_map(|(source, sink)| [source, sink]));
    }

    /// Drops what is left of its streams.
    pub(super) fn close_streams(&mut self) {
        self.close_input();
        for flow in self.flows.drain(..) {
            match flow {
                Flow::Relay(mut relay) => {
                    let ends = relay.take_ends().into_iter();
                    self.retired.extend(ends.flat_map(|(source, sink)| [source, sink]));
                }
                Flow::Output(mut output) => self.retired.extend(output.take_sinks()),
            }
        }
    }

    /// Copies what can be copied. True if more is left to do at once.
    pub(super) fn pump(&mut self, scratch: &mut [u8], now: Instant) -> bool {
        let progress = match &mut self.input {
            Some(input) if self.ready[0] => input.copy(),
            _ => Progress::Waiting,
        };
        self.ready[0] = progress == Progress::Ready;
        if progress == Progress::Finished {
            self.input_ended();
        }
        if self.given_up.is_some() {
            for (flow, ready) in self.flows.iter_mut().zip(&mut self.ready[1..]) {
                if let Flow::Output(output) = flow {
                    *ready |= output.drop_slow_guests();
                }
            }
        }
        for (flow, ready) in self.flows.iter().zip(&mut self.ready[1..]) {
            // A guest that takes nothing of the last output makes no event: its time being over is one.
            *ready |=
                matches!(flow, Flow::Output(output) if output.next_deadline().is_some_and(|it| it <= now));
        }
        // A terminal is one stream, and a pause has none.
        self.ready[1 + self.flows.len()..].fill(false);
        for (index, (flow, ready)) in self.flows.iter_mut().zip(&mut self.ready[1..]).enumerate() {
            if !*ready {
                continue;
            }
            let progress = match flow {
                Flow::Relay(relay) => relay.pump(),
                Flow::Output(output) => {
                    let progress = output.pump(scratch, self.log.as_mut(), now);
                    for departed in output.departed() {
                        if let (Some(slot), Departure::TooSlow) = (departed.slot, departed.reason) {
                            self.cut_off.push((index, slot));
                        }
                        self.retired.push(departed.end);
                    }
                    progress
                }
            };
            *ready = progress == Progress::Ready;
        }
        self.ready.contains(&true)
    }

    /// The attached input is at its end, or its owner left.
    fn input_ended(&mut self) {
        self.close_input();
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
        let unwritten = match self.state {
            State::Unwritten(again, _) => Some(again),
            _ => None,
        };
        self.flows.iter().filter_map(of).chain(self.given_up).chain(unwritten).min()
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
                watched.extend(output.sinks().map(|sink| (index + 1, sink, true)));
            }
        }
        watched
    }
}
