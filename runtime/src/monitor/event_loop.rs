//! The loop of a monitor: everything that can happen to its containers, one event at a time.
//!
//! ```text
//!   signalfd ----> child ended / terminal resized / signal to pass on
//!   listener ----> caller --> request --> reply          (callers, requests)
//!   worker's socket --> what it made or removed          (jobs, worker)
//!   gate ---------> command executed, or why not
//!   ends of streams --> pump                             (container, output, stdio)
//! ```
//!
//! Invariants: nothing here blocks except the wait itself; no memory is taken in proportion to what a container or a caller
//! sends; a child is reaped only when it is known what it is, so while a worker may have made one that nobody has heard of
//! yet, the unknown wait; a worker that takes too long is killed. What fails for one container or caller ends nothing else.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;

use super::callers::{CallerId, Callers, PLACES};
use super::channel::Listener;
use super::container::{Container, State};
use super::jobs::{self, Job, Leftovers};
use super::protocol::{ErrorKind, Reply};
use super::stdio::BUFFER;
use super::worker::{JobFailure, Order, Outcome, Worker};
use crate::container::Id;
use crate::error::{Error, Result};
use crate::init::FromChild;
use crate::process::{self, Exit};
use crate::terminal;

/// Most containers of one monitor.
pub(super) const CONTAINERS: usize = 256;

/// Most jobs at the same time, and most processes that were executed and have not ended.
pub(super) const JOBS: usize = 256;

/// A monitor that has nothing and nobody ends after this time: its caller was killed before it asked for anything, or its
/// pod is gone.
const IDLE: Duration = Duration::from_secs(10);

/// How long a worker may make something: as long as its caller waits for it. A frozen cgroup stops it, for example.
const STUCK: Duration = Duration::from_secs(120);

/// How long an executor is kept for the next order.
const PARKED: Duration = Duration::from_secs(3);

const SIGNALS: u64 = 0;
const LISTENER: u64 = 1;
const FIRST_CALLER: u64 = 1 << 8;
const FIRST_WORKER: u64 = 1 << 16;
const FIRST_CONTAINER: u64 = 1 << 24;
/// Events of one container: its input, its two flows, its gate.
const STEP: u64 = 4;
const GATE: u64 = 3;

/// Blocks the signals that the loop takes from its descriptor. To be called before a container exists, so that
/// its end cannot be missed and no signal leaves it without its monitor; its process starts with none blocked.
pub fn block_signals() -> Result<SigSet> {
    let mut signals = SigSet::all();
    // Faults of our own, and the stops of a background job that uses its terminal, keep their meaning.
    for own in [
        Signal::SIGSEGV,
        Signal::SIGBUS,
        Signal::SIGFPE,
        Signal::SIGILL,
        Signal::SIGABRT,
        Signal::SIGTRAP,
        Signal::SIGSYS,
        Signal::SIGTTIN,
        Signal::SIGTTOU,
    ] {
        signals.remove(own);
    }
    signals.thread_block().map_err(from_nix).map_err(Error::system("block", "signals"))?;
    Ok(signals)
}

/// What a monitor is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// To its caller it is the container: signals are passed on, and it ends with that.
    Foreground,
    /// It ends with its only container.
    Standalone,
    /// It ends when it is told to.
    Pod,
}

/// What a monitor needs to know.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) mode: Mode,
    /// The folder of the runtime's records.
    pub(super) state_root: PathBuf,
    /// What goes with the container of a standalone one.
    pub(super) leftovers: Leftovers,
}

/// The terminal of a foreground container's user.
pub(super) type UserTerminal<'a> = Option<BorrowedFd<'a>>;

/// A process that was executed for a caller.
#[derive(Debug)]
pub(super) struct Executed {
    pub(super) caller: CallerId,
    pub(super) sequence: u32,
    bound: bool,
    pub(super) pid: i32,
    pub(super) pidfd: OwnedFd,
}

