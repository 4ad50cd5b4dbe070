//! What a monitor does for each request of its callers.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use super::callers::{Attached, CallerId, Wait};
use super::channel::{MAX_DESCRIPTORS, Received};
use super::container::{Container, Kind, STREAMS, State};
use super::event_loop::{CONTAINERS, Mode, Monitor};
use super::jobs::{self, Job};
use super::log::{Log, LogSettings};
use super::protocol::{
    Attach, Create, CreateFlags, DecodeError, ErrorKind, Exec, MAX_MESSAGE, Pause, Phase, Reply, Request,
    Subject, VERSION, decode_request,
};
use super::stdio::{Direction, End, Relay};
use super::streams;
use super::worker::{JobFailure, Order};
use crate::container::Id;
use crate::error::Error;
use crate::process::{self, Signal};
use crate::spec::from_image::TerminalSize;
use crate::terminal;

type Descriptors = [Option<OwnedFd>; MAX_DESCRIPTORS];

/// What to say at once; `None` when the answer comes later.
type Answer = Result<Option<Reply<'static>>, JobFailure>;

const NO_CONTAINER: &str = "the monitor has no such container: there was none, or it has ended";

impl From<JobFailure> for Answer {
    fn from(failure: JobFailure) -> Answer {
        Err(failure)
    }
}

fn refuse(kind: ErrorKind, text: &str) -> JobFailure {
    JobFailure { kind, text: text.to_owned() }
}

