//! Paths inside somebody else's tree: an image's root or the build context.
//!
//! Links are followed as a process inside the tree would see them: an absolute target starts at the tree's root, `..`
//! stops there. Every step is taken on the handle of the directory that the step before opened, without following
//! links, so nothing that a racer swaps in can lead outside; what was looked at is what is used.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;

use crate::cache::tree::{join, open_beneath};

/// Links followed in one path before it counts as a loop, as in the kernel.
const MOST_LINKS: usize = 40;
/// Attempts to make a directory that somebody else removes or makes at the same time.
const ATTEMPTS: usize = 16;

/// A numeric owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// What to do where directories of a path are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Report it.
    Report,
    /// Make all of them, the last one too.
    MakeAll(NewDirectory),
    /// Make those above the last name.
    MakeParents(NewDirectory),
}

/// Attributes of directories that are made on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewDirectory {
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub owner: Owner,
}

/// Whether a link that is the last name of a path is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Last {
    /// As `open` does.
    Follow,
    /// The link itself is meant.
    Keep,
}

/// Where a path leads.
#[derive(Debug)]
pub enum Place {
    /// To something that exists.
    There(Found),
    /// Its directory exists, the last name does not.
    Free {
        /// Handle of the directory (`O_PATH`).
        parent: OwnedFd,
        /// Path of the directory below the root, all links resolved.
        parent_path: Vec<u8>,
        /// The name that is free.
        name: Vec<u8>,
    },
    /// A directory on the way does not exist.
    Nowhere,
}

/// Something that exists.
#[derive(Debug)]
pub struct Found {
    /// Its handle (`O_PATH`).
    pub handle: OwnedFd,
    /// Its attributes.
    pub stat: Stat,
    /// Its path below the root, all links resolved; empty for the root.
    pub path: Vec<u8>,
    /// The walk made it.
    pub made: bool,
}

impl Found {
    /// The type.
    pub fn file_type(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.file_type() == FileType::Directory
    }
}

/// A walk in progress.
struct Walk<'r> {
    root: BorrowedFd<'r>,
    /// The directory reached.
    here: OwnedFd,
    /// Its path below the root.
    path: Vec<Vec<u8>>,
    /// Names still to go.
    rest: VecDeque<Vec<u8>>,
    links: usize,
}

/// Follows `path` below `root`.
pub fn walk(root: BorrowedFd<'_>, path: &[u8], last: Last, missing: Missing) -> Result<Place, Errno> {
    let here = open_beneath(root, b"", OFlags::PATH | OFlags::DIRECTORY)?;
    let mut walk = Walk { root, here, path: Vec::new(), rest: VecDeque::new(), links: 0 };
    walk.queue(path);
    let mut made = false;
    while let Some(name) = walk.rest.pop_front() {
        if name == b".." {
            walk.up()?;
            continue;
        }
        let is_last = walk.rest.is_empty();
        let handle = match open_name(walk.here.as_fd(), &name) {
            Ok(handle) => handle,
            Err(Errno::NOENT) => {
                let new = match missing {
                    Missing::MakeAll(new) => new,
                    Missing::MakeParents(new) if !is_last => new,
                    _ if is_last => {
                        let parent_path = walk.path.join(&b'/');
                        return Ok(Place::Free { parent: walk.here, parent_path, name });
                    }
                    _ => return Ok(Place::Nowhere),
                };
                made = true;
                make_directory(walk.here.as_fd(), &name, new)?
            }
            Err(errno) => return Err(errno),
        };
        let stat = rustix::fs::fstat(&handle)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink if !(is_last && last == Last::Keep) => walk.follow(&handle)?,
            FileType::Directory => {
                walk.here = handle;
                walk.path.push(name);
            }
            _ if is_last => {
                let path = join(&walk.path.join(&b'/'), &name);
                return Ok(Place::There(Found { handle, stat, path, made: false }));
            }
            _ => return Err(Errno::NOTDIR),
        }
    }
    let stat = rustix::fs::fstat(&walk.here)?;
    Ok(Place::There(Found { stat, path: walk.path.join(&b'/'), handle: walk.here, made }))
}

impl Walk<'_> {
    /// Puts the names of `path` before those still to go.
    fn queue(&mut self, path: &[u8]) {
        let names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".");
        for name in names.rev() {
            self.rest.push_front(name.to_vec());
        }
    }

    fn up(&mut self) -> Result<(), Errno> {
        self.path.pop();
        self.here = open_beneath(self.root, &self.path.join(&b'/'), OFlags::PATH | OFlags::DIRECTORY)?;
        Ok(())
    }

    fn follow(&mut self, link: &OwnedFd) -> Result<(), Errno> {
        self.links += 1;
        if self.links > MOST_LINKS {
            return Err(Errno::LOOP);
        }
        let target = rustix::fs::readlinkat(link, c"", Vec::new())?.into_bytes();
        if target.first() == Some(&b'/') {
            self.path.clear();
            self.here = open_beneath(self.root, b"", OFlags::PATH | OFlags::DIRECTORY)?;
        }
        self.queue(&target);
        Ok(())
    }
}

