//! A detached monitor: the daemon behind `rrun run -d` and every pod.
//!
//! It is started by a caller that goes on without it (see [`super::detached`]), so it becomes a child of the machine's first
//! process in a session of its own, with no streams, working in `/`, in the cgroup `/hull/monitors`: neither the end of its
//! caller nor the limits of its pod reach it. Its parent says that it listens by ending with 0.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{CWD, Mode, OFlags};

use super::channel::{ChannelError, Listener};
use super::event_loop::{Mode as MonitorMode, Monitor, Settings};
pub use super::jobs::Leftovers;
use super::signals::block_signals;
use crate::cgroup::{Cgroup, CgroupPath, Hierarchies};
use crate::error::{Error, Result};
use crate::sys::clone::{Cloned, clone3};
use crate::sys::fd::close_except;

/// The cgroup of all detached monitors.
const HOME: &str = "/hull/monitors";

/// What to serve.
#[derive(Debug)]
pub struct Background {
    /// The folder of the runtime's records.
    pub state_root: PathBuf,
    /// Where callers reach it.
    pub socket: PathBuf,
    /// It ends with its only container.
    pub standalone: bool,
    /// What a standalone one removes with its container.
    pub leftovers: Leftovers,
}

/// Why there is no monitor.
#[derive(Debug, thiserror::Error)]
pub enum BackgroundError {
    /// The runtime failed.
    #[error(transparent)]
    Runtime(#[from] Error),
    /// The monitor's socket failed.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// There is nobody to leave a monitor to.
    #[error("whoever asked for a monitor is gone")]
    Abandoned,
}

/// Listens and leaves a monitor behind. Returns twice, like fork: with `false` at once in the calling process, and with
/// `true` in the monitor when that has nothing left to do.
pub fn run(request: Background) -> Result<bool, BackgroundError> {
    // What fails is told by the process that has somebody to tell.
    let signals = block_signals()?;
    let listener = Listener::bind(&request.socket)?;
    let prepared = null_device().and_then(|null| enter_home().map(|()| null));
    // From now on whoever frees what that caller left finds us; whoever looked before found nobody.
    if is_abandoned() {
        listener.remove();
        return Err(BackgroundError::Abandoned);
    }
    let cloned = prepared.and_then(|null| {
        let cloned = clone3(0, None).map_err(Error::system("leave", "a monitor behind"))?;
        Ok((null, cloned))
    });
    let null = match cloned {
        Ok((null, Cloned::Child)) => null,
        Ok((_, Cloned::Parent { .. })) => return Ok(false),
        Err(error) => {
            listener.remove();
            return Err(error.into());
        }
    };
    leave_caller(&null)?;
    // What its caller happened to have open is nobody's any more: a pipe would never end.
    let mut kept = [listener.as_fd().as_raw_fd(), null.as_raw_fd()];
    close_except(3, &mut kept).map_err(Error::system("close", "the caller's descriptors"))?;
    let mode = if request.standalone { MonitorMode::Standalone } else { MonitorMode::Pod };
    let settings = Settings { mode, state_root: request.state_root, leftovers: request.leftovers };
    let result = Monitor::new(settings, &signals, Some(&listener), None).and_then(|mut monitor| {
        crate::sys::memory::release_free();
        let result = monitor.run();
        // Before the locks of what it had are given back: who gets one may start a monitor in the same place.
        listener.unlink();
        result
    });
    result?;
    Ok(true)
}

/// A daemon's place: a session of its own, no caller's folder or streams, parent of all orphans of its containers.
fn leave_caller(null: &OwnedFd) -> Result<()> {
    let failed = || Error::system("leave", "the caller's session");
    let from_nix = crate::namespaces::from_nix;
    rustix::process::setsid().map_err(failed())?;
    rustix::process::chdir("/").map_err(failed())?;
    nix::unistd::dup2_stdin(null).map_err(from_nix).map_err(failed())?;
    nix::unistd::dup2_stdout(null).map_err(from_nix).map_err(failed())?;
    nix::unistd::dup2_stderr(null).map_err(from_nix).map_err(failed())?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).map_err(failed())
}

/// Moves this process to where monitors live. It is single-threaded, so that costs next to nothing.
fn enter_home() -> Result<()> {
    let home = Cgroup::ensure(&Hierarchies::discover()?, &CgroupPath::parse(HOME)?)?;
    Ok(home.enter_self()?)
}

/// Our caller reads what we complain about, by a pipe: is it gone? Where that is no pipe, nobody can tell.
fn is_abandoned() -> bool {
    let stderr = std::io::stderr();
    let mut polled = [PollFd::new(&stderr, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut polled, Some(&now)).is_ok() && polled[0].revents().contains(PollFlags::ERR)
}

fn null_device() -> Result<OwnedFd> {
    let path = Path::new("/dev/null");
    rustix::fs::openat(CWD, path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(Error::system("open", "/dev/null"))
}
