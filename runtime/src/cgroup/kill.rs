//! Signalling everything in a cgroup.
//!
//! `cgroup.kill` of the v2 hierarchy, which a hybrid machine has too, kills all at once and loses no race with a
//! fork. Without it (kernel before 5.14, or v1 only) the freezer holds the processes still while they are signalled.
//! A number read from `cgroup.procs` may belong to another process by the time it is used: so it is turned into a
//! descriptor, and the list is read again, before any signal goes out.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::freeze::{freeze, is_frozen, thaw};
use super::group::{Place, write_file};
use super::mounts::read_whole;
use super::{Cgroup, Error, tree};

/// How long the freezer may take before we signal without it.
const FREEZE_PATIENCE: Duration = Duration::from_millis(500);
/// How long to go on against a fork bomb that no freezer could stop.
const KILL_PATIENCE: Duration = Duration::from_secs(2);

/// What one pass of signalling can promise.
#[derive(Debug, PartialEq, Eq)]
enum Signalled {
    /// Every member, as none could fork meanwhile.
    All,
    /// Those that were seen; they were running, so others may be there now.
    Running,
}

impl Cgroup {
    /// Kills every process in the cgroup and below. Does not wait for them to be gone; [`Cgroup::remove`] does.
    pub fn kill(&self) -> Result<(), Error> {
        if self.kill_version2()? && self.strays()?.is_empty() {
            // A kill does not reach into the freezer of v1.
            return self.folder_of("freezer").map_or(Ok(()), |_| self.thaw());
        }
        let started = Instant::now();
        // One round is enough when the freezer holds them; otherwise go on until no child escapes.
        while self.signal_once(Signal::KILL)? == Signalled::Running && started.elapsed() < KILL_PATIENCE {
            std::thread::sleep(Duration::from_micros(500));
        }
        Ok(())
    }

    /// True if the v2 hierarchy killed all its members.
    fn kill_version2(&self) -> Result<bool, Error> {
        let Some(folder) = self.version2_folder() else { return Ok(false) };
        match write_file(&folder.join("cgroup.kill"), b"1") {
            Ok(()) => Ok(true),
            Err(Errno::NOENT | Errno::NODEV) => Ok(false),
            Err(source) => Err(self.kill_error(source)),
        }
    }

    /// Members of the v1 cgroups that are not in the v2 one: an escape that the v2 kill does not reach.
    fn strays(&self) -> Result<Vec<i32>, Error> {
        let Some(folder) = self.folder_of("freezer") else { return Ok(Vec::new()) };
        let mut members = self.place_at(folder).map_or(Ok(Vec::new()), Place::living)?;
        if let Some(place) = self.version2_folder().and_then(|folder| self.place_at(folder)) {
            let killed = place.processes()?;
            members.retain(|process| killed.binary_search(process).is_err());
        }
        Ok(members)
    }

    /// Sends a signal to every process in the cgroup and below.
    pub fn signal(&self, signal: Signal) -> Result<(), Error> {
        self.signal_once(signal).map(drop)
    }

    /// Every process in the cgroup and below, in the numbers of the caller's PID namespace, sorted.
    pub fn processes(&self) -> Result<Vec<i32>, Error> {
        match self.members_place() {
            Some(place) => place.processes(),
            None => Ok(Vec::new()),
        }
    }

    /// Where the list of members is read: the freezer's hierarchy, as it must agree with what is frozen, else v2.
    fn members_place(&self) -> Option<&Place> {
        self.folder_of("freezer")
            .or_else(|| self.version2_folder())
            .and_then(|folder| self.place_at(folder))
            .or_else(|| self.places().first())
    }

    fn place_at(&self, folder: &Path) -> Option<&Place> {
        self.places().iter().find(|place| place.folder == folder)
    }

    /// One pass over the living members: freeze where there is a freezer, signal, thaw.
    fn signal_once(&self, signal: Signal) -> Result<Signalled, Error> {
        let Some(place) = self.members_place() else { return Ok(Signalled::All) };
        if place.living()?.is_empty() {
            return Ok(Signalled::All);
        }
        let file = self.freezer_file();
        // Who is paused stays so, and gets the signal when resumed; what kills cannot wait for that.
        let paused = file.as_deref().is_some_and(is_frozen);
        let still = paused || file.as_deref().is_some_and(|file| freeze(file, FREEZE_PATIENCE).is_ok());
        let result = place.signal(signal);
        if let Some(file) = file.filter(|_| still && (!paused || signal == Signal::KILL)) {
            thaw(&file).map_err(|source| self.kill_error(source))?;
        }
        result.map(|()| if still { Signalled::All } else { Signalled::Running })
    }

    fn kill_error(&self, source: Errno) -> Error {
        Error::Folder { operation: "signal the processes of", path: self.path().as_str().into(), source }
    }
}

impl Place {
    /// Every process in this hierarchy's cgroup and below.
    pub(super) fn processes(&self) -> Result<Vec<i32>, Error> {
        let mut processes = Vec::new();
        tree::walk(&self.folder, &mut |folder| {
            let file =
                match fs::openat(folder, c"cgroup.procs", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
                    Ok(file) => file,
                    Err(Errno::NOENT | Errno::NODEV) => return Ok(()),
                    Err(error) => return Err(error),
                };
            let list = match read_descriptor(&file) {
                // A threaded v2 cgroup lists its processes at the root of its domain only.
                Err(Errno::OPNOTSUPP | Errno::NODEV) => return Ok(()),
                other => other?,
            };
            let list = String::from_utf8_lossy(&list);
            processes.extend(list.split_ascii_whitespace().filter_map(|number| number.parse::<i32>().ok()));
            Ok(())
        })
        .map_err(|source| Error::Read { path: self.folder.join("cgroup.procs"), source })?;
        processes.sort_unstable();
        processes.dedup();
        Ok(processes)
    }

    /// Members that have not exited. The dead stay listed until they are reaped, which only their parent can do.
    fn living(&self) -> Result<Vec<i32>, Error> {
        Ok(self.processes()?.into_iter().filter(|process| is_alive(*process)).collect())
    }

    fn signal(&self, signal: Signal) -> Result<(), Error> {
        let open = |process: i32| -> Option<(i32, OwnedFd)> {
            Some((process, pidfd_open(Pid::from_raw(process)?, PidfdFlags::empty()).ok()?))
        };
        let handles: Vec<_> = self.living()?.into_iter().filter_map(open).collect();
        // The number still stands for a member now, and the descriptor was made before: so if the descriptor's
        // process still exists, it is that member.
        let confirmed = self.processes()?;
        for (_, handle) in handles.iter().filter(|(process, _)| confirmed.binary_search(process).is_ok()) {
            match pidfd_send_signal(handle.as_fd(), signal) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(source) => {
                    let operation = "signal the processes of";
                    return Err(Error::Folder { operation, path: self.folder.clone(), source });
                }
            }
        }
        Ok(())
    }
}

/// False for zombies: state `Z` or `X` in the third field of stat, which follows the last parenthesis.
fn is_alive(process: i32) -> bool {
    let Ok(status) = read_whole(format!("/proc/{process}/stat")) else { return false };
    let state = status.iter().rposition(|byte| *byte == b')').and_then(|at| status.get(at + 2));
    !matches!(state, None | Some(b'Z' | b'X'))
}

fn read_descriptor(file: &OwnedFd) -> Result<Vec<u8>, Errno> {
    let mut content = Vec::with_capacity(4096);
    loop {
        content.reserve(4096);
        match rustix::io::read(file, rustix::buffer::spare_capacity(&mut content)) {
            Ok(0) => return Ok(content),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}
