//! The first process of a container: one readable list of ordered steps.

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::sched::CloneFlags;
use rustix::fs::Mode;
use rustix::io::Errno;

use super::credentials::{forbid_tracing, set_groups};
use super::handoff::{PreparedProcess, StartGate};
use super::launch::{Child, ChildEndHandle, FailureReport};
use super::protocol::{ChildEnd, Failure};
use super::{Step, StepFailure, scheduling, sysctl, terminal};
use crate::cgroup::Entrance;
use crate::container::{State, Status};
use crate::error::Error;
use crate::fault::{self, Defence};
use crate::hooks::{self, Defaults, Point};
use crate::namespaces::{self, Opened, from_nix};
use crate::network::bring_up_loopback;
use crate::rootfs::{self, CgroupView, Creator, HostNull, Mounted, Places, Root, Sources};
use crate::spec::plan::{DevicePlan, Plan};
use crate::sys::clone::{Cloned, clone3, exit_now};

/// All that the first process needs, prepared by the parent.
#[derive(Debug)]
pub struct ContainerChild<'a> {
    /// The checked specification.
    pub plan: &'a Plan,
    /// The command's process.
    pub process: PreparedProcess<'a>,
    /// The root as a detached mount, and what is known of the binds. Without it the child opens all itself, as it alone has
    /// the rights.
    pub sources: Option<Sources>,
    /// The creator has root's rights in its user namespace. Where not, the child has them in its own alone.
    pub creator_is_root: bool,
    /// Namespaces that the child joins itself.
    pub joined: &'a Opened,
    /// Namespaces to create by the child: those that clone could not.
    pub create_later: CloneFlags,
    /// The way into the v1 cgroups.
    pub entrance: &'a Entrance,
    /// What a cgroup mount shows.
    pub cgroups: CgroupView,
    /// Devices, default ones included.
    pub devices: Vec<DevicePlan>,
    /// Name of the session keyring to join.
    pub keyring: Option<CString>,
    /// Where to wait for the start.
    pub gate: StartGate,
    /// Change the root without pivot_root.
    pub no_pivot: bool,
    /// What hooks are told of the container, but for its pid.
    pub state: &'a State,
}

impl Child for ContainerChild<'_> {
    fn run(&mut self, channel: &mut ChildEndHandle) -> Result<Infallible, FailureReport> {
        let channel = &channel.0;
        channel.debug(format_args!("nsexec container setup: entering cgroups and namespaces"));
        enter_cgroups(self.entrance)?;
        scheduling::run_anywhere();
        scheduling::tell_processors(channel);
        let mut opened = self.sources.take().map(|sources| (sources, None));
        self.enter_namespaces(channel, &mut opened)?;
        let (sources, places) = match opened {
            Some(opened) => opened,
            None => self.open_sources()?,
        };
        channel.debug(format_args!("child process in init(): in its namespaces, setting up the root"));
        self.lead_session()?;
        let labels = self.process.open_labels()?;
        name_host(self.plan.hostname.as_deref(), self.plan.domainname.as_deref())?;
        if self.plan.namespaces.create.contains(CloneFlags::CLONE_NEWNET) {
            bring_up_loopback().map_err(StepFailure::of(Step::Loopback, "the loopback device"))?;
        }
        if !self.plan.net_devices.is_empty() {
            channel.get_devices()?;
        }
        fault::child(30)?;

        let null = self.host_null()?;
        // Hooks look for the root where config.json says it is.
        let place = self.plan.hooks.see_root().then_some(&*self.plan.root.path);
        let handle = sources.root.as_fd();
        let has_own_mounts = self.plan.namespaces.has(CloneFlags::CLONE_NEWNS);
        let root = match has_own_mounts {
            true => Root::attach(handle, &self.plan.root, place)?,
            false => Root::detached(handle, &self.plan.root),
        };
        fault::child(31)?;
        let (plan, directories) = (self.plan, &sources.directories);
        let mut mounted = match &places {
            None => rootfs::mount_all(&root, &plan.mounts, directories, &self.cgroups, channel)?,
            Some(places) => {
                let ourselves = OwnCreator { plan, places, channel };
                rootfs::mount_all(&root, &plan.mounts, directories, &self.cgroups, &ourselves)?
            }
        };
        fault::child(32)?;
        channel.debug(format_args!("making devices, writing sysctls"));
        self.make_devices(&root, &mounted)?;
        self.write_sysctls(&root)?;
        self.make_working_directory(&root)?;
        let terminal = self.open_terminal(&root, &mounted, channel)?;
        fault::child(33)?;
        rootfs::protect_paths(
            &root,
            &self.plan.readonly_paths,
            &self.plan.masked_paths,
            null.as_ref(),
            &mut mounted.spent,
        )?;
        mounted.finish_read_only(&root).map_err(StepFailure::of(Step::ReadOnly, "a tmpfs"))?;
        fault::child(34)?;
        self.run_hooks(channel)?;
        channel.debug(format_args!("changing the root"));
        match (has_own_mounts, self.no_pivot) {
            (false, _) => root.change_for_this_process()?,
            (true, true) => root.change_without_pivot()?,
            (true, false) => root.pivot()?,
        }
        fault::child(35)?;

        self.process.place_stdio(terminal.as_ref())?;
        self.process.replace_host_null()?;
        fault::child(36)?;
        let last = "init: closing the pipe to signal completion: about to exec";
        self.process.hand_over(channel, &self.gate, &labels, last)
    }
}

