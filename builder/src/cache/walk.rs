//! The walk that makes a [`Tree`], in one pass.
//!
//! This walk is what a rebuild with nothing changed consists of, so it does one `getdents` stream per directory and
//! one `statx` per entry, relative to the directory's descriptor, keeps a directory's names in one buffer, and merges
//! each directory against the sorted block that the last build recorded for it ([`Recorded`]). Directories are the
//! unit of work that the threads share.
//!
//! No link is followed: directories are opened beneath the root with `RESOLVE_NO_SYMLINKS`, entries are looked at with
//! `AT_SYMLINK_NOFOLLOW`; a directory that a racer replaced by a link fails to open, nothing outside is seen.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use rustix::fs::{FileType, OFlags, RawDir};
use rustix::io::Errno;

use super::recorded::{Block, Recorded};
use super::tree::{Directory, Entry, Filter, Tree, device_of, join, look, open_beneath};
use super::{Error, shown};

/// Threads that walk together; more do not help a warm page cache.
const MOST_THREADS: usize = 4;
/// Bytes of one `getdents` call.
const LIST_BUFFER: usize = 64 * 1024;
/// Deepest nesting that is walked; beyond it paths exceed what the kernel resolves in one call.
const DEEPEST: usize = 1024;

impl Tree {
    /// Walks everything below the directory `start` of `root` that `filter` keeps; known digests come from `recorded`.
    pub fn scan(
        root: BorrowedFd<'_>,
        start: &[u8],
        filter: &dyn Filter,
        recorded: &Recorded,
    ) -> Result<Tree, Error> {
        let walk = Walk { root, filter, recorded, queue: Mutex::default(), ready: Condvar::new() };
        walk.lock().add(vec![start.to_vec()]);
        let mut worker = Worker::new(&walk);
        // The first directory is read here: a flat one is not worth a second thread.
        worker.step()?;
        let threads = match walk.lock().waiting.len() {
            0 | 1 => 1,
            _ => std::thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS),
        };
        let mut found = std::thread::scope(|scope| {
            let helpers: Vec<_> =
                (1..threads).map(|_| scope.spawn(|| Worker::new(&walk).run_to_end())).collect();
            let mut found = worker.run_to_end();
            for helper in helpers {
                let theirs = helper.join().unwrap_or(Err(Error::Thread));
                if let (Ok(all), theirs) = (&mut found, theirs) {
                    match theirs {
                        Ok(more) => all.extend(more),
                        Err(error) => found = Err(error),
                    }
                }
            }
            found
        })?;
        found.sort_unstable_by_key(|(id, _)| *id);
        Ok(Tree { directories: found.into_iter().map(|(_, directory)| directory).collect() })
    }

    /// Looks at the one entry `name` of the directory `parent`, which need not be a directory itself.
    pub fn single(
        root: BorrowedFd<'_>,
        parent: &[u8],
        name: &[u8],
        recorded: &Recorded,
    ) -> Result<Tree, Error> {
        let failed = |errno| Error::Look { path: shown(&join(parent, name)), source: errno };
        let fd = open_beneath(root, parent, OFlags::PATH | OFlags::DIRECTORY).map_err(failed)?;
        let device = device_of(fd.as_fd()).map_err(failed)?;
        let call_name = CString::new(name).map_err(|_| failed(Errno::INVAL))?;
        let mut entry = look(fd.as_fd(), &call_name).map_err(failed)?;
        entry.name_length = name.len() as u16;
        let mut directory = Directory {
            path: parent.to_vec(),
            device,
            names: call_name.into_bytes_with_nul(),
            entries: vec![entry],
            partial: true,
            differs: false,
        };
        merge(&mut directory, recorded.directory(parent));
        Ok(Tree { directories: vec![directory] })
    }
}

