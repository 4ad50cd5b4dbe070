//! The process that a new scope begins with: systemd makes none without.
//!
//! The container's first process is born in its cgroup and finds every limit and device rule in force, so the cgroup has to
//! be there before it. Until then a child of ours holds it, which does nothing and ends with us.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use crate::cgroup::group::write_file;
use crate::cgroup::mounts::read_whole;
use crate::cgroup::{Cgroup, Error};
use crate::sys::clone::{Cloned, clone3, exit_now};

/// It ends with its value.
#[derive(Debug)]
pub struct Occupant {
    pid: i32,
    pidfd: OwnedFd,
    /// It waits for the end of this, which comes with ours, whatever way that is.
    _held: OwnedFd,
    /// The file and the limit that was in it before there was room for one more.
    limit: Option<(PathBuf, u64)>,
}

impl Occupant {
    pub(super) fn new() -> Result<Occupant, Errno> {
        let (ended, held) = pipe_with(PipeFlags::CLOEXEC)?;
        match clone3(0, None)? {
            Cloned::Child => {
                drop(held);
                let _ = rustix::io::read(&ended, &mut [0; 1]);
                exit_now(0)
            }
            Cloned::Parent { pid, pidfd } => Ok(Occupant { pid, pidfd, _held: held, limit: None }),
        }
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    /// Where the limit of processes would not let the container's first process in beside it, lets one more in.
    pub fn make_room(&mut self, cgroup: &Cgroup) -> Result<(), Error> {
        let Some(file) = cgroup.version2_folder().map(|folder| folder.join("pids.max")) else {
            return Ok(());
        };
        let text = read_whole(&file).unwrap_or_default();
        let Some(limit) = std::str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok()) else {
            return Ok(());
        };
        write_limit(&file, limit + 1)?;
        self.limit = Some((file, limit));
        Ok(())
    }

    /// Ends it, and sets the limit of processes as it was.
    pub fn leave(mut self) -> Result<(), Error> {
        let limit = self.limit.take();
        drop(self);
        limit.map_or(Ok(()), |(file, limit)| write_limit(&file, limit))
    }
}

fn write_limit(file: &Path, limit: u64) -> Result<(), Error> {
    write_file(file, limit.to_string().as_bytes()).map_err(|source| Error::Setting {
        file: "pids.max".to_owned(),
        group: file.parent().unwrap_or(file).display().to_string(),
        value: limit.to_string(),
        source,
        hint: "",
    })
}

impl Drop for Occupant {
    fn drop(&mut self) {
        // Both fail only where it has ended, and where it was waited for.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        let _ = waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
    }
}
