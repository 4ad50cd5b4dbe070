//! The last steps, the same for a container's first process and for exec: from a place inside the container to the
//! command.

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use oci_spec::runtime::Hook;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::command;
use super::credentials;
use super::descriptors::close_others;
use super::launch::FailureReport;
use super::protocol::{ChildEnd, CommandFailure, CommandReason, Failure};
use super::{Step, StepFailure, scheduling};
use crate::container::{State, Status, Stdio};
use crate::fault::{self, Defence};
use crate::hooks::{self, Defaults, Point};
use crate::rootfs;
use crate::security::capabilities::CapabilityPlan;
use crate::security::labels::Pending;
use crate::security::rlimits::Rlimits;
use crate::security::seccomp::Program;
use crate::security::user;
use crate::spec::plan::ProcessPlan;
use crate::sys::clone::exit_now;
use crate::sys::process::end_when_asked;

/// What a process gets whose specification names no mask: runc's default.
const DEFAULT_UMASK: u32 = 0o022;

/// A process with all that could be prepared before the clone.
#[derive(Debug)]
pub struct PreparedProcess<'a> {
    /// Its plan.
    pub plan: &'a ProcessPlan,
    /// Its capability sets, possible on this machine.
    pub capabilities: CapabilityPlan,
    /// Its resource limits, possible on this machine.
    pub limits: Rlimits,
    /// Its standard streams, if it has no terminal.
    pub stdio: Stdio,
    /// How many descriptors after 2 it keeps.
    pub preserve: u32,
    /// Whether it is killed when its parent ends. A command that changes its own user loses this again (prctl(2)).
    pub dies_with_parent: bool,
    /// The compiled system call filter.
    pub filter: Option<Program>,
    /// What runs in the container right before the command.
    pub start_hooks: Option<StartHooks<'a>>,
}

/// The hooks at [`Point::StartContainer`].
#[derive(Debug)]
pub struct StartHooks<'a> {
    /// Their list.
    pub hooks: &'a [Hook],
    /// What they are told of the container, but for its pid.
    pub state: &'a State,
}

/// Where the process waits before it runs the command.
#[derive(Debug)]
pub enum StartGate {
    /// For a message of its parent.
    Channel,
    /// For a byte from a FIFO, once its parent said that the container is recorded.
    Fifo(OwnedFd),
}

/// The first descriptor that is not the command's.
fn first_free(preserve: u32) -> RawFd {
    3 + preserve as RawFd
}

