//! `exec`: a further process in a running container.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sched::CloneFlags;
use oci_spec::runtime::{Process, Spec};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use super::cgroup;
use super::console::{Receiver, connect, send_pidfd};
use super::create::keyring_name;
use super::listener::Agent;
use super::prepare::{Filter, Machine, Prepared};
use super::record::{Folder, Record, observe};
use super::request::{Console, Stdio};
use super::settings::write_pid_file;
use super::{Id, State, Status, rootless};
use crate::cgroup::{Cgroup, CgroupPath, Entrance, Hierarchies, SubCgroup};
use crate::error::{Error, Result};
use crate::fault;
use crate::init::{Awaited, EnteringChild, Kinship, PreparedProcess, Step, StepFailure, launch};
use crate::namespaces::ChildrenIn;
use crate::process::{self, Exit, Signal};

/// A container that further processes are to run in: what is the same for all of them is read, opened and compiled once. It is
/// of no use any more when the container's first process has ended.
#[derive(Debug)]
pub struct ExecTarget {
    folder: Folder,
    record: Record,
    spec: Spec,
    /// What we may hand on, and its filter, since the first process.
    prepared: Option<(Machine, Filter)>,
    /// The way into its own cgroups, since the first process that went it.
    entrance: Option<Entrance>,
}

impl ExecTarget {
    /// Reads what the container is. Whether it runs is looked at by [`exec`].
    pub fn open(state_root: &Path, id: &Id) -> Result<ExecTarget> {
        let folder = Folder::open(state_root, id)?;
        let record = folder.read()?.ok_or_else(|| wrong_state(id, Status::Creating))?;
        let spec = folder.config()?.spec;
        Ok(ExecTarget { folder, record, spec, prepared: None, entrance: None })
    }

    /// The process of the container's own config.json: what one with a few changes starts from.
    pub fn process(&self) -> Result<Process> {
        self.spec
            .process()
            .clone()
            .ok_or_else(|| Error::Spec { path: "process".to_owned(), reason: "it is missing".to_owned() })
    }
}

/// What to run in a container.
#[derive(Debug)]
pub struct ExecRequest {
    /// The process, as config.json describes one. Start from [`ExecTarget::process`].
    pub process: Process,
    /// Its descriptors 0, 1 and 2. Not used when it has a terminal.
    pub stdio: Stdio,
    /// Where the terminal goes if the process asks for one.
    pub console: Console,
    /// How many descriptors after 2 it keeps.
    pub preserve_descriptors: u32,
    /// File to write its pid to.
    pub pid_file: Option<PathBuf>,
    /// Socket that receives a descriptor of it.
    pub pidfd_socket: Option<PathBuf>,
    /// Make it a child of our parent, who waits for it, and not of ours: we are a worker that ends.
    pub as_sibling: bool,
    /// Also in a paused container, where it waits for `resume`.
    pub ignore_paused: bool,
    /// Cgroups below the container's to run it in.
    pub cgroups: Vec<SubCgroup>,
}

/// A process that runs in a container.
#[derive(Debug)]
pub struct Executed {
    /// Its pid as we see it.
    pub pid: i32,
    /// It, a child of ours or of our parent.
    pub pidfd: OwnedFd,
    /// The terminal, where it was asked to be returned.
    pub console_master: Option<OwnedFd>,
    /// What the machine refused and nobody insisted on.
    pub clamped: Vec<String>,
}

impl Executed {
    /// Waits for it and reaps it. A sibling is its parent's to wait for.
    pub fn wait(&self) -> Result<Exit> {
        process::wait(&self.pidfd)
    }
}

/// Runs a process in a container; returns when its command was executed.
pub fn exec(container: &mut ExecTarget, request: ExecRequest) -> Result<Executed> {
    let observed = observe(&container.folder, Some(&container.record))?;
    let paused = observed.status == Status::Paused && request.ignore_paused;
    let (status, id) = (observed.status, container.folder.id().clone());
    let Some(target) = observed.process.filter(|_| paused || status.can_exec()) else {
        return Err(wrong_state(&id, status));
    };
    exec_in(container, status, &target, request).map_err(|error| {
        let ended = match error {
            // Its namespaces are gone; it may still wait for others in its PID namespace, which for frozen ones is long.
            Error::Step(StepFailure { step: Step::JoinNamespace, errno: Errno::SRCH, .. }) => true,
            Error::Vanished { .. }
            | Error::System { source: Errno::SRCH | Errno::NOMEM, .. }
            | Error::Step(StepFailure { errno: Errno::SRCH | Errno::NOMEM, .. }) => is_ending(&target),
            _ => false,
        };
        if ended { wrong_state(&id, Status::Stopped) } else { error }
    })
}

/// Has this process ended, or is about to? Its namespaces and those in them go before it does.
fn is_ending(first: &OwnedFd) -> bool {
    const SOON: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    let mut polled = [PollFd::new(first, PollFlags::IN)];
    rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, Some(&SOON))).is_ok_and(|ended| ended > 0)
}

