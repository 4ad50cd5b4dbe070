//! The container's terminal: made by its own devpts, seen at /dev/console, its other end handed to the parent.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use super::protocol::ChildEnd;
use super::{Step, StepFailure};
use crate::fault::{self, Defence};
use crate::spec::plan::ProcessPlan;

/// Makes the terminal, sends the master to the parent, and returns the slave. `root` is the container's root.
pub(super) fn open(
    root: BorrowedFd<'_>,
    process: &ProcessPlan,
    console: bool,
    channel: &ChildEnd,
) -> Result<OwnedFd, StepFailure> {
    let (master, slave) =
        pair(root).map_err(StepFailure::of(Step::Console, "a terminal of the container's /dev/pts"))?;
    if let Some((rows, columns)) = process.console_size {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&master, size)
            .map_err(StepFailure::of(Step::Console, "the terminal's size"))?;
    }
    if process.uid != 0 {
        // Only ever our own new terminal: the descriptor came from the kernel, not from a path. The group stays
        // what the devpts mount says.
        rustix::fs::fchown(&slave, Some(Uid::from_raw(process.uid)), None::<Gid>)
            .map_err(StepFailure::of(Step::Console, "the terminal's owner"))?;
    }
    if console {
        show_as_console(root, slave.as_fd()).map_err(StepFailure::of(Step::Console, "/dev/console"))?;
    }
    channel.console(master.as_fd())?;
    Ok(slave)
}

/// Opens the multiplexer of the container's own devpts, proven to be one, and its peer without a path.
fn pair(root: BorrowedFd<'_>) -> Result<(OwnedFd, OwnedFd), Errno> {
    const DEVPTS_MAGIC: u64 = 0x1cd1;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    let master = rustix::fs::openat2(root, "dev/pts/ptmx", flags, Mode::empty(), resolve)?;
    if rustix::fs::fstatfs(&master)?.f_type as u64 != DEVPTS_MAGIC {
        return Err(Errno::NODEV);
    }
    rustix::pty::unlockpt(&master)?;
    let slave = rustix::pty::ioctl_tiocgptpeer(
        &master,
        OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC,
    )?;
    Ok((master, slave))
}

/// Binds the terminal by handle on a fresh file: what an image has under that name is replaced, never followed
/// (CVE-2025-52565).
fn show_as_console(root: BorrowedFd<'_>, slave: BorrowedFd<'_>) -> Result<(), Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dev = rustix::fs::openat2(root, "dev", flags, Mode::empty(), resolve)?;
    let name = Path::new("console");
    let mut create = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    if fault::without(Defence::FreshConsole) {
        create -= OFlags::EXCL | OFlags::NOFOLLOW;
    }
    let mode = Mode::from_raw_mode(0o600);
    let place = match rustix::fs::openat(&dev, name, create, mode) {
        Err(Errno::EXIST) => {
            rustix::fs::unlinkat(&dev, name, AtFlags::empty())?;
            rustix::fs::openat(&dev, name, create, mode)?
        }
        other => other?,
    };
    let clone =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = rustix::mount::open_tree(slave, "", clone)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(&tree, "", &place, "", flags)
}