impl PreparedProcess<'_> {
    /// Puts the standard streams, or the terminal, on 0, 1 and 2.
    pub(super) fn place_stdio(&self, terminal: Option<&OwnedFd>) -> Result<(), StepFailure> {
        let failed = |name: &'static str| StepFailure::of(Step::Stdio, name);
        let (stdin, stdout, stderr) = match (terminal, &self.stdio) {
            (Some(terminal), _) => {
                rustix::process::ioctl_tiocsctty(terminal).map_err(failed("controlling terminal"))?;
                (terminal, terminal, terminal)
            }
            (None, Stdio::Inherit) => return Ok(()),
            (None, Stdio::Descriptors { stdin, stdout, stderr }) => (stdin, stdout, stderr),
        };
        let from_nix = |name| move |errno| failed(name)(crate::namespaces::from_nix(errno));
        nix::unistd::dup2_stdin(stdin).map_err(from_nix("stdin"))?;
        nix::unistd::dup2_stdout(stdout).map_err(from_nix("stdout"))?;
        nix::unistd::dup2_stderr(stderr).map_err(from_nix("stderr"))
    }

    /// Puts the container's own null device in the place of the host's. Called inside the root.
    ///
    /// Whoever has a device file open can change its mode, owner and times: with the host's as standard stream root of
    /// a container could take /dev/null away from everyone on the host. What stands at /dev/null in the root is
    /// believed only if it is one, for a container can put anything there before an exec (CVE-2026-88265).
    pub(super) fn replace_host_null(&self) -> Result<(), StepFailure> {
        let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
        if fault::without(Defence::OwnNull) {
            return Ok(());
        }
        let mut own = None;
        for (stream, number) in [(stdin.as_fd(), 0), (stdout.as_fd(), 1), (stderr.as_fd(), 2)] {
            let failed = || StepFailure::of(Step::Stdio, format!("{number} as the container's /dev/null"));
            if !rootfs::is_null_device(stream).map_err(failed())? {
                continue;
            }
            let null = match own.take() {
                Some(null) => null,
                None => own_null().map_err(failed())?,
            };
            let placed = match number {
                0 => nix::unistd::dup2_stdin(&null),
                1 => nix::unistd::dup2_stdout(&null),
                _ => nix::unistd::dup2_stderr(&null),
            };
            placed.map_err(|errno| failed()(crate::namespaces::from_nix(errno)))?;
            own = Some(null);
        }
        Ok(())
    }

    /// Closes everything but the command's descriptors, the channel and `kept`.
    ///
    /// Nothing of the host may be open when the working directory is entered or foreign code is near
    /// (CVE-2024-21626): a path through /proc/self/fd would lead there.
    pub(super) fn close_others<'a>(
        &self,
        channel: BorrowedFd<'a>,
        kept: impl Iterator<Item = BorrowedFd<'a>>,
    ) -> Result<(), StepFailure> {
        if fault::without(Defence::ClosedDescriptors) {
            return Ok(());
        }
        close_others(first_free(self.preserve), kept.chain([channel]))
    }

    /// Opens the files of the thread's labels, while the host's /proc is there.
    pub(super) fn open_labels(&self) -> Result<Vec<Pending>, StepFailure> {
        self.plan.labels.open().map_err(StepFailure::of(Step::Label, "the label of the process"))
    }

    /// Becomes the process that the plan describes, reports readiness, waits at the gate and executes the command.
    ///
    /// The process is in its namespaces, its root and its cgroup, and has its standard streams. This never returns:
    /// descriptors of ours are closed here by number, so no owner of one may be used or dropped afterwards. `last` is
    /// what the log is told in the end, before the file to be executed.
    pub(super) fn hand_over(
        &self,
        channel: &ChildEnd,
        gate: &StartGate,
        labels: &[Pending],
        last: &str,
    ) -> ! {
        let failure = match self.prepare(channel, gate, labels) {
            Ok(found) => match self.pass(channel, gate, labels, &found, last) {
                Ok(never) => match never {},
                Err(FailureReport(failure)) => {
                    if let StartGate::Fifo(fifo) = gate {
                        // The starter reads it here; whoever created the container is gone.
                        let _ = rustix::io::write(fifo, &failure.encode());
                    }
                    failure
                }
            },
            Err(FailureReport(failure)) => failure,
        };
        channel.failed(&failure);
        exit_now(1)
    }

    /// Everything up to the gate; finds the file to execute.
    fn prepare(
        &self,
        channel: &ChildEnd,
        gate: &StartGate,
        labels: &[Pending],
    ) -> Result<Found<'_>, FailureReport> {
        let plan = self.plan;
        let kept = match gate {
            StartGate::Channel => None,
            StartGate::Fifo(fifo) => Some(fifo.as_fd()),
        };
        let labels = labels.iter().map(|label| label.file().as_fd());
        self.close_others(channel.handle(), labels.chain(kept))?;
        let start_hooks = self.prepare_start_hooks()?;
        channel.debug(format_args!("setting limits, user {}:{} and capabilities", plan.uid, plan.gid));
        scheduling::apply(plan)?;
        self.limits.apply().map_err(|(resource, errno)| StepFailure {
            step: Step::Limit,
            object: format!("{resource:?}"),
            errno,
        })?;
        fault::child(40)?;
        let failed = |object: &'static str| StepFailure::of(Step::Capabilities, object);
        if !fault::without(Defence::ExactCapabilities) {
            self.capabilities.drop_bounding().map_err(failed("the bounding set"))?;
        }
        self.capabilities.keep_over_setuid().map_err(failed("keeping capabilities"))?;
        let entered = enter_directory(plan)?;
        if entered {
            // Before the filter, which may forbid what that takes.
            prove_inside(plan)?;
        }
        credentials::become_user(plan.uid, plan.gid, &plan.additional_gids)?;
        fault::child(41)?;
        if !plan.no_new_privileges {
            // Without the promise to gain no privileges only CAP_SYS_ADMIN may load a filter: before it is dropped.
            if self.filter.is_some() {
                CapabilityPlan::raise().map_err(failed("the effective set"))?;
            }
            self.load_filter(channel)?;
        }
        if !fault::without(Defence::ExactCapabilities) {
            self.capabilities.apply().map_err(failed("the capabilities"))?;
        }
        if !entered {
            // Closed to root without capabilities over files, open to the user himself, as on some network shares.
            change_directory(plan)?;
            prove_inside(plan)?;
        }
        if self.dies_with_parent {
            // After the last change of credentials, which clears it; a parent that is gone already is noticed at
            // the gate, which is its end of the channel.
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
                .map_err(StepFailure::of(Step::User, "the parent's death signal"))?;
        }
        rustix::process::umask(Mode::from_raw_mode(plan.umask.unwrap_or(DEFAULT_UMASK)));
        let file = command::find(&plan.args[0], &plan.env).map_err(Failure::Command)?;
        let found = Found { file, home: home(plan), start_hooks };
        fault::child(42)?;
        if plan.no_new_privileges && self.filter.as_ref().is_some_and(Program::has_listener) {
            // Who hands the listener on waits for us only until we are ready.
            self.promise_no_privileges()?;
            self.load_filter(channel)?;
        }
        channel.ready()?;
        Ok(found)
    }

    /// Before any filter, which may forbid what that takes.
    fn prepare_start_hooks(&self) -> Result<Vec<hooks::Prepared<'_>>, Failure> {
        let Some(StartHooks { hooks, state }) = &self.start_hooks else { return Ok(Vec::new()) };
        let state = state.seen_from_inside(Status::Created);
        hooks::prepare(Point::StartContainer, hooks, &state).map_err(Failure::Hook)
    }

    /// Through the gate to the command.
    fn pass(
        &self,
        channel: &ChildEnd,
        gate: &StartGate,
        labels: &[Pending],
        found: &Found<'_>,
        last: &str,
    ) -> Result<Infallible, FailureReport> {
        channel.wait_start()?;
        if let StartGate::Fifo(fifo) = gate {
            // That may be long, and who stops a container that was only created means it.
            end_when_asked();
            wait_at(fifo)?;
        }
        // Before the hooks in the container, whose programs are to have the label as well: a child inherits it.
        for label in labels {
            label.write().map_err(StepFailure::of(Step::Label, format!("the label {:?}", label.text())))?;
        }
        if !found.start_hooks.is_empty() {
            fault::child(46)?;
            channel.debug(format_args!("running the startContainer hooks"));
            // What they run is in the container, and the filter is for all that is.
            self.load_last_filter(channel)?;
            // Without variables of their own they have the command's, as with runc.
            let variables =
                self.plan.env.iter().chain(&found.home).filter_map(|variable| variable.to_str().ok());
            let variables: Vec<_> = variables.filter_map(|variable| variable.split_once('=')).collect();
            let defaults = Defaults { environment: Some(&variables), directory: None };
            hooks::run_prepared(Point::StartContainer, &found.start_hooks, defaults)
                .map_err(Failure::Hook)?;
        }
        self.execute(channel, found, last)
    }

    fn execute(
        &self,
        channel: &ChildEnd,
        found: &Found<'_>,
        last: &str,
    ) -> Result<Infallible, FailureReport> {
        fault::child(43)?;
        if self.start_hooks.is_none() {
            // Before a filter that may make telling it the end.
            channel.debug(format_args!("{last} {}", found.file.to_string_lossy()));
            self.load_last_filter(channel)?;
        }
        let environment: Vec<&CStr> =
            self.plan.env.iter().chain(&found.home).map(CString::as_c_str).collect();
        let Err(errno) = nix::unistd::execve(&found.file, &self.plan.args, &environment);
        // The file itself was found before: this is about the interpreter that it names.
        let reason = match errno {
            nix::errno::Errno::ENOENT => CommandReason::Interpreter,
            errno => command::reason_of(crate::namespaces::from_nix(errno)),
        };
        let command = self.plan.args[0].to_string_lossy().into_owned();
        Err(Failure::Command(CommandFailure { reason, command }).into())
    }

    /// With the promise to gain no privileges the filter is loaded as the last thing, so that it need not allow what setting
    /// up takes.
    fn load_last_filter(&self, channel: &ChildEnd) -> Result<(), StepFailure> {
        if self.plan.no_new_privileges && !self.filter.as_ref().is_some_and(Program::has_listener) {
            self.promise_no_privileges()?;
            self.load_filter(channel)?;
        }
        Ok(())
    }

    fn promise_no_privileges(&self) -> Result<(), StepFailure> {
        rustix::thread::set_no_new_privs(true).map_err(StepFailure::of(Step::NoNewPrivileges, "no_new_privs"))
    }

    fn load_filter(&self, channel: &ChildEnd) -> Result<(), StepFailure> {
        let failed = || StepFailure::of(Step::Seccomp, "the system call filter");
        match self.filter.as_ref().filter(|_| !fault::without(Defence::Filter)) {
            Some(filter) if filter.has_listener() => {
                channel.pass_listener(&filter.install_with_listener().map_err(failed())?)
            }
            Some(filter) => filter.install().map_err(failed()),
            None => Ok(()),
        }
    }
}

