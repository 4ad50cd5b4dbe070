//! The pause of a pod: ordered steps to a process that only holds namespaces.

use std::convert::Infallible;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

use super::container::{join_keyring, write_sysctls};
use super::credentials::become_user;
use super::launch::{Child, ChildEndHandle, FailureReport};
use super::{Step, StepFailure};
use crate::cgroup::Entrance;
use crate::namespaces::{Opened, from_nix};
use crate::rootfs::Root;
use crate::security::capabilities::CapabilityPlan;
use crate::spec::plan::{ProcessPlan, RootPlan, Sysctl};
use crate::sys::fd::{Range, close_except, close_range};

/// All that the pause needs, prepared by the parent.
#[derive(Debug)]
pub(crate) struct PauseChild<'a> {
    /// Who it runs as, and its command.
    pub(crate) process: &'a ProcessPlan,
    /// Its capabilities: none.
    pub(crate) capabilities: CapabilityPlan,
    /// A detached file system with nothing but its program.
    pub(crate) root: &'a OwnedFd,
    /// How that is attached.
    pub(crate) root_plan: &'a RootPlan,
    /// The network namespace that it joins.
    pub(crate) joined: &'a Opened,
    /// Name of the host in its own UTS namespace.
    pub(crate) hostname: Option<&'a str>,
    /// Kernel parameters of its namespaces.
    pub(crate) sysctls: &'a [Sysctl],
    /// The way into the v1 cgroups.
    pub(crate) entrance: &'a Entrance,
    /// Name of the session keyring to join.
    pub(crate) keyring: &'a CStr,
}

impl Child for PauseChild<'_> {
    fn run(&mut self, channel: &mut ChildEndHandle) -> Result<Infallible, FailureReport> {
        let channel = &channel.0;
        self.entrance.enter().map_err(|failure| StepFailure {
            step: Step::Cgroup,
            object: format!("cgroup hierarchy {}", failure.position),
            errno: failure.source,
        })?;
        for (kind, handle) in self.joined.for_child() {
            nix::sched::setns(handle, kind).map_err(|errno| {
                StepFailure::of(Step::JoinNamespace, "pod's network namespace")(from_nix(errno))
            })?;
        }
        rustix::process::setsid().map_err(StepFailure::of(Step::Session, "a session"))?;
        join_keyring(self.keyring)?;
        if let Some(name) = self.hostname {
            rustix::system::sethostname(name.as_bytes())
                .map_err(StepFailure::of(Step::Name, format!("hostname to {name:?}")))?;
        }
        write_sysctls(self.sysctls)?;
        Root::attach(self.root.as_fd(), self.root_plan)?.pivot()?;
        self.give_up_rights()?;
        channel.ready()?;
        channel.wait_start()?;
        self.close_everything(channel.handle())?;
        let Err(errno) = nix::unistd::execve(&self.process.args[0], &self.process.args, &self.process.env);
        Err(StepFailure::of(Step::Execute, "the pause program")(from_nix(errno)).into())
    }
}

impl PauseChild<'_> {
    fn give_up_rights(&self) -> Result<(), StepFailure> {
        let failed = |object: &'static str| StepFailure::of(Step::Capabilities, object);
        self.capabilities.drop_bounding().map_err(failed("the bounding set"))?;
        become_user(self.process)?;
        self.capabilities.apply().map_err(failed("the capabilities"))?;
        rustix::thread::set_no_new_privs(true)
            .map_err(StepFailure::of(Step::NoNewPrivileges, "no_new_privs"))?;
        // After the last change of credentials, which clears it.
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
            .map_err(StepFailure::of(Step::User, "the parent's death signal"))
    }

    /// It needs no streams either; the channel closes by itself when the program is executed.
    fn close_everything(&self, channel: BorrowedFd<'_>) -> Result<(), StepFailure> {
        let mut kept = [std::os::fd::AsRawFd::as_raw_fd(&channel)];
        close_range(0, 2, Range::Close)
            .and_then(|()| close_except(3, &mut kept))
            .map_err(StepFailure::of(Step::Descriptors, "descriptors"))
    }
}

/// A detached, empty file system with the program in it.
pub(crate) fn pause_root(program: &[u8], name: &CStr) -> Result<OwnedFd, rustix::io::Errno> {
    use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
    let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(&context, "mode", "0755")?;
    rustix::mount::fsconfig_set_string(&context, "size", "64k")?;
    rustix::mount::fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    let root = rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&root, name, flags, Mode::from_raw_mode(0o555))?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(0o555))?;
    rustix::io::write(&file, program)?;
    Ok(root)
}
