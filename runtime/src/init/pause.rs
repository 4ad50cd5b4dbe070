//! The process that holds a pod's namespaces: what it does until it is the pause program.

use std::convert::Infallible;
use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use nix::fcntl::AtFlags;
use nix::sched::CloneFlags;
use nix::sys::signal::SigSet;

use super::container::{enter_cgroups, name_host, namespace_failure};
use super::credentials::become_user;
use super::descriptors::close_others;
use super::launch::{Child, ChildEndHandle, FailureReport};
use super::{Step, StepFailure, sysctl};
use crate::cgroup::Entrance;
use crate::namespaces::{Opened, from_nix};
use crate::rootfs::Root;
use crate::security::capabilities::CapabilityPlan;
use crate::spec::plan::{Propagation, RootPlan, Sysctl};

/// The user and group it ends up as: nobody's, and not the nobody of any image.
const NOBODY: u32 = 65535;

/// All that the process needs, prepared by the parent.
#[derive(Debug)]
pub struct PauseChild<'a> {
    /// The program, which has to be reachable without any file system of the host.
    pub program: OwnedFd,
    /// An empty root as a detached mount.
    pub root: OwnedFd,
    /// Namespaces to join.
    pub joined: &'a Opened,
    /// Whether it makes a cgroup namespace, once it is in its cgroup.
    pub new_cgroup_namespace: bool,
    /// The way into the v1 cgroups.
    pub entrance: &'a Entrance,
    /// The name of its new UTS namespace.
    pub hostname: Option<&'a str>,
    /// Parameters of its namespaces.
    pub sysctls: &'a [Sysctl],
    /// No capabilities, and what has to be dropped for that.
    pub capabilities: CapabilityPlan,
}

impl Child for PauseChild<'_> {
    fn run(&mut self, channel: &mut ChildEndHandle) -> Result<Infallible, FailureReport> {
        let channel = &channel.0;
        enter_cgroups(self.entrance)?;
        self.enter_namespaces()?;
        rustix::process::setsid().map_err(StepFailure::of(Step::Session, "a session"))?;
        name_host(self.hostname, None)?;
        sysctl::write(self.sysctls)?;
        self.enter_empty_root()?;
        // Standard streams included: it has nothing to say.
        close_others(0, [channel.handle(), self.program.as_fd()].into_iter())?;
        self.give_up_privileges()?;
        self.bind_to_parent()?;
        channel.ready()?;
        channel.wait_start()?;
        self.execute()
    }
}

impl PauseChild<'_> {
    fn enter_namespaces(&self) -> Result<(), StepFailure> {
        for (kind, handle) in self.joined.for_child() {
            nix::sched::setns(handle, kind).map_err(namespace_failure(Step::JoinNamespace, kind))?;
        }
        if self.new_cgroup_namespace {
            let kind = CloneFlags::CLONE_NEWCGROUP;
            nix::sched::unshare(kind).map_err(namespace_failure(Step::CreateNamespace, kind))?;
        }
        Ok(())
    }

    fn enter_empty_root(&self) -> Result<(), StepFailure> {
        let propagation = Propagation { kind: libc::MS_PRIVATE, recursive: true };
        let plan = RootPlan { path: PathBuf::new(), readonly: true, propagation };
        Root::attach(self.root.as_fd(), &plan, None)?.pivot()
    }

    fn give_up_privileges(&self) -> Result<(), StepFailure> {
        let failed = |object: &'static str| StepFailure::of(Step::Capabilities, object);
        self.capabilities.drop_bounding().map_err(failed("the bounding set"))?;
        become_user(NOBODY, NOBODY, &[])?;
        self.capabilities.apply().map_err(failed("the capabilities"))?;
        rustix::thread::set_no_new_privs(true).map_err(StepFailure::of(Step::NoNewPrivileges, "no_new_privs"))
    }

    /// After the last change of credentials, which clears the signal. A parent that is gone already is noticed at the
    /// gate, or by the worker behind it.
    fn bind_to_parent(&self) -> Result<(), StepFailure> {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
            .map_err(StepFailure::of(Step::User, "the parent's death signal"))?;
        // The program takes signals from the mask: what comes before its first instruction waits.
        SigSet::all()
            .thread_set_mask()
            .map_err(|errno| StepFailure::of(Step::User, "the signal mask")(from_nix(errno)))
    }

    fn execute(&self) -> Result<Infallible, FailureReport> {
        let environment: [&CStr; 0] = [];
        let result =
            nix::unistd::execveat(&self.program, c"", &[c"/pause"], &environment, AtFlags::AT_EMPTY_PATH);
        let Err(errno) = result;
        Err(StepFailure::of(Step::Execute, "the pause program")(from_nix(errno)).into())
    }
}
