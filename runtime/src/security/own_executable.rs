//! Keeps a container from writing the host's binary through `/proc/<pid>/exe` (CVE-2019-5736).
//!
//! A process that enters a container can be found there, and its `exe` link is a handle to the file it runs.
//! A read-only bind mount is no defence: CAP_SYS_ADMIN in the container clears its flag through an `O_PATH` handle
//! (`mount_setattr`). So the program re-executes itself from one of two places where no write can ever succeed:
//!
//! 1. a detached overlay that has only lower layers: the *superblock* is read-only and cannot become writable,
//!    and opening for writing would reach no upper layer (0.3 ms, no memory);
//! 2. where overlay is refused, a memfd sealed against every change (costs a copy of the binary in memory).
//!
//! Whether the running image is protected is read from the kernel alone ([`protection`]); no environment variable,
//! argument or descriptor number takes part, so nothing that a caller or an image chooses can fake it.
//! What must hold: [`seal_or_reexec`] runs first in `main`, before any thread, and before any container is near. The likely way, an
//! overlay that can be had at once, `roci` has gone before its C library began (`src/entry/early.rs`); it is looked at here.

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{self, AtFlags, CWD, Mode, OFlags, Stat, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags};
use rustix::process::DumpableBehavior;

use super::sealed;
use crate::error::Kind;
use crate::fault::{self, Defence};
use crate::sys::executable::reexecute;

const OWN_EXECUTABLE: &str = "/proc/self/exe";
/// A small folder on every host that holds no program of ours.
const OTHER_LAYER: &str = "/sys/fs";
/// `OVERLAYFS_SUPER_MAGIC`.
const OVERLAY_MAGIC: u64 = 0x794c_7630;
/// `TMPFS_MAGIC`, what a memfd reports.
const TMPFS_MAGIC: u64 = 0x0102_1994;

/// Where the running program's image lives, as the kernel reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// An overlay without upper layer, mounted in no namespace.
    Overlay,
    /// A memfd with all seals.
    SealedCopy,
    /// An ordinary file: a container that gets hold of it may be able to write it.
    None,
}

/// Why the program's own image cannot be protected.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The link to our own image cannot be examined, mostly because /proc is not mounted.
    #[error("cannot {operation} {OWN_EXECUTABLE}: {source}; is /proc mounted?")]
    Examine {
        /// The failed operation.
        operation: &'static str,
        /// The cause.
        source: Errno,
    },
    /// Neither way of protection worked.
    #[error("cannot protect the runtime's own executable: overlay: {overlay}; sealed copy: {copy}")]
    Protect {
        /// Why the overlay was refused.
        overlay: Step,
        /// Why the sealed copy failed.
        copy: Step,
    },
    /// The process cannot be made non-dumpable.
    #[error("cannot make the runtime non-dumpable: {0}")]
    Dumpable(Errno),
}

impl Error {
    /// What kind of failure this is: always the machine's.
    pub fn kind(&self) -> Kind {
        Kind::Machine
    }
}

/// A failed call on the way to a protected image.
#[derive(Debug, thiserror::Error)]
#[error("{call}: {source}")]
pub struct Step {
    call: &'static str,
    source: Errno,
}

/// Makes sure that this process runs from an image that nobody can write, and that nobody can trace it.
///
/// Returns when that is so; on the first call of an ordinary start it does not return but starts the same program
/// again with the same arguments, environment, descriptors and pid.
pub fn seal_or_reexec() -> Result<Protection, Error> {
    match protection()? {
        Protection::None if !fault::without(Defence::ProtectedImage) => {}
        protected => {
            if !fault::without(Defence::NotDumpable) {
                rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
                    .map_err(Error::Dumpable)?;
            }
            if protected == Protection::SealedCopy {
                restore_name();
            }
            return Ok(protected);
        }
    }
    let overlay = match execute_from_overlay() {
        Ok(never) => match never {},
        Err(step) => step,
    };
    let copy = match execute_from_copy() {
        Ok(never) => match never {},
        Err(step) => step,
    };
    Err(Error::Protect { overlay, copy })
}

/// Asks the kernel what the running image is.
///
/// An overlay counts only if it is read-only *and* its mount belongs to no mount namespace. The second condition
/// tells our detached overlay from an engine's own container root, which may be an overlay with an upper layer
/// behind a merely read-only mount. A clone of a mount succeeds in its namespace and is refused with EINVAL where
/// the mount was detached and its last descriptor closed, as happens to ours at exec.
pub fn protection() -> Result<Protection, Error> {
    let examine = |operation| move |source| Error::Examine { operation, source };
    let status = fs::statfs(OWN_EXECUTABLE).map_err(examine("examine"))?;
    match status.f_type as u64 {
        OVERLAY_MAGIC if status.f_flags as u64 & StatVfsMountFlags::RDONLY.bits() != 0 => {
            match rustix::mount::open_tree(
                CWD,
                OWN_EXECUTABLE,
                OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
            ) {
                Err(Errno::INVAL) => Ok(Protection::Overlay),
                _ => Ok(Protection::None),
            }
        }
        TMPFS_MAGIC => {
            let image = fs::open(OWN_EXECUTABLE, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .map_err(examine("open"))?;
            // Only memfds know seals; any other file of a tmpfs answers EINVAL.
            match fs::fcntl_get_seals(&image) {
                Ok(seals) if seals.contains(sealed::all_seals()) => Ok(Protection::SealedCopy),
                _ => Ok(Protection::None),
            }
        }
        _ => Ok(Protection::None),
    }
}

fn execute_from_overlay() -> Result<std::convert::Infallible, Step> {
    let path = fs::readlink(OWN_EXECUTABLE, Vec::new()).map_err(step("readlink"))?;
    let path = Path::new(OsStr::from_bytes(path.as_bytes())).to_owned();
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Step { call: "readlink", source: Errno::NOENT });
    };
    let running = fs::stat(OWN_EXECUTABLE).map_err(step("stat of the running image"))?;
    let directory = fs::open(directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(step("open of the executable's directory"))?;
    // A binary that was replaced since it started (an upgrade) must go on as the same program: then copy it.
    let found = fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW).map_err(step("stat by name"))?;
    if !same_file(&running, &found) {
        return Err(Step { call: "stat by name", source: Errno::STALE });
    }
    let overlay = lower_only_overlay(directory.as_fd())?;
    let name = CString::new(name.as_bytes()).map_err(|_| Step { call: "readlink", source: Errno::INVAL })?;
    // By directory and name, not by descriptor alone: so the kernel keeps the command name of the process.
    reexecute(&overlay, &name).map_err(step("execveat"))
}

