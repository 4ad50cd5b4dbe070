//! Walking the folders below a cgroup.
//!
//! A container that may write cgroups chooses their number, names and depth, so the walk holds one descriptor and
//! goes up by `..`: no depth runs into the limits of descriptors or path length.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{self, AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Calls `visit` for the folder and everything below it, parents first. Folders that vanish meanwhile are no error.
pub(super) fn walk(
    top: &Path,
    visit: &mut dyn FnMut(BorrowedFd<'_>) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let Some(mut current) = open(CWD, top)? else { return Ok(()) };
    visit(current.as_fd())?;
    let mut pending = vec![subfolders(current.as_fd())?];
    while let Some(siblings) = pending.last_mut() {
        if let Some(name) = siblings.pop() {
            if let Some(child) = open(current.as_fd(), &*name)? {
                visit(child.as_fd())?;
                pending.push(subfolders(child.as_fd())?);
                current = child;
            }
        } else {
            pending.pop();
            if !pending.is_empty() {
                match open(current.as_fd(), c"..")? {
                    Some(parent) => current = parent,
                    // Our own folder was removed under us, and with it the way back.
                    None => return Ok(()),
                }
            }
        }
    }
    Ok(())
}

/// Removes the folder and everything below it, children first. EBUSY where a process is left.
pub(super) fn remove(top: &Path) -> Result<(), Errno> {
    let Some(mut current) = open(CWD, top)? else { return Ok(()) };
    let mut names: Vec<CString> = Vec::new();
    'descend: loop {
        for name in subfolders(current.as_fd())? {
            match fs::unlinkat(&current, &name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => {}
                // Busy by children, perhaps: look. If it has none, a process holds it.
                Err(Errno::BUSY) => {
                    if let Some(child) = open(current.as_fd(), &*name)? {
                        if subfolders(child.as_fd())?.is_empty() {
                            return Err(Errno::BUSY);
                        }
                        names.push(name);
                        current = child;
                        continue 'descend;
                    }
                }
                Err(error) => return Err(error),
            }
        }
        let Some(name) = names.pop() else { break };
        let Some(parent) = open(current.as_fd(), c"..")? else { return Ok(()) };
        current = parent;
        match fs::unlinkat(&current, &name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
    }
    drop(current);
    match fs::unlinkat(CWD, top, AtFlags::REMOVEDIR) {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

fn open(parent: BorrowedFd<'_>, name: impl rustix::path::Arg) -> Result<Option<OwnedFd>, Errno> {
    match fs::openat(parent, name, FOLDER, Mode::empty()) {
        Ok(folder) => Ok(Some(folder)),
        Err(Errno::NOENT | Errno::NODEV) => Ok(None),
        Err(error) => Err(error),
    }
}

fn subfolders(folder: BorrowedFd<'_>) -> Result<Vec<CString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = match entry {
            Ok(entry) => entry,
            Err(Errno::NOENT) => break,
            Err(error) => return Err(error),
        };
        let name = entry.file_name();
        if entry.file_type() == FileType::Directory && name != c"." && name != c".." {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}
