//! Cloning the child and following it until it is ready.

use std::convert::Infallible;
use std::os::fd::{BorrowedFd, OwnedFd};

use nix::sched::CloneFlags;

use super::protocol::{ChildEnd, Failure, FromChild, ParentEnd, channel};
use crate::error::{Error, Result};
use crate::process::{self, Signal};
use crate::sys::clone::{Cloned, clone3, exit_now};

/// What the cloned process does. Only returns with the reason why it gave up.
pub trait Child {
    /// Works towards exec.
    fn run(&mut self, channel: &mut ChildEndHandle) -> Result<Infallible, FailureReport>;
}

/// The child's end of the channel, opaque outside this module.
#[derive(Debug)]
pub struct ChildEndHandle(pub(super) ChildEnd);

/// Why a child gave up, opaque outside this module.
#[derive(Debug)]
pub struct FailureReport(pub(super) Failure);

impl<T: Into<Failure>> From<T> for FailureReport {
    fn from(failure: T) -> FailureReport {
        FailureReport(failure.into())
    }
}

/// A cloned child that is being set up. Dropped before it is ready, it is killed and reaped.
#[derive(Debug)]
pub struct Launched {
    /// Its pid as we see it.
    pub pid: i32,
    pidfd: Option<OwnedFd>,
    channel: Option<ParentEnd>,
    console: Option<OwnedFd>,
    /// It is the child of our parent, who reaps it.
    is_sibling: bool,
}

/// A child that waits for its start.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
    pub(crate) channel: ParentEnd,
    pub(crate) console: Option<OwnedFd>,
}

/// Clones `child` into new namespaces and, on v2, its cgroup. With `CLONE_PARENT` among the flags it becomes a child of
/// our parent: a worker makes what its monitor is the parent of.
pub fn launch(flags: CloneFlags, cgroup: Option<BorrowedFd<'_>>, child: &mut dyn Child) -> Result<Launched> {
    let (parent_end, child_end) = channel()?;
    match clone3(flags.bits(), cgroup).map_err(Error::system("create", "the container's first process"))? {
        Cloned::Child => {
            // With a copy of the parent's end it would never see the parent go.
            drop(parent_end);
            run(child, child_end)
        }
        Cloned::Parent { pid, pidfd } => {
            drop(child_end);
            Ok(Launched {
                pid,
                pidfd: Some(pidfd),
                channel: Some(parent_end),
                console: None,
                is_sibling: flags.contains(CloneFlags::CLONE_PARENT),
            })
        }
    }
}

/// The child's life: work until exec, or say why not and end.
fn run(child: &mut dyn Child, child_end: ChildEnd) -> ! {
    let mut handle = ChildEndHandle(child_end);
    crate::sys::process::reset_signals();
    let Err(FailureReport(failure)) = child.run(&mut handle);
    handle.0.failed(&failure);
    exit_now(1)
}

impl Launched {
    /// Tells the child that its id maps are written.
    pub fn ids_mapped(&self) -> Result<()> {
        self.channel().ids_mapped()
    }

    /// Follows the child until it is ready.
    pub(crate) fn wait_ready(mut self) -> Result<Ready> {
        loop {
            match self.channel().receive()? {
                FromChild::Console(master) => self.console = Some(master),
                FromChild::Born(pidfd) => self.replace(pidfd)?,
                FromChild::Failed(failure) => return Err(failure.into()),
                FromChild::Gone => return Err(Error::Vanished { stage: "its set-up" }),
                FromChild::Ready => {
                    let (Some(pidfd), Some(channel)) = (self.pidfd.take(), self.channel.take()) else {
                        return Err(Error::Vanished { stage: "its set-up" });
                    };
                    let console = self.console.take();
                    return Ok(Ready { pid: self.pid, pidfd, channel, console });
                }
            }
        }
    }

    /// Waits for the sibling that takes over from a child that only joined a user namespace.
    pub fn wait_born(&mut self) -> Result<()> {
        match self.channel().receive()? {
            FromChild::Born(pidfd) => self.replace(pidfd),
            FromChild::Failed(failure) => Err(failure.into()),
            _ => Err(Error::Vanished { stage: "joining its user namespace" }),
        }
    }

    fn replace(&mut self, pidfd: OwnedFd) -> Result<()> {
        // The sender may live in another PID namespace, so its number for the new process means nothing here.
        self.pid = process::pid_of(&pidfd)?;
        if let Some(first) = self.pidfd.replace(pidfd).filter(|_| !self.is_sibling) {
            process::wait(first)?;
        }
        Ok(())
    }

    fn channel(&self) -> &ParentEnd {
        match &self.channel {
            Some(channel) => channel,
            // Taken only by `wait_ready`, which consumes self.
            None => unreachable!("the channel is there until the child is ready"),
        }
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        if let Some(pidfd) = self.pidfd.take() {
            end(&pidfd);
        }
    }
}

/// Kills and reaps a child of ours; both only fail when it is gone already, or is our sibling, which is not ours to
/// reap.
pub(crate) fn end(pidfd: &OwnedFd) {
    use std::os::fd::AsFd;
    let _ = process::signal(pidfd.as_fd(), Signal::KILL);
    let _ = process::wait(pidfd);
}
