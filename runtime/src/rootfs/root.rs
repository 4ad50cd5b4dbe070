//! Attaching the root file system in the container's mount namespace, and pivoting to it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, MountPropagationFlags, MoveMountFlags, UnmountFlags};

use crate::init::{Step, StepFailure};
use crate::spec::plan::{Propagation, RootPlan};
use crate::sys::mount::{MountAttributes, mount_setattr};

/// The root file system, attached. Its descriptor is the start of every path of the container.
#[derive(Debug)]
pub struct Root<'a> {
    handle: BorrowedFd<'a>,
    plan: &'a RootPlan,
    /// It is not over the host's root, but somewhere in it.
    is_apart: bool,
}

impl<'a> Root<'a> {
    /// Attaches the detached root over the host's root, or over `place` if somebody is to see it there; either way only
    /// this mount namespace does.
    ///
    /// The host's mounts in this namespace stop being peers of the originals first, or what we mount would appear
    /// on the host.
    pub fn attach(
        handle: BorrowedFd<'a>,
        plan: &'a RootPlan,
        place: Option<&Path>,
    ) -> Result<Root<'a>, StepFailure> {
        isolate(plan.propagation).map_err(StepFailure::of(Step::Propagation, "/"))?;
        if let Some(place) = place {
            privatize_mount_of(place).map_err(StepFailure::of(Step::Propagation, place.to_string_lossy()))?;
        }
        let is_apart = place.is_some();
        let place = place.unwrap_or(Path::new("/"));
        rustix::mount::move_mount(handle, "", CWD, place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .map_err(StepFailure::of(Step::AttachRoot, "the root file system"))?;
        Ok(Root { handle, plan, is_apart })
    }

    /// The root's folder.
    pub fn handle(&self) -> BorrowedFd<'a> {
        self.handle
    }

    /// Makes it the root of this process alone, for hosts whose root is an initramfs, which cannot be pivoted from. The
    /// host's mounts stay beneath it: whoever may unmount it in the container reaches them.
    pub fn change_without_pivot(self) -> Result<(), StepFailure> {
        let failed =
            |step| move |errno| StepFailure { step, object: "the root file system".to_owned(), errno };
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        if self.is_apart {
            rustix::mount::move_mount(self.handle, "", CWD, "/", flags).map_err(failed(Step::AttachRoot))?;
        }
        rustix::process::fchdir(self.handle).map_err(failed(Step::Pivot))?;
        rustix::process::chroot(".").map_err(failed(Step::Pivot))?;
        rustix::process::chdir("/").map_err(failed(Step::Pivot))?;
        self.finish().map_err(failed(Step::ReadOnly))
    }

    /// Makes it the root of this process and namespace; the host's mounts are gone after this.
    pub fn pivot(self) -> Result<(), StepFailure> {
        let failed =
            |step| move |errno| StepFailure { step, object: "the root file system".to_owned(), errno };
        // Mounts of the host that are peers of those here must not be unmounted there: they are cut off first, and
        // for that the old root needs a handle, as "." will mean the new one.
        let shared = self.plan.propagation.kind == libc::MS_SHARED;
        let old = if shared { Some(old_root().map_err(failed(Step::Pivot))?) } else { None };
        rustix::process::fchdir(self.handle).map_err(failed(Step::Pivot))?;
        // With one place for both the old root ends up on top of the new one, whose last mount is then the old.
        rustix::process::pivot_root(".", ".").map_err(failed(Step::Pivot))?;
        if let Some(old) = old {
            rustix::process::fchdir(&old).map_err(failed(Step::Pivot))?;
            rustix::mount::mount_change(".", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
                .map_err(failed(Step::Propagation))?;
        }
        rustix::mount::unmount(".", UnmountFlags::DETACH).map_err(failed(Step::Pivot))?;
        rustix::process::chdir("/").map_err(failed(Step::Pivot))?;
        self.finish().map_err(failed(Step::ReadOnly))
    }

    /// Final attributes of the root mount itself.
    fn finish(&self) -> Result<(), Errno> {
        let mut attributes = MountAttributes::default();
        if self.plan.readonly {
            attributes.set = u64::from(MountAttrFlags::MOUNT_ATTR_RDONLY.bits());
        }
        if let kind @ (libc::MS_SHARED | libc::MS_UNBINDABLE) = self.plan.propagation.kind {
            attributes.propagation = kind;
        }
        if attributes.is_empty() { Ok(()) } else { mount_setattr(self.handle.as_fd(), &attributes, false) }
    }
}

fn old_root() -> Result<OwnedFd, Errno> {
    rustix::fs::openat(CWD, "/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// The mount that `place` is on must have no peers, or what is mounted there would appear with them too.
fn privatize_mount_of(place: &Path) -> Result<(), Errno> {
    for place in place.ancestors() {
        match rustix::mount::mount_change(place, MountPropagationFlags::PRIVATE) {
            // Not the top of a mount.
            Err(Errno::INVAL) => {}
            other => return other,
        }
    }
    Ok(())
}

fn isolate(propagation: Propagation) -> Result<(), Errno> {
    match propagation.kind {
        // Mounts of the container shall reach the host: only the root itself, on which we mount, is cut off.
        libc::MS_SHARED => rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE),
        libc::MS_SLAVE => {
            rustix::mount::mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        }
        _ => rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC),
    }
}