/// What was found out about the command, and made for what runs before it.
struct Found<'a> {
    /// The file to execute.
    file: CString,
    /// The variable HOME, where the plan has none.
    home: Option<CString>,
    /// The hooks that run before it.
    start_hooks: Vec<hooks::Prepared<'a>>,
}

/// HOME of the process's user as the container's own database has it, if nobody set it: engines rely on the runtime
/// for this one. The database is read as the hostile file that it is; without an entry it is `/`.
fn home(plan: &ProcessPlan) -> Option<CString> {
    if plan.env.iter().any(|variable| variable.to_bytes().starts_with(b"HOME=")) {
        return None;
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let home = rustix::fs::openat(CWD, "/", flags, Mode::empty())
        .ok()
        .and_then(|root| user::resolve(root.as_fd(), &plan.uid.to_string(), &[]).ok())
        .map_or_else(|| "/".to_owned(), |user| user.home);
    CString::new(format!("HOME={home}")).ok()
}

/// The null device of the root that this process is in, opened for both directions as for any service.
fn own_null() -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let null = rustix::fs::openat2(CWD, "/dev/null", flags, Mode::empty(), resolve)?;
    if !rootfs::is_null_device(null.as_fd())? && !fault::without(Defence::ProvenNull) {
        return Err(Errno::NODEV);
    }
    rustix::io::ioctl_fionbio(&null, false)?;
    Ok(null)
}

