//! `mount_setattr(2)`: attributes and propagation of a mount by handle, recursively where asked.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use super::check;

/// The kernel's `struct mount_attr`, first version (Linux 5.12).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MountAttributes {
    /// `MOUNT_ATTR_*` to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub clear: u64,
    /// One of `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE`, `MS_UNBINDABLE`, or 0 to leave it.
    pub propagation: u64,
    /// A user namespace for an id-mapped mount.
    pub user_namespace: u64,
}

const _: () = assert!(size_of::<MountAttributes>() == 32);

impl MountAttributes {
    /// Would the call change anything?
    pub fn is_empty(&self) -> bool {
        *self == MountAttributes::default()
    }
}

/// Changes the mount that `mount` is the root of, and with `recursive` all below it.
pub fn mount_setattr(
    mount: BorrowedFd<'_>,
    attributes: &MountAttributes,
    recursive: bool,
) -> Result<(), Errno> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is an empty C string, the attributes have the kernel's layout and the size is theirs; both
    // outlive the call, which only reads them.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(attributes),
            size_of::<MountAttributes>(),
        )
    })
    .map(drop)
}