impl Monitor<'_> {
    /// Reads one message of a caller and carries it out. Who breaks the protocol, or does not read, is hung up on.
    pub(super) fn serve(&mut self, id: CallerId) {
        let mut buffer = [0; MAX_MESSAGE];
        let Some(caller) = self.callers.find(id) else { return };
        let (length, descriptors) = match caller.connection.receive(&mut buffer) {
            Ok(Received::Packet(length, descriptors)) => (length, descriptors),
            Ok(Received::Nothing) => return,
            Ok(Received::End) | Err(_) => return self.hung_up(id),
        };
        let (sequence, request) = match decode_request(&buffer[..length]) {
            Ok(decoded) => decoded,
            Err(DecodeError::Garbage(_)) => return self.hung_up(id),
            Err(error @ DecodeError::Unsupported { sequence, .. }) => {
                return self.fail(id, sequence, ErrorKind::Unsupported, &error.to_string());
            }
            Err(error @ DecodeError::BadField { sequence, .. }) => {
                return self.fail(id, sequence, ErrorKind::Malformed, &error.to_string());
            }
        };
        let ends = matches!(
            request,
            Request::Hello { .. }
                | Request::Status { .. }
                | Request::Signal { .. }
                | Request::Wait { .. }
                | Request::Delete { .. }
                | Request::Shutdown
        );
        if self.callers.is_restricted(id) && !ends {
            return self.fail(id, sequence, ErrorKind::Busy, "the monitor serves too many callers");
        }
        if self.is_full_for(&request) {
            return self.fail(id, sequence, ErrorKind::Busy, "the monitor has as much to do as it can");
        }
        match self.carry_out(id, sequence, &request, descriptors) {
            Ok(Some(reply)) => drop(self.callers.answer(id, &reply, sequence)),
            Ok(None) => {}
            Err(failure) => self.fail(id, sequence, failure.kind, &failure.text),
        }
    }

    pub(super) fn fail(&mut self, id: CallerId, sequence: u32, kind: ErrorKind, text: &str) {
        self.callers.answer(id, &Reply::Error { kind, text }, sequence);
    }

    fn carry_out(
        &mut self,
        id: CallerId,
        sequence: u32,
        request: &Request<'_>,
        descriptors: Descriptors,
    ) -> Answer {
        match *request {
            Request::Hello { version } => Ok(Some(Reply::Hello { version: version.min(VERSION) })),
            Request::Status { container } => Ok(Some(self.status(container)?)),
            Request::Signal { subject, number, all } => self.signal(id, sequence, subject, number, all),
            Request::Resize { subject, rows, columns } => {
                self.resize(subject, TerminalSize { rows, columns })
            }
            Request::Wait { container } => {
                let place = self.place_or_first(container)?;
                let container = self.at(place)?;
                if let (State::Unwritten(..), Some(exit)) = (&container.state, container.exit) {
                    return Ok(Some(Reply::Exited(exit)));
                }
                self.wait(id, sequence, place, Wait::Exit)
            }
            Request::Create(ref create) => self.create(id, sequence, create, descriptors),
            Request::Start { container } => self.start(id, sequence, container),
            Request::Exec(ref exec) => self.exec(id, sequence, exec, descriptors),
            Request::Attach(ref attach) => self.attach(id, sequence, attach, descriptors),
            Request::ReopenLog { container } => self.reopen_log(container),
            Request::Pause(ref pause) => self.pause(id, sequence, pause, descriptors),
            Request::Delete { container } => {
                let place = self.place_of(container)?;
                if self.forget_unwritten(place) {
                    return Ok(Some(Reply::Done));
                }
                self.wait(id, sequence, place, Wait::Gone)?;
                self.kill(place);
                Ok(None)
            }
            Request::Watch => {
                self.callers.watch(id, sequence);
                Ok(Some(Reply::Done))
            }
            Request::Shutdown => {
                self.shut_down(id, sequence);
                Ok(None)
            }
        }
    }

    fn place_of(&self, container: &str) -> Result<usize, JobFailure> {
        let found = self.containers.iter().position(|it| it.as_ref().is_some_and(|it| it.id == container));
        found.ok_or_else(|| refuse(ErrorKind::NotFound, NO_CONTAINER))
    }

    fn place_or_first(&self, container: Option<&str>) -> Result<usize, JobFailure> {
        match container {
            Some(container) => self.place_of(container),
            None => self
                .containers
                .iter()
                .position(Option::is_some)
                .ok_or_else(|| refuse(ErrorKind::NotFound, NO_CONTAINER)),
        }
    }

    fn at(&mut self, place: usize) -> Result<&mut Container, JobFailure> {
        self.containers
            .get_mut(place)
            .and_then(Option::as_mut)
            .ok_or_else(|| refuse(ErrorKind::NotFound, NO_CONTAINER))
    }

    fn status(&mut self, container: Option<&str>) -> Result<Reply<'static>, JobFailure> {
        let place = self.place_or_first(container)?;
        let container = self.at(place)?;
        let pid = if container.is_alive() { container.pid.unsigned_abs() } else { 0 };
        Ok(Reply::Status { phase: container.phase(), pid, exit: container.exit })
    }

    fn signal(
        &mut self,
        id: CallerId,
        sequence: u32,
        subject: Subject<'_>,
        number: u32,
        all: bool,
    ) -> Answer {
        let signal = Signal(number as i32);
        let delivered = match subject {
            Subject::Exec => {
                let exec = self.execs.iter().find(|exec| exec.caller == id);
                let exec = exec.ok_or_else(|| refuse(ErrorKind::WrongPhase, "the process has ended"))?;
                process::signal(exec.pidfd.as_fd(), signal)?
            }
            Subject::First | Subject::Container(_) => {
                let place = self.place_or_first(name_of(subject))?;
                let container = self.at(place)?;
                if all && container.kind == Kind::Container && container.is_alive() {
                    let container = container_id(&container.id)?;
                    let worker = jobs::signal_all(&self.settings.state_root, container, signal.0)?;
                    self.employ(worker, Job::Answer(id, sequence))?;
                    return Ok(None);
                }
                let delivered = container.signal(signal)?;
                if signal == Signal::KILL {
                    self.let_die(place);
                }
                delivered
            }
        };
        match delivered {
            true => Ok(Some(Reply::Done)),
            false => Err(refuse(ErrorKind::WrongPhase, "the container has ended")),
        }
    }

    fn resize(&mut self, subject: Subject<'_>, size: TerminalSize) -> Answer {
        let place = match subject {
            // Its caller has the terminal itself.
            Subject::Exec => return Err(refuse(ErrorKind::Unsupported, "the terminal is the caller's own")),
            _ => self.place_or_first(name_of(subject))?,
        };
        let Some(terminal) = &self.at(place)?.terminal else {
            return Err(refuse(ErrorKind::WrongPhase, "the container has no terminal"));
        };
        terminal::set_size(terminal, size).map_err(Error::system("set the size of", "the terminal"))?;
        Ok(Some(Reply::Done))
    }

    fn wait(&mut self, id: CallerId, sequence: u32, place: usize, wait: Wait) -> Answer {
        let Some(caller) = self.callers.find(id) else { return Ok(None) };
        if caller.waits.is_some() {
            return Err(refuse(ErrorKind::Busy, "this caller waits already"));
        }
        caller.waits = Some((sequence, place, wait));
        Ok(None)
    }

    fn create(
        &mut self,
        id: CallerId,
        sequence: u32,
        create: &Create<'_>,
        descriptors: Descriptors,
    ) -> Answer {
        let [Some(rootfs), lock, None, None] = descriptors else {
            return Err(refuse(ErrorKind::Malformed, "a container needs its root and its lock"));
        };
        let container_id = container_id(create.container)?;
        let place = self.free_place(create.container)?;
        let folder = PathBuf::from(create.folder);
        let CreateFlags { terminal, stdin, .. } = create.flags;
        let (stdio, ours) = streams::open(stdin, terminal)?;
        let mut container =
            Container::new(create.container, Some(folder.clone()), Kind::Container, create.flags);
        container.lock = lock;
        container.bound_to = create.flags.bound.then_some(id);
        if let Some(path) = create.log {
            let mut log = Log::new(LogSettings {
                path: PathBuf::from(path),
                max_size: create.log_size,
                max_files: create.log_files,
            });
            log.open_now().map_err(|error| refuse(ErrorKind::Failed, &error.to_string()))?;
            container.log = Some(log);
        }
        let worker = jobs::create(&self.settings.state_root, container_id, &folder, terminal, rootfs, stdio)?;
        container.pending = ours;
        self.containers[place] = Some(container);
        self.employ_maker(worker, place, id, sequence)?;
        Ok(None)
    }

    fn pause(&mut self, id: CallerId, sequence: u32, pause: &Pause<'_>, descriptors: Descriptors) -> Answer {
        let [lock, None, None, None] = descriptors else {
            return Err(refuse(ErrorKind::Malformed, "a pod has one lock"));
        };
        let place = self.free_place(pause.pod)?;
        let kind = Kind::Pause { cgroup: pause.cgroup.to_owned() };
        let folder = PathBuf::from(pause.folder);
        let mut container = Container::new(pause.pod, Some(folder), kind, CreateFlags::default());
        container.lock = lock;
        let worker = jobs::pause(pause)?;
        self.containers[place] = Some(container);
        self.employ_maker(worker, place, id, sequence)?;
        Ok(None)
    }

    /// A place for a new container, whose name nobody has.
    fn free_place(&mut self, name: &str) -> Result<usize, JobFailure> {
        if self.is_ending() {
            return Err(refuse(ErrorKind::WrongPhase, "the monitor is ending"));
        }
        if self.settings.mode != Mode::Pod && self.containers.iter().any(Option::is_some) {
            return Err(refuse(ErrorKind::WrongPhase, "the monitor has its container"));
        }
        if self.place_of(name).is_ok() {
            return Err(refuse(ErrorKind::Exists, "the monitor has a container of this name"));
        }
        if let Some(place) = self.containers.iter().position(Option::is_none) {
            return Ok(place);
        }
        if self.containers.len() >= CONTAINERS {
            return Err(refuse(ErrorKind::Busy, "the monitor has as many containers as it can"));
        }
        self.containers.push(None);
        Ok(self.containers.len() - 1)
    }

    fn start(&mut self, id: CallerId, sequence: u32, container: &str) -> Answer {
        let place = self.place_of(container)?;
        let container = self.at(place)?;
        let state = std::mem::replace(&mut container.state, State::Running);
        match state {
            State::Created(gate) if container.exit.is_none() => {
                let passed = gate.start();
                // What cannot be let through stays where it is.
                if let Err(error) = passed {
                    container.state = State::Created(gate);
                    return Err(error.into());
                }
                container.state = State::Starting(gate, id, sequence);
                Ok(None)
            }
            other => {
                container.state = other;
                let text = match container.phase() {
                    Phase::Running => "cannot start an already running container",
                    _ => "cannot start a container that is not waiting for its start",
                };
                Err(refuse(ErrorKind::WrongPhase, text))
            }
        }
    }

    fn exec(&mut self, id: CallerId, sequence: u32, exec: &Exec<'_>, descriptors: Descriptors) -> Answer {
        let [Some(process), stdin, stdout, stderr] = descriptors else {
            return Err(refuse(ErrorKind::Malformed, "there is no process to execute"));
        };
        let stdio = match (exec.terminal, stdin, stdout, stderr) {
            (true, None, None, None) => None,
            (false, Some(stdin), Some(stdout), Some(stderr)) => Some([stdin, stdout, stderr]),
            _ => return Err(refuse(ErrorKind::Malformed, "standard streams go without a terminal only")),
        };
        let order = Order { process, stdio };
        let place = self.place_of(exec.container)?;
        let container = self.at(place)?;
        if !matches!(container.state, State::Running | State::Created(_)) {
            return Err(refuse(ErrorKind::WrongPhase, "the container is not running"));
        }
        let host = container.pid;
        let container = container_id(exec.container)?;
        let Some(caller) = self.callers.find(id) else { return Ok(None) };
        if caller.has_executed {
            return Err(refuse(ErrorKind::Busy, "this conversation has executed something already"));
        }
        caller.has_executed = true;
        self.execute(container, &order, Job::Exec { caller: id, sequence, bound: exec.bound, host }, host)?;
        Ok(None)
    }

    fn attach(
        &mut self,
        id: CallerId,
        sequence: u32,
        attach: &Attach<'_>,
        descriptors: Descriptors,
    ) -> Answer {
        let place = self.place_of(attach.container)?;
        if self.callers.find(id).is_some_and(|caller| caller.attached.is_some()) {
            return Err(refuse(ErrorKind::Busy, "this conversation is attached already"));
        }
        let mut given = descriptors.into_iter().flatten();
        let mut take = |wanted: bool| wanted.then(|| given.next()).map(|it| it.ok_or(MISSING)).transpose();
        const MISSING: &str = "a stream has no descriptor";
        let malformed = |text| refuse(ErrorKind::Malformed, text);
        let stdin = take(attach.streams.stdin).map_err(malformed)?;
        let sinks = [
            take(attach.streams.stdout).map_err(malformed)?,
            take(attach.streams.stderr).map_err(malformed)?,
        ];
        let container = self.at(place)?;
        if !matches!(container.state, State::Created(_) | State::Starting(..) | State::Running) {
            return Err(refuse(ErrorKind::WrongPhase, "the container is not running"));
        }
        // All of it or nothing.
        let input = stdin.map(|stdin| container.input_of(&stdin)).transpose()?;
        let mut ends = Vec::with_capacity(STREAMS);
        for (index, sink) in sinks.iter().enumerate() {
            if let Some(sink) = sink {
                ends.push((index, container.sink_of(index, sink)?));
            }
        }
        let mut slots = [None; STREAMS];
        for (index, end) in ends {
            slots[index] = container.attach_sink(index, end);
        }
        let has_input = input.is_some();
        if has_input {
            container.input = input;
        }
        container.ready = [true; 1 + STREAMS];
        if let Err(error) = self.watch_streams(place) {
            let container = self.at(place)?;
            if has_input {
                container.close_input();
            }
            container.detach_sinks(slots);
            return Err(error.into());
        }
        if let Some(caller) = self.callers.find(id) {
            caller.attached = Some(Attached { sequence, place, slots });
        }
        Ok(Some(Reply::Done))
    }

    fn reopen_log(&mut self, container: &str) -> Answer {
        let place = self.place_of(container)?;
        let container = self.at(place)?;
        if !matches!(container.state, State::Created(_) | State::Starting(..) | State::Running) {
            return Err(refuse(ErrorKind::WrongPhase, "the container is not running"));
        }
        match &mut container.log {
            Some(log) => {
                log.reopen().map_err(|error| refuse(ErrorKind::Failed, &error.to_string()))?;
                Ok(Some(Reply::Done))
            }
            None => Err(refuse(ErrorKind::WrongPhase, "the container has no log")),
        }
    }
}

impl Container {
    /// The way from a caller's descriptor to the container's input.
    fn input_of(&self, source: &OwnedFd) -> Result<Relay, JobFailure> {
        if self.input.is_some() {
            return Err(refuse(ErrorKind::Busy, "the container's input is attached already"));
        }
        let failed = || Error::system("attach to", self.id.clone());
        let sink = match (&self.terminal, &self.stdin) {
            (Some(terminal), _) => End::of_master(terminal.as_fd()).map_err(failed())?,
            (None, Some(stdin)) => {
                let copy = rustix::io::fcntl_dupfd_cloexec(stdin, 3).map_err(failed())?;
                End::of_pipe(copy).map_err(failed())?
            }
            (None, None) => return Err(refuse(ErrorKind::WrongPhase, "the container has no input")),
        };
        let source = End::of_user(source.as_fd(), Direction::Source).map_err(failed())?;
        Ok(Relay::new(source, sink))
    }
}

fn name_of(subject: Subject<'_>) -> Option<&str> {
    match subject {
        Subject::Container(name) => Some(name),
        Subject::First | Subject::Exec => None,
    }
}

fn container_id(name: &str) -> Result<Id, JobFailure> {
    Ok(name.parse::<Id>()?)
}
