//! Kernel parameters of the namespaces that a process is in.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use super::{Step, StepFailure};
use crate::fault::{self, Defence};
use crate::spec::plan::Sysctl;

/// Writes all of them.
pub(super) fn write(sysctls: &[Sysctl]) -> Result<(), StepFailure> {
    if sysctls.is_empty() {
        return Ok(());
    }
    let proc = private_proc().map_err(StepFailure::of(Step::Mount, "a private proc"))?;
    write_to(proc.as_fd(), sysctls)
}

/// Writes all of them to a mount of proc.
pub(super) fn write_to(proc: BorrowedFd<'_>, sysctls: &[Sysctl]) -> Result<(), StepFailure> {
    sysctls.iter().try_for_each(|sysctl| write_one(proc, sysctl))
}

/// A proc file system that nobody else has: a fresh mount, so no file in it is covered by another (CVE-2025-52881).
fn private_proc() -> Result<OwnedFd, Errno> {
    let context = rustix::mount::fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_create(&context)?;
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_NODEV)
}

fn write_one(proc: BorrowedFd<'_>, sysctl: &Sysctl) -> Result<(), StepFailure> {
    let mut resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    if fault::without(Defence::PrivateProc) {
        resolve -= ResolveFlags::NO_XDEV;
    }
    let path = Path::new("sys").join(&sysctl.path);
    let write = || {
        let file =
            rustix::fs::openat2(proc, &path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty(), resolve)?;
        rustix::io::write(&file, sysctl.value.as_bytes())
    };
    write().map(drop).map_err(StepFailure::of(Step::Sysctl, format!("{} = {}", sysctl.name, sysctl.value)))
}
