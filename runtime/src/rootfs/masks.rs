//! Paths that cannot be written, and paths that read as empty.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, makedev};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags};

use super::devices::is_device;
use super::mounts::{Spent, attach};
use super::{Root, target};
use crate::fault::{self, Defence};
use crate::init::{Step, StepFailure};
use crate::sys::mount::{MountAttributes, mount_setattr};

/// The host's null device, held by handle and proven to be it: masks are made of this one, never of a file that
/// the image could have replaced (CVE-2025-31133).
#[derive(Debug)]
pub struct HostNull(OwnedFd);

impl HostNull {
    /// Opens it; called before the root is attached.
    pub fn open() -> Result<HostNull, Errno> {
        let null = rustix::fs::openat(CWD, "/dev/null", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        if !is_null_device(null.as_fd())? && !fault::without(Defence::ProvenMask) {
            return Err(Errno::NODEV);
        }
        Ok(HostNull(null))
    }
}

/// Is this the null device, by type and number?
pub fn is_null_device(file: BorrowedFd<'_>) -> Result<bool, Errno> {
    let stat = rustix::fs::fstat(file)?;
    Ok(is_device(&stat, FileType::CharacterDevice, makedev(1, 3)))
}

/// Makes the read-only paths read-only and the masked paths empty. Paths that do not exist need no protection.
pub fn protect_paths(
    root: &Root<'_>,
    readonly: &[PathBuf],
    masked: &[PathBuf],
    null: Option<&HostNull>,
    spent: &mut Spent,
) -> Result<(), StepFailure> {
    for path in readonly {
        let failed = |errno| StepFailure { step: Step::ReadOnly, object: path.display().to_string(), errno };
        if let Some(place) = existing(root.handle(), path).map_err(failed)? {
            make_read_only(place.as_fd(), spent).map_err(failed)?;
            spent.put(place);
        }
    }
    let mut empty_folder = None;
    for path in masked {
        let failed = |errno| StepFailure { step: Step::Mask, object: path.display().to_string(), errno };
        if let Some(place) = existing(root.handle(), path).map_err(failed)? {
            mask(place.as_fd(), null, &mut empty_folder, spent).map_err(failed)?;
            spent.put(place);
        }
    }
    Ok(())
}

fn existing(root: BorrowedFd<'_>, path: &Path) -> Result<Option<OwnedFd>, Errno> {
    let place = match target::open(root, path, OFlags::PATH) {
        // One of the kernel's own, as most of /sys/class.
        Err(Errno::LOOP) => target::open_below_first(root, path, OFlags::PATH),
        other => other,
    };
    match place {
        Ok(place) => Ok(Some(place)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// A bind of the path on itself, read-only with all below, before it is attached.
fn make_read_only(place: BorrowedFd<'_>, spent: &mut Spent) -> Result<(), Errno> {
    let tree = clone(place, OpenTreeFlags::AT_RECURSIVE)?;
    let attributes =
        MountAttributes { set: u64::from(MountAttrFlags::MOUNT_ATTR_RDONLY.bits()), ..Default::default() };
    mount_setattr(tree.as_fd(), &attributes, true)?;
    attach(tree.as_fd(), place)?;
    spent.put(tree);
    Ok(())
}

fn mask(
    place: BorrowedFd<'_>,
    null: Option<&HostNull>,
    empty_folder: &mut Option<OwnedFd>,
    spent: &mut Spent,
) -> Result<(), Errno> {
    let stat = rustix::fs::fstat(place)?;
    let tree = if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        clone(null.ok_or(Errno::NODEV)?.0.as_fd(), OpenTreeFlags::empty())?
    } else if let Some(first) = empty_folder {
        clone(first.as_fd(), OpenTreeFlags::empty())?
    } else {
        let folder = make_empty_folder()?;
        attach(folder.as_fd(), place)?;
        *empty_folder = Some(folder);
        return Ok(());
    };
    attach(tree.as_fd(), place)?;
    spent.put(tree);
    Ok(())
}

/// One read-only tmpfs, attached where the first folder is masked and cloned from there for the others.
fn make_empty_folder() -> Result<OwnedFd, Errno> {
    let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    // Empty for good, and no memory may be spent through it whatever flags someone clears.
    rustix::mount::fsconfig_set_string(&context, "nr_inodes", "1")?;
    rustix::mount::fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// A detached copy of what a handle is on.
pub(super) fn clone(place: BorrowedFd<'_>, more: OpenTreeFlags) -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | more;
    rustix::mount::open_tree(place, "", flags)
}
