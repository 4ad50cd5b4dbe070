//! Hooks: programs of config.json that run at points of a container's life (runtime-spec, "POSIX-platform Hooks").
//!
//! Each gets the state on standard input and has to succeed. What it says is kept for the message of its failure: in a
//! file in memory and not a pipe, so that a hook that leaves a daemon behind, or reads no input, holds nobody up.

use std::fmt;
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};

use oci_spec::runtime::Hook;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::MemfdFlags;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};
use serde::{Deserialize, Serialize};

use crate::container::State;

/// When a hook runs, by the field's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Point {
    /// By the runtime, when namespaces and mounts are there and the root is not changed yet. Deprecated, and the same as
    /// the next.
    Prestart,
    /// By the runtime, then too.
    CreateRuntime,
    /// In the container's namespaces, after those and before the root is changed.
    CreateContainer,
    /// In the container, after `start` and before the command.
    StartContainer,
    /// By the runtime, when the command was executed.
    Poststart,
    /// By the runtime, when the container was deleted.
    Poststop,
}

impl Point {
    /// All of them, in the order of a life.
    pub const ALL: [Point; 6] = [
        Point::Prestart,
        Point::CreateRuntime,
        Point::CreateContainer,
        Point::StartContainer,
        Point::Poststart,
        Point::Poststop,
    ];

    /// The field of `hooks`.
    pub fn name(self) -> &'static str {
        match self {
            Point::Prestart => "prestart",
            Point::CreateRuntime => "createRuntime",
            Point::CreateContainer => "createContainer",
            Point::StartContainer => "startContainer",
            Point::Poststart => "poststart",
            Point::Poststop => "poststop",
        }
    }
}

/// The hooks of a container, each list in order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Hooks {
    /// See [`Point`].
    pub prestart: Vec<Hook>,
    /// See [`Point`].
    pub create_runtime: Vec<Hook>,
    /// See [`Point`].
    pub create_container: Vec<Hook>,
    /// See [`Point`].
    pub start_container: Vec<Hook>,
    /// See [`Point`].
    pub poststart: Vec<Hook>,
    /// See [`Point`].
    pub poststop: Vec<Hook>,
}

impl Hooks {
    /// Are there none?
    pub fn is_empty(&self) -> bool {
        Point::ALL.iter().all(|point| self.at(*point).is_empty())
    }

    /// The list of a point.
    pub fn at(&self, point: Point) -> &[Hook] {
        match point {
            Point::Prestart => &self.prestart,
            Point::CreateRuntime => &self.create_runtime,
            Point::CreateContainer => &self.create_container,
            Point::StartContainer => &self.start_container,
            Point::Poststart => &self.poststart,
            Point::Poststop => &self.poststop,
        }
    }

    /// Do any see the container between its mounts and its root? They look for it at `root.path`.
    pub fn see_root(&self) -> bool {
        self.run_by_creator() || !self.create_container.is_empty()
    }

    /// Does the creator run any while its child waits?
    pub fn run_by_creator(&self) -> bool {
        !self.prestart.is_empty() || !self.create_runtime.is_empty()
    }
}

/// A hook that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookFailure {
    /// When it ran.
    pub point: Point,
    /// Its place in the list.
    pub index: u32,
    /// Why.
    pub reason: String,
}

/// In runc's words, which engines show.
impl fmt::Display for HookFailure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "error running {} hook #{}: {}", self.point.name(), self.index, self.reason)
    }
}

impl std::error::Error for HookFailure {}

/// Where and with what a hook runs that does not say so itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Defaults<'a> {
    /// Its working directory; that of the caller if not given.
    pub directory: Option<&'a Path>,
    /// Its environment; the caller's if not given.
    pub environment: Option<&'a [(&'a str, &'a str)]>,
}

/// Runs the hooks of a point one after the other; the first that fails ends it.
pub fn run(point: Point, hooks: &[Hook], state: &State, defaults: Defaults<'_>) -> Result<(), HookFailure> {
    each(point, hooks, state, defaults).next().map_or(Ok(()), Err)
}

/// Runs all hooks of a point, whatever becomes of each. Yields those that failed; the next runs when asked for.
pub fn each<'a>(
    point: Point,
    hooks: &'a [Hook],
    state: &'a State,
    defaults: Defaults<'a>,
) -> impl Iterator<Item = HookFailure> + 'a {
    hooks.iter().enumerate().filter_map(move |(index, hook)| {
        let failed = Prepared::new(hook, state).and_then(|prepared| prepared.run(defaults)).err();
        failed.map(|reason| HookFailure { point, index: index as u32, reason })
    })
}

/// Makes all that the hooks of a point need of this process but themselves, for one that is about to load a filter which may
/// forbid that.
pub fn prepare<'a>(point: Point, hooks: &'a [Hook], state: &State) -> Result<Vec<Prepared<'a>>, HookFailure> {
    let one = |(index, hook)| {
        Prepared::new(hook, state).map_err(|reason| HookFailure { point, index: index as u32, reason })
    };
    hooks.iter().enumerate().map(one).collect()
}

/// As [`run`], with hooks that were prepared.
pub fn run_prepared(point: Point, hooks: &[Prepared<'_>], defaults: Defaults<'_>) -> Result<(), HookFailure> {
    let mut numbered = hooks.iter().enumerate();
    numbered.try_for_each(|(index, hook)| {
        hook.run(defaults).map_err(|reason| HookFailure { point, index: index as u32, reason })
    })
}

/// A hook with the files in memory that it reads and writes.
#[derive(Debug)]
pub struct Prepared<'a> {
    hook: &'a Hook,
    input: File,
    said: File,
}

