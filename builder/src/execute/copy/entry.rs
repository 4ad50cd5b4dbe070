//! Single entries: files with their content, links, device nodes, and the attributes of all.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::{Copier, CopyError, Names, Spot, in_image, of, to};
use crate::cache::digests::{is_as_seen, kept_attributes};
use crate::cache::shown;
use crate::cache::tree::{Entry, open_beneath};
use crate::execute::rooted::{Owner, clear_name};

/// Bytes moved at once where the kernel cannot copy by itself.
const CHUNK: usize = 256 * 1024;

impl Copier<'_> {
    /// Copies anything but a directory.
    pub(super) fn entry(
        &mut self,
        names: &Names<'_>,
        entry: &Entry,
        spot: Spot<'_>,
    ) -> Result<(), CopyError> {
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
    pub(super) fn create(&self, spot: Spot<'_>, what: &'static str) -> Result<OwnedFd, CopyError> {
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
                path: in_image(&spot.path()),
                existing: "a directory",
            }),
            Err(errno) => Err(to("replace", &spot.path())(errno)),
        }
    }

    /// Owner and mode that an entry gets.
    pub(super) fn attributes(&self, entry: &Entry) -> (Owner, u32) {
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

pub(super) fn set_owner_and_mode(file: &OwnedFd, owner: Owner, mode: u32) -> Result<(), Errno> {
    rustix::fs::fchown(file, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))?;
    // After the owner, whose change clears set-id bits.
    rustix::fs::fchmod(file, Mode::from_raw_mode(mode))
}

pub(super) fn copy_attributes(from: BorrowedFd<'_>, to: &OwnedFd) -> Result<(), Errno> {
    for (name, value) in kept_attributes(from)? {
        rustix::fs::fsetxattr(to, name.as_slice(), &value, XattrFlags::empty())?;
    }
    Ok(())
}

pub(super) fn times(entry: &Entry) -> Timestamps {
    let time = Timespec { tv_sec: entry.modified.seconds, tv_nsec: entry.modified.nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}
