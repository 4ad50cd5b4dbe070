//! RUN: a program in a container on the stage's root, through `roci`.
//!
//! What the program gets: the root by descriptor, `/etc/hosts`, `/etc/resolv.conf` and `/etc/hostname` of ours (never
//! part of the layer), the image's environment with the arguments in scope, nothing of the caller's; no stdin; the
//! default confinement of any container; its own loopback as network unless the command line allows the host's.
//! `roci` dies with us and takes the container along, so a killed build leaves no process.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use image::store::Lease;
use runtime::security::user;
use runtime::spec::from_image::{
    Bind, ContainerSettings, Identity, Network as SpecNetwork, NetworkFiles, container_spec,
};
use rustix::pipe::PipeFlags;

use super::architecture;
use super::error::{Error, StepError};
use super::made::{Workspace, make_directory, unknown_user};
use super::rooted::{Last, Missing, Owner, Place, walk};
use super::stubs::Stubs;
use crate::plan::{Network, RunCommand, RunStep};
use crate::progress::{Label, Progress};

/// Host name of every step, so that it cannot end up in results by chance.
const HOSTNAME: &str = "rbuild";
/// How `roci run` ends if the program cannot be executed.
const NOT_EXECUTABLE: i32 = 126;
/// Lines of output repeated in the message of a failed step.
const LAST_LINES: usize = 10;
/// Longest line of output kept whole, in bytes; a longer one is shown in pieces.
const LONGEST_LINE: usize = 64 * 1024;
/// Where a script with its own `#!` line is seen.
const SCRIPTS: &str = "/dev/pipes";
/// Names that a host without network resolves.
const HOSTS: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.0.1\trbuild\n";

/// Runs programs in containers.
#[derive(Debug)]
pub struct Runner {
    /// The runtime's program.
    pub roci: PathBuf,
    /// Folder of running containers.
    pub state: PathBuf,
}

impl Runner {
    /// Runs one step.
    pub(super) fn run(
        &self,
        step: &RunStep,
        work: &Workspace<'_>,
        label: &Label,
        progress: &Progress,
        _lease: &Lease,
    ) -> Result<(), StepError> {
        check_program(step, work)?;
        make_directory(work.root(), &step.cwd, Owner::default())?;
        let user = if step.user.is_empty() { "0" } else { &step.user };
        let user = user::resolve(work.root(), user, &[])
            .map_err(|error| unknown_user("USER", &step.user, &error))?;
        let stubs = Stubs::make(work.root())?;
        let id = random_id();
        let bundle = work.folder().join("bundle");
        let mut settings = ContainerSettings::new(&id, arguments(&step.command));
        settings.env = step.env.iter().chain(&step.proxies).cloned().collect();
        settings.cwd = PathBuf::from(&step.cwd);
        settings.user = Identity { uid: user.uid, gid: user.gid, additional_gids: user.additional_gids };
        settings.home = user.home;
        settings.hostname = HOSTNAME.to_owned();
        settings.network = match step.network {
            Network::None => SpecNetwork::None,
            Network::Host => SpecNetwork::Host,
        };
        write_bundle(&bundle, step, &mut settings)?;
        let (status, last) = self.spawn(&id, &bundle, work, |line| progress.output(label, line))?;
        // Also after a failure, although the layer is thrown away: errors show up early.
        stubs.remove(work.root())?;
        if status.success() { Ok(()) } else { Err(failure(step, work, status, &last)) }
    }