impl Prepared<'_> {
    fn new<'a>(hook: &'a Hook, state: &State) -> Result<Prepared<'a>, String> {
        let said = in_memory().map_err(|error| format!("cannot keep its output: {error}"))?;
        let input = written(state).map_err(|error| format!("cannot write the state for it: {error}"))?;
        Ok(Prepared { hook, input, said })
    }

    fn run(&self, defaults: Defaults<'_>) -> Result<(), String> {
        let child = self
            .spawn(defaults)
            .map_err(|error| format!("cannot execute {}: {error}", self.hook.path().display()))?;
        let status = wait(child, self.hook.timeout())?;
        if status.success() {
            return Ok(());
        }
        let how = match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit status {code}"),
            (None, Some(libc::SIGSYS)) => "signal: bad system call".to_owned(),
            (None, signal) => format!("signal {}", signal.unwrap_or(0)),
        };
        let words = tail(&self.said);
        Err(if words.is_empty() { how } else { format!("{how}, it said: {words}") })
    }

    fn spawn(&self, defaults: Defaults<'_>) -> std::io::Result<Child> {
        let Prepared { hook, input, said } = self;
        let mut command = Command::new(hook.path());
        if let Some((name, arguments)) = hook.args().as_deref().and_then(<[String]>::split_first) {
            command.arg0(name).args(arguments);
        }
        match (hook.env().as_deref(), defaults.environment) {
            (Some(own), _) => {
                command.env_clear().envs(own.iter().filter_map(|variable| variable.split_once('=')));
            }
            (None, Some(environment)) => {
                command.env_clear().envs(environment.iter().copied());
            }
            (None, None) => {}
        }
        if let Some(directory) = defaults.directory {
            command.current_dir(directory);
        }
        crate::sys::process::close_descriptors(&mut command);
        command.stdin(input.try_clone()?).stdout(said.try_clone()?).stderr(said.try_clone()?).spawn()
    }
}

/// The state as a file, to be read from its start.
fn written(state: &State) -> std::io::Result<File> {
    let mut input = in_memory()?;
    serde_json::to_writer(&mut input, state)?;
    input.flush()?;
    input.rewind()?;
    Ok(input)
}

/// Waits for a hook, and kills one that takes longer than `seconds`.
fn wait(mut child: Child, seconds: Option<i64>) -> Result<ExitStatus, String> {
    let ended = match seconds {
        Some(seconds) => ends_within(&child, seconds),
        None => Ok(true),
    };
    let reason = match ended {
        Ok(true) => return child.wait().map_err(|error| format!("cannot wait for it: {error}")),
        Ok(false) => format!("hook ran past specified timeout of {}.0s", seconds.unwrap_or(0)),
        Err(errno) => format!("cannot wait for it: {errno}"),
    };
    // Both fail only when it has ended after all.
    let _ = child.kill();
    let _ = child.wait();
    Err(reason)
}

fn ends_within(child: &Child, seconds: i64) -> Result<bool, Errno> {
    // Not reaped yet, so the number is still its own.
    let pid = Pid::from_raw(child.id() as i32).ok_or(Errno::SRCH)?;
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    let mut polled = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
    let timeout = Timespec { tv_sec: seconds, tv_nsec: 0 };
    let ended = rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, Some(&timeout)))?;
    Ok(ended > 0)
}

fn in_memory() -> std::io::Result<File> {
    Ok(rustix::fs::memfd_create(c"hook", MemfdFlags::CLOEXEC)?.into())
}

/// The end of what was said, in one line.
fn tail(said: &File) -> String {
    const LONGEST: u64 = 2000;
    let length = said.metadata().map_or(0, |metadata| metadata.len());
    let kept = length.min(LONGEST);
    let mut text = vec![0; kept as usize];
    match said.read_exact_at(&mut text, length - kept) {
        Ok(()) => String::from_utf8_lossy(&text).trim().replace('\n', "; "),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn hook(document: serde_json::Value) -> Hook {
        serde_json::from_value(document).unwrap()
    }

    fn run_one(document: serde_json::Value) -> Result<(), String> {
        run(Point::Poststart, &[hook(document)], &State::example(), Defaults::default())
            .map_err(|failure| failure.to_string())
    }

    #[test]
    fn a_hook_has_its_arguments_and_variables_and_the_state() {
        run_one(json!({
            "path": "/bin/sh",
            "args": ["sh", "-c", "test \"$A\" = b && test -z \"$HOME\" && grep -q '\"status\":\"creating\"'"],
            "env": ["A=b"]
        }))
        .unwrap();
        // One that reads nothing and leaves somebody behind with its streams is not waited for longer.
        run_one(json!({ "path": "/bin/sh", "args": ["sh", "-c", "sleep 5 & exit 0"] })).unwrap();
    }

    #[test]
    fn a_failure_says_which_and_why() {
        let message = run_one(json!({
            "path": "/bin/sh", "args": ["sh", "-c", "echo out; echo error >&2; exit 3"]
        }));
        assert_eq!(
            message.unwrap_err(),
            "error running poststart hook #0: exit status 3, it said: out; error"
        );
        let message = run_one(json!({ "path": "/nonexistent" })).unwrap_err();
        assert!(message.contains("cannot execute /nonexistent: No such file"), "{message}");
        let message = run_one(json!({ "path": "/bin/sleep", "args": ["sleep", "60"], "timeout": 1 }));
        assert!(message.unwrap_err().ends_with("hook ran past specified timeout of 1.0s"));
    }
}
