//! Placing one entry: what exists under its name makes way, and its attributes are set on what was just made.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::attributes::{Attributes, OPAQUE};
use super::error::{Error, Name, Result};
use super::parents::{Links, Parents, Step};
use super::tar::{Entry, EntryKind, Reader};

/// Bytes read and written at a time.
const BUFFER_BYTES: usize = 256 << 10;

/// What makes way for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Replace {
    /// Entries of one layer: the later one counts, whatever the kinds; a directory in the place of something else
    /// also hides what lower layers have there.
    Anything,
    /// Entries of an archive in a tree of others: a directory with its content does not make way for a file.
    AllButDirectories,
}

/// Whose tree the entries are put into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tree {
    /// An empty one: every directory is described by an entry, or gets default attributes.
    New,
    /// One that is there: its directories keep their times, so that the result depends on what went in and not on
    /// when.
    Existing,
}

/// Puts entries into one tree.
pub(super) struct Placer {
    parents: Parents,
    tree: Tree,
    replace: Replace,
    owner: Option<(u32, u32)>,
    /// Directories' times, set when nothing is written below them any more.
    times: HashMap<Vec<u8>, Timestamps>,
    /// Directories of an existing tree whose times are noted, by device and inode: links give them several paths.
    noted: HashSet<(u64, u64)>,
    /// Directories that no entry described.
    implied: BTreeSet<Vec<u8>>,
    buffer: Vec<u8>,
}

impl Placer {
    pub(super) fn new(
        top: OwnedFd,
        links: Links,
        tree: Tree,
        replace: Replace,
        owner: Option<(u32, u32)>,
    ) -> Placer {
        let mut times = HashMap::new();
        if tree == Tree::New {
            times.insert(Vec::new(), Attributes::default().times());
        }
        Placer {
            parents: Parents::new(top, links),
            tree,
            replace,
            owner,
            times,
            noted: HashSet::new(),
            implied: BTreeSet::new(),
            buffer: vec![0; BUFFER_BYTES],
        }
    }

