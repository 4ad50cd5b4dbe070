//! Removing a container's folder without making the caller wait for a large one.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

/// Entries that are unlinked on the spot; a folder with more stays in the trash for the store's next sweep.
const ENTRIES: usize = 1000;

/// Folders within folders that are followed; deeper ones stay in the trash as well.
const DEPTH: usize = 32;

/// Renames `folder` (`<root>/containers/<id>`) into `<root>/trash` and unlinks what is there, as far as it is little:
/// this folder first, then what interrupted removals left. The error names the folder; what stays in the trash is
/// none.
pub(super) fn remove(folder: &Path) -> Result<(), String> {
    let fail = |errno: Errno| format!("cannot remove {}: {errno}", folder.display());
    let (Some(name), Some(root)) = (folder.file_name(), folder.parent().and_then(Path::parent)) else {
        return Err(fail(Errno::INVAL));
    };
    let trash = open_folder(CWD, &root.join("trash")).map_err(fail)?;
    match rustix::fs::renameat(CWD, folder, &trash, name) {
        Err(Errno::NOENT) => return Ok(()),
        result => result.map_err(fail)?,
    }
    let mut left = ENTRIES;
    // It is in the trash: whatever stops us now, the next one goes on.
    let _ = remove_tree(trash.as_fd(), Path::new(name), DEPTH, &mut left);
    let _ = remove_entries(&trash, DEPTH, &mut left);
    Ok(())
}

/// Removes the tree `name` in `parent`, by descriptors and without following links, while `left` lasts.
fn remove_tree(parent: BorrowedFd<'_>, name: &Path, depth: usize, left: &mut usize) -> Result<(), Errno> {
    let folder = open_folder(parent, name)?;
    remove_entries(&folder, depth.checked_sub(1).ok_or(Errno::TOOBIG)?, left)?;
    gone(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR))
}

fn remove_entries(folder: &OwnedFd, depth: usize, left: &mut usize) -> Result<(), Errno> {
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        *left = left.checked_sub(1).ok_or(Errno::TOOBIG)?;
        if entry.file_type() == FileType::Directory {
            gone(remove_tree(folder.as_fd(), Path::new(OsStr::from_bytes(name.to_bytes())), depth, left))?;
        } else {
            gone(rustix::fs::unlinkat(folder, name, AtFlags::empty()))?;
        }
    }
    Ok(())
}

/// Several processes may empty the trash at once.
fn gone(removed: Result<(), Errno>) -> Result<(), Errno> {
    match removed {
        Err(Errno::NOENT) => Ok(()),
        removed => removed,
    }
}

fn open_folder(parent: BorrowedFd<'_>, name: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(entries: usize) -> (tempfile::TempDir, std::path::PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("containers/c1");
        std::fs::create_dir_all(folder.join("upper/etc")).unwrap();
        std::fs::create_dir(root.path().join("trash")).unwrap();
        std::fs::create_dir(root.path().join("outside")).unwrap();
        std::fs::write(root.path().join("outside/kept"), "").unwrap();
        std::os::unix::fs::symlink(root.path().join("outside"), folder.join("upper/link")).unwrap();
        for number in 0..entries {
            std::fs::write(folder.join(format!("upper/etc/{number}")), "x").unwrap();
        }
        (root, folder)
    }

    #[test]
    fn a_small_folder_goes_at_once_and_links_are_not_followed() {
        let (root, folder) = store(20);
        remove(&folder).unwrap();
        assert_eq!(std::fs::read_dir(root.path().join("trash")).unwrap().count(), 0);
        assert_eq!(std::fs::read_dir(root.path().join("containers")).unwrap().count(), 0);
        assert!(root.path().join("outside/kept").exists());
        remove(&folder).unwrap();
    }

    #[test]
    fn what_an_interrupted_removal_left_goes_too() {
        let (root, folder) = store(3);
        std::fs::create_dir_all(root.path().join("trash/older/upper")).unwrap();
        std::fs::write(root.path().join("trash/stray"), "").unwrap();
        remove(&folder).unwrap();
        assert_eq!(std::fs::read_dir(root.path().join("trash")).unwrap().count(), 0);
    }

    #[test]
    fn a_large_folder_waits_in_the_trash() {
        let (root, folder) = store(ENTRIES + 10);
        remove(&folder).unwrap();
        assert!(!folder.exists());
        assert!(root.path().join("trash/c1").exists());
    }

    #[test]
    fn a_folder_that_cannot_be_moved_is_named() {
        let (root, folder) = store(1);
        std::fs::remove_dir(root.path().join("trash")).unwrap();
        assert!(remove(&folder).unwrap_err().contains("containers/c1"));
    }
}
