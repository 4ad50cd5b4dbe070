//! Digests of the files of a build context.
//!
//! Hashing what did not change is what makes a rebuild slow. So for each entry the attributes it had (device, inode,
//! size, mtime and ctime in nanoseconds) are recorded with its digest ([`super::recorded`]); a later walk takes the
//! digest over when all attributes are the same.
//!
//! The rule for racy entries is git's: a file that changed in the same clock tick in which we read it may change again
//! without its times showing it. A digest is recorded only if the entry's last change lies before the tick in which
//! the walk began; where a file system counts whole seconds, two seconds before. So an entry is hashed again once, and
//! a recorded digest never is about older bytes than the attributes beside it.
//!
//! What an entry's digest covers: the bytes of a regular file, the target of a link, and the extended attributes that
//! an image keeps ([`KEPT_ATTRIBUTES`]). Name, mode and device numbers are added by whoever makes a key of it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::tree::{Directory, Entry, Time, Tree, open_beneath};
use super::{Error, shown};

/// Bytes read at once when hashing.
const READ: usize = 128 * 1024;
/// Entries that one thread takes at a time when hashing.
const BATCH: usize = 16;

/// Extended attributes that an image layer keeps, and that COPY therefore copies.
pub const KEPT_ATTRIBUTES: [&str; 2] = ["user.", "security.capability"];

/// The point in time from which a change may be invisible to the attributes.
#[derive(Debug, Clone, Copy)]
pub struct Tick(Time);

impl Tick {
    /// Now, in the clock that file systems stamp with. Taken before the walk begins.
    pub fn now() -> Tick {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
        Tick(Time { seconds: now.tv_sec, nanoseconds: now.tv_nsec as u32 })
    }

    /// Whether the entry may have changed after it was looked at without its times telling.
    pub(super) fn is_racy(self, entry: &Entry) -> bool {
        let latest = entry.modified.max(entry.changed);
        if entry.modified.nanoseconds == 0 && entry.changed.nanoseconds == 0 {
            return latest.seconds + 2 > self.0.seconds;
        }
        latest >= self.0
    }
}

/// Computes the digests that the walk did not find recorded.
///
/// A file that is not as the walk saw it when it is hashed is not an error: it gets a digest of what was read, is not
/// recorded, and `unsettled` of the result is set, so that nothing built from it is remembered.
pub fn fill(root: BorrowedFd<'_>, tree: &mut Tree) -> Result<Filled, Error> {
    let mut missing = Vec::new();
    for (index, directory) in tree.directories.iter().enumerate() {
        for (position, entry) in directory.entries.iter().enumerate() {
            if !entry.hashed {
                missing.push((index, position));
            }
        }
    }
    let batches: Vec<&[(usize, usize)]> = missing.chunks(BATCH).collect();
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(batches.len());
    let hash_some = || -> Result<Vec<Hashed>, Error> {
        let mut hasher = FileHasher::new(root, tree);
        let mut done = Vec::new();
        while let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
            for (directory, position) in *batch {
                done.push(hasher.hash(*directory, *position)?);
            }
        }
        Ok(done)
    };
    let mut results = Vec::with_capacity(threads.max(1));
    std::thread::scope(|scope| {
        let helpers: Vec<_> = (1..threads).map(|_| scope.spawn(hash_some)).collect();
        results.push(hash_some());
        results.extend(helpers.into_iter().map(|helper| helper.join().unwrap_or(Err(Error::Thread))));
    });
    let mut filled = Filled::default();
    for result in results {
        for hashed in result? {
            let directory = &mut tree.directories[hashed.directory];
            let entry = &mut directory.entries[hashed.position];
            entry.digest = hashed.digest;
            entry.hashed = hashed.settled;
            filled.unsettled |= !hashed.settled;
            filled.hashed += 1;
        }
    }
    Ok(filled)
}

/// What [`fill`] had to do.
#[derive(Debug, Clone, Copy, Default)]
pub struct Filled {
    /// Entries that were read.
    pub hashed: usize,
    /// At least one changed under our eyes.
    pub unsettled: bool,
}

struct Hashed {
    directory: usize,
    position: usize,
    digest: [u8; 32],
    settled: bool,
}