impl Creator for ChildEnd {
    fn map_ids(&self, number: u32, tree: BorrowedFd<'_>) -> Result<(), StepFailure> {
        self.map_mount(number, tree)
    }

    fn binds(&self, first: u32, count: u32) -> Result<Vec<OwnedFd>, StepFailure> {
        self.take_binds(first, count)
    }

    fn keeps_flags(&self) -> bool {
        false
    }

    fn debug(&self, message: fmt::Arguments<'_>) {
        ChildEnd::debug(self, message);
    }
}

/// The child itself, where its creator may mount nothing.
struct OwnCreator<'a> {
    plan: &'a Plan,
    places: &'a Places,
    channel: &'a ChildEnd,
}

impl Creator for OwnCreator<'_> {
    fn map_ids(&self, _number: u32, _tree: BorrowedFd<'_>) -> Result<(), StepFailure> {
        // That takes rights on the file system.
        Err(StepFailure { step: Step::Mount, object: "with other owners".to_owned(), errno: Errno::PERM })
    }

    fn binds(&self, first: u32, count: u32) -> Result<Vec<OwnedFd>, StepFailure> {
        self.places.open_binds(self.plan, first, count)
    }

    fn keeps_flags(&self) -> bool {
        true
    }

    fn debug(&self, message: fmt::Arguments<'_>) {
        self.channel.debug(message);
    }
}

/// See [`ContainerChild::open_sources`].
type OpenedSources = (Sources, Option<Places>);

