//! A further process in a running container.
//!
//! The container's processes can see this one from the moment it has joined, so it holds no descriptor of the host
//! by then and cannot be traced (CVE-2016-9962): everything else is closed first.

use std::convert::Infallible;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use nix::sched::CloneFlags;
use rustix::fs::{CWD, Mode, OFlags};

use super::container::{become_root, enter_cgroups, go_on_as_sibling, join_keyring};
use super::handoff::{PreparedProcess, StartGate};
use super::launch::{Child, ChildEndHandle, FailureReport};
use super::protocol::ChildEnd;
use super::{Step, StepFailure, scheduling, terminal};
use crate::cgroup::Entrance;
use crate::fault;
use crate::namespaces::from_nix;
use crate::rootfs::change_root;

/// All that a joining process needs.
#[derive(Debug)]
pub struct EnteringChild<'a> {
    /// The command's process.
    pub process: PreparedProcess<'a>,
    /// The container's first process.
    pub target: &'a OwnedFd,
    /// The container's root, where that is not the root of its mount namespace.
    pub root: Option<OwnedFd>,
    /// The namespaces in which it differs from us, but for the PID namespace, which takes only children: we were born there.
    pub namespaces: CloneFlags,
    /// We were not, as our creator has rights there only by way of the user namespace: a child of ours is.
    pub joins_pids: bool,
    /// The way into the v1 cgroups.
    pub entrance: &'a Entrance,
    /// Name of the session keyring to join.
    pub keyring: CString,
}

impl Child for EnteringChild<'_> {
    fn run(&mut self, channel: &mut ChildEndHandle) -> Result<Infallible, FailureReport> {
        let channel = &channel.0;
        channel.debug(format_args!("nsexec container setup: entering cgroups and namespaces"));
        let labels = self.process.open_labels()?;
        let affinity = &self.process.plan.exec_affinity;
        if let Some(processors) = &affinity.initial {
            scheduling::run_on(processors)?;
            scheduling::tell_processors(channel);
        }
        enter_cgroups(self.entrance)?;
        match &affinity.last {
            Some(processors) => scheduling::run_on(processors)?,
            None if affinity.initial.is_none() => scheduling::run_anywhere(),
            None => {}
        }
        scheduling::tell_processors(channel);
        if !self.process.plan.terminal {
            self.process.place_stdio(None)?;
        }
        let handles = [self.target.as_fd()].into_iter().chain(self.root.as_ref().map(AsFd::as_fd));
        let kept = labels.iter().map(|label| label.file().as_fd()).chain(handles);
        self.process.close_others(channel.handle(), kept)?;
        fault::child(44)?;
        self.join(channel)?;
        fault::child(45)?;
        channel.debug(format_args!("child process in init(): in the container's namespaces"));
        rustix::process::setsid().map_err(StepFailure::of(Step::Session, "a session"))?;
        join_keyring(&self.keyring)?;
        if self.process.plan.terminal {
            let root = rustix::fs::openat(
                CWD,
                "/",
                OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
                Mode::empty(),
            )
            .map_err(StepFailure::of(Step::Console, "a terminal"))?;
            let slave = terminal::open(root.as_fd(), self.process.plan, false, channel)?;
            self.process.place_stdio(Some(&slave))?;
        }
        self.process.replace_host_null()?;
        self.process.hand_over(channel, &StartGate::Channel, &labels, "setns_init: about to exec")
    }
}

impl EnteringChild<'_> {
    /// Joins all namespaces of the container's first process in one call, changes the root where that has not done it, and
    /// lets go of the handles.
    fn join(&self, channel: &ChildEnd) -> Result<(), StepFailure> {
        if !self.namespaces.is_empty() || self.joins_pids {
            self.join_namespaces()?;
        }
        if let Some(root) = &self.root {
            change_root(root.as_fd()).map_err(StepFailure::of(Step::Pivot, "the container's root"))?;
            let_go(root)?;
        }
        let_go(self.target)?;
        if self.namespaces.contains(CloneFlags::CLONE_NEWUSER) {
            become_root("the container's user namespace")?;
        }
        if self.joins_pids {
            go_on_as_sibling(channel, CloneFlags::empty(), "a process in the container's PID namespace")?;
        }
        Ok(())
    }

    fn join_namespaces(&self) -> Result<(), StepFailure> {
        let failed = StepFailure::of(Step::JoinNamespace, "namespaces of the container");
        let mut left = self.namespaces;
        if self.joins_pids {
            left |= CloneFlags::CLONE_NEWPID;
        }
        let mut joined = nix::sched::setns(self.target, left);
        if joined == Err(nix::errno::Errno::EPERM) && left.contains(CloneFlags::CLONE_NEWUSER) {
            // Some belong to a user namespace above and take the rights that we have there.
            for kind in left - CloneFlags::CLONE_NEWUSER - CloneFlags::CLONE_NEWNS {
                if nix::sched::setns(self.target, kind).is_ok() {
                    left -= kind;
                }
            }
            joined = nix::sched::setns(self.target, left);
        }
        joined.map_err(|errno| failed(from_nix(errno)))
    }
}

/// Closes a descriptor that its owner, on whose behalf this process ends by execution, does not close.
fn let_go(descriptor: &OwnedFd) -> Result<(), StepFailure> {
    let number: RawFd = descriptor.as_raw_fd();
    crate::sys::fd::close_range(number, number, crate::sys::fd::Range::Close)
        .map_err(StepFailure::of(Step::Descriptors, "a handle of the container"))
}
