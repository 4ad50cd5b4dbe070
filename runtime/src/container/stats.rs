//! `events` and `ps`: what a container uses, when it runs out of memory, and its processes.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

use super::cgroup;
use super::record::{Folder, observe};
use super::{Id, Status};
use crate::cgroup::{Cgroup, OomWatch, Stats};
use crate::error::{Error, Result};

/// The processes of a container, in the numbers of the caller's PID namespace, sorted.
pub fn processes(state_root: &Path, id: &Id) -> Result<Vec<i32>> {
    let folder = Folder::open(state_root, id)?;
    let record = folder.read()?;
    let status = observe(&folder, record.as_ref())?.status;
    match record.filter(|_| status != Status::Creating) {
        Some(record) if record.cgroup.is_none() => Err(Error::NoCgroup { id: id.to_string(), verb: "ps" }),
        Some(record) => Ok(cgroup::if_own(id, &record)?.map_or(Ok(Vec::new()), |own| own.processes())?),
        None => Err(Error::State { id: id.to_string(), verb: "ps", status }),
    }
}

/// A container that is being watched.
#[derive(Debug)]
pub struct Watched {
    first: OwnedFd,
    cgroup: Cgroup,
    oom: Option<OomWatch>,
}

/// What woke a watcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The time is over.
    Time,
    /// A process was killed for want of memory, or waits because it may not be.
    OutOfMemory,
    /// The first process has ended.
    Ended,
}

impl Watched {
    /// Watches a container that has a process.
    pub fn new(state_root: &Path, id: &Id) -> Result<Watched> {
        let folder = Folder::open(state_root, id)?;
        let record = folder.read()?;
        let observed = observe(&folder, record.as_ref())?;
        let (Some(record), Some(first)) = (record, observed.process) else {
            return Err(Error::State { id: id.to_string(), verb: "events", status: observed.status });
        };
        let missing = Error::NoCgroup { id: id.to_string(), verb: "events" };
        let cgroup = cgroup::of_living(&record)?.ok_or(missing)?;
        Ok(Watched { first, oom: cgroup.watch_oom()?, cgroup })
    }

    /// What it uses now.
    pub fn stats(&self) -> Stats {
        self.cgroup.stats()
    }

    /// Waits until something happens or the time is over.
    pub fn wait(&mut self, time: Duration) -> Result<Event> {
        let ends = Instant::now() + time;
        loop {
            let left = ends.saturating_duration_since(Instant::now());
            let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
            let mut polled = vec![PollFd::new(&self.first, PollFlags::IN)];
            polled.extend(self.oom.iter().flat_map(OomWatch::polled));
            match rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, Some(&timeout))) {
                Ok(0) => return Ok(Event::Time),
                Ok(_) => {}
                Err(errno) => return Err(Error::system("wait for", "the container")(errno)),
            }
            let ended = !polled[0].revents().is_empty();
            let woken = polled[1..].iter().any(|polled| !polled.revents().is_empty());
            drop(polled);
            // The kernel tells changes of a control file once in 10 ms, and the first process may have ended for that reason.
            if (woken || ended) && self.oom.as_mut().is_some_and(OomWatch::happened) {
                return Ok(Event::OutOfMemory);
            }
            if ended {
                return Ok(Event::Ended);
            }
        }
    }
}
