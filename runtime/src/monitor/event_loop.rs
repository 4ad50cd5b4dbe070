//! The loop of a monitor: everything that can happen to its containers, one event at a time.
//!
//! ```text
//!   signalfd ----> child ended / terminal resized / signal to pass on     (signals, reaping)
//!   listener ----> caller --> request --> reply                           (callers, requests)
//!   worker's socket --> what it made or removed                           (workers, worker, jobs)
//!   gate ---------> command executed, or why not
//!   ends of streams --> pump                                              (container, output, stdio)
//! ```
//!
//! Invariants: nothing here blocks except the wait itself; no memory is taken in proportion to what a container or a caller
//! sends; a child is reaped only when it is known what it is, so while a worker may have made one that nobody has heard of
//! yet, the unknown wait; a worker that takes too long is killed. What fails for one container or caller ends nothing else.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;

use super::callers::{CallerId, Callers, PLACES};
use super::channel::Listener;
use super::container::{Container, Kind, State};
use super::jobs::{self, Job, Leftovers};
use super::protocol::Reply;
use super::stdio::BUFFER;
use super::worker::{JobFailure, Worker};
use super::workers::Executed;
use crate::container::{self, Id, Status};
use crate::error::{Error, Result};
use crate::init::FromChild;
use crate::namespaces::from_nix;
use crate::process::{self, Exit, Signal};

/// Most containers of one monitor.
pub(super) const CONTAINERS: usize = 256;

/// A monitor that has nothing and nobody ends after this time: its caller was killed before it asked for anything, or its
/// pod is gone.
const IDLE: Duration = Duration::from_secs(10);

const SIGNALS: u64 = 0;
const LISTENER: u64 = 1;
const FIRST_CALLER: u64 = 1 << 8;
pub(super) const FIRST_WORKER: u64 = 1 << 16;
const FIRST_CONTAINER: u64 = 1 << 24;
/// Events of one container: its input, its two flows, its gate.
const STEP: u64 = 4;
const GATE: u64 = 3;

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

/// A monitor at work.
#[derive(Debug)]
pub(super) struct Monitor<'a> {
    pub(super) settings: Settings,
    epoll: OwnedFd,
    pub(super) signals: SignalFd,
    listener: Option<&'a Listener>,
    pub(super) user_terminal: UserTerminal<'a>,
    pub(super) callers: Callers,
    pub(super) containers: Vec<Option<Container>>,
    pub(super) workers: Vec<Option<(Worker, Job)>>,
    pub(super) execs: Vec<Executed>,
    scratch: Box<[u8]>,
    /// A child may be waiting to be reaped.
    pub(super) has_dead: bool,
    /// Who asked us to end, once somebody did.
    pub(super) ending: Option<(CallerId, u32)>,
    /// Since when there has been nothing to do and nobody to do it for.
    idle_since: Option<Instant>,
    /// How the only container ended.
    last_exit: Option<Exit>,
    pub(super) had_container: bool,
    had_caller: bool,
    /// The user does not want to see the rest.
    pub(super) abandoned: bool,
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

    pub(super) fn watch(&self, what: BorrowedFd<'_>, token: u64, flags: EventFlags) -> Result<()> {
        match epoll::add(&self.epoll, what, EventData::new_u64(token), flags) {
            // Plain files and the null device are always ready.
            Ok(()) | Err(Errno::PERM | Errno::EXIST) => Ok(()),
            Err(errno) => Err(Error::system("watch", "a stream")(errno)),
        }
    }

    /// Ends a container.
    pub(super) fn kill(&mut self, place: usize) {
        if let Some(Some(container)) = self.containers.get_mut(place) {
            container.kill();
            self.let_die(place);
        }
    }

    /// Sees to it that a container dies of the SIGKILL that its first process was sent: into the freezer of v1 none reaches.
    pub(super) fn let_die(&mut self, place: usize) {
        let Some(Some(container)) = self.containers.get(place) else { return };
        let Ok(id) = container.id.parse::<Id>() else { return };
        let state_root = &self.settings.state_root;
        let has_record = container.kind == Kind::Container && container.is_alive();
        let is_paused = |state: container::State| state.status == Status::Paused;
        if has_record && container::state(state_root, &id).is_ok_and(is_paused) {
            let worker = jobs::signal_all(state_root, id, Signal::KILL.0);
            // Without a worker it stays as it is, and whoever resumes it sees it die.
            let _ = worker.and_then(|worker| self.employ(worker, Job::Kill));
        }
    }

    /// Has what is left of a container removed, once its end is on disk.
    pub(super) fn remove(&mut self, place: usize) {
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
    pub(super) fn forget(&mut self, place: usize, left: Option<&str>) {
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
        let deadline = idle.into_iter().chain(streams).chain(self.workers_deadline()).min()?;
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
            let _ = process::signal(exec.pidfd.as_fd(), Signal::KILL);
        }
        for place in 0..self.containers.len() {
            let is_bound = |container: &Container| {
                let waits_for_start = matches!(container.state, State::Making | State::Created(_));
                container.bound_to == Some(caller) && waits_for_start
            };
            if self.containers[place].as_ref().is_some_and(is_bound) {
                self.kill(place);
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::protocol::{CreateFlags, Phase};
    use super::*;
    use crate::init::ParentEnd;

    /// A monitor with nothing and nobody.
    pub(in crate::monitor) fn monitor() -> Monitor<'static> {
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
}
