//! `kill`: a signal to a container's first process, or to all of its processes.

use std::os::fd::AsFd;
use std::path::Path;

use super::cgroup;
use super::record::{Folder, Record, observe};
use super::{Id, Status};
use crate::cgroup::Cgroup;
use crate::error::{Error, Result};
use crate::fault;
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
    fault::point(56)?;
    // The others would go on without the first, and nobody could reach them any more.
    let kills_others = signal == Signal::KILL && record.as_ref().is_some_and(|record| record.shares_pids);
    let has_cgroup = record.as_ref().is_some_and(|record| record.cgroup.is_some());
    let cgroup = match &record {
        Some(record) if kills_others || target == Target::All => own_cgroup(id, record)?,
        _ => None,
    };
    match (target, cgroup, &observed.process) {
        (_, Some(cgroup), _) if kills_others => {
            if observed.process.is_none() && cgroup.processes()?.is_empty() {
                return Err(refuse());
            }
            Ok(cgroup.kill()?)
        }
        // What a container leaves behind in a shared PID namespace outlives its first process.
        (Target::All, Some(cgroup), _) => {
            if signal == Signal::KILL {
                cgroup.kill()?
            } else {
                signal_all(&cgroup, signal)?
            }
            Ok(())
        }
        // Without a cgroup the others are known only as those that end with the first.
        (Target::All, None, Some(_)) if !has_cgroup && (signal != Signal::KILL || kills_others) => {
            Err(Error::NoCgroup { id: id.to_string(), verb: "kill --all" })
        }
        (_, None, Some(first)) if observed.status.can_kill() && (target == Target::First || !has_cgroup) => {
            if !process::signal(first.as_fd(), signal)? {
                return Err(refuse());
            }
            match &record {
                // It cannot die in the freezer.
                Some(record) if signal == Signal::KILL && observed.status == Status::Paused => {
                    Ok(cgroup::of_living(record)?.map_or(Ok(()), |cgroup| cgroup.thaw())?)
                }
                _ => Ok(()),
            }
        }
        _ => Err(refuse()),
    }
}

/// The cgroup that the record names, if it is this container's: before it had a process, after a boot, or when it was
/// taken over, it may be somebody else's.
fn own_cgroup(id: &Id, record: &Record) -> Result<Option<Cgroup>> {
    if record.pid > 0 && record.is_of_this_boot()? { cgroup::if_own(id, record) } else { Ok(None) }
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
