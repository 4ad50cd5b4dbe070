//! Ending a container whatever its monitor does: that may serve too many callers, or have been stopped by a signal.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use runtime::container::Target;
use runtime::monitor::client::ClientError;
use runtime::monitor::protocol::ErrorKind;
use runtime::process::{self, Signal};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags};

use crate::containers::Containers;
use crate::control::{self, Life};
use crate::error::{Error, Result};
use crate::record::Record;

/// How long a killed monitor may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// Kills a container; returns when its folder's lock is free, or held for its next life. What its monitor could not remove
/// is left to whoever takes that lock.
pub fn end(containers: &Containers, record: &Record) -> Result<()> {
    let life = Life::of(&containers.state(&record.id)?);
    let error = match control::stop(containers, record, Signal::KILL, None) {
        Err(Error::Client(error)) => error,
        ended => return ended,
    };
    match error.refusal() {
        // It has ended. Who removes the rest sees for himself why that is not possible.
        Some(ErrorKind::Failed) => {}
        Some(ErrorKind::Busy) => kill_processes(containers, record)?,
        // The monitor of a pod is Kubernetes' business, and other containers hang on it.
        None if error.is_late() && record.cri.is_none() => return kill_monitor(containers, record, error),
        _ => return Err(error.into()),
    }
    life.map_or(Ok(()), |life| control::wait_until_free(containers, record, life))
}

/// By way of its cgroup; the monitor then sees that it has ended.
fn kill_processes(containers: &Containers, record: &Record) -> Result<()> {
    let id = record.id.parse().map_err(Error::Runtime)?;
    match runtime::container::kill(&containers.runtime_state(), &id, Signal::KILL, Target::All) {
        Err(error) if error.kind() == runtime::error::Kind::NotFound => Ok(()),
        killed => Ok(killed?),
    }
}

/// Kills the monitor that has the lock of a container, whose first process dies with it. `error` says what it did not answer.
fn kill_monitor(containers: &Containers, record: &Record, error: ClientError) -> Result<()> {
    let folder = containers.folder(&record.id);
    for pid in pids().map_err(Error::io("list", "/proc"))? {
        // First the process, then what it is: so the number cannot have been given to another.
        let Ok(monitor) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { continue };
        if is_monitor(pid) && has_lock(pid, &folder) {
            process::signal(std::os::fd::AsFd::as_fd(&monitor), Signal::KILL)?;
            return match has_ended(&monitor).map_err(Error::io("wait for", "the monitor"))? {
                true => Ok(()),
                false => Err(error.into()),
            };
        }
    }
    // It is gone, or in another PID namespace: then its lock is still held, and what comes next says so.
    Ok(())
}

fn pids() -> std::io::Result<Vec<Pid>> {
    let names = fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.filter_map(|name| Pid::from_raw(name.parse().ok()?)).collect())
}

/// Whoever makes a container has its lock, too, and is not meant.
fn is_monitor(pid: Pid) -> bool {
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    command.split(|&byte| byte == 0).skip(1).any(|word| word == b"monitor")
}

/// Does the process have `folder` open with an exclusive lock?
fn has_lock(pid: Pid, folder: &Path) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    descriptors.filter_map(Result::ok).any(|descriptor| {
        // By name first: nothing that is on a hanging file system is asked anything.
        let by_name = fs::read_link(descriptor.path()).is_ok_and(|it| it.file_name() == folder.file_name());
        let same = || match (rustix::fs::stat(descriptor.path()), rustix::fs::stat(folder)) {
            (Ok(one), Ok(other)) => (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino),
            _ => false,
        };
        let locked = || {
            let number = descriptor.file_name();
            let facts = fs::read_to_string(format!("/proc/{pid}/fdinfo/{}", number.to_string_lossy()));
            facts.is_ok_and(|facts| {
                facts.lines().any(|line| line.starts_with("lock:") && line.contains(" WRITE "))
            })
        };
        by_name && same() && locked()
    })
}

fn has_ended(process: &OwnedFd) -> rustix::io::Result<bool> {
    let mut polled = [PollFd::new(process, PollFlags::IN)];
    let patience = Timespec { tv_sec: PATIENCE.as_secs().cast_signed(), tv_nsec: 0 };
    let count = rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, Some(&patience)))?;
    Ok(count > 0)
}