    /// Starts `roci run` and reads what the container prints until it ends.
    fn spawn(
        &self,
        id: &str,
        bundle: &Path,
        work: &Workspace<'_>,
        mut show: impl FnMut(&[u8]),
    ) -> Result<(ExitStatus, VecDeque<String>), StepError> {
        let failed = |operation| Error::file(operation, &self.roci);
        let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)
            .map_err(|errno| failed("make a pipe for")(errno.into()))?;
        let same = writer.try_clone().map_err(failed("make a pipe for"))?;
        // A copy without close-on-exec goes to the child; no other thread of ours starts programs.
        let root = rustix::io::fcntl_dupfd_cloexec(work.root(), 3)
            .and_then(|root| rustix::io::fcntl_setfd(&root, rustix::io::FdFlags::empty()).map(|()| root))
            .map_err(|errno| failed("pass the root to")(errno.into()))?;
        let mut child = Command::new(&self.roci)
            .arg("--root")
            .arg(self.state.join("oci"))
            .args(["run", "--die-with", &std::process::id().to_string()])
            .args(["--rootfs-fd", &root.as_raw_fd().to_string(), "--bundle"])
            .arg(bundle)
            .arg(id)
            .env_clear()
            .env("HULL_STATE", &self.state)
            .stdin(Stdio::null())
            .stdout(writer)
            .stderr(same)
            .spawn()
            .map_err(failed("start"))?;
        drop(root);
        let last = read_lines(reader, &mut show);
        let status = child.wait().map_err(failed("wait for"))?;
        if status.signal().is_some() {
            self.clear(id)?;
        }
        Ok((status, last.map_err(failed("read the output of"))?))
    }
}

impl Runner {
    /// Takes away what a runtime that was killed could not.
    fn clear(&self, id: &str) -> Result<(), StepError> {
        let deleted =
            id.parse().and_then(|id| runtime::container::delete(&self.state.join("oci"), &id, true));
        deleted.map(drop).map_err(|error| StepError::told(format!("cannot delete container {id}: {error}")))
    }
}

/// Shows each line and keeps the last ones. A carriage return ends a line too: progress bars stay readable.
fn read_lines(reader: OwnedFd, show: &mut dyn FnMut(&[u8])) -> std::io::Result<VecDeque<String>> {
    let mut reader = BufReader::new(File::from(reader));
    let mut last = VecDeque::with_capacity(LAST_LINES);
    let mut line = Vec::new();
    loop {
        let buffer = reader.fill_buf()?;
        let ended = buffer.is_empty();
        let cut = buffer.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        let taken = cut.unwrap_or(buffer.len()).min(LONGEST_LINE - line.len());
        line.extend_from_slice(&buffer[..taken]);
        let complete = cut == Some(taken);
        reader.consume(taken + usize::from(complete));
        if (complete || ended || line.len() == LONGEST_LINE) && !line.is_empty() {
            show(&line);
            if last.len() == LAST_LINES {
                last.pop_front();
            }
            last.push_back(String::from_utf8_lossy(&line).into_owned());
            line.clear();
        }
        if ended {
            return Ok(last);
        }
    }
}

/// Tells a missing shell or program before the runtime does, whose words would not name the base image.
fn check_program(step: &RunStep, work: &Workspace<'_>) -> Result<(), StepError> {
    let RunCommand::Arguments { list, shell } = &step.command else { return Ok(()) };
    let program = list.first().map(String::as_str).unwrap_or_default();
    if !program.starts_with('/') {
        return Ok(());
    }
    match walk(work.root(), program.as_bytes(), Last::Follow, Missing::Report) {
        Ok(Place::There(_)) => Ok(()),
        _ if *shell => Err(StepError::Told {
            message: format!("{program} is not in the image (base scratch?)"),
            notes: Vec::new(),
            helps: vec![
                "use the JSON form, RUN [\"program\", \"argument\"], or another base image".to_owned(),
            ],
        }),
        _ => Err(StepError::told(format!("{program} is not in the image"))),
    }
}

fn arguments(command: &RunCommand) -> Vec<String> {
    match command {
        RunCommand::Arguments { list, .. } => list.clone(),
        RunCommand::Script { name, .. } => vec![script_path(name)],
    }
}

/// The name of a heredoc may hold slashes; the script's path does not follow them.
fn script_path(name: &str) -> String {
    let name: String =
        name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' }).collect();
    format!("{SCRIPTS}/{name}")
}