fn open_name(directory: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(directory, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// Makes one directory with exactly these attributes, whatever the umask and the parent's set-group-id bit say.
fn make_directory(parent: BorrowedFd<'_>, name: &[u8], new: NewDirectory) -> Result<OwnedFd, Errno> {
    for _ in 0..ATTEMPTS {
        match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
            Ok(()) => {}
            Err(Errno::EXIST) => return open_name(parent, name),
            Err(errno) => return Err(errno),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = match rustix::fs::openat(parent, name, flags, Mode::empty()) {
            Err(Errno::NOENT) => continue,
            other => other?,
        };
        rustix::fs::fchown(&opened, Some(Uid::from_raw(new.owner.uid)), Some(Gid::from_raw(new.owner.gid)))?;
        rustix::fs::fchmod(&opened, Mode::from_raw_mode(new.mode))?;
        return open_name(parent, name);
    }
    Err(Errno::BUSY)
}

/// Removes whatever stands at `name` so that a file or link can take its place; directories are refused.
pub fn clear_name(parent: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, symlink};
    use std::path::Path;

    use super::*;

    fn open(path: &Path) -> OwnedFd {
        rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap()
    }

    fn path_of(place: Place) -> String {
        match place {
            Place::There(found) => String::from_utf8(found.path).unwrap(),
            Place::Free { parent_path, name, .. } => {
                format!("free:{}", String::from_utf8(join(&parent_path, &name)).unwrap())
            }
            Place::Nowhere => "nowhere".into(),
        }
    }

    const NEW: NewDirectory = NewDirectory { mode: 0o755, owner: Owner { uid: 0, gid: 0 } };

    #[test]
    fn links_stay_inside_the_tree() {
        let outer = tempfile::tempdir().unwrap();
        fs::write(outer.path().join("secret"), "x").unwrap();
        let root = outer.path().join("root");
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/file"), "x").unwrap();
        for (target, name) in [
            ("/etc", "absolute"),
            ("../../../..", "up"),
            ("a/b", "inside"),
            ("../secret", "escape"),
            ("loop", "loop"),
            ("/a/file", "tofile"),
            ("new/deep", "dangling"),
        ] {
            symlink(target, root.join(name)).unwrap();
        }
        let fd = open(&root);
        let follow =
            |path: &str| walk(fd.as_fd(), path.as_bytes(), Last::Follow, Missing::Report).map(path_of);
        assert_eq!(follow("inside").unwrap(), "a/b");
        assert_eq!(follow("up/a/../a/file").unwrap(), "a/file");
        assert_eq!(follow("absolute").unwrap(), "free:etc");
        assert_eq!(follow("escape").unwrap(), "free:secret");
        assert_eq!(follow("absolute/passwd").unwrap(), "nowhere");
        assert_eq!(follow("tofile").unwrap(), "a/file");
        assert_eq!(follow("../../..").unwrap(), "");
        assert_eq!(follow("loop").unwrap_err(), Errno::LOOP);
        assert_eq!(follow("a/file/x").unwrap_err(), Errno::NOTDIR);
        let kept = walk(fd.as_fd(), b"tofile", Last::Keep, Missing::Report).map(path_of);
        assert_eq!(kept.unwrap(), "tofile");
        assert_eq!(follow("dangling").unwrap(), "nowhere");
        let made = walk(fd.as_fd(), b"dangling/x", Last::Follow, Missing::MakeParents(NEW)).map(path_of);
        assert_eq!(made.unwrap(), "free:new/deep/x");
        let made = walk(fd.as_fd(), b"absolute/y", Last::Follow, Missing::MakeAll(NEW)).map(path_of);
        assert_eq!(made.unwrap(), "etc/y");
        assert!(root.join("etc/y").is_dir());
    }

    #[test]
    fn made_directories_have_the_given_attributes() {
        let root = tempfile::tempdir().unwrap();
        let fd = open(root.path());
        let new = NewDirectory { mode: 0o751, owner: Owner { uid: 7, gid: 8 } };
        let place = walk(fd.as_fd(), b"one/two", Last::Follow, Missing::MakeAll(new)).unwrap();
        assert!(matches!(place, Place::There(Found { made: true, .. })));
        for path in ["one", "one/two"] {
            let seen = fs::metadata(root.path().join(path)).unwrap();
            assert_eq!((seen.mode() & 0o7777, seen.uid(), seen.gid()), (0o751, 7, 8));
        }
    }

    #[test]
    fn a_swapped_directory_never_leads_outside() {
        let outer = tempfile::tempdir().unwrap();
        let (root, canary) = (outer.path().join("root"), outer.path().join("canary"));
        fs::create_dir_all(root.join("real")).unwrap();
        fs::create_dir(&canary).unwrap();
        symlink(&canary, root.join("link")).unwrap();
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let fd = open(&root);
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let _ = rustix::fs::renameat_with(
                        &fd,
                        "real",
                        &fd,
                        "link",
                        rustix::fs::RenameFlags::EXCHANGE,
                    );
                }
            });
            let fd = open(&root);
            for round in 0..10_000 {
                let path = format!("real/{}", round % 50);
                let _ = walk(fd.as_fd(), path.as_bytes(), Last::Follow, Missing::MakeAll(NEW));
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        assert_eq!(fs::read_dir(&canary).unwrap().count(), 0);
    }
}