/// Hashes entries of one tree, keeping the last directory open.
struct FileHasher<'t> {
    root: BorrowedFd<'t>,
    tree: &'t Tree,
    open: Option<(usize, OwnedFd)>,
    buffer: Vec<u8>,
}

impl<'t> FileHasher<'t> {
    fn new(root: BorrowedFd<'t>, tree: &'t Tree) -> Self {
        FileHasher { root, tree, open: None, buffer: vec![0; READ] }
    }

    fn hash(&mut self, index: usize, position: usize) -> Result<Hashed, Error> {
        let directory = &self.tree.directories[index];
        let entry = &directory.entries[position];
        let failed = |errno| Error::Read { path: shown(&directory.path_of(entry)), source: errno };
        let parent = self.directory(index).map_err(failed)?;
        let (digest, settled) = match entry.file_type() {
            FileType::RegularFile => self.regular(parent, directory, entry).map_err(failed)?,
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&parent, directory.name_for_call(entry), Vec::new())
                    .map_err(failed)?;
                (Sha256::digest(target.as_bytes()).into(), true)
            }
            FileType::Directory => {
                (self.directory_attributes(parent, directory, entry).map_err(failed)?, true)
            }
            _ => ([0; 32], true),
        };
        Ok(Hashed { directory: index, position, digest, settled })
    }

    fn directory(&mut self, index: usize) -> Result<OwnedFd, Errno> {
        if self.open.as_ref().is_none_or(|(open, _)| *open != index) {
            let path = &self.tree.directories[index].path;
            self.open = Some((index, open_beneath(self.root, path, OFlags::PATH | OFlags::DIRECTORY)?));
        }
        match &self.open {
            Some((_, fd)) => rustix::io::fcntl_dupfd_cloexec(fd, 0),
            None => Err(Errno::BADF),
        }
    }

    fn regular(
        &mut self,
        parent: OwnedFd,
        directory: &Directory,
        entry: &Entry,
    ) -> Result<([u8; 32], bool), Errno> {
        // Without O_NONBLOCK a FIFO put in the file's place would hold us up for ever.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = rustix::fs::openat(&parent, directory.name_for_call(entry), flags, Mode::empty())?;
        let before = same_file(&file, entry)?;
        let mut hasher = Sha256::new();
        if before.is_regular {
            loop {
                let count = rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut self.buffer[..]))?;
                if count == 0 {
                    break;
                }
                hasher.update(&self.buffer[..count]);
            }
        }
        let content: [u8; 32] = hasher.finalize().into();
        let digest = with_attributes(content, &file)?;
        let settled = before.unchanged && same_file(&file, entry)?.unchanged;
        Ok((digest, settled))
    }

    fn directory_attributes(
        &self,
        parent: OwnedFd,
        directory: &Directory,
        entry: &Entry,
    ) -> Result<[u8; 32], Errno> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::DIRECTORY;
        let opened = rustix::fs::openat(&parent, directory.name_for_call(entry), flags, Mode::empty())?;
        with_attributes([0; 32], &opened)
    }
}

struct Sameness {
    is_regular: bool,
    unchanged: bool,
}

fn same_file(file: &OwnedFd, entry: &Entry) -> Result<Sameness, Errno> {
    let now = rustix::fs::fstat(file)?;
    Ok(Sameness {
        is_regular: FileType::from_raw_mode(now.st_mode) == FileType::RegularFile,
        unchanged: is_as_seen(&now, entry),
    })
}

/// Whether `now` has the identity and times that the walk saw.
pub fn is_as_seen(now: &rustix::fs::Stat, entry: &Entry) -> bool {
    now.st_ino == entry.inode
        && now.st_size as u64 == entry.size
        && now.st_mtime == entry.modified.seconds
        && now.st_mtime_nsec as u32 == entry.modified.nanoseconds
        && now.st_ctime == entry.changed.seconds
        && now.st_ctime_nsec as u32 == entry.changed.nanoseconds
}

/// The digest of the content, mixed with the kept extended attributes if there are any.
fn with_attributes(content: [u8; 32], file: &OwnedFd) -> Result<[u8; 32], Errno> {
    let attributes = kept_attributes(file.as_fd())?;
    if attributes.is_empty() {
        return Ok(content);
    }
    let mut hasher = Sha256::new();
    hasher.update(content);
    for (name, value) in attributes {
        hasher.update((name.len() as u64).to_le_bytes());
        hasher.update(&name);
        hasher.update((value.len() as u64).to_le_bytes());
        hasher.update(&value);
    }
    Ok(hasher.finalize().into())
}