    /// The directory that holds the entry with this path, which is about to be made or removed.
    fn parent(&mut self, path: &[&[u8]]) -> Result<BorrowedFd<'_>> {
        let above = &path[..path.len().saturating_sub(1)];
        self.enter(above)?;
        let Placer { parents, tree, times, noted, .. } = self;
        if *tree == Tree::Existing {
            note_times(noted, times, above, parents.current())?;
        }
        Ok(parents.current())
    }

    /// The directory with this path, made with default attributes where it is missing.
    fn enter(&mut self, path: &[&[u8]]) -> Result<BorrowedFd<'_>> {
        let Placer { parents, tree, implied, owner, times, noted, .. } = self;
        let (uid, gid) = owner.unwrap_or((0, 0));
        parents.open(path, &mut |step, path, handle| match step {
            Step::Changes if *tree == Tree::Existing => note_times(noted, times, path, handle),
            Step::Changes => Ok(()),
            Step::Made => {
                let attributes = Attributes { uid, gid, ..Attributes::default() };
                let joined = path.join(&b'/');
                attributes.apply_to_directory(handle, Name::from(&joined))?;
                times.insert(joined.clone(), attributes.times());
                implied.insert(joined);
                Ok(())
            }
        })
    }

    /// Places an entry that is not a hard link. An empty path is the top directory itself.
    pub(super) fn place<R: Read>(
        &mut self,
        path: &[&[u8]],
        entry: &Entry,
        reader: &mut Reader<R>,
    ) -> Result<()> {
        let mut attributes = entry.attributes.clone();
        if let Some((uid, gid)) = self.owner {
            (attributes.uid, attributes.gid) = (uid, gid);
        }
        if path.is_empty() {
            if entry.kind != EntryKind::Directory {
                return Err(refused(path, "only a directory can stand for the root"));
            }
            attributes.apply_to_directory(self.parents.top(), Name::from("."))?;
            self.times.insert(Vec::new(), attributes.times());
            return Ok(());
        }
        match &entry.kind {
            EntryKind::Directory => self.make_directory(path, &attributes),
            EntryKind::File => self.file(path, &attributes, reader),
            EntryKind::Symlink(target) => self.copy_of_link(path, target, &attributes),
            EntryKind::Character { major: 0, minor: 0 } => {
                Err(refused(path, "a character device 0:0 is overlayfs's own mark"))
            }
            EntryKind::Character { major, minor } => {
                let device = rustix::fs::makedev(*major, *minor);
                self.node(path, FileType::CharacterDevice, device, &attributes)
            }
            EntryKind::Block { major, minor } => {
                self.node(path, FileType::BlockDevice, rustix::fs::makedev(*major, *minor), &attributes)
            }
            EntryKind::Fifo => self.node(path, FileType::Fifo, 0, &attributes),
            EntryKind::HardLink(_) => Err(refused(path, "a hard link is not made here")),
        }
    }

    /// Makes another name for a file of this tree. False if the tree has no such file.
    pub(super) fn hard_link(&mut self, path: &[&[u8]], target: &[&[u8]]) -> Result<bool> {
        let Some((base, above)) = target.split_last() else {
            return Err(refused(path, "a hard link to the root"));
        };
        let source = match self.parents.reopen(&non_empty(above)) {
            Ok(handle) => handle,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(false),
            Err(Errno::LOOP) => return Err(refused(path, "its target is behind a link")),
            Err(errno) => return Err(Error::io("open directory", &above.join(&b'/'), errno)),
        };
        let stat = match rustix::fs::statat(&source, *base, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(false),
            Err(errno) => return Err(Error::io("inspect", &target.join(&b'/'), errno)),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => return Err(refused(path, "a hard link to a directory")),
            FileType::CharacterDevice if stat.st_rdev == 0 => {
                return Err(refused(path, "a hard link to a removed file"));
            }
            _ => {}
        }
        // A link to itself would be removed and then missed.
        if path == target {
            return Ok(true);
        }
        let name = *path.last().ok_or_else(|| refused(path, "a hard link in the place of the root"))?;
        self.make(path, |parent| rustix::fs::linkat(&source, *base, parent, name, AtFlags::empty()))?;
        Ok(true)
    }

    /// Removes what has this name, for something else to come.
    pub(super) fn clear(&mut self, path: &[&[u8]]) -> Result<()> {
        let replace = self.replace;
        self.parents.forget(path);
        let Some(name) = path.last() else { return Ok(()) };
        let parent = self.parent(path)?;
        match rustix::fs::unlinkat(parent, *name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::ISDIR) if replace == Replace::Anything => remove_tree(parent, name)
                .map_err(|errno| Error::io("remove directory", &path.join(&b'/'), errno)),
            Err(Errno::ISDIR) => Err(refused(path, "a directory with this name exists")),
            Err(errno) => Err(Error::io("remove", &path.join(&b'/'), errno)),
        }
    }

    /// Marks a removal for overlayfs: hides the lower file, or all that is in the lower directory.
    pub(super) fn whiteout(&mut self, path: &[&[u8]]) -> Result<()> {
        let Some(name) = path.last() else { return Err(refused(path, "the root cannot be removed")) };
        let parent = self.parent(path)?;
        let object = || Name::from(&path.join(&b'/'));
        match rustix::fs::mknodat(parent, *name, FileType::CharacterDevice, Mode::empty(), 0) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => {
                // This layer has something there: that hides a lower file anyway, but merges with a lower directory.
                let stat = rustix::fs::statat(parent, *name, AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(|errno| Error::io("inspect", object(), errno))?;
                if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                    self.opaque(path)
                } else {
                    Ok(())
                }
            }
            Err(errno) => Err(Error::io("mark as removed", object(), errno)),
        }
    }

    /// Hides all that lower layers have in this directory.
    pub(super) fn opaque(&mut self, path: &[&[u8]]) -> Result<()> {
        let object = Name::from(&path.join(&b'/'));
        let handle = self.enter(path)?;
        rustix::fs::fsetxattr(handle, OPAQUE, b"y", XattrFlags::empty())
            .map_err(|errno| Error::io("mark as opaque", object, errno))
    }

    /// Sets the times of directories, and tells which directories no entry described.
    pub(super) fn finish(self) -> Result<Vec<Vec<u8>>> {
        for (path, times) in &self.times {
            let handle = match self.parents.reopen(if path.is_empty() { b"." } else { path }) {
                Ok(handle) => handle,
                // A later entry took its place.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                Err(errno) => return Err(Error::io("open directory", path, errno)),
            };
            rustix::fs::futimens(&handle, times)
                .map_err(|errno| Error::io("set the time of", path, errno))?;
        }
        Ok(self.implied.into_iter().collect())
    }

    /// Writes a file whose content comes from elsewhere.
    pub(super) fn copy_of(&mut self, path: &[&[u8]], mut from: File, attributes: &Attributes) -> Result<()> {
        let mut to = self.create_file(path)?;
        let failed = |error| Error::io("write", &path.join(&b'/'), error);
        std::io::copy(&mut from, &mut to).map_err(failed)?;
        attributes.apply_to_file(to.as_fd(), || Name::from(&path.join(&b'/')))
    }

    /// Makes a symbolic link that is a copy of another one.
    pub(super) fn copy_of_link(
        &mut self,
        path: &[&[u8]],
        target: &[u8],
        attributes: &Attributes,
    ) -> Result<()> {
        let name = *path.last().ok_or_else(|| refused(path, "only a directory can stand for the root"))?;
        self.make(path, |parent| rustix::fs::symlinkat(target, parent, name))?;
        self.special_attributes(path, attributes, FileType::Symlink)
    }

    fn make_directory(&mut self, path: &[&[u8]], attributes: &Attributes) -> Result<()> {
        let name = path[path.len() - 1];
        let replace = self.replace;
        let parent = self.parent(path)?;
        let mode = Mode::from_raw_mode(0o700);
        let mut hides = false;
        match rustix::fs::mkdirat(parent, name, mode) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(|errno| Error::io("inspect", &path.join(&b'/'), errno))?;
                if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                    self.clear(path)?;
                    self.make(path, |parent| rustix::fs::mkdirat(parent, name, mode))?;
                    hides = replace == Replace::Anything;
                }
            }
            Err(errno) => return Err(Error::io("create directory", &path.join(&b'/'), errno)),
        }
        if hides {
            self.opaque(path)?;
        }
        let joined = path.join(&b'/');
        attributes.apply_to_directory(self.enter(path)?, Name::from(&joined))?;
        self.implied.remove(&joined);
        self.times.insert(joined, attributes.times());
        Ok(())
    }

    fn file<R: Read>(
        &mut self,
        path: &[&[u8]],
        attributes: &Attributes,
        reader: &mut Reader<R>,
    ) -> Result<()> {
        let mut file = self.create_file(path)?;
        let mut body = reader.body();
        loop {
            match body.read(&mut self.buffer)? {
                0 => break,
                count => file
                    .write_all(&self.buffer[..count])
                    .map_err(|error| Error::io("write", &path.join(&b'/'), error))?,
            }
        }
        attributes.apply_to_file(file.as_fd(), || Name::from(&path.join(&b'/')))
    }

    fn create_file(&mut self, path: &[&[u8]]) -> Result<File> {
        let name = *path.last().ok_or_else(|| refused(path, "only a directory can stand for the root"))?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        Ok(File::from(self.make(path, |parent| rustix::fs::openat(parent, name, flags, mode))?))
    }

    /// Runs a call that creates the last component, a second time after what is there has made way.
    fn make<T>(
        &mut self,
        path: &[&[u8]],
        create: impl Fn(BorrowedFd<'_>) -> rustix::io::Result<T>,
    ) -> Result<T> {
        let first = create(self.parent(path)?);
        let made = match first {
            Err(Errno::EXIST) => {
                self.clear(path)?;
                create(self.parent(path)?)
            }
            first => first,
        };
        made.map_err(|errno| Error::io("create", &path.join(&b'/'), errno))
    }

    fn node(&mut self, path: &[&[u8]], kind: FileType, device: u64, attributes: &Attributes) -> Result<()> {
        let name = path[path.len() - 1];
        self.make(path, |parent| rustix::fs::mknodat(parent, name, kind, Mode::RUSR, device))?;
        self.special_attributes(path, attributes, kind)
    }

    /// Attributes of what cannot be opened without effects: set through its own handle, which must be that of what was
    /// just made. Somebody who swaps it for another name of a foreign file gets nothing changed.
    fn special_attributes(&mut self, path: &[&[u8]], attributes: &Attributes, made: FileType) -> Result<()> {
        let name = path[path.len() - 1];
        let parent = self.enter(&path[..path.len() - 1])?;
        let failed = |operation| move |errno: Errno| Error::io(operation, &path.join(&b'/'), errno);
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = rustix::fs::openat(parent, name, flags, Mode::empty()).map_err(failed("open"))?;
        let stat = rustix::fs::fstat(&handle).map_err(failed("inspect"))?;
        if FileType::from_raw_mode(stat.st_mode) != made || stat.st_nlink != 1 {
            return Err(refused(path, "somebody replaced it while it was made"));
        }
        let (uid, gid) = (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid));
        rustix::fs::chownat(&handle, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
            .map_err(failed("set the owner of"))?;
        if made != FileType::Symlink {
            // An O_PATH handle takes no fchmod; its own magic link leads to exactly this inode.
            let magic = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&handle));
            rustix::fs::chmod(magic, Mode::from_raw_mode(attributes.mode))
                .map_err(failed("set the mode of"))?;
        }
        rustix::fs::utimensat(&handle, c"", &attributes.times(), AtFlags::EMPTY_PATH)
            .map_err(failed("set the time of"))
    }
}

