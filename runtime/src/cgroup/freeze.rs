//! Freezing everything in a cgroup: the v1 freezer where there is one, else `cgroup.freeze` of v2.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::group::write_file;
use super::mounts::read_whole;
use super::{Cgroup, Error};

/// The control file of each version.
const VERSION1: &str = "freezer.state";
const VERSION2: &str = "cgroup.freeze";

impl Cgroup {
    /// The file that freezes the cgroup and says whether it is frozen, for [`is_frozen`].
    pub fn freezer_file(&self) -> Option<PathBuf> {
        let version1 = self.folder_of("freezer").map(|folder| folder.join(VERSION1));
        version1.or_else(|| self.version2_folder().map(|folder| folder.join(VERSION2)))
    }

    /// Freezes every process in the cgroup and below. Where they are not still within `patience` (one sits in an
    /// uninterruptible call), all are thawed again and that is the error.
    pub fn freeze(&self, patience: Duration) -> Result<(), Error> {
        let missing = Error::Unsupported { setting: "freezer", reason: "this machine has no freezer" };
        let file = self.freezer_file().ok_or(missing)?;
        freeze(&file, patience).map_err(|source| Error::Folder {
            operation: "freeze",
            path: self.path().as_str().into(),
            source,
        })
    }

    /// Lets frozen processes go on.
    pub fn thaw(&self) -> Result<(), Error> {
        let Some(file) = self.freezer_file() else { return Ok(()) };
        thaw(&file).map_err(|source| Error::Folder {
            operation: "thaw",
            path: self.path().as_str().into(),
            source,
        })
    }
}

/// Is the cgroup behind a [`Cgroup::freezer_file`] frozen, or about to be? A cgroup that is gone is not.
pub fn is_frozen(file: &Path) -> bool {
    read_whole(file).is_ok_and(|content| matches!(content.trim_ascii(), b"FROZEN" | b"FREEZING" | b"1"))
}

/// Freezes and waits until all are still. On failure nothing is frozen.
pub(super) fn freeze(file: &Path, patience: Duration) -> Result<(), Errno> {
    let started = Instant::now();
    let order: &[u8] = if is_version1(file) { b"FROZEN" } else { b"1" };
    let failed = loop {
        // A process that forks while freezing begins can leave v1 at FREEZING; writing again catches it.
        if let Err(errno) = write_file(file, order) {
            break errno;
        }
        match all_still(file) {
            Ok(true) => return Ok(()),
            Ok(false) if started.elapsed() < patience => std::thread::sleep(Duration::from_micros(200)),
            Ok(false) => break Errno::TIMEDOUT,
            Err(errno) => break errno,
        }
    };
    // If even this fails the folder is gone, and with it whatever was to be thawed.
    let _ = thaw(file);
    Err(failed)
}

/// Lets the cgroup's processes go on.
pub(super) fn thaw(file: &Path) -> Result<(), Errno> {
    write_file(file, if is_version1(file) { b"THAWED" } else { b"0" })
}

fn is_version1(file: &Path) -> bool {
    file.ends_with(VERSION1)
}

fn all_still(file: &Path) -> Result<bool, Errno> {
    if is_version1(file) {
        return Ok(read_whole(file)?.trim_ascii() == b"FROZEN");
    }
    let events = read_whole(file.with_file_name("cgroup.events"))?;
    Ok(events.split(|byte| *byte == b'\n').any(|line| line == b"frozen 1"))
}
