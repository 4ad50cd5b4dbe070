//! `create`: from a bundle to a process that is set up and waits at its gate.

use std::collections::HashMap;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::sched::CloneFlags;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use super::cgroup;
use super::console::{Receiver, connect, send_pidfd};
use super::delete::run_poststop;
use super::home::Home;
use super::listener::Agent;
use super::prepare::{Filter, Machine, Prepared};
use super::record::{Folder, Record};
use super::request::{CreateRequest, Gate};
use super::settings::{set_oom_score_adj, write_pid_file};
use super::start::run_poststart;
use super::user_namespace::{Traceable, write_maps, write_maps_as_user};
use super::{Id, State, Status, rootless};
use crate::cgroup::{Cgroup, Hierarchies, Occupant, check_resources};
use crate::error::{Error, Result};
use crate::fault;
use crate::hooks::{self, Defaults, HookFailure, Point};
use crate::init::{
    Awaited, ContainerChild, Kinship, Launched, ParentEnd, PreparedProcess, Ready, StartGate, StartHooks,
    launch,
};
use crate::namespaces::{ChildrenIn, ChildrenInNewTime, NEW_TIME, Opened, Visit};
use crate::network::{examine_devices, move_devices};
use crate::process::{self, Exit};
use crate::rootfs::{self, CgroupView, Sources};
use crate::security::seccomp::Program;
use crate::spec::Loaded;
use crate::spec::plan::Plan;

/// A container that is set up and waits to be started.
#[derive(Debug)]
pub struct Created {
    /// The pid of its first process, as we see it.
    pub pid: i32,
    /// Its first process, a child of ours or of our parent.
    pub pidfd: OwnedFd,
    /// The terminal, where it was asked to be returned.
    pub console_master: Option<OwnedFd>,
    /// What the machine refused and nobody insisted on, in words (rlimits, oom_score_adj, capabilities).
    pub clamped: Vec<String>,
    /// The `SECCOMP_FILTER_FLAG_*` of its filter, if it has one.
    pub filter_flags: Option<u32>,
    channel: Option<ParentEnd>,
    folder: Folder,
    cgroup: Cgroup,
    /// Hooks run at its start or after its end.
    has_later_hooks: bool,
    /// Its processes end with the first, for they live in its PID namespace.
    dies_with_first: bool,
}

/// See [`Created::into_parts`].
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) process: OwnedFd,
    pub(crate) gate: Option<OwnedFd>,
    pub(crate) terminal: Option<OwnedFd>,
    pub(crate) oom_counter: Option<OwnedFd>,
}

impl Created {
    /// Runs the command of a container with [`Gate::Held`]; returns when it was executed, or with the reason why
    /// it was not. For [`Gate::Shared`] there is [`super::start`].
    pub fn start(&mut self) -> Result<()> {
        let Some(channel) = self.channel.take() else {
            return Err(Error::Unsupported {
                what: "starting a container with a shared gate through its holder".to_owned(),
            });
        };
        channel.start_and_follow()?;
        match self.has_later_hooks {
            true => run_poststart(&self.folder, &self.pidfd),
            false => Ok(()),
        }
    }

    /// Takes the container apart for the process that it was made for ([`CreateRequest::as_sibling`]): the first process,
    /// the gate of a container with [`Gate::Held`], the terminal, and the counter of the out-of-memory killer.
    pub(crate) fn into_parts(self) -> Parts {
        Parts {
            oom_counter: self.cgroup.open_oom_counter(),
            process: self.pidfd,
            gate: self.channel.map(ParentEnd::into_descriptor),
            terminal: self.console_master,
        }
    }

    /// A further descriptor of the container's first process.
    pub(crate) fn process_copy(&self) -> Result<OwnedFd> {
        rustix::io::fcntl_dupfd_cloexec(&self.pidfd, 3)
            .map_err(Error::system("open", "the container's process"))
    }

    /// Opens the counter of the out-of-memory killer.
    pub(crate) fn open_oom_counter(&self) -> Option<OwnedFd> {
        self.cgroup.open_oom_counter()
    }

    /// Waits for the container's first process and reaps it. A sibling is its parent's to wait for.
    pub fn wait(&self) -> Result<Exit> {
        process::wait(&self.pidfd)
    }