/// The names in the directory `path` below `root` that `filter` keeps, sorted.
pub fn names_in(root: BorrowedFd<'_>, path: &[u8], filter: &dyn Filter) -> Result<Vec<Vec<u8>>, Error> {
    let failed = |errno| Error::Look { path: shown(path), source: errno };
    let fd = open_beneath(root, path, OFlags::RDONLY | OFlags::DIRECTORY).map_err(failed)?;
    let recorded = Recorded::default();
    let walk = Walk { root, filter, recorded: &recorded, queue: Mutex::default(), ready: Condvar::new() };
    let mut directory = Directory::default();
    Worker::new(&walk).list(fd.as_fd(), path, &mut directory).map_err(failed)?;
    Ok(directory.entries.iter().map(|entry| directory.name(entry).to_vec()).collect())
}

/// Directories that wait, and how many are in work.
#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<(u32, Vec<u8>)>,
    next: u32,
    busy: usize,
    failed: bool,
}

impl Queue {
    /// Adds directories and returns the index of the first.
    fn add(&mut self, paths: Vec<Vec<u8>>) -> u32 {
        let first = self.next;
        self.next += paths.len() as u32;
        self.waiting
            .extend(paths.into_iter().enumerate().map(|(offset, path)| (first + offset as u32, path)));
        first
    }
}

struct Walk<'a> {
    root: BorrowedFd<'a>,
    filter: &'a dyn Filter,
    recorded: &'a Recorded,
    queue: Mutex<Queue>,
    ready: Condvar,
}

