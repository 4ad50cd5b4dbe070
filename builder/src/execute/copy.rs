//! Putting files into a stage's root: COPY, ADD of files, and the directories on the way.
//!
//! The destination is found inside the root with its links followed; everything below it is created on handles, never
//! through a link: an entry that replaces another is made new, a directory that is there must be a directory. Content
//! comes from the names that the walk saw, opened beneath the source's root without following links.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::rooted::{Found, Last, Missing, NewDirectory, Owner, Place, clear_name, walk};
use super::source::{Selected, SourceTree};
use crate::cache::digests::{is_as_seen, kept_attributes};
use crate::cache::shown;
use crate::cache::tree::{Directory, Entry, Tree, join, open_beneath};
use crate::dockerfile::mode;

/// Bytes moved at once where the kernel cannot copy by itself.
const CHUNK: usize = 256 * 1024;

/// Where things go and what they become.
#[derive(Debug)]
pub struct Target<'a> {
    /// The stage's root.
    pub root: BorrowedFd<'a>,
    /// Absolute path in it.
    pub destination: &'a str,
    /// The destination was written as a directory.
    pub into_directory: bool,
    /// Owner of everything, if one is asked for.
    pub owner: Option<Owner>,
    /// Owners are those of the source; otherwise 0:0.
    pub keep_owner: bool,
    /// Mode of everything, if one is asked for.
    pub mode: Option<&'a mode::Mode>,
}

/// What a file given in place is.
#[derive(Debug, Clone, Copy)]
pub struct Inline<'a> {
    /// Its name; may hold slashes.
    pub name: &'a str,
    /// Its bytes.
    pub content: &'a [u8],
}

/// Why files could not be put where they should go.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A system call on the destination failed.
    #[error("cannot {operation} {path} in the image")]
    Destination {
        /// The verb.
        operation: &'static str,
        /// The path below the stage's root.
        path: String,
        /// The kernel's answer.
        source: Errno,
    },
    /// A system call on the source failed.
    #[error("cannot {operation} {path}")]
    Source {
        /// The verb.
        operation: &'static str,
        /// The path below the source's root.
        path: String,
        /// The kernel's answer.
        source: Errno,
    },
    /// Something of another type stands at the destination.
    #[error("cannot put {what} {source_path} at {path}: {existing} stands there")]
    Conflict {
        /// What should go there: `directory`, `file`.
        what: &'static str,
        /// The path below the source's root.
        source_path: String,
        /// The path below the stage's root.
        path: String,
        /// What is there.
        existing: &'static str,
    },
    /// Several sources and one name.
    #[error("several sources need a directory, but {path} is none: add a / at its end")]
    Several {
        /// The destination.
        path: String,
    },
}

/// Copies into one destination. Keeps track of hard links over all sources of a step.
#[derive(Debug)]
pub struct Copier<'a> {
    target: Target<'a>,
    /// Where the first name of a file with several names went, by device and inode.
    linked: HashMap<(u64, u64), Vec<u8>>,
    buffer: Vec<u8>,
    /// The kernel copies between these two file systems by itself, as far as known.
    kernel_copies: bool,
    unsettled: bool,
}

