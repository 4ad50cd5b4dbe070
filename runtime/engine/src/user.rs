//! Who a container's process runs as, by the user database of the container.

use std::os::fd::{BorrowedFd, OwnedFd};

use runtime::security::user::{self, User};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::process::{Pid, PidfdFlags};

use crate::error::{Error, Result};

/// Resolves `user[:group]` in a root file system.
pub fn resolve(root: BorrowedFd<'_>, wanted: &str, additional_groups: &[String]) -> Result<User> {
    Ok(user::resolve(root, wanted, additional_groups)?)
}

/// The root that a running container sees, by its first process.
pub fn root_of(pid: i32) -> Result<OwnedFd> {
    let path = format!("/proc/{pid}/root");
    let number = Pid::from_raw(pid).ok_or_else(|| Error::Invalid(format!("{pid} is no process")))?;
    let process =
        rustix::process::pidfd_open(number, PidfdFlags::empty()).map_err(Error::io("open", &path))?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, &path, flags, Mode::empty()).map_err(Error::io("open", &path))?;
    // Had the process ended in between, the number might be somebody else's by now.
    let mut polled = [PollFd::new(&process, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    match rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, Some(&now))) {
        Ok(0) => Ok(root),
        Ok(_) => Err(Error::io("open", &path)(std::io::Error::from(std::io::ErrorKind::NotFound))),
        Err(errno) => Err(Error::io("examine", &path)(errno)),
    }
}