/// The components of an entry's name. `.` and empty ones say nothing; `..` is refused, since nobody honest needs it.
pub(super) fn components(name: &[u8]) -> Result<Vec<&[u8]>> {
    let parts: Vec<&[u8]> =
        name.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    if parts.contains(&&b".."[..]) {
        return Err(Error::Refused { entry: Name::from(name), reason: "`..` in its name" });
    }
    if name.contains(&0) {
        return Err(Error::Refused { entry: Name::from(name), reason: "a NUL in its name" });
    }
    Ok(parts)
}

/// Notes a directory's times before they change, unless an entry or an earlier note has said what they shall be.
fn note_times(
    noted: &mut HashSet<(u64, u64)>,
    times: &mut HashMap<Vec<u8>, Timestamps>,
    path: &[&[u8]],
    handle: BorrowedFd<'_>,
) -> Result<()> {
    let joined = path.join(&b'/');
    if times.contains_key(&joined) {
        return Ok(());
    }
    let stat = rustix::fs::fstat(handle).map_err(|errno| Error::io("inspect", &joined, errno))?;
    if noted.insert((stat.st_dev, stat.st_ino)) {
        times.insert(joined, Attributes::of_stat(&stat).times());
    }
    Ok(())
}

/// Removes a directory of a tree that only we write, without following anything.
fn remove_tree(parent: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<()> {
    let directory = rustix::fs::openat(parent, name, super::parents::DIRECTORY, Mode::empty())?;
    for entry in rustix::fs::Dir::read_from(&directory)? {
        let entry = entry?;
        let child = entry.file_name();
        if matches!(child.to_bytes(), b"." | b"..") {
            continue;
        }
        match rustix::fs::unlinkat(&directory, child, AtFlags::empty()) {
            Err(Errno::ISDIR) => remove_tree(directory.as_fd(), child.to_bytes())?,
            result => result?,
        }
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}

fn non_empty(path: &[&[u8]]) -> Vec<u8> {
    if path.is_empty() { b".".to_vec() } else { path.join(&b'/') }
}

fn refused(path: &[&[u8]], reason: &'static str) -> Error {
    Error::Refused { entry: Name::from(&path.join(&b'/')), reason }
}
