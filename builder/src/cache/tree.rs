//! A snapshot of names and attributes below a directory.
//!
//! What always holds:
//! - entries of a directory are sorted by the bytes of their names;
//! - a digest in an [`Entry`] belongs to exactly the attributes that stand beside it;
//! - paths are opened beneath the root without following any link ([`open_beneath`]).

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, StatxFlags};
use rustix::io::Errno;

use super::{Error, shown};

/// A file time as the kernel gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Time {
    /// Seconds since 1970.
    pub seconds: i64,
    /// Nanoseconds within the second.
    pub nanoseconds: u32,
}

/// One name in a [`Directory`].
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    pub(super) name_start: u32,
    pub(super) name_length: u16,
    /// Type and permission bits, as in `st_mode`.
    pub mode: u16,
    /// Number of hard links.
    pub links: u32,
    /// Inode number.
    pub inode: u64,
    /// Device that holds the inode.
    pub device: u64,
    /// Owner; of interest for sources that are images, context files become 0:0.
    pub uid: u32,
    /// Group, as `uid`.
    pub gid: u32,
    /// Device number of a device node.
    pub node: u64,
    /// Bytes of a regular file or of a link's target.
    pub size: u64,
    /// Last change of the content.
    pub modified: Time,
    /// Last change of content or attributes.
    pub changed: Time,
    /// Index in [`Tree::directories`] of a directory's content; `u32::MAX` for anything else.
    pub child: u32,
    /// Whether `digest` is set.
    pub hashed: bool,
    /// Digest of the content (see [`super::digests`]).
    pub digest: [u8; 32],
}

impl Entry {
    /// The type of the entry.
    pub fn file_type(&self) -> FileType {
        FileType::from_raw_mode(u32::from(self.mode))
    }

    /// Permission bits including set-id and sticky.
    pub fn permissions(&self) -> u32 {
        u32::from(self.mode) & 0o7777
    }

    /// Whether this is a directory.
    pub fn is_directory(&self) -> bool {
        self.file_type() == FileType::Directory
    }
}

/// A directory with what it holds, sorted by name.
#[derive(Debug, Default)]
pub struct Directory {
    /// Path below the root, without leading slash; empty for the root itself.
    pub path: Vec<u8>,
    /// The device of the directory itself, the common case for its entries.
    pub device: u64,
    pub(super) names: Vec<u8>,
    /// The entries in order of their names.
    pub entries: Vec<Entry>,
    /// Only some names of the directory were looked at.
    pub partial: bool,
    /// Something here differs from what was recorded before.
    pub differs: bool,
}

impl Directory {
    /// The name of one of this directory's entries.
    pub fn name(&self, entry: &Entry) -> &[u8] {
        let start = entry.name_start as usize;
        &self.names[start..start + usize::from(entry.name_length)]
    }

    /// The name with the zero byte that system calls want.
    pub fn name_for_call(&self, entry: &Entry) -> &CStr {
        let start = entry.name_start as usize;
        CStr::from_bytes_with_nul(&self.names[start..=start + usize::from(entry.name_length)]).unwrap_or(c"")
    }

    /// The path below the root of one of this directory's entries.
    pub fn path_of(&self, entry: &Entry) -> Vec<u8> {
        join(&self.path, self.name(entry))
    }
}

/// What was found below one directory.
#[derive(Debug, Default)]
pub struct Tree {
    /// All directories; the first is the one the walk began at.
    pub directories: Vec<Directory>,
}

/// Which paths take part in a walk.
pub trait Filter: Sync {
    /// Whether `path` (below the root, no leading slash) is left out with everything below it.
    fn leaves_out(&self, path: &[u8], directory: bool) -> bool;

    /// True if nothing is ever left out, which saves building paths.
    fn keeps_all(&self) -> bool {
        false
    }
}

/// The filter that keeps everything.
#[derive(Debug, Clone, Copy)]
pub struct KeepAll;

impl Filter for KeepAll {
    fn leaves_out(&self, _path: &[u8], _directory: bool) -> bool {
        false
    }

    fn keeps_all(&self) -> bool {
        true
    }
}

/// Joins a directory's path and a name.
pub fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(directory.len() + name.len() + 1);
    path.extend_from_slice(directory);
    if !directory.is_empty() && !name.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

/// Opens `path` below `root` without following any link. The empty path is the root itself.
pub fn open_beneath(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let path: &[u8] = if path.is_empty() { b"." } else { path };
    rustix::fs::openat2(
        root,
        path,
        flags | OFlags::CLOEXEC | OFlags::NOFOLLOW,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    )
}