impl ContainerChild<'_> {
    /// Joins what is to be joined, becomes root of a new user namespace, makes what clone could not.
    fn enter_namespaces(
        &self,
        channel: &ChildEnd,
        opened: &mut Option<OpenedSources>,
    ) -> Result<(), FailureReport> {
        let failed = namespace_failure;
        if self.plan.namespaces.create.contains(CloneFlags::CLONE_NEWUSER) {
            // Whoever was joined before belongs to the host's user namespace; the parent was there for us.
            channel.wait_ids_mapped()?;
            if opened.is_none() {
                // As the user who may walk there: root in here may be another one.
                *opened = Some(self.open_sources()?);
            }
            become_root("the new user namespace")?;
        } else {
            let user = CloneFlags::CLONE_NEWUSER;
            let mut before = CloneFlags::empty();
            if self.joined.get(user).is_some() {
                // Those that belong to a user namespace above take our rights, which are gone once we are in this one;
                // those that belong to it may take the rights that we get there.
                for (kind, handle) in self.joined.for_child().filter(|(kind, _)| *kind != user) {
                    if kind != CloneFlags::CLONE_NEWNS && nix::sched::setns(handle, kind).is_ok() {
                        before |= kind;
                    }
                }
            }
            if let Some(handle) = self.joined.get(user) {
                nix::sched::setns(handle, user).map_err(failed(Step::JoinNamespace, user))?;
                become_root("the joined user namespace")?;
                self.go_on_in_all(channel)?;
            }
            for (kind, handle) in self.joined.for_child() {
                if kind != user && !before.contains(kind) {
                    nix::sched::setns(handle, kind).map_err(failed(Step::JoinNamespace, kind))?;
                }
            }
        }
        if self.plan.namespaces.create.contains(CloneFlags::CLONE_NEWCGROUP) {
            let kind = CloneFlags::CLONE_NEWCGROUP;
            nix::sched::unshare(kind).map_err(failed(Step::CreateNamespace, kind))?;
        }
        Ok(())
    }

    /// Opens the root and the places of binds in our mount namespace, which is a copy of the creator's.
    fn open_sources(&self) -> Result<OpenedSources, FailureReport> {
        let opened = Sources::open_by_child(self.plan).map_err(|error| {
            let (path, reason) = match error {
                Error::Spec { path, reason } => (path, reason),
                // Its words name the mount.
                other => ("mounts".to_owned(), other.to_string()),
            };
            FailureReport(Failure::Spec { path, reason })
        })?;
        Ok((opened.0, Some(opened.1)))
    }

    /// Does it join an existing PID namespace itself, for its creator may not?
    pub fn joins_pids(&self) -> bool {
        !self.creator_is_root && self.joined.get(CloneFlags::CLONE_NEWUSER).is_some()
    }

    /// New namespaces have to belong to the user namespace that was joined, and a PID namespace takes only
    /// children: a sibling, born in all of them, goes on in our place.
    fn go_on_in_all(&self, channel: &ChildEnd) -> Result<(), StepFailure> {
        if let Some(handle) = self.joined.get(CloneFlags::CLONE_NEWPID).filter(|_| self.joins_pids()) {
            let kind = CloneFlags::CLONE_NEWPID;
            nix::sched::setns(handle, kind).map_err(namespace_failure(Step::JoinNamespace, kind))?;
        }
        go_on_as_sibling(channel, self.create_later, "namespaces in the joined user namespace")
    }

    fn lead_session(&self) -> Result<(), StepFailure> {
        rustix::process::setsid().map_err(StepFailure::of(Step::Session, "a session"))?;
        self.keyring.as_deref().map_or(Ok(()), join_keyring)
    }

    /// Those that run between the mounts and the change of the root: first the creator's, then ours.
    fn run_hooks(&self, channel: &ChildEnd) -> Result<(), FailureReport> {
        if self.plan.hooks.run_by_creator() {
            fault::child(37)?;
            channel.run_hooks()?;
        }
        let own = &self.plan.hooks.create_container;
        if !own.is_empty() {
            fault::child(38)?;
            channel.debug(format_args!("running the createContainer hooks"));
            let state = self.state.seen_from_inside(Status::Creating);
            // In the root, as with runc: programs that prepare one rely on it. Their variables are the caller's and never
            // the image's, so that the loader of a program of the host takes nothing from there (CVE-2025-23266).
            let directory = Some(&*self.plan.root.path);
            let defaults = Defaults { directory, environment: None };
            hooks::run(Point::CreateContainer, own, &state, defaults).map_err(Failure::Hook)?;
        }
        Ok(())
    }

    fn host_null(&self) -> Result<Option<HostNull>, StepFailure> {
        if self.plan.masked_paths.is_empty() {
            return Ok(None);
        }
        HostNull::open().map(Some).map_err(StepFailure::of(Step::Mask, "paths with the host's /dev/null"))
    }

    fn make_devices(&self, root: &Root<'_>, mounted: &Mounted) -> Result<(), StepFailure> {
        if mounted.dev_is_bind {
            return Ok(());
        }
        // Modes and numbers are exact: no mask of the caller's applies.
        let mask = rustix::process::umask(Mode::empty());
        let in_user_namespace = self.plan.namespaces.has(CloneFlags::CLONE_NEWUSER);
        rootfs::make_devices(root, &self.devices, in_user_namespace)?;
        rustix::process::umask(mask);
        Ok(())
    }

    fn write_sysctls(&self, root: &Root<'_>) -> Result<(), StepFailure> {
        if fault::without(Defence::PrivateProc) && !self.plan.sysctls.is_empty() {
            // Through what the container has at /proc, whatever that is.
            let proc = rootfs::create_directory(root.handle(), Path::new("/proc"))
                .map_err(StepFailure::of(Step::Mount, "/proc"))?;
            return sysctl::write_to(proc.as_fd(), &self.plan.sysctls);
        }
        sysctl::write(&self.plan.sysctls)
    }

    /// A missing working directory is made, as runc does, by handle in the root.
    fn make_working_directory(&self, root: &Root<'_>) -> Result<(), StepFailure> {
        let cwd = &self.process.plan.cwd;
        if cwd == Path::new("/") || cwd.starts_with("/proc") || cwd.starts_with("/sys") {
            return Ok(());
        }
        match rootfs::create_directory(root.handle(), cwd) {
            // On a read-only root, and where a file is in the way, entering it says what is wrong.
            Ok(_) | Err(Errno::ROFS | Errno::NOTDIR | Errno::LOOP) => Ok(()),
            Err(errno) => {
                Err(StepFailure { step: Step::WorkingDirectory, object: cwd.display().to_string(), errno })
            }
        }
    }

    fn open_terminal(
        &self,
        root: &Root<'_>,
        mounted: &Mounted,
        channel: &ChildEnd,
    ) -> Result<Option<OwnedFd>, StepFailure> {
        let process = self.process.plan;
        if !process.terminal {
            return Ok(None);
        }
        terminal::open(root.handle(), process, !mounted.dev_is_bind, channel).map(Some)
    }
}

