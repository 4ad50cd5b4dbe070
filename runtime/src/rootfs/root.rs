//! Attaching the root file system in the container's mount namespace, and pivoting to it.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, UnmountFlags,
};

use crate::init::{Step, StepFailure};
use crate::spec::plan::{Propagation, RootPlan};
use crate::sys::mount::{MountAttributes, mount_setattr};

/// The root file system, attached. Its descriptor is the start of every path of the container.
#[derive(Debug)]
pub struct Root<'a> {
    handle: BorrowedFd<'a>,
    plan: &'a RootPlan,
    place: Place,
}

/// Where the root file system is, before it becomes the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Over the host's root.
    Over,
    /// Somewhere in the host's root.
    Within,
    /// In no mount namespace.
    Detached,
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
        let (path, place) = match place {
            Some(path) => (path, Place::Within),
            None => (Path::new("/"), Place::Over),
        };
        rustix::mount::move_mount(handle, "", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .map_err(StepFailure::of(Step::AttachRoot, "the root file system"))?;
        Ok(Root { handle, plan, place })
    }

    /// Leaves the root where it is, detached, for a container in the host's mount namespace: what is mounted on it is seen
    /// by nobody else and goes with its last process. (Since Linux 6.15; it was EINVAL before.)
    pub fn detached(handle: BorrowedFd<'a>, plan: &'a RootPlan) -> Root<'a> {
        Root { handle, plan, place: Place::Detached }
    }

    /// Is it in no mount namespace? There the kernel changes no attribute of a mount that is on another one.
    pub fn is_detached(&self) -> bool {
        self.place == Place::Detached
    }

    /// How its mounts travel.
    pub fn propagation(&self) -> Propagation {
        self.plan.propagation
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
        if self.place == Place::Within {
            rustix::mount::move_mount(self.handle, "", CWD, "/", flags).map_err(failed(Step::AttachRoot))?;
        }
        unmount_kernels().map_err(failed(Step::Pivot))?;
        self.change_for_this_process()
    }

    /// Makes it the root of this process alone, and touches no mount of its namespace.
    pub fn change_for_this_process(self) -> Result<(), StepFailure> {
        let failed =
            |step| move |errno| StepFailure { step, object: "the root file system".to_owned(), errno };
        change_root(self.handle).map_err(failed(Step::Pivot))?;
        self.finish().map_err(failed(Step::ReadOnly))
    }

    /// Makes it the root of this process and namespace; the host's mounts are gone after this.
    pub fn pivot(self) -> Result<(), StepFailure> {
        let failed =
            |step| move |errno| StepFailure { step, object: "the root file system".to_owned(), errno };
        rustix::process::fchdir(self.handle).map_err(failed(Step::Pivot))?;
        // With one place for both the old root ends up on top of the new one, whose last mount is then the old.
        rustix::process::pivot_root(".", ".").map_err(failed(Step::Pivot))?;
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

/// Makes a folder the root of this process, and its working directory.
pub(crate) fn change_root(root: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::process::fchdir(root)?;
    rustix::process::chroot(".")?;
    rustix::process::chdir("/")
}

/// Takes the host's proc and sysfs away: a namespace in which one is seen whole may mount another one, and that would be
/// without what is masked in ours.
fn unmount_kernels() -> Result<(), Errno> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    let places = mounts.lines().rev().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let kernels = matches!(after.split(' ').next()?, "proc" | "sysfs");
        before.split(' ').nth(4).filter(|_| kernels)
    });
    for place in places.map(unescape) {
        // Is there a mount? It changes nothing, as all are slaves at most.
        match rustix::mount::mount_change(&place, MountPropagationFlags::DOWNSTREAM) {
            // It went with one above it, or is below our own root, which this process does not see yet.
            Err(Errno::INVAL | Errno::NOENT) => continue,
            other => other?,
        }
        match rustix::mount::unmount(&place, UnmountFlags::DETACH) {
            Ok(()) => {}
            // A user namespace cannot take it away, but cover it.
            Err(Errno::INVAL | Errno::PERM) => cover(&place)?,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// An empty folder over a place.
fn cover(place: &[u8]) -> Result<(), Errno> {
    let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_create(&context)?;
    let empty = rustix::mount::fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::MOUNT_ATTR_RDONLY
            | MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NOEXEC,
    )?;
    rustix::mount::move_mount(&empty, "", CWD, place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// A path of mountinfo, which writes white space and backslashes as three octal digits (proc_pid_mountinfo(5)).
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()).filter(|_| byte == b'\\') {
            Some(value) => {
                bytes.push(value);
                rest = &after[3..];
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    bytes
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

/// What is mounted or unmounted here must not be so with the host. Mounts of the container that shall reach it are copies of the
/// host's, made before.
fn isolate(propagation: Propagation) -> Result<(), Errno> {
    let own = match propagation.kind {
        libc::MS_SHARED | libc::MS_SLAVE => MountPropagationFlags::DOWNSTREAM,
        _ => MountPropagationFlags::PRIVATE,
    };
    rustix::mount::mount_change("/", own | MountPropagationFlags::REC)
}

#[cfg(test)]
mod tests {
    use super::unescape;

    #[test]
    fn paths_of_the_kernel_are_read_as_they_are() {
        assert_eq!(unescape("/a\\040b\\134c"), b"/a b\\c");
        assert_eq!(unescape("/a\\9"), b"/a\\9");
        assert_eq!(unescape(""), b"");
    }
}