impl<'a> Copier<'a> {
    /// A copier for one step.
    pub fn new(target: Target<'a>) -> Copier<'a> {
        Copier { target, linked: HashMap::new(), buffer: Vec::new(), kernel_copies: true, unsettled: false }
    }

    /// Whether a file was no longer what the walk saw.
    pub fn unsettled(&self) -> bool {
        self.unsettled
    }

    /// Refuses several things with one name for all.
    pub fn expect(&self, things: usize) -> Result<(), CopyError> {
        if things < 2 || self.target.into_directory {
            return Ok(());
        }
        match self.look()? {
            Place::There(found) if found.is_directory() => Ok(()),
            _ => Err(CopyError::Several { path: self.target.destination.to_owned() }),
        }
    }

    /// Copies one selected thing: a directory's content, or a file or link.
    pub fn put(&mut self, source: &SourceTree, selected: &Selected) -> Result<(), CopyError> {
        if selected.entry.is_directory() {
            return self.put_content(source, selected);
        }
        let (parent, parent_path, name) = self.place_for(&selected.name)?;
        let holder = source.holder(selected);
        let from = open_directory(source.root(), holder)?;
        let holder_names = Names { directory: holder, from: from.as_fd() };
        self.entry(
            &holder_names,
            &selected.entry,
            Spot { parent: parent.as_fd(), parent_path: &parent_path, name: &name },
        )
    }

    /// Writes a file given in place.
    pub fn put_inline(&mut self, inline: &Inline<'_>) -> Result<(), CopyError> {
        let (parent, parent_path, name) = self.place_for(inline.name.as_bytes())?;
        let path = join(&parent_path, &name);
        let file = self.create(
            Spot { parent: parent.as_fd(), parent_path: &parent_path, name: &name },
            "here document",
        )?;
        let mut rest = inline.content;
        while !rest.is_empty() {
            let count =
                rustix::io::retry_on_intr(|| rustix::io::write(&file, rest)).map_err(to("write", &path))?;
            rest = &rest[count..];
        }
        let owner = self.target.owner.unwrap_or_default();
        let mode = self.target.mode.map_or(0o644, |mode| mode.apply(0o644, false));
        set_owner_and_mode(&file, owner, mode).map_err(to("set the owner and mode of", &path))
    }

    /// The directory, its path, and the name under which a single file called `name` goes.
    fn place_for(&self, name: &[u8]) -> Result<(OwnedFd, Vec<u8>, Vec<u8>), CopyError> {
        let destination = self.target.destination.as_bytes();
        let inside =
            self.target.into_directory || matches!(self.look()?, Place::There(found) if found.is_directory());
        let path = if inside { join(destination, name) } else { destination.to_vec() };
        if inside
            && let Place::There(found) = self.look()?
            && !found.is_directory()
        {
            return Err(CopyError::Conflict {
                what: "file",
                source_path: shown(name),
                path: format!("{}/", self.target.destination),
                existing: describe(found.file_type()),
            });
        }
        let place = walk(self.target.root, &path, Last::Follow, Missing::MakeParents(self.new_directory()))
            .map_err(to("make the directories of", &path))?;
        match place {
            Place::Free { parent, parent_path, name } => Ok((parent, parent_path, name)),
            Place::There(found) if found.is_directory() => Err(CopyError::Conflict {
                what: "file",
                source_path: shown(name),
                path: shown(&path),
                existing: "a directory",
            }),
            Place::There(Found { path, .. }) => {
                let cut = path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
                let (parent_path, name) = (path[..cut.saturating_sub(1)].to_vec(), path[cut..].to_vec());
                let parent = open_beneath(self.target.root, &parent_path, OFlags::PATH | OFlags::DIRECTORY)
                    .map_err(to("open", &parent_path))?;
                Ok((parent, parent_path, name))
            }
            Place::Nowhere => Err(to("make the directories of", &path)(Errno::NOENT)),
        }
    }

    fn look(&self) -> Result<Place, CopyError> {
        let destination = self.target.destination.as_bytes();
        match walk(self.target.root, destination, Last::Follow, Missing::Report) {
            Err(errno) => Err(to("follow", destination)(errno)),
            Ok(place) => Ok(place),
        }
    }

    fn new_directory(&self) -> NewDirectory {
        let mode = self.target.mode.map_or(0o755, |mode| match mode {
            mode::Mode::Octal(bits) => *bits,
            mode::Mode::Symbolic(_) => 0o755,
        });
        NewDirectory { mode, owner: self.target.owner.unwrap_or_default() }
    }

    /// Copies what is in a directory. One that is made for it gets the source's attributes, one that is there keeps
    /// its own.
    fn put_content(&mut self, source: &SourceTree, selected: &Selected) -> Result<(), CopyError> {
        let destination = self.target.destination.as_bytes().to_vec();
        let place =
            walk(self.target.root, &destination, Last::Follow, Missing::MakeAll(self.new_directory()))
                .map_err(to("make", &destination))?;
        let (tree, start) = source.content(selected);
        let top = match place {
            Place::There(found) if found.is_directory() => found,
            Place::There(found) => {
                return Err(CopyError::Conflict {
                    what: "the content of directory",
                    source_path: shown(&tree.directories[start].path),
                    path: shown(&destination),
                    existing: describe(found.file_type()),
                });
            }
            _ => return Err(to("make", &destination)(Errno::NOENT)),
        };
        let mut finish: Vec<(Vec<u8>, Entry, BorrowedSource<'_>)> = Vec::new();
        if top.made {
            finish.push((
                top.path.clone(),
                selected.entry,
                BorrowedSource { path: tree.directories[start].path.clone(), root: source.root() },
            ));
        }
        let mut queue = vec![(start, top.path)];
        while let Some((index, path)) = queue.pop() {
            self.directory(source, tree, index, &path, &mut queue, &mut finish)?;
        }
        // Times of a directory change while it is filled, so they are set last, the deepest first.
        for (path, entry, from) in finish.iter().rev() {
            self.finish_directory(path, entry, from)?;
        }
        Ok(())
    }

    /// Copies the entries of one directory; subdirectories are made and queued.
    fn directory<'s>(
        &mut self,
        source: &'s SourceTree,
        tree: &Tree,
        index: usize,
        path: &[u8],
        queue: &mut Vec<(usize, Vec<u8>)>,
        finish: &mut Vec<(Vec<u8>, Entry, BorrowedSource<'s>)>,
    ) -> Result<(), CopyError> {
        let directory = &tree.directories[index];
        let from = open_directory(source.root(), directory)?;
        let names = Names { directory, from: from.as_fd() };
        let into = open_beneath(self.target.root, path, OFlags::PATH | OFlags::DIRECTORY)
            .map_err(to("open", path))?;
        for entry in &directory.entries {
            let name = directory.name(entry);
            if entry.is_directory() {
                let below = join(path, name);
                self.make_directory(into.as_fd(), &names, entry, &below)?;
                let from = BorrowedSource { path: directory.path_of(entry), root: source.root() };
                finish.push((below.clone(), *entry, from));
                queue.push((entry.child as usize, below));
            } else {
                self.entry(&names, entry, Spot { parent: into.as_fd(), parent_path: path, name })?;
            }
        }
        Ok(())
    }

    fn make_directory(
        &self,
        into: BorrowedFd<'_>,
        names: &Names<'_>,
        entry: &Entry,
        path: &[u8],
    ) -> Result<(), CopyError> {
        let name = names.directory.name_for_call(entry);
        match rustix::fs::mkdirat(into, name, Mode::RWXU) {
            Ok(()) => return Ok(()),
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(to("make", path)(errno)),
        }
        let existing =
            rustix::fs::statat(into, name, AtFlags::SYMLINK_NOFOLLOW).map_err(to("look at", path))?;
        match FileType::from_raw_mode(existing.st_mode) {
            FileType::Directory => Ok(()),
            other => Err(CopyError::Conflict {
                what: "directory",
                source_path: shown(&names.directory.path_of(entry)),
                path: shown(path),
                existing: describe(other),
            }),
        }
    }

    fn finish_directory(
        &self,
        path: &[u8],
        entry: &Entry,
        from: &BorrowedSource<'_>,
    ) -> Result<(), CopyError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let opened = open_beneath(self.target.root, path, flags).map_err(to("open", path))?;
        let (owner, mode) = self.attributes(entry);
        set_owner_and_mode(&opened, owner, mode).map_err(to("set the owner and mode of", path))?;
        let source = open_beneath(from.root, &from.path, flags).map_err(of("open", &from.path))?;
        copy_attributes(source.as_fd(), &opened).map_err(to("set the extended attributes of", path))?;
        rustix::fs::futimens(&opened, &times(entry)).map_err(to("set the time of", path))
    }

    /// Copies anything but a directory.
    fn entry(&mut self, names: &Names<'_>, entry: &Entry, spot: Spot<'_>) -> Result<(), CopyError> {
        match entry.file_type() {
            FileType::RegularFile => self.regular(names, entry, spot),
            FileType::Symlink => self.link(names, entry, spot),
            // A socket has no content that could be kept.
            FileType::Socket => Ok(()),
            _ => self.node(names, entry, spot),
        }
    }

    fn regular(&mut self, names: &Names<'_>, entry: &Entry, spot: Spot<'_>) -> Result<(), CopyError> {
        let identity = (entry.device, entry.inode);
        if entry.links > 1
            && let Some(first) = self.linked.get(&identity)
        {
            let first = first.clone();
            return self.hard_link(&first, spot);
        }
        let path = spot.path();
        let source_path = || names.directory.path_of(entry);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let from = rustix::fs::openat(names.from, names.directory.name_for_call(entry), flags, Mode::empty())
            .map_err(|errno| of("open", &source_path())(errno))?;
        let seen = rustix::fs::fstat(&from).map_err(|errno| of("look at", &source_path())(errno))?;
        if FileType::from_raw_mode(seen.st_mode) != FileType::RegularFile {
            return Err(of("read", &source_path())(Errno::INVAL));
        }
        let file = self.create(spot, "file")?;
        if seen.st_size > 0 {
            self.content(&from, &file, seen.st_size as u64).map_err(|(reading, errno)| match reading {
                true => of("read", &source_path())(errno),
                false => to("write", &path)(errno),
            })?;
        }
        let after = rustix::fs::fstat(&from).map_err(|errno| of("look at", &source_path())(errno))?;
        self.unsettled |= !is_as_seen(&seen, entry) || !is_as_seen(&after, entry);
        let (owner, mode) = self.attributes(entry);
        set_owner_and_mode(&file, owner, mode).map_err(to("set the owner and mode of", &path))?;
        copy_attributes(from.as_fd(), &file).map_err(to("set the extended attributes of", &path))?;
        rustix::fs::futimens(&file, &times(entry)).map_err(to("set the time of", &path))?;
        if entry.links > 1 {
            self.linked.insert(identity, path);
        }
        Ok(())
    }

    fn hard_link(&self, first: &[u8], spot: Spot<'_>) -> Result<(), CopyError> {
        let path = spot.path();
        self.clear(spot, "file")?;
        let cut = first.iter().rposition(|byte| *byte == b'/');
        let (parent, name) = cut.map_or((&first[..0], first), |at| (&first[..at], &first[at + 1..]));
        let parent = open_beneath(self.target.root, parent, OFlags::PATH | OFlags::DIRECTORY)
            .map_err(to("open the directory of", first))?;
        rustix::fs::linkat(&parent, name, spot.parent, spot.name, AtFlags::empty()).map_err(to("link", &path))
    }

    fn link(&self, names: &Names<'_>, entry: &Entry, spot: Spot<'_>) -> Result<(), CopyError> {
        let path = spot.path();
        let name = names.directory.name_for_call(entry);
        let target = rustix::fs::readlinkat(names.from, name, Vec::new())
            .map_err(|errno| of("read the link", &names.directory.path_of(entry))(errno))?;
        self.clear(spot, "link")?;
        rustix::fs::symlinkat(target.as_c_str(), spot.parent, spot.name)
            .map_err(to("make the link", &path))?;
        self.by_name(spot, entry, None)
    }

    fn node(&self, names: &Names<'_>, entry: &Entry, spot: Spot<'_>) -> Result<(), CopyError> {
        let path = spot.path();
        // A 0:0 character device is how the overlay hides a file: it must not come from outside.
        if entry.file_type() == FileType::CharacterDevice && entry.node == 0 {
            return Err(of("copy the whiteout-like device", &names.directory.path_of(entry))(Errno::PERM));
        }
        self.clear(spot, "device")?;
        rustix::fs::mknodat(spot.parent, spot.name, entry.file_type(), Mode::RUSR, entry.node)
            .map_err(to("make the device", &path))?;
        let (_, mode) = self.attributes(entry);
        self.by_name(spot, entry, Some(mode))
    }

    /// Attributes of what cannot be opened. The name was just made by us and nobody else has this root.
    fn by_name(&self, spot: Spot<'_>, entry: &Entry, mode: Option<u32>) -> Result<(), CopyError> {
        let path = spot.path();
        let (owner, _) = self.attributes(entry);
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle =
            rustix::fs::openat(spot.parent, spot.name, flags, Mode::empty()).map_err(to("open", &path))?;
        let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
        rustix::fs::chownat(&handle, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
            .map_err(to("set the owner of", &path))?;
        if let Some(mode) = mode {
            rustix::fs::chmodat(spot.parent, spot.name, Mode::from_raw_mode(mode), AtFlags::empty())
                .map_err(to("set the mode of", &path))?;
        }
        rustix::fs::utimensat(spot.parent, spot.name, &times(entry), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(to("set the time of", &path))
    }

    /// Makes a new file in place of whatever file or link has the name.
    fn create(&self, spot: Spot<'_>, what: &'static str) -> Result<OwnedFd, CopyError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        match rustix::fs::openat(spot.parent, spot.name, flags, mode) {
            Err(Errno::EXIST) => {}
            other => return other.map_err(to("create", &spot.path())),
        }
        self.clear(spot, what)?;
        rustix::fs::openat(spot.parent, spot.name, flags, mode).map_err(to("create", &spot.path()))
    }

    fn clear(&self, spot: Spot<'_>, what: &'static str) -> Result<(), CopyError> {
        match clear_name(spot.parent, spot.name) {
            Ok(()) => Ok(()),
            Err(Errno::ISDIR) => Err(CopyError::Conflict {
                what,
                source_path: shown(spot.name),
                path: shown(&spot.path()),
                existing: "a directory",
            }),
            Err(errno) => Err(to("replace", &spot.path())(errno)),
        }
    }

    /// Owner and mode that an entry gets.
    fn attributes(&self, entry: &Entry) -> (Owner, u32) {
        let kept =
            if self.target.keep_owner { Owner { uid: entry.uid, gid: entry.gid } } else { Owner::default() };
        let mode = entry.permissions();
        let mode = self.target.mode.map_or(mode, |change| change.apply(mode, entry.is_directory()));
        (self.target.owner.unwrap_or(kept), mode)
    }

    /// Copies bytes, in the kernel where it can. The error says whether reading failed.
    fn content(&mut self, from: &OwnedFd, to: &OwnedFd, size: u64) -> Result<(), (bool, Errno)> {
        let mut copied = 0u64;
        while self.kernel_copies {
            let most = usize::try_from(size.saturating_sub(copied)).unwrap_or(usize::MAX).max(CHUNK);
            match rustix::fs::copy_file_range(from, None, to, None, most) {
                Ok(0) => break,
                Ok(count) => copied += count as u64,
                Err(Errno::INTR) => {}
                Err(Errno::XDEV | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS | Errno::PERM)
                    if copied == 0 =>
                {
                    self.kernel_copies = false;
                }
                Err(errno) => return Err((false, errno)),
            }
        }
        if copied > 0 {
            return Ok(());
        }
        self.buffer.resize(CHUNK, 0);
        loop {
            let count = rustix::io::retry_on_intr(|| rustix::io::read(from, &mut self.buffer[..]))
                .map_err(|errno| (true, errno))?;
            if count == 0 {
                return Ok(());
            }
            let mut rest = &self.buffer[..count];
            while !rest.is_empty() {
                let written = rustix::io::retry_on_intr(|| rustix::io::write(to, rest))
                    .map_err(|errno| (false, errno))?;
                rest = &rest[written..];
            }
        }
    }
}

/// A name in a directory of the destination.
#[derive(Debug, Clone, Copy)]
struct Spot<'s> {
    parent: BorrowedFd<'s>,
    parent_path: &'s [u8],
    name: &'s [u8],
}

impl Spot<'_> {
    fn path(&self) -> Vec<u8> {
        join(self.parent_path, self.name)
    }
}

