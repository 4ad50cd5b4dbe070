//! One container in the foreground: what `rrun run` becomes.
//!
//! The process stays where its caller had it: same pid, session and cgroups, for to the caller it *is* the
//! container. It is the container's parent and the subreaper of everything in it; when it is killed the kernel
//! kills the container's first process, and with it the PID namespace. What then still lies about (the record, the
//! cgroup, the container's folder) is removed by whoever next finds the caller's lock free.
//!
//! The order after the end: reap, pass on what was written, restore the terminal, delete cgroup and record, remove
//! socket and folder. Undoing goes on to its end; what failed does not change the exit code, which is the
//! container's.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::channel::{ChannelError, Listener};
use super::event_loop::{self, Watched, block_signals};
use super::removal;
use super::stdio::{Direction, End, Relay};
use crate::container::{self, Console, CreateRequest, Created, Gate, Id, Stdio};
use crate::error::Error;
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
    /// A folder to be removed after the end, by way of the trash beside its parent.
    pub remove: Option<PathBuf>,
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
    let remove = request.remove.clone();
    let result = run_and_delete(request);
    let left = remove.and_then(|folder| removal::remove(&folder).err());
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
    let (stdio, ours) = Streams::open(request.interactive, request.terminal)?;
    let mut created = container::create(CreateRequest {
        id: request.id,
        bundle: request.bundle,
        state_root: request.state_root,
        stdio,
        rootfs: request.rootfs,
        console: if request.terminal { Console::Returned } else { Console::Absent },
        preserve_descriptors: 0,
        pid_file: None,
        new_keyring: true,
        gate: Gate::Held,
        dies_with_creator: true,
        as_sibling: false,
    })?;
    let clamped = std::mem::take(&mut created.clamped);
    match follow(&mut created, signals, listener, ours, request.interactive) {
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
    signals: &nix::sys::signal::SigSet,
    listener: Option<&Listener>,
    ours: Ours,
    interactive: bool,
) -> Result<Exit, Error> {
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
        _ => None,
    };
    created.start()?;
    let relays = ours.relays(&user, master.as_ref(), interactive)?;
    let exit = event_loop::run(Watched {
        process: created.process(),
        pid: created.pid,
        signals,
        listener,
        relays,
        first_is_input: interactive,
        terminals: master.as_ref().map(|master| (user_terminal, master.as_fd())),
    });
    drop(raw);
    exit
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

/// Our ends of the container's pipes; empty where it has a terminal.
#[derive(Debug, Default)]
struct Ours {
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

/// Makes the container's standard streams.
struct Streams;

impl Streams {
    fn open(interactive: bool, terminal: bool) -> Result<(Stdio, Ours), Error> {
        if terminal {
            return Ok((Stdio::Inherit, Ours::default()));
        }
        let pipe = || {
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
                .map_err(Error::system("create", "a pipe for the container"))
        };
        let (stdin, to_container) = if interactive {
            let (read, write) = pipe()?;
            (read, Some(write))
        } else {
            (null_device()?, None)
        };
        let (from_stdout, stdout) = pipe()?;
        let (from_stderr, stderr) = pipe()?;
        let ours = Ours { stdin: to_container, stdout: Some(from_stdout), stderr: Some(from_stderr) };
        Ok((Stdio::Descriptors { stdin, stdout, stderr }, ours))
    }
}

fn null_device() -> Result<OwnedFd, Error> {
    let path = Path::new("/dev/null");
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(Error::system("open", "/dev/null"))
}

impl Ours {
    /// The relays between our standard streams and the container's; standard input first, if it is passed on.
    fn relays(self, user: &User, master: Option<&OwnedFd>, interactive: bool) -> Result<Vec<Relay>, Error> {
        let fail = Error::system("prepare", "standard streams");
        self.make_relays(user, master, interactive).map_err(fail)
    }

    fn make_relays(
        self,
        user: &User,
        master: Option<&OwnedFd>,
        interactive: bool,
    ) -> Result<Vec<Relay>, Errno> {
        let mut relays = Vec::with_capacity(3);
        let (stdin, stdout, stderr) = (user.stdin.as_fd(), user.stdout.as_fd(), user.stderr.as_fd());
        if interactive {
            let source = End::of_user(stdin, Direction::Source)?;
            let sink = match (master, self.stdin) {
                (Some(master), _) => Some(End::of_master(master.as_fd())?),
                (None, stdin) => stdin.map(End::of_pipe).transpose()?,
            };
            relays.extend(sink.map(|sink| Relay::new(source, sink)));
        }
        if let Some(master) = master {
            let source = End::of_master(master.as_fd())?;
            relays.push(Relay::new(source, End::of_user(stdout, Direction::Sink)?));
        }
        for (pipe, user) in [(self.stdout, stdout), (self.stderr, stderr)] {
            if let Some(pipe) = pipe {
                relays.push(Relay::new(End::of_pipe(pipe)?, End::of_user(user, Direction::Sink)?));
            }
        }
        Ok(relays)
    }
}