/// The digest of the extended attributes of the directory `path` below `root`, as an entry of that name would have it.
pub fn of_directory(root: BorrowedFd<'_>, path: &[u8]) -> Result<[u8; 32], Error> {
    open_beneath(root, path, OFlags::RDONLY | OFlags::DIRECTORY)
        .and_then(|opened| with_attributes([0; 32], &opened))
        .map_err(|errno| Error::Read { path: shown(path), source: errno })
}

/// An extended attribute: its name, without the zero byte at its end, and its value.
pub type ExtendedAttribute = (Vec<u8>, Vec<u8>);

/// Names and values of the extended attributes that images keep, sorted.
pub fn kept_attributes(file: BorrowedFd<'_>) -> Result<Vec<ExtendedAttribute>, Errno> {
    let mut list = vec![0u8; 64];
    let listed = loop {
        match rustix::fs::flistxattr(file, &mut list[..]) {
            Ok(count) => break count,
            Err(Errno::RANGE) if list.len() < 64 * 1024 => list.resize(64 * 1024, 0),
            Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            Err(errno) => return Err(errno),
        }
    };
    let mut found = Vec::new();
    for name in list[..listed].split(|byte| *byte == 0).filter(|name| is_kept(name)) {
        let mut value = vec![0u8; 64 * 1024];
        match rustix::fs::fgetxattr(file, name, &mut value[..]) {
            Ok(count) => {
                value.truncate(count);
                found.push((name.to_vec(), value));
            }
            Err(Errno::NODATA) => {}
            Err(errno) => return Err(errno),
        }
    }
    found.sort();
    Ok(found)
}