/// A directory of the source with its handle.
struct Names<'n> {
    directory: &'n Directory,
    from: BorrowedFd<'n>,
}

/// Where a directory's extended attributes are read from.
struct BorrowedSource<'s> {
    root: BorrowedFd<'s>,
    path: Vec<u8>,
}

fn open_directory(root: BorrowedFd<'_>, directory: &Directory) -> Result<OwnedFd, CopyError> {
    open_beneath(root, &directory.path, OFlags::PATH | OFlags::DIRECTORY).map_err(of("open", &directory.path))
}

fn to<'p>(operation: &'static str, path: &'p [u8]) -> impl Fn(Errno) -> CopyError + use<'p> {
    move |source| CopyError::Destination {
        operation,
        path: format!("/{}", shown(path).trim_start_matches('/')),
        source,
    }
}

fn of<'p>(operation: &'static str, path: &'p [u8]) -> impl Fn(Errno) -> CopyError + use<'p> {
    move |source| CopyError::Source { operation, path: shown(path), source }
}

fn set_owner_and_mode(file: &OwnedFd, owner: Owner, mode: u32) -> Result<(), Errno> {
    rustix::fs::fchown(file, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))?;
    // After the owner, whose change clears set-id bits.
    rustix::fs::fchmod(file, Mode::from_raw_mode(mode))
}

fn copy_attributes(from: BorrowedFd<'_>, to: &OwnedFd) -> Result<(), Errno> {
    for (name, value) in kept_attributes(from)? {
        rustix::fs::fsetxattr(to, name.as_slice(), &value, XattrFlags::empty())?;
    }
    Ok(())
}

fn times(entry: &Entry) -> Timestamps {
    let time = Timespec { tv_sec: entry.modified.seconds, tv_nsec: entry.modified.nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}

fn describe(file_type: FileType) -> &'static str {
    match file_type {
        FileType::Directory => "a directory",
        FileType::RegularFile => "a file",
        FileType::Symlink => "a link",
        _ => "a device or socket",
    }
}