impl Walk<'_> {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next directory to read; waits while others may still find some. `None` is the end.
    fn take(&self) -> Option<(u32, Vec<u8>)> {
        let mut queue = self.lock();
        loop {
            if queue.failed {
                return None;
            }
            if let Some(job) = queue.waiting.pop() {
                queue.busy += 1;
                return Some(job);
            }
            if queue.busy == 0 {
                return None;
            }
            queue = self.ready.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn finished(&self, failed: bool) {
        let mut queue = self.lock();
        queue.busy -= 1;
        queue.failed |= failed;
        if queue.failed || (queue.busy == 0 && queue.waiting.is_empty()) {
            self.ready.notify_all();
        }
    }
}

/// One thread's part of a walk, with the buffers it reuses from directory to directory.
struct Worker<'w, 'a> {
    walk: &'w Walk<'a>,
    buffer: Vec<u8>,
    path: Vec<u8>,
    found: Vec<(u32, Directory)>,
}

impl<'w, 'a> Worker<'w, 'a> {
    fn new(walk: &'w Walk<'a>) -> Self {
        Worker { walk, buffer: Vec::with_capacity(LIST_BUFFER), path: Vec::new(), found: Vec::new() }
    }

    fn run_to_end(mut self) -> Result<Vec<(u32, Directory)>, Error> {
        while self.step()? {}
        Ok(self.found)
    }

    /// Reads one directory; false when there is none left.
    fn step(&mut self) -> Result<bool, Error> {
        let Some((id, path)) = self.walk.take() else { return Ok(false) };
        let read = self.read(id, path);
        self.walk.finished(read.is_err());
        read.map(|()| true)
    }

    fn read(&mut self, id: u32, path: Vec<u8>) -> Result<(), Error> {
        let failed = |errno| Error::Look { path: shown(&path), source: errno };
        if path.iter().filter(|byte| **byte == b'/').count() > DEEPEST {
            return Err(failed(Errno::NAMETOOLONG));
        }
        let fd = open_beneath(self.walk.root, &path, OFlags::RDONLY | OFlags::DIRECTORY).map_err(failed)?;
        let mut directory =
            Directory { device: device_of(fd.as_fd()).map_err(failed)?, ..Directory::default() };
        self.list(fd.as_fd(), &path, &mut directory).map_err(failed)?;
        self.look_at_all(fd.as_fd(), &path, &mut directory)?;
        directory.path = path;
        let known = self.walk.recorded.directory(&directory.path);
        merge(&mut directory, known);
        self.queue_children(&mut directory);
        self.found.push((id, directory));
        Ok(())
    }

    /// Reads the names that the filter keeps, sorted.
    fn list(&mut self, fd: BorrowedFd<'_>, path: &[u8], directory: &mut Directory) -> Result<(), Errno> {
        let mut listing = RawDir::new(fd, self.buffer.spare_capacity_mut());
        let no_filter = self.walk.filter.keeps_all();
        while let Some(listed) = listing.next() {
            let listed = listed?;
            let name = listed.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            if !no_filter {
                self.path.clear();
                self.path.extend_from_slice(path);
                if !path.is_empty() {
                    self.path.push(b'/');
                }
                self.path.extend_from_slice(name);
                let is_directory = match listed.file_type() {
                    FileType::Unknown => look(fd, listed.file_name())?.is_directory(),
                    known => known == FileType::Directory,
                };
                if self.walk.filter.leaves_out(&self.path, is_directory) {
                    continue;
                }
            }
            let start = directory.names.len();
            directory.names.extend_from_slice(listed.file_name().to_bytes_with_nul());
            directory.entries.push(Entry::named(start as u32, name.len() as u16));
        }
        let names = &directory.names;
        directory.entries.sort_unstable_by(|one, other| one.name_in(names).cmp(other.name_in(names)));
        Ok(())
    }

    /// One `statx` per name; names that vanished meanwhile were never there.
    fn look_at_all(
        &mut self,
        fd: BorrowedFd<'_>,
        path: &[u8],
        directory: &mut Directory,
    ) -> Result<(), Error> {
        let Directory { names, entries, .. } = directory;
        let mut gone = false;
        for entry in entries.iter_mut() {
            let start = entry.name_start as usize;
            let end = start + usize::from(entry.name_length);
            let name = CStr::from_bytes_with_nul(&names[start..=end]).unwrap_or(c"");
            match look(fd, name) {
                Ok(seen) => {
                    *entry = Entry { name_start: entry.name_start, name_length: entry.name_length, ..seen };
                }
                Err(Errno::NOENT) => {
                    entry.mode = 0;
                    gone = true;
                }
                Err(errno) => {
                    return Err(Error::Look { path: shown(&join(path, &names[start..end])), source: errno });
                }
            }
        }
        if gone {
            entries.retain(|entry| entry.mode != 0);
        }
        Ok(())
    }

    fn queue_children(&self, directory: &mut Directory) {
        let children: Vec<Vec<u8>> = directory
            .entries
            .iter()
            .filter(|entry| entry.is_directory())
            .map(|entry| directory.path_of(entry))
            .collect();
        if children.is_empty() {
            return;
        }
        let several = children.len() > 1;
        let first = self.walk.lock().add(children);
        if several {
            self.walk.ready.notify_all();
        } else {
            self.walk.ready.notify_one();
        }
        let directories = directory.entries.iter_mut().filter(|entry| entry.is_directory());
        for (index, entry) in (first..).zip(directories) {
            entry.child = index;
        }
    }
}

/// Takes over the recorded digests of entries whose attributes are as they were.
fn merge(directory: &mut Directory, recorded: Option<Block<'_>>) {
    let Some(block) = recorded.filter(|block| block.device == directory.device) else {
        directory.differs = true;
        return;
    };
    let mut known = block.entries().peekable();
    let Directory { names, entries, device, differs, partial, .. } = directory;
    for entry in entries.iter_mut() {
        let name = entry.name_in(names);
        while known.peek().is_some_and(|record| record.name < name) {
            *differs |= !*partial;
            known.next();
        }
        match known.next_if(|record| record.name == name) {
            Some(record) if entry.device == *device && record.describes(entry) => {
                entry.hashed = true;
                entry.digest = record.digest;
            }
            _ => *differs = true,
        }
    }
    *differs |= !*partial && known.next().is_some();
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::super::tree::KeepAll;
    use super::*;

    fn open(path: &Path) -> std::os::fd::OwnedFd {
        rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY, rustix::fs::Mode::empty()).unwrap()
    }

    fn paths(tree: &Tree) -> Vec<String> {
        let mut all = Vec::new();
        tree.visit::<()>(0, &mut |directory, entry| {
            all.push(shown(&directory.path_of(entry)));
            Ok(())
        })
        .unwrap();
        all
    }

    #[test]
    fn many_directories_come_in_one_order() {
        let folder = tempfile::tempdir().unwrap();
        let mut expected = Vec::new();
        for outer in 0..20 {
            expected.push(format!("d{outer:02}"));
            for inner in 0..10 {
                fs::create_dir_all(folder.path().join(format!("d{outer:02}/e{inner}"))).unwrap();
                fs::write(folder.path().join(format!("d{outer:02}/e{inner}/f")), "").unwrap();
                expected.push(format!("d{outer:02}/e{inner}"));
                expected.push(format!("d{outer:02}/e{inner}/f"));
            }
        }
        let root = open(folder.path());
        for _ in 0..20 {
            let tree = Tree::scan(root.as_fd(), b"", &KeepAll, &Recorded::default()).unwrap();
            assert_eq!(paths(&tree), expected);
            assert_eq!(tree.len(), expected.len());
            let found = tree.find_directory(b"d07/e3").unwrap();
            assert_eq!(tree.directories[found].path, b"d07/e3");
            assert!(tree.find_directory(b"d07/e3/f").is_none());
        }
        let part = Tree::scan(root.as_fd(), b"d01", &KeepAll, &Recorded::default()).unwrap();
        assert_eq!(part.find_directory(b"d01/e2").map(|at| part.directories[at].entries.len()), Some(1));
        assert!(part.find_directory(b"d02").is_none());
    }

    #[test]
    fn links_are_seen_and_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        symlink("/etc", folder.path().join("out")).unwrap();
        symlink("missing", folder.path().join("dangling")).unwrap();
        let root = open(folder.path());
        let tree = Tree::scan(root.as_fd(), b"", &KeepAll, &Recorded::default()).unwrap();
        assert_eq!(paths(&tree), ["dangling", "out"]);
        assert!(Tree::scan(root.as_fd(), b"out", &KeepAll, &Recorded::default()).is_err());
    }

    #[test]
    fn a_filter_leaves_out_whole_directories() {
        struct NoB;
        impl Filter for NoB {
            fn leaves_out(&self, path: &[u8], directory: bool) -> bool {
                assert!(directory || !path.starts_with(b"b/"), "what is below is not asked for");
                path == b"b"
            }
        }
        let folder = tempfile::tempdir().unwrap();
        for path in ["a/x", "b/y", "c/b/z"] {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let root = open(folder.path());
        let tree = Tree::scan(root.as_fd(), b"", &NoB, &Recorded::default()).unwrap();
        assert_eq!(paths(&tree), ["a", "a/x", "c", "c/b", "c/b/z"]);
    }

    #[test]
    fn a_directory_swapped_for_a_link_shows_nothing_outside() {
        let folder = tempfile::tempdir().unwrap();
        let (context, outside) = (folder.path().join("context"), folder.path().join("outside"));
        fs::create_dir_all(context.join("dir")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("secret"), "").unwrap();
        fs::write(context.join("dir/fine"), "").unwrap();
        symlink(&outside, context.join("link")).unwrap();
        let root = open(&context);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                while !stop.load(Ordering::Relaxed) {
                    let _ = rustix::fs::renameat_with(&root, "dir", &root, "link", flags);
                }
            });
            for _ in 0..5_000 {
                if let Ok(tree) = Tree::scan(root.as_fd(), b"", &KeepAll, &Recorded::default()) {
                    assert!(!paths(&tree).iter().any(|path| path.contains("secret")));
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}
