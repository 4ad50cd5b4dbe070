//! `create`: from a bundle to a process that is set up and waits at its gate.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;

use crate::container::Id;
use crate::error::{Error, Result};
use crate::process::{self, Exit};

/// What to create.
#[derive(Debug)]
pub struct CreateRequest {
    /// Its name.
    pub id: Id,
    /// The folder with config.json.
    pub bundle: PathBuf,
    /// The folder of all containers' records (`<state>/oci`); made when missing, 0700.
    pub state_root: PathBuf,
    /// The descriptors 0, 1 and 2 of the container's process. Not used when it has a terminal.
    pub stdio: Stdio,
    /// A detached mount that is the root file system instead of `root.path`.
    pub rootfs: Option<OwnedFd>,
    /// Where the terminal goes if config.json asks for one.
    pub console: Console,
    /// How many descriptors after 2 the container's process keeps.
    pub preserve_descriptors: u32,
    /// File to write the process's pid to.
    pub pid_file: Option<PathBuf>,
    /// Give the container a session keyring of its own (runc's default).
    pub new_keyring: bool,
    /// Who may start it.
    pub gate: Gate,
}

/// The standard streams of the container's process.
#[derive(Debug)]
pub enum Stdio {
    /// Those of the calling process.
    Inherit,
    /// These; our copies are closed once the process has them.
    Descriptors {
        /// Descriptor 0.
        stdin: OwnedFd,
        /// Descriptor 1.
        stdout: OwnedFd,
        /// Descriptor 2.
        stderr: OwnedFd,
    },
}

/// Where the terminal's other end goes.
#[derive(Debug)]
pub enum Console {
    /// Nowhere: a config.json that asks for a terminal is refused.
    Absent,
    /// To the listener on this unix socket, as runc's `--console-socket`.
    Socket(PathBuf),
    /// To the caller, in [`Created::console_master`].
    Returned,
}

/// Who may start a created container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Any process, through the record: `roci start`.
    Shared,
    /// Only the holder of [`Created`]; without the gate's FIFO this is quicker. The container dies with its holder.
    Held,
}

/// A container that is set up and waits to be started.
#[derive(Debug)]
pub struct Created {
    /// The pid of its first process, as we see it.
    pub pid: i32,
    /// Its first process, a child of ours.
    pub pidfd: OwnedFd,
    /// The terminal, where it was asked to be returned.
    pub console_master: Option<OwnedFd>,
    /// What the machine refused and nobody insisted on, in words (rlimits, oom_score_adj, capabilities).
    pub clamped: Vec<String>,
}

impl Created {
    /// Runs the container's command; returns when it was executed, or with the reason why it was not.
    pub fn start(&mut self) -> Result<()> {
        Err(Error::Unsupported { what: "start".to_owned() })
    }

    /// Waits for the container's first process and reaps it.
    pub fn wait(&self) -> Result<Exit> {
        process::wait(&self.pidfd)
    }

    /// The container's first process.
    pub fn process(&self) -> BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.pidfd)
    }
}

/// Creates a container. On failure nothing is left.
pub fn create(request: CreateRequest) -> Result<Created> {
    Err(Error::Unsupported { what: format!("create of {}", request.id) })
}
