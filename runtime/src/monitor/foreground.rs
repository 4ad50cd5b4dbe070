//! One container in the foreground: what `rrun run` becomes.
//!
//! The process stays where its caller had it: same pid, session and cgroups, for to the caller it *is* the
//! container. It is the container's parent and the subreaper of everything in it; when it is killed the kernel
//! kills the container's first process, and with it the PID namespace. What then still lies about (the record, the
//! cgroup, the container's folder) is removed by whoever next finds the caller's lock free.
//!
//! The order after the end: reap, pass on what was written, restore the terminal, delete cgroup and record, release the
//! network, remove socket and folder. Undoing goes on to its end; what failed does not change the exit code, which is the
//! container's.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::io::Errno;

use super::channel::{ChannelError, Listener};
use super::container::{Container, Flow, Kind};
use super::event_loop::{Mode, Monitor, Settings};
use super::jobs::Leftovers;
use super::log::{Log, LogSettings, Stream};
use super::output::Output;
use super::protocol::CreateFlags;
use super::removal;
use super::signals::block_signals;
use super::stdio::{Direction, End, Relay};
use super::streams::{self, Ours};
use crate::container::{self, Console, CreateRequest, Created, Id};
use crate::error::Error;
use crate::network;
use crate::process::Exit;
use crate::terminal::{self, RawMode};

/// What to run and how the user sees it.
#[derive(Debug)]
pub struct Foreground {
    /// The container.
    pub id: Id,
    /// The folder with config.json.
    pub bundle: PathBuf,
    /// The folder of all containers' records.
    pub state_root: PathBuf,
    /// A detached mount that is the root file system.
    pub rootfs: Option<OwnedFd>,
    /// Whether the container reads our standard input.
    pub interactive: bool,
    /// Whether config.json asks for a terminal.
    pub terminal: bool,
    /// Where callers can reach the monitor.
    pub socket: Option<PathBuf>,
    /// Where its output is kept; without it the user's copy is the only one.
    pub log: Option<LogSettings>,
    /// What goes with it.
    pub leftovers: Leftovers,
}