impl Tree {
    /// Calls `visit` for every entry below directory `index`, parents first, with its directory.
    pub fn visit<'t, E>(
        &'t self,
        index: usize,
        visit: &mut dyn FnMut(&'t Directory, &'t Entry) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut stack = vec![(index, 0usize)];
        while let Some((directory, position)) = stack.pop() {
            let Some(current) = self.directories.get(directory) else { continue };
            for (offset, entry) in current.entries[position..].iter().enumerate() {
                visit(current, entry)?;
                if entry.child != u32::MAX {
                    stack.push((directory, position + offset + 1));
                    stack.push((entry.child as usize, 0));
                    break;
                }
            }
        }
        Ok(())
    }

    /// Number of entries in all directories.
    pub fn len(&self) -> usize {
        self.directories.iter().map(|directory| directory.entries.len()).sum()
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Index of the directory with this path.
    pub fn find_directory(&self, path: &[u8]) -> Option<usize> {
        let start = self.directories.first()?;
        let mut index = 0usize;
        let rest = if start.path.is_empty() {
            path
        } else {
            let rest = path.strip_prefix(start.path.as_slice())?;
            if rest.is_empty() { rest } else { rest.strip_prefix(b"/")? }
        };
        for component in rest.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
            let entry = self.find_in(index, component)?;
            if entry.child == u32::MAX {
                return None;
            }
            index = entry.child as usize;
        }
        Some(index)
    }

    /// The entry `name` of directory `index`.
    pub fn find_in(&self, index: usize, name: &[u8]) -> Option<&Entry> {
        let directory = self.directories.get(index)?;
        let position = directory.entries.binary_search_by(|entry| directory.name(entry).cmp(name)).ok()?;
        Some(&directory.entries[position])
    }
}

impl Entry {
    pub(super) fn named(name_start: u32, name_length: u16) -> Entry {
        Entry {
            name_start,
            name_length,
            mode: 0,
            links: 0,
            inode: 0,
            device: 0,
            uid: 0,
            gid: 0,
            node: 0,
            size: 0,
            modified: Time::default(),
            changed: Time::default(),
            child: u32::MAX,
            hashed: false,
            digest: [0; 32],
        }
    }

    pub(super) fn name_in<'n>(&self, names: &'n [u8]) -> &'n [u8] {
        let start = self.name_start as usize;
        &names[start..start + usize::from(self.name_length)]
    }
}

/// The attributes of `name` in the directory `fd`.
pub(super) fn look(fd: BorrowedFd<'_>, name: &CStr) -> Result<Entry, Errno> {
    statx(fd, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT)
}

fn statx(fd: BorrowedFd<'_>, name: &CStr, flags: AtFlags) -> Result<Entry, Errno> {
    let mask = StatxFlags::TYPE
        | StatxFlags::MODE
        | StatxFlags::NLINK
        | StatxFlags::UID
        | StatxFlags::GID
        | StatxFlags::INO
        | StatxFlags::SIZE
        | StatxFlags::MTIME
        | StatxFlags::CTIME;
    let seen = rustix::fs::statx(fd, name, flags, mask)?;
    Ok(Entry {
        mode: seen.stx_mode,
        links: seen.stx_nlink,
        inode: seen.stx_ino,
        device: device_number(seen.stx_dev_major, seen.stx_dev_minor),
        uid: seen.stx_uid,
        gid: seen.stx_gid,
        node: device_number(seen.stx_rdev_major, seen.stx_rdev_minor),
        size: seen.stx_size,
        modified: Time { seconds: seen.stx_mtime.tv_sec, nanoseconds: seen.stx_mtime.tv_nsec },
        changed: Time { seconds: seen.stx_ctime.tv_sec, nanoseconds: seen.stx_ctime.tv_nsec },
        ..Entry::named(0, 0)
    })
}

/// The attributes of what `path` below `root` names, itself if it is a link.
pub fn look_at(root: BorrowedFd<'_>, path: &[u8]) -> Result<Entry, Error> {
    let failed = |errno| Error::Look { path: shown(path), source: errno };
    let handle = open_beneath(root, path, OFlags::PATH).map_err(failed)?;
    look_at_handle(handle.as_fd()).map_err(failed)
}

/// The attributes behind a handle.
pub fn look_at_handle(handle: BorrowedFd<'_>) -> Result<Entry, Errno> {
    statx(handle, c"", AtFlags::EMPTY_PATH)
}

pub(super) fn device_of(fd: BorrowedFd<'_>) -> Result<u64, Errno> {
    let seen = rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::INO)?;
    Ok(device_number(seen.stx_dev_major, seen.stx_dev_minor))
}

fn device_number(major: u32, minor: u32) -> u64 {
    rustix::fs::makedev(major, minor)
}
