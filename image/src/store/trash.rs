//! Deleting: rename first, unlink later and elsewhere.

use std::{
    ffi::CStr,
    fs,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, Dir, Mode, OFlags},
    io::Errno,
    path::Arg,
};

use super::{Store, lease::random_name};
use crate::error::{IoContext, IoFailure};

/// Deeper than this, folders are moved up before they are emptied, so that depth costs no descriptors.
const DEPTH: usize = 64;

impl Store {
    /// Takes a file or folder of the store out of sight in one step; returns where it is now.
    pub fn trash(&self, path: &Path) -> crate::error::Result<PathBuf> {
        let trashed = self.path("trash").join(random_name());
        fs::rename(path, &trashed).at("move to the trash", path)?;
        Ok(trashed)
    }

    /// Deletes what is in the trash. Several processes may do so at once. Goes on after a failure and returns the
    /// first.
    pub fn empty_trash(&self) -> crate::error::Result<()> {
        let folder = self.path("trash");
        let mut result = Ok(());
        for entry in fs::read_dir(&folder).at("list", &folder)? {
            let path = entry.at("list", &folder)?.path();
            result = result.and(remove_tree(&path));
        }
        result
    }
}

/// Removes a file, or a folder with everything in it, without following links and at any depth. One that is not
/// there is fine; `path` must be inside a folder that only we write.
pub fn remove_tree(path: &Path) -> crate::error::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    let Some(name) = path.file_name() else {
        return Err(IoFailure::new("remove", path, Errno::INVAL).into());
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = match rustix::fs::open(parent, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        top => top.at("open", parent)?,
    };
    let mut removal = Removal { top, moved: Vec::new() };
    removal.remove(None, name, DEPTH).at("remove", path)?;
    while let Some(moved) = removal.moved.pop() {
        removal.remove(None, moved.as_str(), DEPTH).at("remove", path)?;
    }
    Ok(())
}

/// One removal: the folder that holds the tree, and what was moved up into it and is still to be emptied.
struct Removal {
    top: OwnedFd,
    moved: Vec<String>,
}

impl Removal {
    /// Removes `name` in `folder` (`None` is the top). Folders below the last allowed level only move up.
    fn remove<N: Arg + Copy>(
        &mut self,
        folder: Option<&OwnedFd>,
        name: N,
        levels: usize,
    ) -> Result<(), Errno> {
        match rustix::fs::unlinkat(folder.unwrap_or(&self.top), name, AtFlags::empty()) {
            Err(Errno::ISDIR | Errno::PERM) => {}
            result => return gone_is_fine(result),
        }
        if levels == 0 {
            let moved = random_name();
            gone_is_fine(rustix::fs::renameat(folder.unwrap_or(&self.top), name, &self.top, moved.as_str()))?;
            self.moved.push(moved);
            return Ok(());
        }
        gone_is_fine(self.empty(folder, name, levels))?;
        gone_is_fine(rustix::fs::unlinkat(folder.unwrap_or(&self.top), name, AtFlags::REMOVEDIR))
    }

    fn empty<N: Arg + Copy>(
        &mut self,
        folder: Option<&OwnedFd>,
        name: N,
        levels: usize,
    ) -> Result<(), Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let inner = rustix::fs::openat(folder.unwrap_or(&self.top), name, flags, Mode::empty())?;
        for entry in Dir::read_from(inner.as_fd())? {
            let entry = entry?;
            let name: &CStr = entry.file_name();
            if name != c"." && name != c".." {
                self.remove(Some(&inner), name, levels - 1)?;
            }
        }
        Ok(())
    }
}

/// Somebody else may be emptying the same folder.
fn gone_is_fine(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::NOENT) => Ok(()),
        result => result,
    }
}
