//! Cloning the child and following it until it is ready.

use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sched::CloneFlags;
use rustix::io::Errno;
use rustix::process::Pid;

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

/// Whose child a new process becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kinship {
    /// Ours, to be waited for by us.
    Child,
    /// Our parent's, who waits for it: we are its worker, and end while the process lives on.
    Sibling,
}

impl Kinship {
    /// [`Kinship::Sibling`] if so.
    pub(crate) fn of(as_sibling: bool) -> Kinship {
        if as_sibling { Kinship::Sibling } else { Kinship::Child }
    }

    fn flags(self) -> CloneFlags {
        match self {
            Kinship::Child => CloneFlags::empty(),
            Kinship::Sibling => CloneFlags::CLONE_PARENT,
        }
    }
}

/// A cloned process that is being set up. Dropped before it is ready, it is killed, and reaped if it is ours.
#[derive(Debug)]
pub struct Launched {
    /// Its pid as we see it.
    pub pid: i32,
    kinship: Kinship,
    /// The parent that a sibling is to have.
    parent: Option<Pid>,
    pidfd: Option<OwnedFd>,
    channel: Option<ParentEnd>,
    console: Option<OwnedFd>,
}

/// A child that waits for its start.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
    pub(crate) channel: ParentEnd,
    pub(crate) console: Option<OwnedFd>,
    kinship: Kinship,
}

/// What a child waits for before it is ready.
#[derive(Debug)]
pub(crate) enum Awaited {
    /// Network devices of the host.
    Devices,
    /// The hooks that its creator runs.
    Hooks,
    /// Somebody who answers its filter's calls by this descriptor.
    Listener(OwnedFd),
    /// Other owners for this detached mount, as the mount with this number of the plan has them.
    MappedMount(u32, OwnedFd),
    /// The sources of the binds from this number of the plan's mounts on, of so many.
    Binds(u32, u32),
}

/// Clones `child` into new namespaces and, on v2, its cgroup.
pub fn launch(
    kinship: Kinship,
    flags: CloneFlags,
    cgroup: Option<BorrowedFd<'_>>,
    child: &mut dyn Child,
) -> Result<Launched> {
    let (parent_end, child_end) = channel()?;
    let parent = rustix::process::getppid();
    let cloned = clone3((flags | kinship.flags()).bits(), cgroup).map_err(|errno| {
        let object = match errno {
            Errno::ACCESS if cgroup.is_some() => {
                "a process in the container's cgroup, for we are outside of what is delegated to us"
            }
            _ => "the container's first process",
        };
        Error::system("create", object)(errno)
    })?;
    match cloned {
        Cloned::Child => {
            // With a copy of the parent's end it would never see the parent go.
            drop(parent_end);
            run(child, child_end)
        }
        Cloned::Parent { pid, pidfd } => {
            drop(child_end);
            let (pidfd, channel) = (Some(pidfd), Some(parent_end));
            Ok(Launched { pid, kinship, parent, pidfd, channel, console: None })
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
    pub(crate) fn wait_ready(self) -> Result<Ready> {
        self.wait_ready_with(&mut |_, _| Ok(Vec::new()))
    }

    /// Follows the child until it is ready; `answer` does what it waits for meanwhile, told its pid, and returns the
    /// descriptors that it waits for.
    pub(crate) fn wait_ready_with(
        mut self,
        answer: &mut dyn FnMut(i32, Awaited) -> Result<Vec<OwnedFd>>,
    ) -> Result<Ready> {
        loop {
            match self.channel().receive()? {
                FromChild::Console(master) => self.console = Some(master),
                FromChild::Born(pidfd) => self.replace(pidfd)?,
                FromChild::DevicesDue => {
                    answer(self.pid, Awaited::Devices)?;
                    self.channel().devices_moved()?;
                }
                FromChild::HooksDue => {
                    answer(self.pid, Awaited::Hooks)?;
                    self.channel().hooks_done()?;
                }
                FromChild::Listener(number) => {
                    answer(self.pid, Awaited::Listener(self.take_descriptor(number)?))?;
                    self.channel().listener_taken()?;
                }
                FromChild::MountToMap(number, tree) => {
                    answer(self.pid, Awaited::MappedMount(number, tree))?;
                    self.channel().mount_mapped()?;
                }
                FromChild::BindsDue(first, count) => {
                    let sources = answer(self.pid, Awaited::Binds(first, count))?;
                    self.channel().binds(&sources)?;
                }
                FromChild::Failed(failure) => return Err(failure.into()),
                FromChild::Gone => return Err(Error::Vanished { stage: "its set-up" }),
                FromChild::Ready => {
                    self.prove_parent()?;
                    let (Some(pidfd), Some(channel)) = (self.pidfd.take(), self.channel.take()) else {
                        return Err(Error::Vanished { stage: "its set-up" });
                    };
                    let console = self.console.take();
                    return Ok(Ready { pid: self.pid, pidfd, channel, console, kinship: self.kinship });
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
        match (self.pidfd.replace(pidfd), self.kinship) {
            (Some(first), Kinship::Child) => process::wait(first).map(drop),
            _ => Ok(()),
        }
    }

    /// A sibling has set its parent's death signal by now. If that parent lives, it always did; otherwise somebody
    /// took the sibling in who does not know it, and no signal will come.
    fn prove_parent(&self) -> Result<()> {
        if self.kinship == Kinship::Sibling && rustix::process::getppid() != self.parent {
            return Err(Error::system("give a process to", "its monitor, which has ended")(Errno::SRCH));
        }
        Ok(())
    }

    fn take_descriptor(&self, number: i32) -> Result<OwnedFd> {
        let gone = Error::Vanished { stage: "its set-up" };
        let pidfd = self.pidfd.as_ref().ok_or(gone)?;
        rustix::process::pidfd_getfd(pidfd, number, rustix::process::PidfdGetfdFlags::empty())
            .map_err(Error::system("take", "the seccomp listener of the container's process"))
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
            end(&pidfd, self.kinship);
        }
    }
}

impl Ready {
    /// Kills it after all, and reaps it if it is ours.
    pub(crate) fn end(&self) {
        end(&self.pidfd, self.kinship);
    }
}

/// Both calls only fail when the process is gone already.
fn end(pidfd: &OwnedFd, kinship: Kinship) {
    let _ = process::signal(pidfd.as_fd(), Signal::KILL);
    if kinship == Kinship::Child {
        let _ = process::wait(pidfd);
    }
}
