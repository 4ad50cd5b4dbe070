//! `delete`: removes what `create` made.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use super::Id;
use super::create::PATIENCE;
use super::record::{Folder, Record, observe};
use crate::cgroup::{Cgroup, CgroupPath, Hierarchies};
use crate::error::{Error, Kind, Result};
use crate::fault;
use crate::process::{self, Signal};

/// Deletes a container. With `force` one that runs is killed, one that was half created is cleared away, and one
/// that does not exist is no error.
pub fn delete(state_root: &Path, id: &Id, force: bool) -> Result<()> {
    let folder = match Folder::open(state_root, id) {
        Err(error) if force && error.kind() == Kind::NotFound => return Ok(()),
        other => other?,
    };
    let _lock = folder.lock()?;
    let record = folder.read()?;
    let observed = observe(&folder, record.as_ref())?;
    if !force && !observed.status.can_delete() {
        return Err(Error::State { id: id.to_string(), verb: "delete", status: observed.status });
    }
    fault::point(25)?;
    let mut failures = Vec::new();
    if let Some(first) = &observed.process {
        failures.extend(end(first).err());
    }
    fault::point(26)?;
    let cleared = match &record {
        // Undoing goes on: a cgroup that cannot be removed must not keep the process alive, nor the other way.
        Some(record) => remove_cgroup(record),
        None => Ok(()),
    };
    fault::point(27)?;
    match cleared {
        Ok(()) => failures.extend(folder.remove().err()),
        // The record stays, for it names what is left.
        Err(error) => failures.push(error),
    }
    fault::point(28)?;
    Error::collect(failures)
}

/// Deletes, running or not, the containers whose bundle `is_abandoned`: what whoever made them left behind when it was
/// killed together with the runtime that it had started. Records that cannot be read are passed over.
pub fn delete_abandoned(state_root: &Path, is_abandoned: impl Fn(&Path) -> bool) -> Result<()> {
    let fail = || Error::system("list", state_root.to_string_lossy());
    let entries = match std::fs::read_dir(state_root) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(|error| fail()(errno_of(&error)))?,
    };
    let mut failures = Vec::new();
    for entry in entries {
        let name = entry.map_err(|error| fail()(errno_of(&error)))?.file_name();
        let Some(id) = name.to_str().and_then(|name| name.parse::<Id>().ok()) else { continue };
        let record = Folder::open(state_root, &id).and_then(|folder| folder.read());
        if record.is_ok_and(|record| record.is_some_and(|record| is_abandoned(&record.bundle))) {
            failures.extend(delete(state_root, &id, true).err());
        }
    }
    Error::collect(failures)
}

fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// Kills a process and waits until it is gone, which for one in an uninterruptible call may be long.
fn end(first: &OwnedFd) -> Result<()> {
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

fn remove_cgroup(record: &Record) -> Result<()> {
    let cgroup = Cgroup::open(&Hierarchies::discover()?, &CgroupPath::parse(&record.cgroup)?);
    // A creation that was stopped may have stopped before it made the cgroup, which then is somebody else's. Its
    // own process, if there was one, ended with its creator.
    if record.pid > 0 {
        cgroup.kill()?;
    }
    Ok(cgroup.remove(PATIENCE)?)
}
