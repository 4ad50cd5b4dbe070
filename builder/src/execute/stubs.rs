//! Mount points that a container needs and an image may lack: made before a RUN, taken away after it.
//!
//! Only what we made is removed, only if it is still the same inode and still empty, and by handle: a program that put
//! a link in its place gets nothing deleted (CVE-2024-23652).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use super::copy::CopyError;
use super::error::StepError;
use super::rooted::{Last, Missing, Place, walk};

/// Directories that the default mounts go to, and the files that ours do.
const NEEDED: [(&str, FileType); 7] = [
    ("/proc", FileType::Directory),
    ("/sys", FileType::Directory),
    ("/dev", FileType::Directory),
    ("/etc", FileType::Directory),
    ("/etc/hosts", FileType::RegularFile),
    ("/etc/resolv.conf", FileType::RegularFile),
    ("/etc/hostname", FileType::RegularFile),
];

/// What was made, in the order it was made.
#[derive(Debug, Default)]
pub struct Stubs {
    made: Vec<Stub>,
}

#[derive(Debug)]
struct Stub {
    /// The directory that holds it.
    parent: OwnedFd,
    name: Vec<u8>,
    inode: u64,
    file_type: FileType,
}

impl Stubs {
    /// Makes what is missing.
    pub(super) fn make(root: BorrowedFd<'_>) -> Result<Stubs, StepError> {
        let mut stubs = Stubs::default();
        for (path, file_type) in NEEDED {
            let failed = |source| CopyError::Destination {
                operation: "make mount point",
                path: path.to_owned(),
                source,
            };
            // A dangling link is followed to where its target would be, as the mount will be.
            let place = walk(root, path.as_bytes(), Last::Follow, Missing::Report).map_err(failed)?;
            if let Place::Free { parent, name, .. } = place {
                stubs.made.push(Stub::make(parent, name, file_type).map_err(failed)?);
            }
        }
        Ok(stubs)
    }

    /// Takes away what is still as it was made.
    pub(super) fn remove(self, _root: BorrowedFd<'_>) -> Result<(), StepError> {
        for stub in self.made.into_iter().rev() {
            let name = String::from_utf8_lossy(&stub.name).into_owned();
            stub.remove().map_err(|source| CopyError::Destination {
                operation: "remove mount point",
                path: name,
                source,
            })?;
        }
        Ok(())
    }
}

impl Stub {
    fn make(parent: OwnedFd, name: Vec<u8>, file_type: FileType) -> Result<Stub, Errno> {
        let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
        let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = if file_type == FileType::Directory {
            rustix::fs::mkdirat(&parent, name.as_slice(), mode | Mode::RWXU | Mode::XGRP | Mode::XOTH)?;
            rustix::fs::openat(
                &parent,
                name.as_slice(),
                flags | OFlags::RDONLY | OFlags::DIRECTORY,
                Mode::empty(),
            )?
        } else {
            rustix::fs::openat(
                &parent,
                name.as_slice(),
                flags | OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY,
                mode,
            )?
        };
        rustix::fs::fchown(&opened, Some(Uid::ROOT), Some(Gid::ROOT))?;
        let inode = rustix::fs::fstat(&opened)?.st_ino;
        Ok(Stub { parent, name, inode, file_type })
    }

    fn remove(&self) -> Result<(), Errno> {
        let seen =
            match rustix::fs::statat(self.parent.as_fd(), self.name.as_slice(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(seen) => seen,
                Err(Errno::NOENT) => return Ok(()),
                Err(errno) => return Err(errno),
            };
        let same = seen.st_ino == self.inode && FileType::from_raw_mode(seen.st_mode) == self.file_type;
        let filled = self.file_type == FileType::RegularFile && seen.st_size > 0;
        if !same || filled {
            return Ok(());
        }
        let flags = if self.file_type == FileType::Directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        match rustix::fs::unlinkat(self.parent.as_fd(), self.name.as_slice(), flags) {
            Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_untouched_stubs_go() {
        let outer = tempfile::tempdir().unwrap();
        let (root, canary) = (outer.path().join("root"), outer.path().join("canary"));
        fs::create_dir_all(root.join("sys")).unwrap();
        fs::create_dir(&canary).unwrap();
        fs::write(canary.join("hosts"), "").unwrap();
        let fd = rustix::fs::open(&root, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let stubs = Stubs::make(fd.as_fd()).unwrap();
        assert!(root.join("etc/hosts").is_file() && root.join("proc").is_dir());
        fs::write(root.join("etc/hostname"), "kept").unwrap();
        fs::remove_file(root.join("etc/hosts")).unwrap();
        symlink(canary.join("hosts"), root.join("etc/hosts")).unwrap();
        fs::remove_dir(root.join("dev")).unwrap();
        symlink(&canary, root.join("dev")).unwrap();
        stubs.remove(fd.as_fd()).unwrap();
        let mut left: Vec<_> = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["dev", "etc", "sys"]);
        assert_eq!(fs::read_dir(root.join("etc")).unwrap().count(), 2, "hostname with content, and the link");
        assert!(canary.join("hosts").exists());
    }
}