/// A detached overlay of `directory` above another one: two layers are the least that overlay takes without an upper one,
/// and without an upper one its superblock is read-only for good.
///
/// The lower one is never looked into, for the program is found above it. An empty tmpfs would do, and does where a folder of
/// every host does not; but a mount of our own waits for an RCU grace period when it goes, and that is a tenth of a
/// millisecond.
fn lower_only_overlay(directory: BorrowedFd<'_>) -> Result<OwnedFd, Step> {
    let any = fs::open(OTHER_LAYER, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    any.map_err(step("open of the lowest layer")).and_then(|any| overlay_of(directory, any.as_fd())).or_else(
        |_| {
            let empty = empty_layer()?;
            overlay_of(directory, empty.as_fd())
        },
    )
}

fn empty_layer() -> Result<OwnedFd, Step> {
    let empty = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).map_err(step("fsopen tmpfs"))?;
    rustix::mount::fsconfig_create(&empty).map_err(step("create tmpfs"))?;
    rustix::mount::fsmount(&empty, FsMountFlags::FSMOUNT_CLOEXEC, sealed_mount())
        .map_err(step("fsmount tmpfs"))
}

fn overlay_of(upper: BorrowedFd<'_>, lower: BorrowedFd<'_>) -> Result<OwnedFd, Step> {
    let overlay =
        rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(step("fsopen overlay"))?;
    for layer in [upper, lower] {
        add_lower(overlay.as_fd(), layer)?;
    }
    rustix::mount::fsconfig_create(&overlay).map_err(step("create overlay"))?;
    rustix::mount::fsmount(&overlay, FsMountFlags::FSMOUNT_CLOEXEC, sealed_mount())
        .map_err(step("fsmount overlay"))
}

/// By descriptor since kernel 6.13, through /proc/self/fd since 6.5. Before that: EINVAL, hence the sealed copy.
fn add_lower(overlay: BorrowedFd<'_>, layer: BorrowedFd<'_>) -> Result<(), Step> {
    use std::os::fd::AsRawFd;
    match rustix::mount::fsconfig_set_fd(overlay, "lowerdir+", layer) {
        Err(Errno::INVAL) => rustix::mount::fsconfig_set_string(
            overlay,
            "lowerdir+",
            format!("/proc/self/fd/{}", layer.as_raw_fd()),
        ),
        other => other,
    }
    .map_err(step("add layer to overlay"))
}

fn sealed_mount() -> MountAttrFlags {
    MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV
}

fn execute_from_copy() -> Result<std::convert::Infallible, Step> {
    let image = fs::open(OWN_EXECUTABLE, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(step("open of the running image"))?;
    let copy = sealed_copy(image.as_fd())?;
    reexecute(&copy, c"").map_err(step("execveat"))
}

/// A memfd with the content of `image`, sealed against every change, the removal of seals included.
fn sealed_copy(image: BorrowedFd<'_>) -> Result<OwnedFd, Step> {
    let copy = sealed::create("roci").map_err(step("memfd_create"))?;
    let size = fs::fstat(image).map_err(step("stat of the running image"))?.st_size as u64;
    let mut copied = 0;
    while copied < size {
        match fs::sendfile(&copy, image, None, (size - copied) as usize) {
            Ok(0) => return Err(Step { call: "sendfile", source: Errno::IO }),
            Ok(count) => copied += count as u64,
            Err(Errno::INTR) => {}
            Err(source) => return Err(Step { call: "sendfile", source }),
        }
    }
    fs::fchmod(&copy, Mode::from_raw_mode(0o500)).map_err(step("fchmod"))?;
    fs::fcntl_add_seals(&copy, sealed::all_seals()).map_err(step("seal"))?;
    Ok(copy)
}

/// Executing a bare descriptor names the process after its number on kernels before 6.14; `ps` shall show ours.
fn restore_name() {
    let Some(argument) = std::env::args_os().next() else { return };
    let Some(name) = Path::new(&argument).file_name() else { return };
    if let Ok(name) = CString::new(name.as_bytes()) {
        // Cosmetic: a failure changes nothing that anybody relies on.
        let _ = rustix::thread::set_name(&name);
    }
}

fn same_file(one: &Stat, other: &Stat) -> bool {
    one.st_dev == other.st_dev && one.st_ino == other.st_ino
}

fn step(call: &'static str) -> impl Fn(Errno) -> Step {
    move |source| Step { call, source }
}