/// Writes the bundle: config.json and the files bound over those of the image.
fn write_bundle(bundle: &Path, step: &RunStep, settings: &mut ContainerSettings) -> Result<(), Error> {
    fs::create_dir(bundle).map_err(Error::file("create", bundle))?;
    let write = |name: &str, content: &[u8]| -> Result<PathBuf, Error> {
        let path = bundle.join(name);
        fs::write(&path, content).map_err(Error::file("write", &path))?;
        set_mode(&path, 0o644)?;
        Ok(path)
    };
    let of_host = |path: &str| fs::read(path).unwrap_or_default();
    let (hosts, resolv_conf) = match step.network {
        Network::None => (HOSTS.as_bytes().to_vec(), Vec::new()),
        Network::Host => (of_host("/etc/hosts"), of_host("/etc/resolv.conf")),
    };
    settings.files = NetworkFiles {
        hosts: Some(write("hosts", &hosts)?),
        resolv_conf: Some(write("resolv.conf", &resolv_conf)?),
        hostname: Some(write("hostname", format!("{HOSTNAME}\n").as_bytes())?),
    };
    if let RunCommand::Script { name, content } = &step.command {
        let source = write("script", content.as_bytes())?;
        set_mode(&source, 0o755)?;
        settings.binds.push(Bind { source, destination: script_path(name).into(), read_only: true });
    }
    let path = bundle.join("config.json");
    let spec = serde_json::to_vec(&container_spec(settings))
        .map_err(|error| Error::file("write", &path)(error.into()))?;
    fs::write(&path, spec).map_err(Error::file("write", &path))
}

fn set_mode(path: &Path, mode: u32) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(Error::file("set the mode of", path))
}

/// The message for a program that did not end with 0.
fn failure(step: &RunStep, work: &Workspace<'_>, status: ExitStatus, last: &VecDeque<String>) -> StepError {
    let message = match (status.code(), status.signal()) {
        (Some(code), _) => format!("the command ended with exit code {code}"),
        (None, Some(signal)) => format!("the runtime was killed by signal {signal}"),
        (None, None) => "the command failed".to_owned(),
    };
    let mut notes = vec![format!("command: {}", shown_command(&step.command))];
    if !last.is_empty() {
        let lines: Vec<&str> = last.iter().map(String::as_str).collect();
        notes.push(format!("last output:\n  {}", lines.join("\n  ")));
    }
    let mut helps = Vec::new();
    if status.code() == Some(NOT_EXECUTABLE)
        && let Some(theirs) = architecture::foreign(work.root(), step)
    {
        notes.push(format!("the program is for {theirs}, this machine is {}", architecture::ours()));
        helps.push("use a base image of this machine, or register an emulator with binfmt_misc".to_owned());
    }
    StepError::Told { message, notes, helps }
}

fn shown_command(command: &RunCommand) -> String {
    match command {
        RunCommand::Arguments { list, .. } => list.join(" "),
        RunCommand::Script { name, .. } => format!("the script <<{name}"),
    }
}

fn random_id() -> String {
    let mut bytes = [0u8; 32];
    // Never short for so few bytes, and never interrupted once the pool is ready.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_becomes_lines_and_the_last_ones_are_kept() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let text = (0..30).map(|line| format!("line {line}\n")).collect::<String>() + "a\rb\n\nlast";
        std::thread::scope(|scope| {
            scope.spawn(move || std::io::Write::write_all(&mut File::from(writer), text.as_bytes()).unwrap());
            let mut shown = Vec::new();
            let last = read_lines(reader, &mut |line| shown.push(String::from_utf8_lossy(line).into_owned()))
                .unwrap();
            assert_eq!(shown.len(), 33);
            assert_eq!(shown[30..], ["a", "b", "last"]);
            assert_eq!(last.len(), LAST_LINES);
            assert_eq!(last.back().map(String::as_str), Some("last"));
        });
    }
}
