//! One call of one plugin: a program that reads JSON and writes JSON, and is not trusted to do either or to end.
//!
//! - Its input is a file, so it need not read it, and we need not wait for it to.
//! - Its output has a limit; of what it says on standard error the end is kept for messages.
//! - It is the leader of a process group, which is killed at the deadline. A signal that a terminal sends to its caller
//!   does not reach it: what it began it is to finish.
//! - When it has ended, what is in the pipes is read and no more: a child of its own may hold them for ever.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{MemfdFlags, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};
use serde::Deserialize;

use super::error::{Failure, errno, printable};

/// No result is this large; with a thousand interfaces it would be a tenth.
const MOST_OUTPUT: usize = 1 << 20;
/// What is kept of standard error.
const TAIL: usize = 4 << 10;
/// How long a killed plugin may take to be gone: one that hangs in the kernel is not waited for.
const LAST_WAIT: Duration = Duration::from_secs(5);
/// Programs that plugins run, as iptables, are in folders that not every user's `PATH` has.
const PROGRAM_FOLDERS: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a plugin is called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Attach a container.
    Add,
    /// Undo that.
    Del,
    /// See whether it is still so.
    Check,
    /// Tell whether ADD could work.
    Status,
}

impl Verb {
    /// The value of `CNI_COMMAND`.
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Add => "ADD",
            Verb::Del => "DEL",
            Verb::Check => "CHECK",
            Verb::Status => "STATUS",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A call.
#[derive(Debug)]
pub(super) struct Call<'a> {
    /// The plugin's program.
    pub program: &'a Path,
    /// The variables of CNI. There are no others but `PATH`.
    pub variables: &'a [(&'static str, OsString)],
    /// What it reads. The plugin alone has it once it runs.
    pub input: File,
    /// How long it may take.
    pub patience: Duration,
}

impl Call<'_> {
    /// Runs the plugin to its end; its output if it succeeded.
    pub fn run(self) -> Result<Vec<u8>, Failure> {
        let patience = self.patience;
        let mut running = Running::start(self.command())?;
        let mut output = Pipe::keep_start(running.child.stdout.take(), MOST_OUTPUT)?;
        let mut errors = Pipe::keep_end(running.child.stderr.take(), TAIL)?;
        let deadline = Instant::now() + patience;
        while !running.wait_for_news(&[&output, &errors], deadline)? {
            output.read()?;
            errors.read()?;
            if output.full() {
                return Err(Failure::TooMuchOutput { limit: MOST_OUTPUT });
            }
            if Instant::now() >= deadline {
                let output = printable(&errors.bytes, TAIL);
                return Err(Failure::TimedOut { patience, output });
            }
        }
        let status = running.reap()?;
        output.read()?;
        errors.read()?;
        if output.full() {
            return Err(Failure::TooMuchOutput { limit: MOST_OUTPUT });
        }
        if status.success() { Ok(output.bytes) } else { Err(explain(status, &output.bytes, &errors.bytes)) }
    }

    fn command(self) -> Command {
        let mut path = std::env::var_os("PATH").filter(|path| !path.is_empty()).unwrap_or_default();
        if !path.is_empty() {
            path.push(":");
        }
        path.push(PROGRAM_FOLDERS);
        let mut command = Command::new(self.program);
        command
            .env_clear()
            .env("PATH", path)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .process_group(0)
            .stdin(self.input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        crate::sys::process::close_descriptors(&mut command);
        command
    }
}

/// A plugin that runs; killed with its group unless it was reaped.
struct Running {
    child: Child,
    process: OwnedFd,
    reaped: bool,
}

impl Running {
    /// The command is consumed, since it holds the input.
    fn start(mut command: Command) -> Result<Running, Failure> {
        let mut child =
            command.spawn().map_err(|error| Failure::System { operation: "run", source: errno(&error) })?;
        let pid = Pid::from_child(&child);
        match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Ok(process) => Ok(Running { child, process, reaped: false }),
            Err(source) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(Failure::System { operation: "watch", source })
            }
        }
    }

    /// Waits until there is something to read, the deadline has passed, or the plugin has ended: then it is true.
    fn wait_for_news(&self, pipes: &[&Pipe], deadline: Instant) -> Result<bool, Failure> {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        let mut places = vec![PollFd::new(&self.process, PollFlags::IN)];
        let open = pipes.iter().filter_map(|pipe| pipe.end.as_ref());
        places.extend(open.map(|end| PollFd::new(end, PollFlags::IN)));
        match rustix::event::poll(&mut places, Some(&timeout)) {
            Ok(_) => Ok(!places[0].revents().is_empty()),
            Err(Errno::INTR) => Ok(false),
            Err(source) => Err(Failure::System { operation: "wait for", source }),
        }
    }

    fn reap(&mut self) -> Result<ExitStatus, Failure> {
        let status = self.child.wait();
        self.reaped = true;
        status.map_err(|error| Failure::System { operation: "wait for", source: errno(&error) })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.reaped {
            return;
        }
        // Not reaped yet, so the number still is our child's, and its group's.
        let _ = rustix::process::kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        if self.wait_for_news(&[], Instant::now() + LAST_WAIT).unwrap_or(false) {
            let _ = self.child.wait();
        }
    }
}

