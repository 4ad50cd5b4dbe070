//! Space on disk, from walks in the background, one at a time.
//!
//! The folders are written by containers while we look, so a walk opens every folder by handle beneath the first one,
//! through no link, and has a bound.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use runtime::monitor::status_record;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags};

use crate::node::Node;

/// How old a number of something that changes may be.
const FRESH: Duration = Duration::from_secs(30);
/// A walk rests for this many times as long as it took.
const REST: u32 = 20;
/// More files than this are not counted.
const MOST: u64 = 2_000_000;

/// Folders in folders that are looked into: each of them is open meanwhile.
const DEEPEST: usize = 256;
/// Files with several names that are remembered. More of them count as often as they have names.
const MOST_LINKED: usize = 100_000;

/// Space of a folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// When it was measured, in nanoseconds since 1970; 0 if that has not happened yet.
    pub timestamp: i64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Files and folders.
    pub inodes: u64,
}

/// How long a measure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// The folder never changes.
    ForEver,
    /// It changes while we look.
    ForAWhile,
}

/// What is known.
#[derive(Debug, Default)]
pub struct Usage {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    folders: HashMap<PathBuf, Measure>,
    walking: bool,
}

#[derive(Debug, Clone, Copy)]
struct Measure {
    usage: DiskUsage,
    due: Option<Instant>,
}

impl Usage {
    /// What is known of folders. What is not, or not any more, is measured from now on. To be called where an async
    /// runtime is.
    pub fn of(node: &Arc<Node>, folders: Vec<(PathBuf, Keep)>) -> Vec<DiskUsage> {
        let now = Instant::now();
        let mut known = node.usage.lock();
        let usages = folders.iter().map(|(path, _)| known.folders.get(path).map(|it| it.usage));
        let usages = usages.map(Option::unwrap_or_default).collect();
        let due = |path: &PathBuf| {
            known.folders.get(path).is_none_or(|measure| measure.due.is_some_and(|due| due <= now))
        };
        let stale: Vec<_> = folders.into_iter().filter(|(path, _)| due(path)).collect();
        if !stale.is_empty() && !known.walking {
            known.walking = true;
            let node = Arc::clone(node);
            tokio::task::spawn_blocking(move || node.usage.measure(stale));
        }
        usages
    }

    /// Forgets a container.
    pub fn forget(&self, container: &str) {
        let is_its = |path: &Path| path.parent().is_some_and(|folder| folder.ends_with(container));
        self.lock().folders.retain(|path, _| !is_its(path));
    }

    fn measure(&self, folders: Vec<(PathBuf, Keep)>) {
        for (path, keep) in folders {
            let began = Instant::now();
            // Nothing to know of what is gone.
            let Some(usage) = walk(&path) else { continue };
            let due = (keep == Keep::ForAWhile).then(|| Instant::now() + FRESH.max(began.elapsed() * REST));
            self.lock().folders.insert(path, Measure { usage, due });
        }
        self.lock().walking = false;
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts what is in a folder, itself included. A folder is read as far as the next one in it, and that one first: open
/// are those on the way down, however many there are side by side.
fn walk(path: &Path) -> Option<DiskUsage> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let top = rustix::fs::openat(CWD, path, flags, Mode::empty()).ok()?;
    let own = rustix::fs::fstat(&top).ok()?;
    let mut usage =
        DiskUsage { timestamp: status_record::now(), bytes: own.st_blocks.unsigned_abs() * 512, inodes: 1 };
    let mut linked = HashSet::new();
    let mut way = vec![Dir::new(top).ok()?];
    loop {
        let depth = way.len();
        let Some(folder) = way.last_mut() else { break };
        let Some(Ok(entry)) = folder.read() else {
            way.pop();
            continue;
        };
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let Ok(handle) = folder.fd() else { continue };
        let Ok(stat) = rustix::fs::statat(handle, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        // A file with several names is there once.
        if stat.st_nlink > 1 && !is_folder && linked.len() < MOST_LINKED && !linked.insert(stat.st_ino) {
            continue;
        }
        usage.bytes += stat.st_blocks.unsigned_abs() * 512;
        usage.inodes += 1;
        if usage.inodes >= MOST {
            break;
        }
        if is_folder && depth < DEEPEST {
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
            // It is gone, or something else by now.
            let opened = rustix::fs::openat2(handle, name, flags, Mode::empty(), resolve);
            way.extend(opened.ok().and_then(|opened| Dir::new(opened).ok()));
        }
    }
    Some(usage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_counts_once_and_links_lead_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(path("a/b")).unwrap();
        std::fs::write(path("a/file"), vec![1; 100_000]).unwrap();
        std::fs::hard_link(path("a/file"), path("a/b/same")).unwrap();
        std::os::unix::fs::symlink("/", path("a/link")).unwrap();
        let usage = walk(folder.path()).unwrap();
        assert_eq!(usage.inodes, 5);
        assert!((100_000..200_000).contains(&usage.bytes), "{usage:?}");
        assert_eq!(walk(&path("nowhere")), None);
        // What is too deep is not looked into, and all else is.
        let mut deep = path("deep");
        (0..DEEPEST + 10).for_each(|_| deep.push("d"));
        std::fs::create_dir_all(&deep).unwrap();
        (0..300).for_each(|n| std::fs::create_dir(path(&format!("a/wide-{n}"))).unwrap());
        assert_eq!(walk(folder.path()).unwrap().inodes, 5 + 300 + DEEPEST as u64);
        assert_eq!(walk(&path("a/link")), None);
    }
}
