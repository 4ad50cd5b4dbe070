//! A layer's folder becomes its tar: a pure function of the folder, so that the digest of a built layer can be made
//! again whenever the layer is saved or pushed.
//!
//! Each directory's entries follow each other, sorted by bytes; owners are numbers, times whole seconds; PAX records
//! appear only where a header field cannot hold a value. Hard links go to the first name in that order. Sockets are
//! left out, and of the extended attributes those that belong to the machine or to overlayfs.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::attributes::{Attributes, OPAQUE, is_kept, is_overlay, xattr_names, xattr_value};
use super::error::{Error, Name, Result};
use super::limits::Limits;
use super::parents::{DIRECTORY, beneath};
use super::tar::{EntryKind, Writer};
use super::unpack::{OPAQUE_WHITEOUT, WHITEOUT};
use super::view::{View, is_directory, is_opaque, is_whiteout};

/// Bytes read and hashed at a time: large enough that calls do not count, small enough for the second-level cache.
const BUFFER_BYTES: usize = 256 << 10;

/// Writes the tar of a layer's folder. The folder is not changed.
pub fn capture(folder: BorrowedFd<'_>, out: impl Write) -> Result<()> {
    Capture::new(folder, out, None).run()
}

/// The same for the upper directory of an overlay that is about to become a layer above `below`: overlayfs's own
/// attributes are removed on the way, and so are opaque marks that hide nothing (every directory that was made has
/// one). With `latest`, no time is later than this, in the tar as in the folder.
pub(super) fn capture_upper(
    folder: BorrowedFd<'_>,
    below: &View,
    latest: Option<i64>,
    out: impl Write,
) -> Result<()> {
    Capture::new(folder, out, Some(Upper { below, latest })).run()
}

/// What is known about a folder that is an overlay's upper and is cleaned while it is read.
#[derive(Clone, Copy)]
struct Upper<'a> {
    below: &'a View,
    latest: Option<i64>,
}

struct Capture<'a, W: Write> {
    folder: BorrowedFd<'a>,
    writer: Writer<W>,
    upper: Option<Upper<'a>>,
    /// First names of files that have several.
    linked: HashMap<(u64, u64), Vec<u8>>,
    /// Directories whose entries are still to be written, the next one last.
    waiting: Vec<Vec<u8>>,
    buffer: Vec<u8>,
}

