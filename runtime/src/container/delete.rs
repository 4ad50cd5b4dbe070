//! `delete`: removes what `create` made.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use super::cgroup;
use super::create::PATIENCE;
use super::list::ids;
use super::record::{Folder, Record, observe};
use super::{Id, State, Status};
use crate::cgroup::Cgroup;
use crate::error::{Error, Kind, Result};
use crate::fault;
use crate::hooks::{self, Defaults, HookFailure, Point};
use crate::process::{self, Signal};

/// Deletes a container. With `force` one that runs is killed, one that was half created is cleared away, and one
/// that does not exist is no error. Returns the hooks after it that failed, which changes nothing.
pub fn delete(state_root: &Path, id: &Id, force: bool) -> Result<Vec<HookFailure>> {
    let folder = match Folder::open(state_root, id) {
        Err(error) if force && error.kind() == Kind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let _lock = match folder.try_lock()? {
        Some(lock) => lock,
        None => {
            if force {
                // Whoever has it may wait for the container itself, as a start does for a hook in it.
                kill_first(&folder)?;
            }
            folder.lock()?
        }
    };
    let record = folder.read()?;
    let observed = observe(&folder, record.as_ref())?;
    if !force && !observed.status.can_delete() {
        return Err(Error::State { id: id.to_string(), verb: "delete", status: observed.status });
    }
    fault::point(25)?;
    let mut failures = Vec::new();
    // No signal reaches into the freezer, so a paused container goes by its cgroup, which lets go of the dying.
    if let Some(record) = record.as_ref().filter(|_| observed.status == Status::Paused) {
        let kill = |cgroup: Option<Cgroup>| Ok(cgroup.map_or(Ok(()), |cgroup| cgroup.kill())?);
        failures.extend(cgroup::of_living(record).and_then(kill).err());
    }
    if let Some(first) = &observed.process {
        failures.extend(end(first).err());
    }
    fault::point(26)?;
    let cleared = match &record {
        // Undoing goes on: a cgroup that cannot be removed must not keep the process alive, nor the other way.
        Some(record) => remove_cgroup(id, record),
        None => Ok(()),
    };
    log::debug!(
        "container {id} was {}: its processes and cgroup are gone: {}",
        observed.status,
        cleared.is_ok()
    );
    fault::point(27)?;
    let mut failed_hooks = Vec::new();
    match cleared {
        Ok(()) => match folder.remove() {
            Ok(()) => failed_hooks = run_poststop(id, record),
            Err(error) => failures.push(error),
        },
        // The record stays, for it names what is left.
        Err(error) => failures.push(error),
    }
    fault::point(28)?;
    Error::collect(failures).map(|()| failed_hooks)
}

/// Deletes, running or not, the containers whose bundle `is_abandoned`: what whoever made them left behind when it was
/// killed together with the runtime that it had started. Records that cannot be read are passed over.
pub fn delete_abandoned(state_root: &Path, is_abandoned: impl Fn(&Path) -> bool) -> Result<()> {
    let mut failures = Vec::new();
    for id in ids(state_root)? {
        let record = Folder::open(state_root, &id).and_then(|folder| folder.read());
        if record.is_ok_and(|record| record.is_some_and(|record| is_abandoned(&record.bundle))) {
            failures.extend(delete(state_root, &id, true).err());
        }
    }
    Error::collect(failures)
}

/// Runs the hooks that follow the end of everything, each whatever became of the others.
pub(super) fn run_poststop(id: &Id, record: Option<Record>) -> Vec<HookFailure> {
    let Some(record) = record.filter(|record| !record.hooks.poststop.is_empty()) else { return Vec::new() };
    log::debug!("running the poststop hooks");
    let hooks = record.hooks.poststop.clone();
    let state = State { pid: 0, ..State::of(id, record, Status::Stopped) };
    let defaults = Defaults { directory: Some(&state.bundle), environment: None };
    hooks::each(Point::Poststop, &hooks, &state, defaults).collect()
}

fn kill_first(folder: &Folder) -> Result<()> {
    let record = folder.read()?;
    match observe(folder, record.as_ref())?.process {
        Some(first) => process::signal(first.as_fd(), Signal::KILL).map(drop),
        None => Ok(()),
    }
}

/// Kills a process and waits until it is gone, which for one in an uninterruptible call may be long.
pub(super) fn end(first: &OwnedFd) -> Result<()> {
    process::signal(first.as_fd(), Signal::KILL)?;
    let mut polled = [PollFd::new(first, PollFlags::IN)];
    let patience = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
    match rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, Some(&patience))) {
        Ok(0) => Err(Error::System {
            operation: "kill",
            object: "the container's first process".to_owned(),
            source: Errno::TIMEDOUT,
        }),
        Ok(_) => Ok(()),
        Err(errno) => Err(Error::system("wait for", "the container's first process")(errno)),
    }
}

fn remove_cgroup(id: &Id, record: &Record) -> Result<()> {
    // What another container has by now is neither killed nor removed.
    let Some(cgroup) = cgroup::if_own(id, record)? else { return Ok(()) };
    // A creation that was stopped may have stopped before it made the cgroup, which then is somebody else's, unless it bears our
    // mark. Its own process, if there was one, ended with its creator, but for one that somebody has frozen.
    let is_proven = || cgroup.owner().is_some_and(|owner| owner == cgroup::mark(id, record));
    if (record.pid > 0 && record.is_of_this_boot()?) || is_proven() {
        cgroup.kill()?;
    }
    match cgroup.remove(PATIENCE) {
        // So it is somebody else's, and nobody made one for this container.
        Err(error) if record.pid == 0 && error.kind() == Kind::PermissionDenied => Ok(()),
        other => Ok(other?),
    }
}
