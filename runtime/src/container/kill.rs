//! `kill`: a signal to a container's first process, or to all of its processes.

use std::os::fd::AsFd;
use std::path::Path;

use super::pause::cgroup_of;
use super::record::{Folder, Record, observe};
use super::{Id, Status};
use crate::cgroup::Cgroup;
use crate::error::{Error, Result};
use crate::process::{self, Signal};

/// Whom a signal goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The first process.
    First,
    /// Every process in the container's cgroup.
    All,
}

/// Sends a signal.
pub fn kill(state_root: &Path, id: &Id, signal: Signal, target: Target) -> Result<()> {
    let folder = Folder::open(state_root, id)?;
    let record = folder.read()?;
    let observed = observe(&folder, record.as_ref())?;
    let refuse = || Error::State { id: id.to_string(), verb: "kill", status: observed.status };
    match (target, &record, &observed.process) {
        // The others would go on without the first, and nobody could reach them any more.
        (_, Some(record), _) if signal == Signal::KILL && record.shares_pids && ours(record)? => {
            let cgroup = cgroup_of(record)?;
            if observed.process.is_none() && cgroup.processes()?.is_empty() {
                return Err(refuse());
            }
            Ok(cgroup.kill()?)
        }
        // What a container leaves behind in a shared PID namespace outlives its first process.
        // Before there is one the cgroup that the record names may be somebody else's.
        (Target::All, Some(record), _) if ours(record)? => {
            let cgroup = cgroup_of(record)?;
            if signal == Signal::KILL {
                cgroup.kill()?
            } else {
                signal_all(&cgroup, signal)?
            }
            Ok(())
        }
        (Target::First, record, Some(first)) if observed.status.can_kill() => {
            if !process::signal(first.as_fd(), signal)? {
                return Err(refuse());
            }
            match record {
                // It cannot die in the freezer.
                Some(record) if signal == Signal::KILL && observed.status == Status::Paused => {
                    Ok(cgroup_of(record)?.thaw()?)
                }
                _ => Ok(()),
            }
        }
        _ => Err(refuse()),
    }
}

/// Is the cgroup that the record names this container's?
fn ours(record: &Record) -> Result<bool> {
    Ok(record.pid > 0 && record.is_of_this_boot()?)
}

/// Named signals go through the cgroup, which freezes it meanwhile; it has no names for real-time ones.
fn signal_all(cgroup: &Cgroup, signal: Signal) -> Result<()> {
    if let Some(named) = rustix::process::Signal::from_named_raw(signal.0) {
        return Ok(cgroup.signal(named)?);
    }
    for pid in cgroup.processes()? {
        if let Some(stat) = process::stat(pid)?
            && let Some(pidfd) = process::open(pid, stat.start_time)?
        {
            process::signal(pidfd.as_fd(), signal)?;
        }
    }
    Ok(())
}