    /// Removes a container whose first process has ended, as [`super::delete`] does, without looking for it again.
    pub fn delete(self) -> Result<Vec<HookFailure>> {
        let record = if self.has_later_hooks || !self.dies_with_first { self.folder.read()? } else { None };
        match &record {
            // Others may live on in it, if it was not taken over since.
            Some(record) if !self.dies_with_first => {
                if let Some(own) = cgroup::if_own(self.folder.id(), record)? {
                    own.kill()?;
                    own.remove(PATIENCE)?;
                }
            }
            _ => self.cgroup.remove(PATIENCE)?,
        }
        self.folder.remove()?;
        Ok(run_poststop(self.folder.id(), record))
    }

    /// The container's first process.
    pub fn process(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// Creates a container. On failure nothing is left.
pub fn create(mut request: CreateRequest) -> Result<Created> {
    fault::point(1)?;
    let bundle = std::path::absolute(&request.bundle).unwrap_or_else(|_| request.bundle.clone());
    let Loaded { spec, notes, text } = crate::spec::load(&bundle)?;
    let mut plan = crate::spec::container(&spec, &bundle, request.rootfs.is_some())?;
    plan.notes.extend(notes);
    log::debug!("container {}: configuration of {} is right", request.id, bundle.display());
    let annotations = spec.annotations().clone().unwrap_or_default();
    let checked = Checked::new(&plan, &annotations, &mut request).inspect_err(|_| {
        // Nobody else says what was left out, and it may be the reason.
        plan.notes.iter().for_each(|note| log::warn!("{note}"));
    })?;
    let filter_flags = checked.prepared.filter.as_ref().map(Program::flags);
    fault::point(2)?;
    let mut made = Made { folder: Folder::create(&request.state_root, &request.id)?, cgroup: None };
    let built = fault::point(3).and_then(|()| {
        let mut record = Record::new(bundle, &plan, &checked.home)?;
        record.annotations = annotations.into_iter().collect();
        made.folder.keep_config(&text)?;
        build(&mut made, &plan, request, checked, record)
    });
    match (built, made.cgroup.take()) {
        (Ok(built), Some(cgroup)) => Ok(Created {
            pid: built.ready.pid,
            pidfd: built.ready.pidfd,
            console_master: built.console_master,
            clamped: built.clamped,
            filter_flags,
            channel: built.held.then_some(built.ready.channel),
            has_later_hooks: !plan.hooks.poststart.is_empty() || !plan.hooks.poststop.is_empty(),
            dies_with_first: plan.namespaces.create.contains(CloneFlags::CLONE_NEWPID),
            folder: made.folder,
            cgroup,
        }),
        (Ok(_), None) => unreachable!("a container that was built has a cgroup"),
        (Err(error), cgroup) => {
            made.cgroup = cgroup;
            let record =
                if plan.hooks.poststop.is_empty() { None } else { made.folder.read().ok().flatten() };
            if made.clear() {
                // What hooks before them made is theirs to undo; that one of them fails changes nothing any more.
                run_poststop(made.folder.id(), record);
            }
            Err(error)
        }
    }
}

/// All that can be found out and prepared while nothing exists yet.
struct Checked {
    joined: Opened,
    agent: Option<Agent>,
    prepared: Prepared,
    console: Receiver,
    home: Home,
    hierarchies: Hierarchies,
    pidfd_socket: Option<OwnedFd>,
    /// Not there where only the child has the rights to open them.
    sources: Option<Sources>,
    /// See [`Machine::caller_is_root`].
    creator_is_root: bool,
}

impl Checked {
    fn new(
        plan: &Plan,
        annotations: &HashMap<String, String>,
        request: &mut CreateRequest,
    ) -> Result<Checked> {
        let joined = plan.namespaces.open()?;
        if !plan.namespaces.has(CloneFlags::CLONE_NEWNS) && !kernel_is_since(6, 15) {
            let what =
                "config.json: linux.namespaces: a container without a mount namespace, before Linux 6.15,";
            return Err(Error::Unsupported { what: what.to_owned() });
        }
        refuse_host_changes(plan, &joined)?;
        if request.as_sibling && !plan.hooks.poststart.is_empty() {
            let what = "config.json: hooks.poststart under a monitor".to_owned();
            return Err(Error::Unsupported { what });
        }
        plan.resources.as_ref().map_or(Ok(()), check_resources)?;
        examine_devices(&plan.net_devices)?;
        let machine = Machine::read(plan.namespaces.has(CloneFlags::CLONE_NEWUSER))?;
        let creator_is_root = machine.caller_is_root();
        let mut hierarchies = Hierarchies::discover()?;
        if !creator_is_root {
            rootless::check(plan)?;
            hierarchies = hierarchies.with_controllers();
        }
        let prepared = Prepared::new(&plan.process, Filter::compile(plan.seccomp.as_ref())?, &machine)?;
        let mut sources = None;
        if creator_is_root {
            sources = Sources::open(plan, request.rootfs.take())?;
        } else {
            rootless::check_filter(prepared.filter.as_ref())?;
        }
        let home = Home::new(
            request.cgroup_driver,
            plan.cgroups_path.as_deref(),
            annotations,
            &request.id,
            &hierarchies,
            creator_is_root,
        )?;
        Ok(Checked {
            agent: Agent::open(plan.seccomp.as_ref(), prepared.filter.as_ref())?,
            prepared,
            console: Receiver::open(&request.console, plan.process.terminal)?,
            home,
            hierarchies,
            pidfd_socket: request.pidfd_socket.as_deref().map(connect).transpose()?,
            sources,
            creator_is_root,
            joined,
        })
    }
}

/// What exists of a container that is being built.
struct Made {
    folder: Folder,
    cgroup: Option<Cgroup>,
}

impl Made {
    /// Removes it again. A failure to do so is not reported over the one that led here; what stays is found by
    /// `delete --force`, and then this is false.
    fn clear(&self) -> bool {
        if let Some(cgroup) = &self.cgroup
            && cgroup.kill().and_then(|()| cgroup.remove(PATIENCE)).is_err()
        {
            // The record has to stay, for it names the cgroup.
            return false;
        }
        self.folder.remove().is_ok()
    }
}

/// A container that waits at its gate.
struct Built {
    ready: Ready,
    console_master: Option<OwnedFd>,
    clamped: Vec<String>,
    held: bool,
}

fn build(
    made: &mut Made,
    plan: &Plan,
    request: CreateRequest,
    checked: Checked,
    mut record: Record,
) -> Result<Built> {
    let Checked { joined, agent, prepared, console, home, hierarchies, pidfd_socket, .. } = checked;
    let mut clamped = prepared.clamped;
    clamped.extend(plan.notes.iter().cloned());
    let folder = &made.folder;
    folder.write(&record)?;
    fault::point(4)?;
    let (cgroup, mut occupant) = home.make(&hierarchies, request.rootless)?;
    let cgroup = made.cgroup.insert(cgroup);
    if cgroup.is_nowhere() {
        record.cgroup = None;
        folder.write(&record)?;
        if record.shares_pids {
            clamped.push(
                "the container has neither a cgroup nor a PID namespace of its own: nobody finds what it leaves behind"
                    .to_owned(),
            );
        }
    }
    record.cgroup_marked = cgroup.mark(&cgroup::mark(&request.id, &record));
    log::debug!("made cgroup {}", cgroup.path());
    fault::point(5)?;
    let entrance = cgroup.entrance()?;
    let gate = match request.gate {
        Gate::Held => StartGate::Channel,
        Gate::Shared => StartGate::Fifo(folder.create_gate()?),
    };
    let (flags, create_later) = clone_flags(plan);
    let state = State::of(&request.id, record.clone(), Status::Creating);
    let mut child = ContainerChild {
        plan,
        process: PreparedProcess {
            plan: &plan.process,
            capabilities: prepared.capabilities,
            limits: prepared.limits,
            filter: prepared.filter,
            stdio: request.stdio,
            preserve: request.preserve_descriptors,
            dies_with_parent: request.dies_with_creator,
            start_hooks: start_hooks(plan, &state),
        },
        sources: checked.sources,
        joined: &joined,
        creator_is_root: checked.creator_is_root,
        create_later,
        entrance: &entrance,
        cgroups: CgroupView::of(&hierarchies, cgroup),
        devices: rootfs::with_defaults(&plan.devices),
        keyring: request.new_keyring.then(|| keyring_name(&request.id)),
        gate,
        no_pivot: request.no_pivot,
        state: &state,
    };
    fault::point(6)?;
    // Before the child exists: a device rule takes effect write by write, and between two of them the child could not
    // make its devices.
    let notices = cgroup.apply_with(plan.resources.as_ref(), request.rootless)?;
    clamped.extend(notices.iter().map(ToString::to_string));
    if let Some(occupant) = &mut occupant {
        occupant.make_room(cgroup)?;
    }
    let kinship = Kinship::of(request.as_sibling);
    log::debug!(
        "set its limits; creating its first process, with new namespaces: {:?}",
        plan.namespaces.create
    );
    let mut launched = clone_child(plan, &joined, kinship, flags, entrance.clone_target(), &mut child)?;
    log::debug!("created process {}", launched.pid);
    // Our copies of the container's descriptors would keep its pipes open.
    drop(child);
    occupant.map_or(Ok(()), Occupant::leave)?;
    fault::point(10)?;
    let creates_user = flags.contains(CloneFlags::CLONE_NEWUSER);
    match (creates_user, checked.creator_is_root) {
        (true, true) => write_maps(launched.pid, &plan.uid_mappings, &plan.gid_mappings)?,
        (true, false) => write_maps_as_user(launched.pid, &plan.uid_mappings, &plan.gid_mappings)?,
        (false, _) if plan.namespaces.has(CloneFlags::CLONE_NEWUSER) => launched.wait_born()?,
        (false, _) => {}
    }
    // Before the child goes on and is closed to an ordinary user.
    if let Some(wanted) = plan.process.oom_score_adj {
        clamped.extend(set_oom_score_adj(launched.pid, wanted)?);
    }
    if creates_user {
        log::debug!("wrote the id maps of process {}", launched.pid);
        launched.ids_mapped()?;
    }
    fault::point(11)?;
    if plan.hooks.see_root() || agent.is_some() || !plan.net_devices.is_empty() {
        // That may take long, and who ends us meanwhile is to find the child.
        record.pid = launched.pid;
        record.start_time = process::stat(launched.pid)?.map_or(0, |stat| stat.start_time);
        record.half_made = true;
        folder.write(&record)?;
    }
    let ready = launched.wait_ready_with(&mut |pid, awaited| {
        let state = State { pid, ..state.clone() };
        match (awaited, &agent) {
            (Awaited::Devices, _) => give_devices(plan, pid)?,
            (Awaited::Hooks, _) => {
                fault::point(16)?;
                run_hooks(plan, &state)?;
                fault::point(17)?;
            }
            (Awaited::Listener(listener), Some(agent)) => agent.hand_over(&listener, pid, &state)?,
            (Awaited::Listener(_), None) => {}
            (Awaited::MappedMount(number, tree), _) => rootfs::map_ids(plan, number, &joined, &tree)?,
            (Awaited::Binds(first, count), _) => return rootfs::open_binds(plan, first, count, &joined),
        }
        Ok(Vec::new())
    })?;
    log::debug!("process {} is ready", ready.pid);
    let mut finish = || -> Result<()> {
        fault::point(12)?;
        console.hand_over(ready.console.as_ref())?;
        let gone = Error::Vanished { stage: "its set-up" };
        record.pid = ready.pid;
        record.start_time = process::stat(ready.pid)?.ok_or(gone)?.start_time;
        record.half_made = false;
        record.freezer = cgroup.freezer_file();
        record.clamped.clone_from(&clamped);
        folder.write(&record)?;
        fault::point(13)?;
        if let Some(path) = &request.pid_file {
            write_pid_file(path, ready.pid)?;
        }
        send_pidfd(pidfd_socket.as_ref(), &ready.pidfd)?;
        fault::point(14)?;
        if request.gate == Gate::Shared {
            // From here on it waits at the FIFO, whatever becomes of us.
            ready.channel.start()?;
        }
        fault::point(15)
    };
    if let Err(error) = finish() {
        ready.end();
        return Err(error);
    }
    let mut ready = ready;
    let console_master = ready.console.take().filter(|_| console.is_returned());
    Ok(Built { ready, console_master, clamped, held: request.gate == Gate::Held })
}

fn start_hooks<'a>(plan: &'a Plan, state: &'a State) -> Option<StartHooks<'a>> {
    let hooks = &plan.hooks.start_container;
    (!hooks.is_empty()).then_some(StartHooks { hooks, state })
}

/// Moves the host's network devices to where the child is.
fn give_devices(plan: &Plan, pid: i32) -> Result<()> {
    fault::point(60)?;
    let path = format!("/proc/{pid}/ns/net");
    let namespace = rustix::fs::openat(CWD, &*path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(Error::system("open", path))?;
    move_devices(&plan.net_devices, namespace.as_fd())?;
    fault::point(61)
}

/// Those that the creator runs while the child waits between its mounts and its root.
fn run_hooks(plan: &Plan, state: &State) -> Result<()> {
    log::debug!("running the hooks prestart and createRuntime");
    let defaults = Defaults { directory: Some(&state.bundle), environment: None };
    // The older one was made for a container that is created but for its command.
    let created = State { status: Status::Created, ..state.clone() };
    hooks::run(Point::Prestart, &plan.hooks.prestart, &created, defaults)?;
    hooks::run(Point::CreateRuntime, &plan.hooks.create_runtime, state, defaults)?;
    Ok(())
}

/// The session keyring of a container's processes.
pub(super) fn keyring_name(id: &Id) -> CString {
    // An id holds no NUL byte, so this never falls back.
    CString::new(format!("_ses.{id}")).unwrap_or_default()
}

/// How long dying processes may take to leave a cgroup.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Namespaces made at clone, and those made by the child: all of them when it has to join a user namespace first,
/// because they are to belong to that one.
fn clone_flags(plan: &Plan) -> (CloneFlags, CloneFlags) {
    let create = plan.namespaces.create - CloneFlags::CLONE_NEWCGROUP - NEW_TIME;
    let joins_user =
        plan.namespaces.has(CloneFlags::CLONE_NEWUSER) && !create.contains(CloneFlags::CLONE_NEWUSER);
    if joins_user { (CloneFlags::empty(), create) } else { (create, CloneFlags::empty()) }
}

fn clone_child(
    plan: &Plan,
    joined: &Opened,
    kinship: Kinship,
    flags: CloneFlags,
    cgroup: Option<BorrowedFd<'_>>,
    child: &mut ContainerChild<'_>,
) -> Result<Launched> {
    let new_user = flags.contains(CloneFlags::CLONE_NEWUSER);
    // A process in a new user namespace has no right to join namespaces of the host's: it is born in them.
    let visit = if new_user { Some(Visit::enter(joined)?) } else { None };
    let pids = joined.get(CloneFlags::CLONE_NEWPID).filter(|_| !child.joins_pids());
    let children = pids.map(ChildrenIn::pid_namespace).transpose()?;
    let makes_time = plan.namespaces.create.contains(NEW_TIME);
    let time = makes_time.then(|| ChildrenInNewTime::new(&plan.time_offsets)).transpose()?;
    let traceable = (new_user && !child.creator_is_root).then(Traceable::new).transpose()?;
    let launched = launch(kinship, flags, cgroup, child).map_err(|error| match error {
        // So the kernel says that a PID namespace takes nobody any more (pid_namespaces(7)).
        Error::System { source: Errno::NOMEM, .. } if pids.is_some() => Error::Spec {
            path: plan.namespaces.field(CloneFlags::CLONE_NEWPID),
            reason: "its first process has ended, and nobody can join it any more (or memory is short)"
                .to_owned(),
        },
        error => error,
    })?;
    drop(traceable);
    drop(time);
    drop(children);
    drop(visit);
    Ok(launched)
}

/// Is the running kernel this version or a later one? False for one that does not say.
fn kernel_is_since(major: u32, minor: u32) -> bool {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    numbers.next().zip(numbers.next()).is_some_and(|version| version >= (major, minor))
}

/// A namespace that is named and turns out to be the host's own is not the container's to change
/// (CVE-2022-0532).
fn refuse_host_changes(plan: &Plan, joined: &Opened) -> Result<()> {
    let refuse = |path: &str| {
        Err(Error::Spec {
            path: path.to_owned(),
            reason: "it would change the host: the named namespace is the host's own".to_owned(),
        })
    };
    let uts = joined.is_own(CloneFlags::CLONE_NEWUTS);
    if uts && plan.hostname.is_some() {
        return refuse("hostname");
    }
    if uts && plan.domainname.is_some() {
        return refuse("domainname");
    }
    if let Some(device) = plan.net_devices.first().filter(|_| joined.is_own(CloneFlags::CLONE_NEWNET)) {
        return refuse(&device.field());
    }
    for sysctl in &plan.sysctls {
        let kind =
            if sysctl.path.starts_with("net") { CloneFlags::CLONE_NEWNET } else { CloneFlags::CLONE_NEWIPC };
        if joined.is_own(kind) {
            return refuse(&format!("linux.sysctl[{:?}]", sysctl.name));
        }
    }
    Ok(())
}