fn is_kept(name: &[u8]) -> bool {
    // `user.overlay.` is how unprivileged overlays mark what the kernel interprets: never content.
    !name.is_empty()
        && !name.starts_with(b"user.overlay.")
        && KEPT_ATTRIBUTES.iter().any(|kept| name.starts_with(kept.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use std::path::PathBuf;

    use super::*;
    use crate::cache::recorded::{Recorded, record};
    use crate::cache::tree::KeepAll;

    /// A context folder and the file its digests are in.
    struct Fixture {
        folder: tempfile::TempDir,
    }

    impl Fixture {
        fn new() -> Fixture {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir_all(folder.path().join("context/dir/sub")).unwrap();
            for (name, text) in [("a", "1"), ("dir/b", "2"), ("dir/sub/c", "3")] {
                fs::write(folder.path().join("context").join(name), text).unwrap();
            }
            symlink("a", folder.path().join("context/link")).unwrap();
            Fixture { folder }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join("context").join(name)
        }

        fn file(&self) -> PathBuf {
            self.folder.path().join("digests")
        }

        /// Walks and records as of `tick`; gives what had to be read, and all digests by path.
        fn walk(&self, tick: Tick) -> (usize, Vec<(String, [u8; 32])>) {
            let root =
                rustix::fs::open(self.path(""), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
            let recorded = Recorded::read(&self.file());
            let mut tree = Tree::scan(root.as_fd(), b"", &KeepAll, &recorded).unwrap();
            let filled = fill(root.as_fd(), &mut tree).unwrap();
            let mut all = Vec::new();
            tree.visit::<()>(0, &mut |directory, entry| {
                all.push((shown(&directory.path_of(entry)), entry.digest));
                Ok(())
            })
            .unwrap();
            record(&self.file(), &recorded, &[tree], tick).unwrap();
            (filled.hashed, all)
        }
    }

    /// A tick in which nothing is racy any more.
    fn later() -> Tick {
        Tick(Time { seconds: i64::MAX - 10, nanoseconds: 0 })
    }

    #[test]
    fn only_what_changed_is_read_again() {
        let fixture = Fixture::new();
        let (hashed, first) = fixture.walk(later());
        assert_eq!(hashed, 6);
        assert_eq!(
            first.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>(),
            ["a", "dir", "dir/b", "dir/sub", "dir/sub/c", "link"]
        );
        assert_eq!(fixture.walk(later()), (0, first.clone()));
        fs::write(fixture.path("dir/b"), "4").unwrap();
        let (hashed, second) = fixture.walk(later());
        assert_eq!(hashed, 1);
        let changed: Vec<_> = first.iter().zip(&second).filter(|(one, two)| one != two).collect();
        assert_eq!(changed.len(), 1, "only the file that changed has another digest");
        assert_eq!(fixture.walk(later()), (0, second));
    }

    #[test]
    fn a_change_that_keeps_size_and_mtime_is_seen() {
        let fixture = Fixture::new();
        let (_, first) = fixture.walk(later());
        let before = fs::metadata(fixture.path("a")).unwrap().modified().unwrap();
        fs::write(fixture.path("a"), "9").unwrap();
        fs::File::options().write(true).open(fixture.path("a")).unwrap().set_modified(before).unwrap();
        let (hashed, second) = fixture.walk(later());
        assert_eq!(hashed, 1);
        assert_ne!(first, second);
    }

    #[test]
    fn what_is_racy_is_not_recorded() {
        let fixture = Fixture::new();
        let tick = Tick(Time { seconds: 0, nanoseconds: 0 });
        assert_eq!(fixture.walk(tick).0, 6);
        assert_eq!(fixture.walk(later()).0, 6, "nothing was recorded in the tick of the changes");
        assert_eq!(fixture.walk(later()).0, 0);
    }

    #[test]
    fn coarse_clocks_need_two_seconds() {
        let fixture = Fixture::new();
        let root =
            rustix::fs::open(fixture.path(""), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let mut entry = crate::cache::tree::look_at(root.as_fd(), b"a").unwrap();
        let at = |seconds, nanoseconds| Time { seconds, nanoseconds };
        (entry.modified, entry.changed) = (at(100, 0), at(100, 0));
        assert!(Tick(at(101, 999)).is_racy(&entry));
        assert!(!Tick(at(102, 0)).is_racy(&entry));
        (entry.modified, entry.changed) = (at(90, 5), at(100, 5));
        assert!(Tick(at(100, 5)).is_racy(&entry));
        assert!(!Tick(at(100, 6)).is_racy(&entry));
    }

    #[test]
    fn a_damaged_file_counts_as_empty() {
        let fixture = Fixture::new();
        fixture.walk(later());
        let bytes = fs::read(fixture.file()).unwrap();
        assert!(Recorded::parse(bytes.clone()).is_some());
        for cut in 0..bytes.len() {
            assert!(Recorded::parse(bytes[..cut].to_vec()).is_none(), "cut at {cut}");
        }
        assert!(Recorded::parse(vec![0; bytes.len()]).is_none());
        let mut longer = bytes;
        longer[8] = 0xff;
        assert!(Recorded::parse(longer).is_none());
    }

    #[test]
    fn single_files_add_up_and_directories_not_looked_at_stay() {
        let fixture = Fixture::new();
        fixture.walk(later());
        fs::write(fixture.path("a"), "changed").unwrap();
        fs::write(fixture.path("dir/b"), "changed too").unwrap();
        let root =
            rustix::fs::open(fixture.path(""), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let recorded = Recorded::read(&fixture.file());
        let mut trees = [
            Tree::single(root.as_fd(), b"", b"a", &recorded).unwrap(),
            Tree::single(root.as_fd(), b"", b"link", &recorded).unwrap(),
            Tree::single(root.as_fd(), b"dir", b"b", &recorded).unwrap(),
        ];
        let hashed: Vec<usize> =
            trees.iter_mut().map(|tree| fill(root.as_fd(), tree).unwrap().hashed).collect();
        assert_eq!(hashed, [1, 0, 1]);
        record(&fixture.file(), &recorded, &trees, later()).unwrap();
        assert_eq!(fixture.walk(later()).0, 0);
    }

    #[test]
    fn extended_attributes_count() {
        let fixture = Fixture::new();
        let (_, first) = fixture.walk(later());
        let file = fs::File::open(fixture.path("a")).unwrap();
        rustix::fs::fsetxattr(&file, "user.test", b"value", rustix::fs::XattrFlags::empty()).unwrap();
        let (hashed, second) = fixture.walk(later());
        assert_eq!(hashed, 1);
        assert_ne!(first, second);
    }
}