/// The reading end of a pipe and what came out of it.
struct Pipe {
    /// Closed at the end of the file.
    end: Option<OwnedFd>,
    bytes: Vec<u8>,
    limit: usize,
    /// Whether the last bytes are kept rather than the first.
    tail: bool,
}

impl Pipe {
    fn keep_start(end: Option<impl Into<OwnedFd>>, limit: usize) -> Result<Pipe, Failure> {
        Pipe::new(end.map(Into::into), limit, false)
    }

    fn keep_end(end: Option<impl Into<OwnedFd>>, limit: usize) -> Result<Pipe, Failure> {
        Pipe::new(end.map(Into::into), limit, true)
    }

    fn new(end: Option<OwnedFd>, limit: usize, tail: bool) -> Result<Pipe, Failure> {
        if let Some(end) = &end {
            // Our end only: the flag belongs to it and not to the pipe.
            rustix::fs::fcntl_setfl(end, OFlags::NONBLOCK)
                .map_err(|source| Failure::System { operation: "listen to", source })?;
        }
        Ok(Pipe { end, bytes: Vec::new(), limit, tail })
    }

    /// Is there more than may be kept?
    fn full(&self) -> bool {
        self.bytes.len() > self.limit
    }

    /// Reads what is there, but never for ever: who writes without end is left with a full pipe.
    fn read(&mut self) -> Result<(), Failure> {
        let mut buffer = [0; 16 << 10];
        let mut budget = MOST_OUTPUT + 1;
        while let Some(end) = &self.end
            && budget > 0
            && (self.tail || !self.full())
        {
            match rustix::io::read(end.as_fd(), &mut buffer) {
                Ok(0) => self.end = None,
                Ok(length) => {
                    budget = budget.saturating_sub(length);
                    self.keep(&buffer[..length]);
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(source) => return Err(Failure::System { operation: "listen to", source }),
            }
        }
        Ok(())
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        if self.tail {
            self.bytes.drain(..self.bytes.len().saturating_sub(self.limit));
        }
    }
}

/// A file in memory with these bytes, for a call that belongs to no attachment.
pub(super) fn memory_file(bytes: &[u8]) -> Result<File, Failure> {
    let create = |flags| rustix::fs::memfd_create("cni", flags | MemfdFlags::CLOEXEC);
    let file = match create(MemfdFlags::NOEXEC_SEAL) {
        // Before Linux 6.3. Since then a machine may insist on the flag.
        Err(Errno::INVAL) => create(MemfdFlags::empty()),
        other => other,
    };
    let fail = |source| Failure::System { operation: "write the input of", source };
    let mut file = File::from(file.map_err(fail)?);
    file.write_all(bytes).and_then(|()| file.rewind()).map_err(|error| fail(errno(&error)))?;
    Ok(file)
}

/// The error object of the specification.
#[derive(Deserialize)]
struct Refusal {
    code: u64,
    #[serde(default)]
    msg: String,
    #[serde(default)]
    details: String,
}

/// Why a plugin failed, in its own words where it has any.
fn explain(status: ExitStatus, output: &[u8], errors: &[u8]) -> Failure {
    if let Ok(refusal) = serde_json::from_slice::<Refusal>(output) {
        let words: Vec<String> = [refusal.msg, refusal.details]
            .iter()
            .map(|text| printable(text.as_bytes(), TAIL))
            .filter(|text| !text.is_empty())
            .collect();
        let message = if words.is_empty() { "it does not say why".to_owned() } else { words.join(": ") };
        return Failure::Refused { code: refusal.code, message };
    }
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    };
    let said = if errors.trim_ascii().is_empty() { output } else { errors };
    Failure::Ended { how, output: printable(said, TAIL) }
}
