//! Whether the out-of-memory killer hit a cgroup: read from a file that was opened before the cgroup may go.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::event::{EventfdFlags, PollFd, PollFlags};
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
        open(&version1.or_else(|| self.version2_folder().map(|folder| folder.join("memory.events")))?)
    }

    /// Asks the kernel to wake us when memory runs out; `None` where nobody controls memory.
    pub fn watch_oom(&self) -> Result<Option<OomWatch>, Error> {
        let Some(counter) = self.open_oom_counter() else { return Ok(None) };
        let Some(folder) = self.folder_of("memory") else {
            // The root of the hierarchy has no such file.
            let parent = self.version2_folder().and_then(Path::parent);
            let above = parent.and_then(|parent| open(&parent.join("memory.events")));
            return Ok(Some(OomWatch::Version2(Counters::new(counter, above))));
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

fn open(path: &Path) -> Option<OwnedFd> {
    fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()
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
    /// The kernel marks the files as changed, for this and for other reasons.
    Version2(Counters),
}

impl OomWatch {
    /// What to poll: any of them is a reason to ask whether it [`happened`](Self::happened).
    pub fn polled(&self) -> impl Iterator<Item = PollFd<'_>> {
        let (first, second, flags) = match self {
            OomWatch::Version1 { event, .. } => (Some(event), None, PollFlags::IN),
            OomWatch::Version2(counters) => (counters.own.as_ref(), counters.above.as_ref(), PollFlags::PRI),
        };
        first.into_iter().chain(second).map(move |file| PollFd::new(file, flags))
    }

    /// After a wake-up: did memory run out? The removal of the cgroup wakes too.
    pub fn happened(&mut self) -> bool {
        match self {
            OomWatch::Version1 { event, folder } => {
                let mut count = [0; 8];
                let counted = matches!(rustix::io::read(&*event, &mut count), Ok(8));
                counted && fs::access(&*folder, fs::Access::EXISTS).is_ok()
            }
            OomWatch::Version2(counters) => {
                let kills = counters.tally.kills;
                counters.read();
                counters.tally.kills > kills
            }
        }
    }
}

/// `memory.events` of a cgroup and of the one above it, which counts everything below, also what is gone.
///
/// A cgroup may be removed before anybody has read why it became empty: systemd does so at once, and then an open file says
/// nothing any more. What the one above has counted by then, less what others there account for, is the last count.
#[derive(Debug)]
pub struct Counters {
    /// Both are not there any more once the cgroup was found gone: that was the last look, and its file would wake for ever.
    own: Option<OwnedFd>,
    above: Option<OwnedFd>,
    tally: Tally,
}

impl Counters {
    fn new(own: OwnedFd, above: Option<OwnedFd>) -> Counters {
        let mut counters = Counters { own: Some(own), above, tally: Tally::default() };
        counters.read();
        counters
    }

    fn read(&mut self) {
        let Some(own) = &self.own else { return };
        // First the one above: what happens between the two is then never taken for another's.
        let above = self.above.as_ref().and_then(|file| kills_in(file.as_fd()));
        let own = kills_in(own.as_fd());
        self.tally.add(above, own);
        if own.is_none() {
            (self.own, self.above) = (None, None);
        }
    }
}

/// Who was killed, by two counters of which one may be gone.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    /// In the cgroup.
    kills: u64,
    /// In others below the same parent. Never too many: the kernel counts in the cgroup first, and the parent is read first.
    others: u64,
}

impl Tally {
    fn add(&mut self, above: Option<u64>, own: Option<u64>) {
        match (above, own) {
            (Some(above), Some(own)) => self.others = self.others.max(above.saturating_sub(own)),
            // Another's, between the last look and the removal, would be taken for ours: a matter of milliseconds, as each of
            // them wakes us.
            (Some(above), None) => self.kills = self.kills.max(above.saturating_sub(self.others)),
            (None, _) => {}
        }
        self.kills = own.unwrap_or(self.kills);
    }
}

/// How many processes of the cgroup the kernel killed for want of memory; 0 when the cgroup is gone.
pub fn oom_kills(counter: BorrowedFd<'_>) -> u64 {
    kills_in(counter).unwrap_or(0)
}

/// `None` when the cgroup is gone.
fn kills_in(counter: BorrowedFd<'_>) -> Option<u64> {
    let mut buffer = [0; 512];
    let length = rustix::io::pread(counter, &mut buffer, 0).ok()?;
    Some(std::str::from_utf8(&buffer[..length]).map_or(0, count_in))
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

    /// What the looks after the first one find.
    fn seen(looks: &[(Option<u64>, Option<u64>)]) -> Vec<u64> {
        let mut tally = Tally::default();
        tally.add(looks[0].0, looks[0].1);
        let mut kills = tally.kills;
        let mut look = |(above, own): &(Option<u64>, Option<u64>)| {
            tally.add(*above, *own);
            tally.kills - std::mem::replace(&mut kills, tally.kills)
        };
        looks[1..].iter().map(&mut look).collect()
    }

    #[test]
    fn what_the_parent_counted_last_is_the_end_of_a_cgroup_that_is_gone() {
        assert_eq!(seen(&[(Some(0), Some(0)), (Some(1), None)]), [1]);
        // Those of before, its own and others', were told or are not its.
        assert_eq!(seen(&[(Some(7), Some(2)), (Some(7), None)]), [0]);
        assert_eq!(
            seen(&[(Some(7), Some(2)), (Some(8), Some(3)), (Some(10), None), (Some(10), None)]),
            [1, 2, 0]
        );
        // Another's is not its own, if there was a look.
        assert_eq!(seen(&[(Some(0), Some(0)), (Some(1), Some(0)), (Some(1), None)]), [0, 0]);
        // One that the parent has not counted yet is none that comes twice.
        assert_eq!(seen(&[(Some(0), Some(0)), (Some(0), Some(1)), (Some(1), None)]), [1, 0]);
        // A parent that counts only for itself (mount option memory_localevents), or that is gone, adds nothing.
        assert_eq!(seen(&[(Some(0), Some(3)), (Some(0), None)]), [0]);
        assert_eq!(seen(&[(None, Some(1)), (None, Some(2)), (None, None)]), [1, 0]);
    }

    #[test]
    fn after_the_last_look_nothing_is_polled_nor_counted() {
        let folder = tempfile::tempdir().unwrap();
        let above = folder.path().join("memory.events");
        std::fs::write(&above, "oom_kill 4\n").unwrap();
        // One that can be opened and not read, as the file of a cgroup that is gone.
        let gone = open(folder.path()).unwrap();
        let mut watch = OomWatch::Version2(Counters::new(gone, open(&above)));
        std::fs::write(&above, "oom_kill 5\n").unwrap();
        assert_eq!((watch.polled().count(), watch.happened()), (0, false));

        std::fs::write(folder.path().join("own"), "oom_kill 1\n").unwrap();
        let mut watch =
            OomWatch::Version2(Counters::new(open(&folder.path().join("own")).unwrap(), open(&above)));
        std::fs::write(folder.path().join("own"), "oom_kill 2\n").unwrap();
        assert_eq!((watch.polled().count(), watch.happened(), watch.happened()), (2, true, false));
    }
}
