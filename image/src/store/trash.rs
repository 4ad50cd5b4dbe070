//! Deleting: rename first, unlink later and elsewhere.

use std::{
    ffi::CStr,
    fs,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags},
    io::Errno,
};

use super::{Store, lease::random_name};
use crate::error::{IoContext, IoFailure, Result};

/// Deeper than this, folders are moved up before they are emptied, so that depth costs no descriptors.
const DEPTH: usize = 64;

impl Store {
    /// Takes a file or folder of the store out of sight in one step; returns where it is now.
    pub fn trash(&self, path: &Path) -> Result<PathBuf> {
        let trashed = self.path("trash").join(random_name());
        fs::rename(path, &trashed).at("move to the trash", path)?;
        Ok(trashed)
    }

    /// Deletes what is in the trash. Several processes may do so at once. Goes on after a failure and returns the
    /// first.
    pub fn empty_trash(&self) -> Result<()> {
        let folder = self.path("trash");
        let mut result = Ok(());
        for entry in fs::read_dir(&folder).at("list", &folder)? {
            let path = entry.at("list", &folder)?.path();
            // The next index under construction: its writer holds the lock, we do not.
            if path.file_name().is_some_and(|name| name == "index.json.new") {
                continue;
            }
            result = result.and(remove_tree(&path));
        }
        result
    }
}

/// Removes a file, or a folder with everything in it, without following links and at any depth. One that is not
/// there is fine; `path` must be inside a folder that only we write.
pub fn remove_tree(path: &Path) -> Result<()> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    let Some(name) = path.file_name() else {
        return Err(IoFailure::new("remove", path, Errno::INVAL).into());
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = match rustix::fs::open(parent, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        top => top.at("open", parent)?,
    };
    remove_entry(&top, &top, name, DEPTH).at("remove", path)?;
    Ok(())
}

/// Removes `name` in `folder`. Folders below the last allowed level move to `top` and start again there.
fn remove_entry<N: rustix::path::Arg + Copy>(
    top: &OwnedFd,
    folder: &OwnedFd,
    name: N,
    levels: usize,
) -> rustix::io::Result<()> {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(Errno::NOENT) => return Ok(()),
        result => return result,
    }
    if levels == 0 {
        let moved = random_name();
        return match rustix::fs::renameat(folder, name, top, moved.as_str()) {
            Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno),
            Ok(()) => remove_entry(top, top, moved.as_str(), DEPTH),
        };
    }
    match empty_folder(top, folder, name, levels) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno),
    }
    match rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOENT) => Ok(()),
        result => result,
    }
}

fn empty_folder<N: rustix::path::Arg + Copy>(
    top: &OwnedFd,
    folder: &OwnedFd,
    name: N,
    levels: usize,
) -> rustix::io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inner = rustix::fs::openat(folder, name, flags, Mode::empty())?;
    for entry in Dir::read_from(inner.as_fd())? {
        let entry = entry?;
        let name: &CStr = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        if entry.file_type() == FileType::Directory {
            remove_entry(top, &inner, name, levels - 1)?;
        } else {
            match rustix::fs::unlinkat(&inner, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::ISDIR | Errno::PERM) => remove_entry(top, &inner, name, levels - 1)?,
                Err(errno) => return Err(errno),
            }
        }
    }
    Ok(())
}
