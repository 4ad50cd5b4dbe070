//! `tmpcopyup`: a tmpfs starts with what the image has at its place.
//!
//! Everything goes by handle and no link is followed: the image chose what is there. Devices, FIFOs and sockets are made
//! anew, like by `cp -a`; more than one name of a file becomes more than one file.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, Timespec, Timestamps};
use rustix::io::Errno;

/// As deep as a tree is copied: each level holds descriptors.
const DEEPEST: usize = 128;

/// Copies the content of the folder `from` to the folder `to`.
pub(super) fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Errno> {
    let from = rustix::fs::openat(from, c".", FOLDER, Mode::empty())?;
    let to = rustix::fs::openat(to, c".", FOLDER, Mode::empty())?;
    folder(&from, &to, 0)
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

fn folder(from: &OwnedFd, to: &OwnedFd, depth: usize) -> Result<(), Errno> {
    if depth > DEEPEST {
        return Err(Errno::NAMETOOLONG);
    }
    for entry in Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            one(from, to, name, depth)?;
        }
    }
    Ok(())
}

fn one(from: &OwnedFd, to: &OwnedFd, name: &CStr, depth: usize) -> Result<(), Errno> {
    let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            rustix::fs::mkdirat(to, name, Mode::RWXU)?;
            let inner = rustix::fs::openat(from, name, FOLDER, Mode::empty())?;
            let copy = rustix::fs::openat(to, name, FOLDER, Mode::empty())?;
            folder(&inner, &copy, depth + 1)?;
            attributes(&copy, &stat)
        }
        FileType::RegularFile => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let source = rustix::fs::openat(from, name, flags, Mode::empty())?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let copy = rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR)?;
            while rustix::fs::sendfile(&copy, &source, None, 1 << 30)? > 0 {}
            attributes(&copy, &stat)
        }
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(from, name, Vec::new())?;
            rustix::fs::symlinkat(&target, to, name)?;
            rustix::fs::chownat(to, name, owner(&stat).0, owner(&stat).1, AtFlags::SYMLINK_NOFOLLOW)
        }
        kind => {
            rustix::fs::mknodat(to, name, kind, Mode::from_raw_mode(stat.st_mode), stat.st_rdev)?;
            rustix::fs::chownat(to, name, owner(&stat).0, owner(&stat).1, AtFlags::SYMLINK_NOFOLLOW)
        }
    }
}

fn owner(stat: &Stat) -> (Option<rustix::fs::Uid>, Option<rustix::fs::Gid>) {
    (Some(rustix::fs::Uid::from_raw(stat.st_uid)), Some(rustix::fs::Gid::from_raw(stat.st_gid)))
}

/// Owner first, for a change of it takes the bits of set-user-id away.
fn attributes(copy: &OwnedFd, stat: &Stat) -> Result<(), Errno> {
    rustix::fs::fchown(copy.as_fd(), owner(stat).0, owner(stat).1)?;
    rustix::fs::fchmod(copy, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    let time = |tv_sec, tv_nsec: u64| Timespec { tv_sec, tv_nsec: tv_nsec as i64 };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    };
    rustix::fs::futimens(copy, &times)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_tree_is_the_same_and_links_are_not_followed() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(from.path().join("deep")).unwrap();
        fs::write(from.path().join("deep/file"), "text").unwrap();
        fs::set_permissions(from.path().join("deep/file"), fs::Permissions::from_mode(0o4755)).unwrap();
        std::os::unix::fs::chown(from.path().join("deep"), Some(5), Some(6)).unwrap();
        symlink("/etc/passwd", from.path().join("link")).unwrap();
        let open = |path: &std::path::Path| rustix::fs::open(path, FOLDER, Mode::empty()).unwrap();
        copy(open(from.path()).as_fd(), open(to.path()).as_fd()).unwrap();
        assert_eq!(fs::read_to_string(to.path().join("deep/file")).unwrap(), "text");
        assert_eq!(fs::metadata(to.path().join("deep/file")).unwrap().mode() & 0o7777, 0o4755);
        assert_eq!(fs::metadata(to.path().join("deep")).unwrap().gid(), 6);
        assert_eq!(fs::read_link(to.path().join("link")).unwrap().to_str(), Some("/etc/passwd"));
    }
}
