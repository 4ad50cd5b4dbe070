//! Whether the out-of-memory killer hit a cgroup: read from a file that was opened before the cgroup may go.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::event::{EventfdFlags, PollFlags};
use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;

use super::group::write_file;
use super::{Cgroup, Error};

/// The counter's name in `memory.oom_control` (v1) and `memory.events` (v2).
const NAME: &str = "oom_kill";

impl Cgroup {
    /// Opens the file with the counter; `None` where nobody controls memory.
    pub fn open_oom_counter(&self) -> Option<OwnedFd> {
        let version1 = self.folder_of("memory").map(|folder| folder.join("memory.oom_control"));
        let path = version1.or_else(|| self.version2_folder().map(|folder| folder.join("memory.events")))?;
        fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()
    }

    /// Asks the kernel to wake us when memory runs out; `None` where nobody controls memory.
    pub fn watch_oom(&self) -> Result<Option<OomWatch>, Error> {
        let Some(counter) = self.open_oom_counter() else { return Ok(None) };
        let Some(folder) = self.folder_of("memory") else {
            let kills = oom_kills(counter.as_fd());
            return Ok(Some(OomWatch::Version2 { counter, kills }));
        };
        let failed =
            |operation| move |source: Errno| Error::Folder { operation, path: folder.to_owned(), source };
        let event = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(failed("watch"))?;
        // The kernel's cgroup-v1/memory.rst, section 10.
        let order = format!("{} {}", event.as_raw_fd(), counter.as_raw_fd());
        write_file(&folder.join("cgroup.event_control"), order.as_bytes()).map_err(failed("watch"))?;
        Ok(Some(OomWatch::Version1 { event, folder: folder.to_owned() }))
    }
}

/// A registered interest in a cgroup's want of memory.
#[derive(Debug)]
pub enum OomWatch {
    /// The kernel counts the event up.
    Version1 {
        /// The event.
        event: OwnedFd,
        /// The cgroup, whose removal counts the event up too.
        folder: PathBuf,
    },
    /// The kernel marks the file as changed, for this and for other reasons.
    Version2 {
        /// `memory.events`.
        counter: OwnedFd,
        /// What it said when last read.
        kills: u64,
    },
}

impl OomWatch {
    /// What to poll for.
    pub fn flags(&self) -> PollFlags {
        match self {
            OomWatch::Version1 { .. } => PollFlags::IN,
            OomWatch::Version2 { .. } => PollFlags::PRI,
        }
    }

    /// After a wake-up: did memory run out? The removal of the cgroup wakes too.
    pub fn happened(&mut self) -> bool {
        match self {
            OomWatch::Version1 { event, folder } => {
                let mut count = [0; 8];
                let counted = matches!(rustix::io::read(&*event, &mut count), Ok(8));
                counted && fs::access(&*folder, fs::Access::EXISTS).is_ok()
            }
            OomWatch::Version2 { counter, kills } => {
                let now = oom_kills(counter.as_fd());
                now > std::mem::replace(kills, now)
            }
        }
    }
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            OomWatch::Version1 { event, .. } => event.as_fd(),
            OomWatch::Version2 { counter, .. } => counter.as_fd(),
        }
    }
}

/// How many processes of the cgroup the kernel killed for want of memory; 0 when the cgroup is gone.
pub fn oom_kills(counter: BorrowedFd<'_>) -> u64 {
    let mut buffer = [0; 512];
    let length = rustix::io::pread(counter, &mut buffer, 0).unwrap_or(0);
    std::str::from_utf8(&buffer[..length]).map_or(0, count_in)
}

fn count_in(text: &str) -> u64 {
    let value = |line: &str| line.strip_prefix(NAME)?.strip_prefix(' ')?.trim().parse().ok();
    text.lines().find_map(value).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_is_found_in_both_versions() {
        assert_eq!(count_in("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"), 3);
        assert_eq!(count_in("low 0\nhigh 0\nmax 12\noom 1\noom_kill 1\noom_group_kill 0\n"), 1);
        assert_eq!(count_in("low 0\n"), 0);
        assert_eq!(count_in(""), 0);
    }
}
