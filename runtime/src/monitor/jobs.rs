//! What workers do for a monitor: each job with just what it needs, and what to do with its result.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::sched::CloneFlags;
use rustix::fs::SealFlags;

use super::callers::CallerId;
use super::container::Kind;
use super::protocol::{ErrorKind, Pause};
use super::removal;
use super::worker::{JobFailure, Made, Outcome, Worker};
use crate::cgroup::{Cgroup, CgroupPath, Hierarchies};
use crate::container::{self, Console, CreateRequest, ExecRequest, ExecTarget, Id, PATIENCE, Stdio, Target};
use crate::error::Error;
use crate::network;
use crate::pause::{self, PauseRequest};
use crate::process::Signal;

/// Longest description of a process, in bytes: a million variables would be no process.
const LONGEST_PROCESS: u64 = 8 << 20;

/// A job under way: what to do with its result.
#[derive(Debug)]
pub(super) enum Job {
    /// A container, or the pod's pause, is being made at this place; who asked.
    Make(usize, CallerId, u32),
    /// A process is being executed for a caller.
    Exec {
        /// Who asked.
        caller: CallerId,
        /// The request.
        sequence: u32,
        /// It ends with its caller.
        bound: bool,
        /// The first process of its container.
        host: i32,
    },
    /// It executed something in the container with this first process, and waits for more.
    Parked(i32),
    /// A container that could not die is being killed; its end says that it was.
    Kill,
    /// A caller gets the result.
    Answer(CallerId, u32),
    /// What is left of the container at this place is being removed.
    Remove(usize),
}

impl Job {
    /// Does it make a child of the monitor's?
    pub(super) fn makes(&self) -> bool {
        matches!(self, Job::Make(..) | Job::Exec { .. })
    }
}

/// What a standalone monitor removes with its container.
#[derive(Debug, Clone, Default)]
pub struct Leftovers {
    /// The file of its attachment to a network.
    pub network: Option<PathBuf>,
    /// Its folder, by way of the trash.
    pub folder: Option<PathBuf>,
}

/// Makes a container.
pub(super) fn create(
    state_root: &Path,
    id: Id,
    folder: &Path,
    terminal: bool,
    rootfs: OwnedFd,
    stdio: Stdio,
) -> Result<Worker, JobFailure> {
    let mut kept = vec![rootfs.as_fd()];
    if let Stdio::Descriptors { stdin, stdout, stderr } = &stdio {
        kept.extend([stdin.as_fd(), stdout.as_fd(), stderr.as_fd()]);
    }
    // The borrows end before the child uses the owners.
    let kept = numbers(&kept);
    Worker::start(&kept, || {
        let created = container::create(CreateRequest {
            stdio,
            rootfs: Some(rootfs),
            console: if terminal { Console::Returned } else { Console::Absent },
            as_sibling: true,
            ..CreateRequest::of_a_monitor(id, folder.to_owned(), state_root.to_owned())
        })?;
        let pid = created.pid;
        let parts = created.into_parts();
        // A counter there has to be, for the terminal comes after it.
        let counter = parts.oom_counter.map_or_else(empty, Ok)?;
        let more = [parts.gate, Some(counter), parts.terminal];
        Ok(Outcome::Made(Made { pid, pidfd: parts.process, more }))
    })
}

/// Starts an executor for a container, which reads what that is with its first order.
pub(super) fn executor(state_root: &Path, id: Id) -> Result<Worker, JobFailure> {
    let mut target = None;
    Worker::start_executor(|order| {
        let process = read_process(order.process)?;
        if process.terminal().unwrap_or(false) != order.stdio.is_none() {
            let text = "the request and the process disagree about a terminal".to_owned();
            return Err(JobFailure { kind: ErrorKind::Malformed, text });
        }
        let console = if order.stdio.is_some() { Console::Absent } else { Console::Returned };
        let stdio = match order.stdio {
            Some([stdin, stdout, stderr]) => Stdio::Descriptors { stdin, stdout, stderr },
            None => Stdio::Inherit,
        };
        let request = ExecRequest {
            process,
            stdio,
            console,
            preserve_descriptors: 0,
            pid_file: None,
            as_sibling: true,
            ignore_paused: false,
            pidfd_socket: None,
            cgroups: Vec::new(),
        };
        let target = match &mut target {
            Some(target) => target,
            none => none.insert(ExecTarget::open(state_root, &id)?),
        };
        let executed = container::exec(target, request)?;
        let more = [executed.console_master, None, None];
        Ok(Outcome::Made(Made { pid: executed.pid, pidfd: executed.pidfd, more }))
    })
}

