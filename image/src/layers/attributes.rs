//! The attributes of a file: owner, mode, times and the extended attributes that a layer may carry.
//!
//! They are always set on an open handle, never by path: a path can be swapped for a link between two calls
//! (CVE-2021-32760, RUSTSEC-2026-0067).

use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;

use rustix::fs::{Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::error::{Error, Name, Result};

/// The mark by which overlayfs hides all that lower layers have in a directory.
pub const OPAQUE: &str = "trusted.overlay.opaque";

/// Everything that overlayfs keeps about its own files, in both of its name spaces.
pub const OVERLAY_PREFIXES: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];

/// The longest list of names and the longest value that the kernel gives out (XATTR_LIST_MAX, XATTR_SIZE_MAX).
const XATTR_BYTES: usize = 64 * 1024;

/// One extended attribute: name and value.
pub type Xattr = (Vec<u8>, Vec<u8>);

/// Owner, mode, modification time and extended attributes of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits with set-id and sticky, 0 to 0o7777.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Modification time, seconds since 1970.
    pub seconds: i64,
    /// The part of the modification time below a second, in nanoseconds.
    pub nanoseconds: u32,
    /// Those that a layer may carry (file capabilities and the users' own), sorted by name.
    pub xattrs: Vec<Xattr>,
}

impl Default for Attributes {
    /// What a directory has that nothing describes: 0755, owned by root, as old as the epoch.
    fn default() -> Attributes {
        Attributes { mode: 0o755, uid: 0, gid: 0, seconds: 0, nanoseconds: 0, xattrs: Vec::new() }
    }
}

/// Whether a layer may carry this extended attribute: file capabilities and the users' own. Labels belong to the
/// machine's policy, and the overlay's own marks are only ever made by us.
pub fn is_kept(name: &[u8]) -> bool {
    name == b"security.capability" || (name.starts_with(b"user.") && !is_overlay(name))
}

/// Whether overlayfs would read this extended attribute as its own.
pub fn is_overlay(name: &[u8]) -> bool {
    OVERLAY_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

impl Attributes {
    /// Reads the attributes of an open file or directory (not of an `O_PATH` handle).
    pub fn of(handle: BorrowedFd<'_>, object: Name) -> Result<Attributes> {
        let stat = rustix::fs::fstat(handle).map_err(|errno| Error::io("inspect", object.clone(), errno))?;
        let mut attributes = Attributes::of_stat(&stat);
        for name in xattr_names(handle, &object)? {
            if is_kept(&name) {
                let value = xattr_value(handle, &name, &object)?;
                attributes.xattrs.push((name, value));
            }
        }
        Ok(attributes)
    }

    /// The part of the attributes that `stat` shows.
    pub fn of_stat(stat: &rustix::fs::Stat) -> Attributes {
        Attributes {
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            seconds: stat.st_mtime,
            nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
            xattrs: Vec::new(),
        }
    }

    /// Sets everything on an open directory.
    pub fn apply_to_directory(&self, handle: BorrowedFd<'_>, object: Name) -> Result<()> {
        self.apply_to_file(handle, || object.clone())
    }

    /// Sets everything on an open file or directory. The order matters: a change of owner clears set-id bits and file
    /// capabilities, and the time comes last because everything else is a change.
    pub(crate) fn apply_to_file(&self, handle: BorrowedFd<'_>, object: impl Fn() -> Name) -> Result<()> {
        rustix::fs::fchown(handle, Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)))
            .map_err(|errno| Error::io("set the owner of", object(), errno))?;
        rustix::fs::fchmod(handle, Mode::from_raw_mode(self.mode))
            .map_err(|errno| Error::io("set the mode of", object(), errno))?;
        for (name, value) in &self.xattrs {
            rustix::fs::fsetxattr(handle, name.as_slice(), value, XattrFlags::empty())
                .map_err(|errno| Error::io("set an extended attribute of", object(), errno))?;
        }
        rustix::fs::futimens(handle, &self.times())
            .map_err(|errno| Error::io("set the time of", object(), errno))
    }

    /// The times to set: access time equal to modification time, so that a folder depends only on its tar.
    pub(crate) fn times(&self) -> Timestamps {
        let time = Timespec { tv_sec: self.seconds, tv_nsec: self.nanoseconds.into() };
        Timestamps { last_access: time, last_modification: time }
    }
}

/// The names of all extended attributes of an open file, sorted. A file system without them has none.
pub(crate) fn xattr_names(handle: BorrowedFd<'_>, object: &Name) -> Result<Vec<Vec<u8>>> {
    let mut small = [MaybeUninit::<u8>::uninit(); 1024];
    let mut large;
    let list: &[u8] = match rustix::fs::flistxattr(handle, &mut small) {
        Ok((list, _)) => list,
        Err(Errno::NOTSUP) => &[],
        Err(Errno::RANGE) => {
            large = vec![0_u8; XATTR_BYTES];
            let length = rustix::fs::flistxattr(handle, &mut large)
                .map_err(|errno| Error::io("list the extended attributes of", object.clone(), errno))?;
            &large[..length]
        }
        Err(errno) => return Err(Error::io("list the extended attributes of", object.clone(), errno)),
    };
    let mut names: Vec<Vec<u8>> =
        list.split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect();
    names.sort_unstable();
    Ok(names)
}

/// The value of one extended attribute of an open file.
pub(crate) fn xattr_value(handle: BorrowedFd<'_>, name: &[u8], object: &Name) -> Result<Vec<u8>> {
    let mut value = vec![0_u8; XATTR_BYTES];
    let length = rustix::fs::fgetxattr(handle, name, &mut value)
        .map_err(|errno| Error::io("read an extended attribute of", object.clone(), errno))?;
    value.truncate(length);
    Ok(value)
}