fn exec_in(
    container: &mut ExecTarget,
    status: Status,
    target: &OwnedFd,
    request: ExecRequest,
) -> Result<Executed> {
    let ExecRequest { process, stdio, console, preserve_descriptors, pid_file, as_sibling, .. } = request;
    let ExecTarget { folder, record, spec, prepared, entrance } = container;
    let id = folder.id();
    let linux = spec.linux().as_ref();
    let plan = crate::spec::further_process("process", &process, linux)?;
    let namespaces = namespaces_of(spec);
    let profile = linux.and_then(|linux| linux.seccomp().as_ref());
    let (machine, filter) = match prepared {
        Some(prepared) => prepared,
        none => {
            let machine = Machine::read(namespaces.contains(CloneFlags::CLONE_NEWUSER))?;
            none.insert((machine, Filter::compile(profile)?))
        }
    };
    if !machine.caller_is_root() && status == Status::Created {
        // That process is still ours, and closed to everybody but root.
        let what = "exec by an ordinary user in a container that is not started".to_owned();
        return Err(Error::Unsupported { what });
    }
    let prepared = Prepared::new(&plan, filter.clone(), machine)?;
    if !machine.caller_is_root() {
        rootless::check_filter(prepared.filter.as_ref())?;
    }
    let agent = Agent::open(profile, prepared.filter.as_ref())?;
    let console = Receiver::open(&console, plan.terminal)?;
    let pidfd_socket = request.pidfd_socket.as_deref().map(connect).transpose()?;
    let open_entrance = |choices: &[SubCgroup]| -> Result<Entrance> {
        match &record.cgroup {
            Some(path) => {
                let (hierarchies, path) = (Hierarchies::discover()?, CgroupPath::parse(path)?);
                Ok(Cgroup::entrance_of_existing(&hierarchies, &path, choices)?)
            }
            None if choices.is_empty() => Ok(Entrance::default()),
            None => Err(Error::NoCgroup { id: id.to_string(), verb: "exec --cgroup" }),
        }
    };
    let chosen;
    let entrance = match (&request.cgroups[..], entrance) {
        ([], Some(entrance)) => &*entrance,
        ([], none) => &*none.insert(open_entrance(&[])?),
        (choices, _) => {
            chosen = open_entrance(choices)?;
            &chosen
        }
    };
    fault::point(22)?;
    let own_mounts = namespaces.contains(CloneFlags::CLONE_NEWNS);
    let root = if own_mounts { None } else { Some(root_of(record.pid, target)?) };
    let mut child = EnteringChild {
        process: PreparedProcess {
            plan: &plan,
            capabilities: prepared.capabilities,
            limits: prepared.limits,
            filter: prepared.filter,
            stdio,
            preserve: preserve_descriptors,
            dies_with_parent: false,
            start_hooks: None,
        },
        target,
        root,
        namespaces: namespaces - CloneFlags::CLONE_NEWPID,
        entrance,
        keyring: keyring_name(id),
        joins_pids: namespaces.contains(CloneFlags::CLONE_NEWPID) && !machine.caller_is_root(),
    };
    let has_pid = namespaces.contains(CloneFlags::CLONE_NEWPID) && !child.joins_pids;
    let children = has_pid.then(|| ChildrenIn::pid_namespace(target.as_fd())).transpose();
    let children = children.map_err(|error| match error {
        // As for the namespaces that the child joins.
        Error::System { source: Errno::SRCH, .. } => wrong_state(id, Status::Stopped),
        other => other,
    })?;
    let mut launch_in = |target| launch(Kinship::of(as_sibling), CloneFlags::empty(), target, &mut child);
    let launched = match launch_in(entrance.clone_target()) {
        // The container has put itself into a cgroup below and hands controllers down: then only that takes a process.
        Err(Error::System { source: Errno::BUSY, .. }) if request.cgroups.is_empty() => {
            let below = cgroup::of_living(record)?.and_then(|cgroup| cgroup.open_below(record.pid));
            launch_in(below.as_ref().map(AsFd::as_fd).or_else(|| entrance.clone_target()))?
        }
        other => other?,
    };
    drop(children);
    drop(child);
    fault::point(23)?;
    log::debug!("created process {} for container {id}", launched.pid);
    let ready = launched.wait_ready_with(&mut |pid, awaited| match (awaited, &agent) {
        (Awaited::Listener(listener), Some(agent)) => {
            agent.hand_over(&listener, pid, &State::of(id, record.clone(), status))?;
            Ok(Vec::new())
        }
        _ => Ok(Vec::new()),
    })?;
    let finish = || -> Result<()> {
        console.hand_over(ready.console.as_ref())?;
        if let Some(path) = &pid_file {
            write_pid_file(path, ready.pid)?;
        }
        send_pidfd(pidfd_socket.as_ref(), &ready.pidfd)?;
        fault::point(24)?;
        ready.channel.start_and_follow()
    };
    if let Err(error) = finish() {
        ready.end();
        return Err(error);
    }
    Ok(Executed {
        pid: ready.pid,
        pidfd: ready.pidfd,
        console_master: ready.console.filter(|_| console.is_returned()),
        clamped: prepared.clamped,
    })
}

fn wrong_state(id: &Id, status: Status) -> Error {
    Error::State { id: id.to_string(), verb: "exec", status }
}

/// The root of a process, for a container that has no mount namespace of its own.
fn root_of(pid: i32, process: &OwnedFd) -> Result<OwnedFd> {
    let path = format!("/proc/{pid}/root");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, &path, flags, Mode::empty()).map_err(Error::system("open", &path))?;
    // While it lives the number is its own.
    match process::signal(process.as_fd(), Signal(0))? {
        true => Ok(root),
        false => Err(Error::Vanished { stage: "the exec" }),
    }
}

/// The namespaces that the container does not share with us, as its config.json says.
fn namespaces_of(spec: &Spec) -> CloneFlags {
    let list = spec.linux().iter().filter_map(|linux| linux.namespaces().as_ref()).flatten();
    // The specification's numbers are the kernel's flags.
    list.fold(CloneFlags::empty(), |flags, namespace| {
        flags | CloneFlags::from_bits_retain(namespace.typ() as i32)
    })
}