/// Makes the process that holds a pod's namespaces.
pub(super) fn pause(request: &Pause<'_>) -> Result<Worker, JobFailure> {
    Worker::start(&[], || {
        let paused = pause::create(PauseRequest {
            namespaces: namespaces_of(request),
            network: request.network_namespace.map(PathBuf::from),
            hostname: request.hostname.map(str::to_owned),
            sysctls: sysctls_of(request.sysctls.unwrap_or_default()),
            cgroup: CgroupPath::parse(request.cgroup).map_err(Error::from)?,
            as_sibling: true,
        })?;
        Ok(Outcome::Made(Made { pid: paused.pid, pidfd: paused.pidfd, more: [None, None, None] }))
    })
}

fn namespaces_of(pause: &Pause<'_>) -> CloneFlags {
    let mut namespaces = CloneFlags::empty();
    namespaces.set(CloneFlags::CLONE_NEWPID, pause.flags.pid);
    namespaces.set(CloneFlags::CLONE_NEWIPC, pause.flags.ipc);
    namespaces.set(CloneFlags::CLONE_NEWUTS, pause.hostname.is_some());
    namespaces
}

/// Lines of `name=value`.
fn sysctls_of(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().filter(|line| !line.is_empty());
    let pairs = lines.map(|line| line.split_once('=').unwrap_or((line, "")));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Removes what the kernel has of a container whose first process has ended, and then the `leftovers`.
pub(super) fn remove(
    state_root: &Path,
    id: &str,
    kind: &Kind,
    leftovers: &Leftovers,
) -> Result<Worker, JobFailure> {
    Worker::start(&[], || {
        let removed = match kind {
            Kind::Container => match id.parse::<Id>() {
                Ok(id) => container::delete(state_root, &id, true).map(drop),
                // It was never made.
                Err(_) => Ok(()),
            },
            Kind::Pause { cgroup } => remove_cgroup(cgroup),
        };
        let released = leftovers.network.as_deref().map_or(Ok(()), network::release);
        let trashed = leftovers.folder.as_deref().map_or(Ok(()), removal::remove);
        removed?;
        let failed = |text| JobFailure { kind: ErrorKind::Failed, text };
        released.map_err(|error| failed(error.to_string()))?;
        trashed.map_err(failed)?;
        Ok(Outcome::Done)
    })
}

/// Signals all processes of a container.
pub(super) fn signal_all(state_root: &Path, id: Id, number: i32) -> Result<Worker, JobFailure> {
    Worker::start(&[], || {
        container::kill(state_root, &id, Signal(number), Target::All)?;
        Ok(Outcome::Done)
    })
}

fn remove_cgroup(path: &str) -> Result<(), Error> {
    let cgroup = Cgroup::open(&Hierarchies::discover()?, &CgroupPath::parse(path)?);
    cgroup.kill()?;
    Ok(cgroup.remove(PATIENCE)?)
}

fn read_process(file: OwnedFd) -> Result<oci_spec::runtime::Process, JobFailure> {
    let failed = |kind, text| JobFailure { kind, text };
    // It must not change while we read it, and must not be a file that never ends.
    let seals = rustix::fs::fcntl_get_seals(&file).unwrap_or(SealFlags::empty());
    if !seals.contains(SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW) {
        return Err(failed(ErrorKind::Malformed, "the process is no sealed memory file".to_owned()));
    }
    let unread =
        |error: std::io::Error| failed(ErrorKind::Malformed, format!("cannot read the process: {error}"));
    let file = File::from(file);
    let length = file.metadata().map_err(unread)?.len();
    if length > LONGEST_PROCESS {
        return Err(failed(
            ErrorKind::Malformed,
            format!("the process is longer than {LONGEST_PROCESS} bytes"),
        ));
    }
    // From its start, whatever the offset that the caller has left.
    let mut text = vec![0; length as usize];
    file.read_exact_at(&mut text, 0).map_err(unread)?;
    serde_json::from_slice(&text)
        .map_err(|error| failed(ErrorKind::Malformed, format!("cannot understand the process: {error}")))
}

/// A file without content.
fn empty() -> Result<OwnedFd, JobFailure> {
    rustix::fs::memfd_create("none", rustix::fs::MemfdFlags::CLOEXEC)
        .map_err(|errno| Error::system("create", "a memory file")(errno).into())
}

fn numbers(descriptors: &[BorrowedFd<'_>]) -> Vec<std::os::fd::RawFd> {
    descriptors.iter().map(std::os::fd::AsRawFd::as_raw_fd).collect()
}