/// Why a container did not run, or could not be followed.
#[derive(Debug, thiserror::Error)]
pub enum ForegroundError {
    /// The runtime failed.
    #[error(transparent)]
    Runtime(#[from] Error),
    /// The monitor's socket failed.
    #[error(transparent)]
    Channel(#[from] ChannelError),
}

impl ForegroundError {
    /// The exit code for it: 127 for a command that is missing, 126 for one that cannot run, 125 for all else.
    pub fn exit_code(&self) -> u8 {
        match self {
            ForegroundError::Runtime(error) => error.exit_code(),
            ForegroundError::Channel(_) => 125,
        }
    }
}

/// A container's end, and what could not be undone after it.
#[derive(Debug)]
pub struct Ended {
    /// How the first process ended.
    pub exit: Exit,
    /// What the machine refused and nobody insisted on, in words.
    pub clamped: Vec<String>,
    /// What is left behind, for people.
    pub left: Vec<String>,
}

/// Creates the container, runs it to its end and removes it.
pub fn run(request: Foreground) -> Result<Ended, ForegroundError> {
    let Leftovers { network, folder } = request.leftovers.clone();
    let result = run_and_delete(request);
    let network = network.and_then(|file| network::release(&file).err()).map(|error| error.to_string());
    let left = network.into_iter().chain(folder.and_then(|folder| removal::remove(&folder).err()));
    let left: Vec<String> = left.collect();
    let mut ended = result?;
    ended.left.extend(left);
    Ok(ended)
}

fn run_and_delete(request: Foreground) -> Result<Ended, ForegroundError> {
    let signals = block_signals()?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(Error::system("become", "the parent of orphans"))?;
    let listener = request.socket.as_deref().map(Listener::bind).transpose()?;
    let result = create_and_follow(request, &signals, listener.as_ref());
    if let Some(listener) = listener {
        listener.remove();
    }
    result
}

fn create_and_follow(
    request: Foreground,
    signals: &nix::sys::signal::SigSet,
    listener: Option<&Listener>,
) -> Result<Ended, ForegroundError> {
    let Foreground { id, bundle, state_root, rootfs, interactive, terminal, log, .. } = request;
    let (stdio, ours) = streams::open(interactive, terminal)?;
    let mut created = container::create(CreateRequest {
        stdio,
        rootfs,
        console: if terminal { Console::Returned } else { Console::Absent },
        ..CreateRequest::of_a_monitor(id.clone(), bundle.clone(), state_root.clone())
    })?;
    let clamped = std::mem::take(&mut created.clamped);
    let flags = CreateFlags { terminal, stdin: interactive, stdin_once: true, bound: false };
    let mut container = Container::new(id.as_str(), Some(bundle), Kind::Container, flags);
    container.log = log.map(Log::new);
    let settings = Settings { mode: Mode::Foreground, state_root, leftovers: Leftovers::default() };
    match follow(&mut created, container, settings, signals, listener, ours) {
        Ok(exit) => {
            let left = created.delete().err().map(|error| error.to_string());
            Ok(Ended { exit, clamped, left: left.into_iter().collect() })
        }
        Err(error) => {
            // Whatever failed, a container without its monitor shall not be.
            let _ = crate::process::signal(created.process(), crate::process::Signal::KILL);
            let _ = created.wait();
            let _ = created.delete();
            Err(error.into())
        }
    }
}

/// Starts the container and serves it until it has ended.
fn follow(
    created: &mut Created,
    mut container: Container,
    settings: Settings,
    signals: &nix::sys::signal::SigSet,
    listener: Option<&Listener>,
    ours: Ours,
) -> Result<Exit, Error> {
    let interactive = container.flags.stdin;
    let master = created.console_master.take();
    let user = User::new();
    let user_terminal = user.terminal();
    if let (Some(master), Some(size)) = (&master, user_terminal.and_then(terminal::size)) {
        terminal::set_size(master, size).map_err(Error::system("set the size of", "the terminal"))?;
    }
    let raw = match &master {
        Some(_) if interactive && rustix::termios::isatty(&user.stdin) => {
            let fail = Error::system("set raw mode of", "the user's terminal");
            Some(RawMode::enter(&user.stdin).map_err(fail)?)
        }
        Some(_) if rustix::termios::isatty(&user.stdout) => {
            let fail = Error::system("set the output mode of", "the user's terminal");
            Some(RawMode::show_as_is(&user.stdout).map_err(fail)?)
        }
        _ => None,
    };
    container.pid = created.pid;
    container.pidfd = Some(created.process_copy()?);
    container.oom_counter = created.open_oom_counter();
    container.terminal = master;
    created.start()?;
    container.started()?;
    connect(&mut container, ours, &user).map_err(Error::system("prepare", "standard streams"))?;
    let mut monitor = Monitor::new(settings, signals, listener, user_terminal)?;
    monitor.adopt(container)?;
    let exit = monitor.run()?;
    drop(raw);
    // A loop that had a container ends with that.
    Ok(exit.unwrap_or(Exit::Code(crate::monitor::status_record::LOST)))
}

/// Copies between our streams and the terminal of a process until that has ended; returns how. For a child of ours that has
/// no monitor.
pub fn follow_terminal(
    process: OwnedFd,
    pid: i32,
    master: OwnedFd,
    signals: &nix::sys::signal::SigSet,
) -> Result<Exit, Error> {
    let user = User::new();
    let flags = CreateFlags { terminal: true, stdin: true, ..CreateFlags::default() };
    let mut container = Container::new("terminal", None, Kind::Container, flags);
    container.pid = pid;
    container.pidfd = Some(process);
    container.terminal = Some(master);
    container.started()?;
    connect(&mut container, Ours::default(), &user).map_err(Error::system("prepare", "standard streams"))?;
    let settings =
        Settings { mode: Mode::Foreground, state_root: PathBuf::new(), leftovers: Leftovers::default() };
    let ours = rustix::termios::isatty(&user.stdout).then(|| user.stdout.as_fd());
    let mut monitor = Monitor::new(settings, signals, None, ours)?;
    monitor.adopt(container)?;
    Ok(monitor.run()?.unwrap_or(Exit::Code(crate::monitor::status_record::LOST)))
}

/// Our own standard streams: the user's.
#[derive(Debug)]
struct User {
    stdin: std::io::Stdin,
    stdout: std::io::Stdout,
    stderr: std::io::Stderr,
}

impl User {
    fn new() -> User {
        User { stdin: std::io::stdin(), stdout: std::io::stdout(), stderr: std::io::stderr() }
    }

    /// The terminal whose size the container's follows: where its output goes, else any of ours.
    fn terminal(&self) -> Option<BorrowedFd<'_>> {
        [self.stdout.as_fd(), self.stdin.as_fd(), self.stderr.as_fd()]
            .into_iter()
            .find(|stream| rustix::termios::isatty(stream))
    }
}

/// Connects the container's streams with the user's: straight, or past a log where one is kept.
fn connect(container: &mut Container, ours: Ours, user: &User) -> Result<(), Errno> {
    let (stdin, stdout, stderr) = (user.stdin.as_fd(), user.stdout.as_fd(), user.stderr.as_fd());
    if container.flags.stdin {
        let source = End::of_user(stdin, Direction::Source)?;
        let sink = match (&container.terminal, ours.stdin) {
            (Some(master), _) => Some(End::of_master(master.as_fd())?),
            (None, stdin) => stdin.map(End::of_pipe).transpose()?,
        };
        container.input = sink.map(|sink| Relay::new(source, sink));
    }
    let mut sources = Vec::with_capacity(2);
    if let Some(master) = &container.terminal {
        sources.push((End::of_master(master.as_fd())?, stdout, Stream::Stdout));
    }
    for (pipe, user, stream) in [(ours.stdout, stdout, Stream::Stdout), (ours.stderr, stderr, Stream::Stderr)]
    {
        if let Some(pipe) = pipe {
            sources.push((End::of_pipe(pipe)?, user, stream));
        }
    }
    for (source, user, stream) in sources {
        let sink = End::of_user(user, Direction::Sink)?;
        container.flows.push(if container.log.is_some() {
            Flow::Output(Box::new(Output::new(source, stream, Some(sink))))
        } else {
            Flow::Relay(Relay::new(source, sink))
        });
    }
    Ok(())
}