/// A monitor at work.
#[derive(Debug)]
pub(super) struct Monitor<'a> {
    pub(super) settings: Settings,
    epoll: OwnedFd,
    signals: SignalFd,
    listener: Option<&'a Listener>,
    user_terminal: UserTerminal<'a>,
    pub(super) callers: Callers,
    pub(super) containers: Vec<Option<Container>>,
    pub(super) workers: Vec<Option<(Worker, Job)>>,
    pub(super) execs: Vec<Executed>,
    scratch: Box<[u8]>,
    /// A child may be waiting to be reaped.
    pub(super) has_dead: bool,
    /// Who asked us to end, once somebody did.
    ending: Option<(CallerId, u32)>,
    /// Since when there has been nothing to do and nobody to do it for.
    idle_since: Option<Instant>,
    /// How the only container ended.
    last_exit: Option<Exit>,
    had_container: bool,
    had_caller: bool,
    /// The user does not want to see the rest.
    abandoned: bool,
    /// Work that was put off until the events at hand are handled.
    hung_up: VecDeque<CallerId>,
}

impl<'a> Monitor<'a> {
    pub(super) fn new(
        settings: Settings,
        signals: &SigSet,
        listener: Option<&'a Listener>,
        user_terminal: UserTerminal<'a>,
    ) -> Result<Monitor<'a>> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(Error::system("watch", "events"))?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = SignalFd::with_flags(signals, flags)
            .map_err(from_nix)
            .map_err(Error::system("watch", "signals"))?;
        let monitor = Monitor {
            settings,
            epoll,
            signals,
            listener,
            user_terminal,
            callers: Callers::new(),
            containers: Vec::new(),
            workers: Vec::new(),
            execs: Vec::new(),
            scratch: vec![0; BUFFER].into_boxed_slice(),
            has_dead: false,
            ending: None,
            idle_since: None,
            last_exit: None,
            had_container: false,
            had_caller: false,
            abandoned: false,
            hung_up: VecDeque::new(),
        };
        monitor.watch(monitor.signals.as_fd(), SIGNALS, EventFlags::IN)?;
        if let Some(listener) = listener {
            monitor.watch(listener.as_fd(), LISTENER, EventFlags::IN)?;
        }
        Ok(monitor)
    }

    /// Takes a container that was made by this process itself.
    pub(super) fn adopt(&mut self, container: Container) -> Result<()> {
        self.containers.push(Some(container));
        self.had_container = true;
        self.watch_streams(self.containers.len() - 1)
    }

    /// Runs until there is nothing left to do; returns how the only container ended, if there was one.
    pub(super) fn run(&mut self) -> Result<Option<Exit>> {
        let blank = Event { flags: EventFlags::empty(), data: EventData::new_u64(0) };
        let mut events = [blank; 16];
        loop {
            let more = self.step()?;
            if self.is_done() {
                if let Some((caller, sequence)) = self.ending {
                    self.callers.answer(caller, &Reply::Done, sequence);
                }
                return Ok(self.last_exit);
            }
            let time = if more { Some(Duration::ZERO) } else { self.time_to_deadline() };
            let time = time.map(|time| Timespec {
                tv_sec: time.as_secs() as i64,
                tv_nsec: i64::from(time.subsec_nanos()),
            });
            let count = match epoll::wait(&self.epoll, &mut events[..], time.as_ref()) {
                Ok(count) => count,
                Err(Errno::INTR) => 0,
                Err(errno) => return Err(Error::system("wait for", "events")(errno)),
            };
            for event in &events[..count] {
                self.handle(event.data.u64(), event.flags)?;
            }
        }
    }

    /// Everything that can be done without waiting. True if more is left to do at once.
    fn step(&mut self) -> Result<bool> {
        self.hung_up.extend(self.callers.take_deaf());
        while let Some(caller) = self.hung_up.pop_front() {
            self.forget_caller(caller);
        }
        while self.has_dead {
            self.reap()?;
        }
        let now = Instant::now();
        self.kill_stuck(now);
        self.dismiss_idle(now);
        let mut more = false;
        for place in 0..self.containers.len() {
            if let Some(container) = &mut self.containers[place] {
                more |= container.pump(&mut self.scratch, now);
                for (stream, slot) in std::mem::take(&mut container.cut_off) {
                    if let Some(mut attached) = self.callers.cut_off(place, stream, slot) {
                        // That slot is free already, or another's.
                        attached.slots[stream] = None;
                        container.detach_sinks(attached.slots);
                        more = true;
                    }
                }
                let is_over = self.abandoned || container.is_drained() || container.is_given_up(now);
                if matches!(container.state, State::Draining) && is_over {
                    self.remove(place);
                    more = true;
                } else if container.is_done(now) {
                    self.containers[place] = None;
                }
            }
            self.unwatch_retired(place);
        }
        Ok(more)
    }

    /// Takes what is not used any more out of the epoll: a caller's copy would keep it there.
    fn unwatch_retired(&mut self, place: usize) {
        if let Some(Some(container)) = self.containers.get_mut(place) {
            for end in std::mem::take(&mut container.retired) {
                // What cannot be watched never was.
                let _ = epoll::delete(&self.epoll, end);
            }
        }
    }

    /// Kills the workers whose callers have given up: until the last maker is gone nobody knows whose children are whose.
    fn kill_stuck(&mut self, now: Instant) {
        let stuck = |(worker, job): &&mut (Worker, Job)| {
            job.makes() && !worker.is_killed() && worker.since + STUCK <= now
        };
        for (worker, _) in self.workers.iter_mut().flatten().filter(stuck) {
            worker.kill();
            self.has_dead = true;
        }
    }

    /// Lets the executors go that have had nothing to do for a while: each is some memory.
    fn dismiss_idle(&mut self, now: Instant) {
        for slot in &mut self.workers {
            if matches!(slot, Some((worker, Job::Parked(_))) if worker.since + PARKED <= now) {
                *slot = None;
            }
        }
    }

    fn handle(&mut self, token: u64, flags: EventFlags) -> Result<()> {
        match token {
            SIGNALS => self.take_signals()?,
            LISTENER => {
                if let Some(listener) = self.listener
                    && let Some((place, caller)) = self.callers.accept(listener)
                {
                    let data = EventData::new_u64(FIRST_CALLER + place as u64);
                    if epoll::add(&self.epoll, caller, data, EventFlags::IN).is_err()
                        && let Some((id, _)) = self.callers.at(place)
                    {
                        self.callers.hang_up(id);
                    }
                }
            }
            FIRST_CALLER..FIRST_WORKER => {
                let place = (token - FIRST_CALLER) as usize;
                if place < PLACES
                    && let Some((id, _)) = self.callers.at(place)
                {
                    self.serve(id);
                }
            }
            FIRST_WORKER..FIRST_CONTAINER => self.take_outcome((token - FIRST_WORKER) as usize)?,
            token if token >= FIRST_CONTAINER => {
                let place = ((token - FIRST_CONTAINER) / STEP) as usize;
                let index = (token - FIRST_CONTAINER) % STEP;
                if index == GATE {
                    self.gate_answered(place);
                    return Ok(());
                }
                if let Some(Some(container)) = self.containers.get_mut(place) {
                    container.stream_event(index as usize, flags.contains(EventFlags::ERR));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A container's channel has something to say: that it executed its command, or why it could not.
    pub(super) fn gate_answered(&mut self, place: usize) {
        let Some(Some(container)) = self.containers.get_mut(place) else { return };
        let state = std::mem::replace(&mut container.state, State::Failing);
        let (gate, waiting) = match state {
            State::Created(gate) => (gate, None),
            State::Starting(gate, caller, sequence) => (gate, Some((caller, sequence))),
            other => {
                container.state = other;
                return;
            }
        };
        let failure = match (gate.receive(), waiting) {
            (Ok(FromChild::Failed(failure)), _) => Some(JobFailure::from(Error::from(failure))),
            (Ok(_), Some(_)) => container.started().err().map(JobFailure::from),
            // It was not let through, so it ends, and will be reaped.
            (Ok(_), None) => return,
            (Err(error), _) => Some(JobFailure::from(error)),
        };
        let Some(failure) = failure else {
            if let Some((caller, sequence)) = waiting {
                self.callers.answer(caller, &Reply::Done, sequence);
            }
            return;
        };
        if container.status.started == 0 {
            container.start_failed(&failure);
        }
        container.kill();
        if let Some((caller, sequence)) = waiting {
            self.fail(caller, sequence, failure.kind, &failure.text);
        }
    }

    /// Watches the streams of a container. Those that are watched already are left alone.
    pub(super) fn watch_streams(&self, place: usize) -> Result<()> {
        let Some(Some(container)) = self.containers.get(place) else { return Ok(()) };
        let first = FIRST_CONTAINER + STEP * place as u64;
        for (index, descriptor, is_sink) in container.watched() {
            let flags = if is_sink { EventFlags::OUT } else { EventFlags::IN };
            self.watch(descriptor, first + index as u64, flags | EventFlags::ET)?;
        }
        if let State::Created(gate) = &container.state {
            self.watch(gate.handle(), first + GATE, EventFlags::IN)?;
        }
        Ok(())
    }

    fn watch(&self, what: BorrowedFd<'_>, token: u64, flags: EventFlags) -> Result<()> {
        match epoll::add(&self.epoll, what, EventData::new_u64(token), flags) {
            // Plain files and the null device are always ready.
            Ok(()) | Err(Errno::PERM | Errno::EXIST) => Ok(()),
            Err(errno) => Err(Error::system("watch", "a stream")(errno)),
        }
    }

    /// Follows a worker until it has done its job. One that cannot be followed is ended.
    pub(super) fn employ(&mut self, mut worker: Worker, job: Job) -> Result<(), JobFailure> {
        let place = match self.workers.iter().position(Option::is_none) {
            Some(place) => place,
            None => {
                self.workers.push(None);
                self.workers.len() - 1
            }
        };
        if let Err(error) = self.watch(worker.as_fd(), FIRST_WORKER + place as u64, EventFlags::IN) {
            worker.kill();
            return Err(error.into());
        }
        self.workers[place] = Some((worker, job));
        Ok(())
    }

    /// Has something executed in the container with the first process `host`: by its parked executor, or by a new one.
    pub(super) fn execute(&mut self, id: Id, order: &Order, job: Job, host: i32) -> Result<(), JobFailure> {
        if let Some(slot) = self.workers.iter_mut().find(|slot| is_parked(slot, host))
            && let Some((worker, parked)) = slot
        {
            if worker.give(order).is_ok() {
                *parked = job;
                return Ok(());
            }
            // It was killed.
            *slot = None;
        }
        let mut worker = jobs::executor(&self.settings.state_root, id)?;
        worker.give(order)?;
        self.employ(worker, job)
    }

    /// Keeps an executor that has just executed something, if its container may need it again and has no other.
    fn park(&mut self, place: usize, mut worker: Worker, host: i32) {
        let is_host = |container: &Container| container.pid == host && container.is_alive();
        let is_wanted = self.containers.iter().flatten().any(is_host)
            && self.ending.is_none()
            && !self.workers.iter().any(|slot| is_parked(slot, host));
        if is_wanted {
            worker.since = Instant::now();
            self.workers[place] = Some((worker, Job::Parked(host)));
        }
    }

    /// Lets the executors go that the container with this first process has no use for any more.
    pub(super) fn dismiss(&mut self, host: i32) {
        self.workers.iter_mut().filter(|slot| is_parked(slot, host)).for_each(|slot| *slot = None);
    }

    /// Follows the worker that makes the container at `place`, which is not there if that fails.
    pub(super) fn employ_maker(
        &mut self,
        worker: Worker,
        place: usize,
        caller: CallerId,
        sequence: u32,
    ) -> Result<(), JobFailure> {
        let employed = self.employ(worker, Job::Make(place, caller, sequence));
        if employed.is_err() {
            // The worker may have come to making something of it.
            self.remove(place);
        }
        employed
    }

    fn take_outcome(&mut self, place: usize) -> Result<()> {
        let Some(Some((worker, _))) = self.workers.get(place) else { return Ok(()) };
        let Some(outcome) = worker.outcome() else { return Ok(()) };
        let Some((worker, job)) = self.workers[place].take() else { return Ok(()) };
        // What it made may have ended meanwhile.
        self.has_dead = true;
        match job {
            Job::Make(place, caller, sequence) => self.made(place, caller, sequence, outcome),
            Job::Exec { caller, sequence, bound, host } => {
                if matches!(outcome, Outcome::Made(_)) {
                    self.park(place, worker, host);
                }
                self.executed(caller, sequence, bound, outcome);
            }
            // It has ended.
            Job::Parked(_) => {}
            Job::Answer(caller, sequence) => match outcome {
                Outcome::Failed(failure) => self.fail(caller, sequence, failure.kind, &failure.text),
                _ => drop(self.callers.answer(caller, &Reply::Done, sequence)),
            },
            Job::Remove(place) => match outcome {
                Outcome::Failed(failure) => self.forget(place, Some(&failure.text)),
                _ => self.forget(place, None),
            },
        }
        Ok(())
    }

    fn made(&mut self, place: usize, caller: CallerId, sequence: u32, outcome: Outcome) {
        let Some(Some(container)) = self.containers.get_mut(place) else { return };
        let result = match outcome {
            Outcome::Made(made) => container.made(made).map_err(JobFailure::from),
            Outcome::Failed(failure) => Err(failure),
            Outcome::Done => Err(JobFailure {
                kind: ErrorKind::Failed,
                text: "the monitor's worker made nothing".to_owned(),
            }),
        };
        let (pid, doomed, bound) = (container.pid, container.doomed, container.bound_to);
        self.had_container |= container.pidfd.is_some();
        match result.and_then(|()| Ok(self.watch_streams(place)?)) {
            Ok(()) => {
                let reply = Reply::Started { pid: pid.unsigned_abs() };
                let told = self.callers.answer(caller, &reply, sequence);
                if doomed || (bound.is_some() && !told) {
                    self.kill(place);
                }
            }
            Err(failure) => {
                self.fail(caller, sequence, failure.kind, &failure.text);
                match self.containers[place].as_mut() {
                    // It exists, so its end will be reaped.
                    Some(container) if container.pidfd.is_some() => container.kill(),
                    // A failed creation leaves nothing, and a killed worker what a removal finds.
                    _ => self.remove(place),
                }
            }
        }
    }

    fn executed(&mut self, caller: CallerId, sequence: u32, bound: bool, outcome: Outcome) {
        match outcome {
            Outcome::Made(made) => {
                let reply = Reply::Started { pid: made.pid.unsigned_abs() };
                let terminal: Vec<BorrowedFd<'_>> = made.more.iter().flatten().map(AsFd::as_fd).collect();
                let told = self.callers.answer_with(caller, &reply, sequence, &terminal);
                if bound && !told {
                    let _ = process::signal(made.pidfd.as_fd(), process::Signal::KILL);
                }
                self.execs.push(Executed { caller, sequence, bound, pid: made.pid, pidfd: made.pidfd });
            }
            Outcome::Failed(failure) => self.fail(caller, sequence, failure.kind, &failure.text),
            Outcome::Done => self.fail(caller, sequence, ErrorKind::Failed, "nothing was executed"),
        }
    }

    /// Ends a container.
    pub(super) fn kill(&mut self, place: usize) {
        if let Some(Some(container)) = self.containers.get_mut(place) {
            container.kill();
        }
    }

    /// Has what is left of a container removed, once its end is on disk.
    fn remove(&mut self, place: usize) {
        let Some(Some(container)) = self.containers.get_mut(place) else { return };
        // A disk that cannot take it must not keep the container's remains alive.
        container.write_end();
        container.state = State::Removing;
        container.close_streams();
        self.last_exit = container.exit;
        if self.settings.mode == Mode::Foreground {
            // Its maker removes it.
            return self.forget(place, None);
        }
        let leftovers = match self.settings.mode {
            Mode::Standalone => self.settings.leftovers.clone(),
            _ => Leftovers::default(),
        };
        let worker = jobs::remove(&self.settings.state_root, &container.id, &container.kind, &leftovers);
        let employed = worker.and_then(|worker| self.employ(worker, Job::Remove(place)));
        if let Err(failure) = employed {
            // Whoever finds the lock free removes what is left.
            self.forget(place, Some(&failure.text));
        }
    }

    /// Nothing of the container is left, or what is `left` is so to the next caller.
    fn forget(&mut self, place: usize, left: Option<&str>) {
        self.unwatch_retired(place);
        let Some(slot) = self.containers.get_mut(place) else { return };
        let Some(container) = slot else { return };
        let keep = self.settings.mode != Mode::Foreground && container.keep_unwritten(Instant::now());
        self.callers.ended(place, &container.id, container.exit, left);
        if !keep {
            *slot = None;
        }
    }

    /// Forgets a container at once whose end nobody can write down; false for any other.
    pub(super) fn forget_unwritten(&mut self, place: usize) -> bool {
        let Some(slot) = self.containers.get_mut(place) else { return false };
        let unwritten = matches!(slot, Some(container) if matches!(container.state, State::Unwritten(..)));
        if unwritten {
            *slot = None;
        }
        unwritten
    }

    /// Is there so much to do that nothing more is taken on?
    pub(super) fn is_full(&self) -> bool {
        let busy = self.workers.iter().flatten().filter(|(_, job)| !matches!(job, Job::Parked(_)));
        busy.count() >= JOBS || self.execs.len() >= JOBS
    }

    pub(super) fn shut_down(&mut self, caller: CallerId, sequence: u32) {
        self.ending = Some((caller, sequence));
        for place in 0..self.containers.len() {
            self.forget_unwritten(place);
            self.kill(place);
        }
    }

    pub(super) fn is_ending(&self) -> bool {
        self.ending.is_some() || (self.settings.mode != Mode::Pod && self.had_container)
    }

    fn is_done(&mut self) -> bool {
        // Who is parked in a container goes with its first process.
        if self.containers.iter().any(Option::is_some) || self.workers.iter().any(Option::is_some) {
            self.idle_since = None;
            return false;
        }
        if self.is_ending() {
            return true;
        }
        if !self.callers.is_empty() {
            self.had_caller = true;
            self.idle_since = None;
            return false;
        }
        // Its only caller left, so nobody will ask for the container that it is for.
        if self.had_caller && self.settings.mode == Mode::Standalone {
            return true;
        }
        self.idle_since.get_or_insert_with(Instant::now).elapsed() >= IDLE
    }

    fn time_to_deadline(&self) -> Option<Duration> {
        let idle = self.idle_since.map(|since| since + IDLE);
        let streams = self.containers.iter().flatten().filter_map(Container::deadline).min();
        let makers = self.workers.iter().flatten().filter(|(worker, job)| job.makes() && !worker.is_killed());
        let stuck = makers.map(|(worker, _)| worker.since + STUCK);
        let parked = self.workers.iter().flatten().filter(|(_, job)| matches!(job, Job::Parked(_)));
        let parked = parked.map(|(worker, _)| worker.since + PARKED);
        let deadline = idle.into_iter().chain(streams).chain(stuck).chain(parked).min()?;
        // A little later than asked, so that the deadline is over when we look.
        Some(deadline.saturating_duration_since(Instant::now()) + Duration::from_millis(1))
    }

    pub(super) fn hung_up(&mut self, caller: CallerId) {
        self.hung_up.push_back(caller);
    }

    fn forget_caller(&mut self, caller: CallerId) {
        self.callers.hang_up(caller);
        for exec in self.execs.iter().filter(|exec| exec.bound && exec.caller == caller) {
            // It is gone already, or will be reaped soon.
            let _ = process::signal(exec.pidfd.as_fd(), process::Signal::KILL);
        }
        for container in self.containers.iter_mut().flatten() {
            let waits_for_start = matches!(container.state, State::Making | State::Created(_));
            if container.bound_to == Some(caller) && waits_for_start {
                container.kill();
            }
        }
    }

    fn take_signals(&mut self) -> Result<()> {
        loop {
            let info = match self.signals.read_signal() {
                Ok(Some(info)) => info,
                Ok(None) => return Ok(()),
                Err(nix::errno::Errno::EINTR) => continue,
                Err(errno) => return Err(Error::system("read", "signals")(from_nix(errno))),
            };
            self.take_signal(info.ssi_signo as i32)?;
        }
    }

    fn take_signal(&mut self, number: i32) -> Result<()> {
        if number == libc::SIGCHLD {
            self.has_dead = true;
            return Ok(());
        }
        // A detached monitor outlives whatever the session that it came from is told.
        let Some(Some(container)) =
            self.containers.first().filter(|_| self.settings.mode == Mode::Foreground)
        else {
            return Ok(());
        };
        match number {
            libc::SIGWINCH => {
                if let (Some(user), Some(container)) = (self.user_terminal, &container.terminal)
                    && let Some(size) = terminal::size(user)
                {
                    // A terminal that is being closed has no size to set.
                    let _ = terminal::set_size(container, size);
                }
            }
            // Said by the kernel about us, not meant for the container.
            libc::SIGPIPE | libc::SIGURG => {}
            libc::SIGINT | libc::SIGTERM | libc::SIGHUP | libc::SIGQUIT if container.exit.is_some() => {
                self.abandoned = true;
            }
            // What cannot be passed on must not end the container.
            number => drop(container.signal(process::Signal(number))),
        }
        Ok(())
    }
}

fn is_parked(slot: &Option<(Worker, Job)>, host: i32) -> bool {
    matches!(slot, Some((_, Job::Parked(parked))) if *parked == host)
}

fn from_nix(errno: nix::errno::Errno) -> Errno {
    Errno::from_raw_os_error(errno as i32)
}

#[cfg(test)]
mod tests {
    use super::super::container::Kind;
    use super::super::protocol::{CreateFlags, Phase};
    use super::*;
    use crate::init::ParentEnd;

    fn monitor() -> Monitor<'static> {
        let leftovers = Leftovers::default();
        let settings = Settings { mode: Mode::Pod, state_root: PathBuf::from("/nowhere"), leftovers };
        Monitor::new(settings, &SigSet::empty(), None, None).unwrap()
    }

    #[test]
    fn a_gate_that_closes_before_the_start_is_no_start() {
        let mut monitor = monitor();
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let place = Some(folder.path().to_owned());
        let mut container = Container::new("a", place, Kind::Container, CreateFlags::default());
        container.state = State::Created(ParentEnd::from_descriptor(ours.into()));
        monitor.adopt(container).unwrap();
        drop(theirs);
        monitor.gate_answered(0);
        let container = monitor.containers[0].as_mut().unwrap();
        assert_eq!(container.phase(), Phase::Created);
        assert!(matches!(container.state, State::Failing));
        container.ended(Exit::Signal(9));
        container.write_end();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "it never ran");
    }

    #[test]
    fn a_stuck_worker_is_killed_when_its_caller_has_given_up() {
        let mut monitor = monitor();
        let begun = Instant::now();
        let worker = Worker::start(&[], || {
            loop {
                std::thread::sleep(IDLE);
            }
        });
        let nobody = CallerId::nobody();
        monitor
            .employ(worker.unwrap(), Job::Exec { caller: nobody, sequence: 1, bound: false, host: 0 })
            .unwrap();
        monitor.kill_stuck(begun);
        assert!(!monitor.workers[0].as_ref().unwrap().0.is_killed());
        monitor.kill_stuck(Instant::now() + STUCK);
        assert!(monitor.workers[0].as_ref().unwrap().0.is_killed());
        while monitor.workers[0].is_some() {
            monitor.take_outcome(0).unwrap();
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