/// Waits for the byte that `start` writes. Holding both ends of the FIFO open, this read never sees an end.
fn wait_at(fifo: &OwnedFd) -> Result<(), StepFailure> {
    let mut byte = [0];
    rustix::io::retry_on_intr(|| rustix::io::read(fifo, &mut byte))
        .map(drop)
        .map_err(StepFailure::of(Step::Talk, "the start"))
}

/// Enters the working directory while still root; `false` if that takes the user's own rights.
fn enter_directory(plan: &ProcessPlan) -> Result<bool, StepFailure> {
    match rustix::process::chdir(&plan.cwd) {
        Ok(()) => Ok(true),
        Err(Errno::ACCESS) => Ok(false),
        Err(errno) => Err(directory_failure(plan, errno)),
    }
}

fn change_directory(plan: &ProcessPlan) -> Result<(), StepFailure> {
    rustix::process::chdir(&plan.cwd).map_err(|errno| directory_failure(plan, errno))
}

/// The kernel names a directory outside the root "(unreachable)...": such a one was reached through a handle that
/// leaked, and the container does not start.
fn prove_inside(plan: &ProcessPlan) -> Result<(), StepFailure> {
    let directory =
        rustix::process::getcwd(Vec::with_capacity(256)).map_err(|errno| directory_failure(plan, errno))?;
    if directory.as_bytes().first() == Some(&b'/') || fault::without(Defence::ProvenDirectory) {
        Ok(())
    } else {
        Err(directory_failure(plan, Errno::XDEV))
    }
}

fn directory_failure(plan: &ProcessPlan, errno: Errno) -> StepFailure {
    StepFailure { step: Step::WorkingDirectory, object: plan.cwd.display().to_string(), errno }
}
