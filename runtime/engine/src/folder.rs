//! Folders whose lock says whether anybody is responsible for them: the ground under containers and pods.
//!
//! The folder of all of them is locked shared while one is made, and exclusively while names or the dead are looked for.
//! A single one is locked exclusively for its whole life, and shared for an instant by who wants to know.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Error, Result};

/// How often a lock that others hold for an instant is tried, and how long between.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(10);

/// A folder with its lock held.
#[derive(Debug)]
pub struct Held {
    /// The id of its container or pod.
    pub id: String,
    /// The folder.
    pub path: PathBuf,
    /// The lock: the open folder itself.
    pub lock: OwnedFd,
}

/// What came of trying to take a folder's lock.
#[derive(Debug)]
pub(crate) enum Attempt {
    /// It was free.
    Held(Held),
    /// Somebody has it.
    Alive,
    /// There is no such folder.
    Gone,
}

/// Makes the folder `id` in `parent`, locked. The caller has the lock of `parent`.
pub(crate) fn create(parent: &Path, id: &str) -> Result<Held> {
    let path = parent.join(id);
    rustix::fs::mkdir(&path, Mode::RWXU).map_err(Error::io("create", &path))?;
    let lock = open(&path).map_err(Error::io("open", &path))?;
    // Somebody may be asking whether it is held at this moment.
    for left in (0..TRIES).rev() {
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::AGAIN) if left > 0 => std::thread::sleep(PAUSE),
            result => {
                result.map_err(Error::io("lock", &path))?;
                break;
            }
        }
    }
    Ok(Held { id: id.to_owned(), path, lock })
}

/// Takes the lock of a folder if it is free.
pub(crate) fn try_hold(parent: &Path, id: &str) -> Result<Attempt> {
    let path = parent.join(id);
    let lock = match open(&path) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Attempt::Gone),
        lock => lock.map_err(Error::io("open", &path))?,
    };
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::AGAIN) => return Ok(Attempt::Alive),
        result => result.map_err(Error::io("lock", &path))?,
    }
    // Whoever had the lock before may have removed the folder meanwhile.
    let gone = rustix::fs::stat(&path).is_err();
    Ok(if gone { Attempt::Gone } else { Attempt::Held(Held { id: id.to_owned(), path, lock }) })
}

/// Takes the lock of a folder, and waits for those who only look at it.
pub(crate) fn hold(parent: &Path, id: &str) -> Result<Attempt> {
    for _ in 1..TRIES {
        match try_hold(parent, id)? {
            Attempt::Alive => std::thread::sleep(PAUSE),
            other => return Ok(other),
        }
    }
    try_hold(parent, id)
}

/// Has anybody the lock of this folder?
pub(crate) fn is_held(path: &Path) -> Result<bool> {
    let lock = match open(path) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(false),
        lock => lock.map_err(Error::io("open", path))?,
    };
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockShared) {
        Err(Errno::AGAIN) => Ok(true),
        result => result.map(|()| false).map_err(Error::io("lock", path)),
    }
}

/// Locks the folder of all; `None` when the lock is not free and the operation does not wait.
pub(crate) fn lock_all(parent: &Path, operation: FlockOperation) -> Result<Option<OwnedFd>> {
    let lock = open(parent).map_err(Error::io("open", parent))?;
    match rustix::io::retry_on_intr(|| rustix::fs::flock(&lock, operation)) {
        Err(Errno::AGAIN) => Ok(None),
        result => result.map(|()| Some(lock)).map_err(Error::io("lock", parent)),
    }
}

/// The folders that nobody has locked, now locked by us. Whoever holds the folder of all is looking for the same: then
/// there is nothing for us.
pub(crate) fn dead(parent: &Path) -> Result<Vec<Held>> {
    let names = names(parent)?;
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let Some(_all) = lock_all(parent, FlockOperation::NonBlockingLockExclusive)? else {
        return Ok(Vec::new());
    };
    let mut dead = Vec::new();
    for id in names {
        if let Attempt::Held(held) = try_hold(parent, &id)? {
            dead.push(held);
        }
    }
    Ok(dead)
}

/// The ids that have a folder.
pub(crate) fn names(parent: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(parent).map_err(Error::io("list", parent))? {
        names.extend(entry.map_err(Error::io("list", parent))?.file_name().into_string());
    }
    Ok(names)
}

fn open(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_tells_whether_anybody_cares() {
        let parent = tempfile::tempdir().unwrap();
        let held = create(parent.path(), "a").unwrap();
        assert!(is_held(&held.path).unwrap());
        assert!(matches!(try_hold(parent.path(), "a").unwrap(), Attempt::Alive));
        assert!(dead(parent.path()).unwrap().is_empty());
        let path = held.path.clone();
        drop(held);
        assert!(!is_held(&path).unwrap());
        assert_eq!(dead(parent.path()).unwrap().len(), 1);
        assert!(matches!(hold(parent.path(), "a").unwrap(), Attempt::Held(_)));
        assert!(matches!(hold(parent.path(), "b").unwrap(), Attempt::Gone));
        assert!(!is_held(&parent.path().join("b")).unwrap());
    }
}