impl<'a, W: Write> Capture<'a, W> {
    fn new(folder: BorrowedFd<'a>, out: W, upper: Option<Upper<'a>>) -> Capture<'a, W> {
        let writer = Writer::new(out);
        Capture {
            folder,
            writer,
            upper,
            linked: HashMap::new(),
            waiting: Vec::new(),
            buffer: vec![0; BUFFER_BYTES],
        }
    }

    fn run(mut self) -> Result<()> {
        self.root()?;
        self.waiting.push(Vec::new());
        while let Some(path) = self.waiting.pop() {
            self.directory(&path)?;
        }
        self.writer.finish().map_err(written)
    }

    /// The root is described only where it differs from what it is without description.
    fn root(&mut self) -> Result<()> {
        let root = rustix::fs::openat(self.folder, c".", DIRECTORY, Mode::empty())
            .map_err(|errno| Error::io("open directory", ".", errno))?;
        let mut attributes = self.attributes(root.as_fd(), b"")?;
        (attributes.seconds, attributes.nanoseconds) = (0, 0);
        if attributes != Attributes::default() {
            self.writer.header(b"./", &EntryKind::Directory, &attributes, 0).map_err(written)?;
        }
        let hides = is_opaque(root.as_fd()) && self.keep_opaque(root.as_fd(), b"")?;
        if hides { self.removal(OPAQUE_WHITEOUT) } else { Ok(()) }
    }

    fn directory(&mut self, path: &[u8]) -> Result<()> {
        let flagged = if path.is_empty() { b"." } else { path };
        let handle = rustix::fs::openat2(self.folder, flagged, DIRECTORY, Mode::empty(), beneath())
            .map_err(|errno| Error::io("open directory", flagged, errno))?;
        let first = self.waiting.len();
        for name in sorted_names(&handle, flagged)? {
            let full = if path.is_empty() { name.clone() } else { [path, b"/", &name].concat() };
            if full.len() > Limits::default().name_bytes {
                return Err(Error::Limit { what: "a path with bytes", limit: 4095 });
            }
            self.entry(handle.as_fd(), &name, full)?;
        }
        // The last one is taken first.
        self.waiting[first..].reverse();
        Ok(())
    }

    fn entry(&mut self, parent: BorrowedFd<'_>, name: &[u8], path: Vec<u8>) -> Result<()> {
        let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| Error::io("inspect", &path, errno))?;
        if is_whiteout(&stat) {
            let above = &path[..path.len() - name.len()];
            return self.removal(&[above, WHITEOUT, name].concat());
        }
        if name.starts_with(WHITEOUT) {
            let reason = "its name means a removal in a layer; rename it";
            return Err(Error::Refused { entry: Name::from(&path), reason });
        }
        if stat.st_nlink > 1 && !is_directory(&stat) {
            if let Some(first) = self.linked.get(&(stat.st_dev, stat.st_ino)) {
                let kind = EntryKind::HardLink(first.clone());
                return self.writer.header(&path, &kind, &Attributes::of_stat(&stat), 0).map_err(written);
            }
            self.linked.insert((stat.st_dev, stat.st_ino), path.clone());
        }
        let major = rustix::fs::major(stat.st_rdev);
        let minor = rustix::fs::minor(stat.st_rdev);
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => self.subdirectory(parent, name, path),
            FileType::RegularFile => self.file(parent, name, &path),
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(parent, name, Vec::new())
                    .map_err(|errno| Error::io("read link", &path, errno))?;
                self.special(parent, name, &path, &EntryKind::Symlink(target.into_bytes()), &stat)
            }
            FileType::CharacterDevice => {
                self.special(parent, name, &path, &EntryKind::Character { major, minor }, &stat)
            }
            FileType::BlockDevice => {
                self.special(parent, name, &path, &EntryKind::Block { major, minor }, &stat)
            }
            FileType::Fifo => self.special(parent, name, &path, &EntryKind::Fifo, &stat),
            FileType::Socket | FileType::Unknown => Ok(()),
        }
    }

    fn subdirectory(&mut self, parent: BorrowedFd<'_>, name: &[u8], path: Vec<u8>) -> Result<()> {
        let handle = rustix::fs::openat(parent, name, DIRECTORY, Mode::empty())
            .map_err(|errno| Error::io("open directory", &path, errno))?;
        let hides = is_opaque(handle.as_fd()) && self.keep_opaque(handle.as_fd(), &path)?;
        let attributes = self.attributes(handle.as_fd(), &path)?;
        let slashed = [&path, &b"/"[..]].concat();
        self.writer.header(&slashed, &EntryKind::Directory, &attributes, 0).map_err(written)?;
        if hides {
            self.removal(&[&slashed, OPAQUE_WHITEOUT].concat())?;
        }
        self.waiting.push(path);
        Ok(())
    }

    fn file(&mut self, parent: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let handle = rustix::fs::openat(parent, name, flags, Mode::empty())
            .map_err(|errno| Error::io("open", path, errno))?;
        let stat = rustix::fs::fstat(&handle).map_err(|errno| Error::io("inspect", path, errno))?;
        let attributes = self.attributes_of(handle.as_fd(), &stat, path)?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        self.writer.header(path, &EntryKind::File, &attributes, size).map_err(written)?;
        let mut file = File::from(handle);
        let mut left = size;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            match file.read(&mut self.buffer[..most]) {
                Ok(0) => {
                    return Err(Error::Refused {
                        entry: Name::from(path),
                        reason: "it became shorter while it was read",
                    });
                }
                Ok(count) => {
                    left -= count as u64;
                    self.writer.body(&self.buffer[..count]).map_err(written)?;
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io("read", path, error)),
            }
        }
        self.writer.pad(size).map_err(written)
    }

    fn special(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        kind: &EntryKind,
        stat: &Stat,
    ) -> Result<()> {
        let mut attributes = Attributes::of_stat(stat);
        if self.upper.is_some() {
            clean_special(parent, name);
        }
        if self.clamp(&mut attributes) {
            rustix::fs::utimensat(parent, name, &attributes.times(), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|errno| Error::io("set the time of", path, errno))?;
        }
        // What a link points to is all there is to it; its mode means nothing.
        let mode = if matches!(kind, EntryKind::Symlink(_)) { 0o777 } else { attributes.mode };
        self.writer.header(path, kind, &Attributes { mode, ..attributes }, 0).map_err(written)
    }

    /// A removal has no attributes of its own, so it is always written with the same ones.
    fn removal(&mut self, name: &[u8]) -> Result<()> {
        let attributes = Attributes { mode: 0, ..Attributes::default() };
        self.writer.header(name, &EntryKind::File, &attributes, 0).map_err(written)
    }

    /// The attributes that a tar carries. Cleans what overlayfs left, if the folder is an upper.
    fn attributes(&self, handle: BorrowedFd<'_>, path: &[u8]) -> Result<Attributes> {
        let stat = rustix::fs::fstat(handle).map_err(|errno| Error::io("inspect", path, errno))?;
        self.attributes_of(handle, &stat, path)
    }

    fn attributes_of(&self, handle: BorrowedFd<'_>, stat: &Stat, path: &[u8]) -> Result<Attributes> {
        let mut attributes = Attributes::of_stat(stat);
        for name in xattr_names(handle, &Name::from(path))? {
            if is_kept(&name) {
                let value = xattr_value(handle, &name, &Name::from(path))?;
                attributes.xattrs.push((name, value));
            } else if self.upper.is_some() && is_overlay(&name) && name != OPAQUE.as_bytes() {
                // Content that lies elsewhere. Our own mounts never make these, so the tree is not what it seems.
                if name == b"trusted.overlay.redirect" || name == b"trusted.overlay.metacopy" {
                    let reason = "it has a redirect or metacopy mark of overlayfs";
                    return Err(Error::Refused { entry: Name::from(path), reason });
                }
                rustix::fs::fremovexattr(handle, name.as_slice())
                    .map_err(|errno| Error::io("remove overlayfs's attribute of", path, errno))?;
            }
        }
        if self.clamp(&mut attributes) {
            rustix::fs::futimens(handle, &attributes.times())
                .map_err(|errno| Error::io("set the time of", path, errno))?;
        }
        Ok(attributes)
    }

    /// Brings a time that is too late back to the latest; whether it was.
    fn clamp(&self, attributes: &mut Attributes) -> bool {
        match self.upper.and_then(|upper| upper.latest) {
            Some(latest) if (attributes.seconds, attributes.nanoseconds) > (latest, 0) => {
                (attributes.seconds, attributes.nanoseconds) = (latest, 0);
                true
            }
            _ => false,
        }
    }

    /// Whether the mark hides anything; removes it where not.
    fn keep_opaque(&self, handle: BorrowedFd<'_>, path: &[u8]) -> Result<bool> {
        let Some(Upper { below, .. }) = self.upper else { return Ok(true) };
        let parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).collect();
        let hides = match parts.is_empty() {
            true => !below.is_empty(),
            false => below.find(&parts)?.is_some_and(|found| is_directory(&found.stat)),
        };
        if !hides {
            rustix::fs::fremovexattr(handle, OPAQUE)
                .map_err(|errno| Error::io("remove the opaque mark of", path, errno))?;
        }
        Ok(hides)
    }
}

/// Removes overlayfs's attributes of something that cannot be opened. They mean nothing there, so failing is no harm.
fn clean_special(parent: BorrowedFd<'_>, name: &[u8]) {
    let path = [format!("/proc/self/fd/{}/", parent.as_raw_fd()).as_bytes(), name].concat();
    let mut list = [0_u8; 1024];
    let Ok(length) = rustix::fs::llistxattr(path.as_slice(), &mut list) else { return };
    for name in list[..length].split(|byte| *byte == 0).filter(|name| is_overlay(name)) {
        let _ = rustix::fs::lremovexattr(path.as_slice(), name);
    }
}

fn sorted_names(directory: &OwnedFd, path: &[u8]) -> Result<Vec<Vec<u8>>> {
    let failed = |errno: Errno| Error::io("list directory", path, errno);
    let mut names = Vec::new();
    for entry in Dir::read_from(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(name.to_vec());
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn written(error: std::io::Error) -> Error {
    Error::io("write", "the layer's tar", error)
}
