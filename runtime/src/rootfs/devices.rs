//! Device files and the links that programs expect in /dev.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use oci_spec::runtime::LinuxDeviceType;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid, makedev};
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;

use super::mounts::attach;
use super::{Root, target};
use crate::init::{Step, StepFailure};
use crate::spec::plan::DevicePlan;

/// The devices that every container has (runtime specification, "Default Devices").
fn default_devices() -> Vec<DevicePlan> {
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)]
        .into_iter()
        .map(|(name, major, minor)| DevicePlan {
            path: Path::new("/dev").join(name),
            kind: LinuxDeviceType::C,
            major,
            minor,
            mode: 0o666,
            uid: 0,
            gid: 0,
        })
        .collect()
}

/// The default devices without those that `asked` replaces, and then these.
pub fn with_defaults(asked: &[DevicePlan]) -> Vec<DevicePlan> {
    let mut devices = default_devices();
    devices.retain(|device| asked.iter().all(|own| own.path != device.path));
    devices.extend(asked.iter().cloned());
    devices
}

/// Links in /dev and what they point to.
const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
];

/// Makes devices and links. In a user namespace no device can be made: the host's are bound by handle instead.
pub fn make_devices(
    root: &Root<'_>,
    devices: &[DevicePlan],
    in_user_namespace: bool,
) -> Result<(), StepFailure> {
    let dev = target::create_directory(root.handle(), Path::new("/dev"))
        .map_err(StepFailure::of(Step::Target, "/dev"))?;
    for device in devices {
        let failed =
            |errno| StepFailure { step: Step::Device, object: device.path.display().to_string(), errno };
        // Most are direct children of /dev, whose handle we have.
        let own_parent;
        let parent = match device.path.parent() {
            Some(parent) if parent == Path::new("/dev") => dev.as_fd(),
            Some(parent) => {
                own_parent = target::create_directory(root.handle(), parent).map_err(failed)?;
                own_parent.as_fd()
            }
            None => return Err(failed(Errno::INVAL)),
        };
        make(parent, device, in_user_namespace).map_err(failed)?;
    }
    for (name, points_to) in LINKS {
        match rustix::fs::symlinkat(points_to, &dev, name) {
            // An image may bring its own; it leads nowhere but into its own root.
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => {
                return Err(StepFailure { step: Step::Link, object: format!("/dev/{name}"), errno });
            }
        }
    }
    Ok(())
}

fn make(parent: BorrowedFd<'_>, device: &DevicePlan, in_user_namespace: bool) -> Result<(), Errno> {
    let name = Path::new(device.path.file_name().ok_or(Errno::INVAL)?);
    let number = makedev(device.major, device.minor);
    let file_type = match device.kind {
        LinuxDeviceType::B => FileType::BlockDevice,
        LinuxDeviceType::P => FileType::Fifo,
        _ => FileType::CharacterDevice,
    };
    if in_user_namespace && file_type != FileType::Fifo {
        return bind_from_host(parent, name, device, file_type, number);
    }
    let mode = Mode::from_raw_mode(device.mode);
    match rustix::fs::mknodat(parent, name, file_type, mode, number) {
        Ok(()) => {}
        // One that the image brings is good if it is this very device; anything else under that name is not.
        Err(Errno::EXIST) => return same(parent, name, file_type, number),
        // The caller is root of a user namespace himself.
        Err(Errno::PERM) if file_type != FileType::Fifo => {
            return bind_from_host(parent, name, device, file_type, number).map_err(|_| Errno::PERM);
        }
        Err(errno) => return Err(errno),
    }
    if device.uid != 0 || device.gid != 0 {
        let (uid, gid) = (Uid::from_raw(device.uid), Gid::from_raw(device.gid));
        rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

fn same(parent: BorrowedFd<'_>, name: &Path, file_type: FileType, number: u64) -> Result<(), Errno> {
    let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    is_device(&stat, file_type, number).then_some(()).ok_or(Errno::EXIST)
}

/// Is this the device, by type and number?
pub(super) fn is_device(stat: &rustix::fs::Stat, file_type: FileType, number: u64) -> bool {
    FileType::from_raw_mode(stat.st_mode) == file_type
        && (file_type == FileType::Fifo || stat.st_rdev == number)
}

fn bind_from_host(
    parent: BorrowedFd<'_>,
    name: &Path,
    device: &DevicePlan,
    file_type: FileType,
    number: u64,
) -> Result<(), Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = rustix::mount::open_tree(rustix::fs::CWD, &device.path, flags)?;
    let stat = rustix::fs::fstat(&tree)?;
    if !is_device(&stat, file_type, number) {
        return Err(Errno::NODEV);
    }
    let place = new_file(parent, name)?;
    attach(tree.as_fd(), place.as_fd())
}

/// A fresh empty file, never one that was there.
fn new_file(parent: BorrowedFd<'_>, name: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600))
}
