//! Removing a cgroup in every hierarchy.

use std::time::{Duration, Instant};

use rustix::fs::{self, AtFlags, CWD};
use rustix::io::Errno;

use super::group::Place;
use super::{Cgroup, Error, systemd, tree};

/// Waiting starts here and doubles, as a process that was just reaped is gone within microseconds.
const FIRST_WAIT: Duration = Duration::from_micros(100);
const LONGEST_WAIT: Duration = Duration::from_millis(10);

impl Cgroup {
    /// Removes the cgroup and whatever cgroups the container made below it.
    ///
    /// With it goes the unit of systemd that it was made for.
    ///
    /// Waits until `patience` has passed for dying processes to leave. Goes on to the other hierarchies after a
    /// failure and returns the first one. A cgroup that is already gone is removed.
    pub fn remove(&self, patience: Duration) -> Result<(), Error> {
        let started = Instant::now();
        let mut first = Ok(());
        for place in self.places() {
            let result = place.remove(started, patience);
            if first.is_ok() {
                first = result;
            }
        }
        match self.unit() {
            // A scope that others are in has to stay, as has the record that names it.
            Some(unit) if first.is_ok() => systemd::stop(unit),
            _ => first,
        }
    }
}

impl Place {
    fn remove(&self, started: Instant, patience: Duration) -> Result<(), Error> {
        // The usual case, in one call: no process left and nothing below.
        match fs::unlinkat(CWD, &self.folder, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::BUSY) => {}
            Err(source) => return Err(self.folder_error(source)),
        }
        let mut wait = FIRST_WAIT;
        loop {
            match tree::remove(&self.folder) {
                Ok(()) => return Ok(()),
                Err(Errno::BUSY) if started.elapsed() < patience => {}
                Err(Errno::BUSY) => {
                    let processes = self.processes().unwrap_or_default();
                    return Err(Error::Busy {
                        path: self.folder.clone(),
                        milliseconds: started.elapsed().as_millis(),
                        processes: processes.into_iter().take(8).collect(),
                    });
                }
                Err(source) => return Err(self.folder_error(source)),
            }
            std::thread::sleep(wait);
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    fn folder_error(&self, source: Errno) -> Error {
        Error::Folder { operation: "remove", path: self.folder.clone(), source }
    }
}