/// Lets a sibling, born in new namespaces and in those that take only children, go on in our place: returns in that one.
pub(super) fn go_on_as_sibling(
    channel: &ChildEnd,
    create: CloneFlags,
    object: &str,
) -> Result<(), StepFailure> {
    let flags = create | CloneFlags::CLONE_PARENT;
    match clone3(flags.bits(), None).map_err(StepFailure::of(Step::CreateNamespace, object))? {
        Cloned::Child => Ok(()),
        Cloned::Parent { pidfd, .. } => {
            let told = channel.born(pidfd.as_fd());
            exit_now(i32::from(told.is_err()))
        }
    }
}

/// A process that moves itself takes no lock of the whole machine; v2 it was born into.
pub(super) fn enter_cgroups(entrance: &Entrance) -> Result<(), StepFailure> {
    entrance.enter().map_err(|failure| StepFailure {
        step: Step::Cgroup,
        object: format!("cgroup hierarchy {}", failure.position),
        errno: failure.source,
    })
}

/// Names the UTS namespace that this process is in.
pub(super) fn name_host(host: Option<&str>, domain: Option<&str>) -> Result<(), StepFailure> {
    if let Some(name) = host {
        rustix::system::sethostname(name.as_bytes())
            .map_err(StepFailure::of(Step::Name, format!("hostname to {name:?}")))?;
    }
    if let Some(name) = domain {
        rustix::system::setdomainname(name.as_bytes())
            .map_err(StepFailure::of(Step::Name, format!("domainname to {name:?}")))?;
    }
    Ok(())
}

/// A step on a namespace that failed.
pub(super) fn namespace_failure(
    step: Step,
    kind: CloneFlags,
) -> impl FnOnce(nix::errno::Errno) -> StepFailure {
    move |errno| StepFailure {
        step,
        object: format!("{} namespace", namespaces::name(kind)),
        errno: from_nix(errno),
    }
}

/// Leaves the caller's session keyring, whose keys would be the container's to use.
pub(super) fn join_keyring(name: &CStr) -> Result<(), StepFailure> {
    match crate::sys::process::join_session_keyring(name) {
        // A kernel without keys has none to protect; a filter around us that forbids them has none to give.
        Ok(()) | Err(Errno::NOSYS | Errno::PERM) => Ok(()),
        Err(errno) => Err(StepFailure { step: Step::Keyring, object: "a session keyring".to_owned(), errno }),
    }
}

/// Becomes user and group 0 of the user namespace that this process is in, with no other groups.
pub(super) fn become_root(object: &str) -> Result<(), StepFailure> {
    use rustix::thread::{Gid, Uid};
    let (uid, gid) = (Uid::ROOT, Gid::ROOT);
    set_groups(&[])
        .and_then(|()| rustix::thread::set_thread_res_gid(gid, gid, gid))
        .and_then(|()| rustix::thread::set_thread_res_uid(uid, uid, uid))
        .map_err(StepFailure::of(Step::BecomeRoot, object))?;
    // Changing users made the process traceable by its new ones.
    forbid_tracing().map_err(StepFailure::of(Step::BecomeRoot, object))
}
