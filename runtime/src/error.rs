//! Error kinds and exit codes of everything that runs containers.
//!
//! Every failure says what was tried with which object and why it failed, once. Those who must decide ask
//! [`Error::kind`]; the words are for people and, where engines match on them, are those runc uses.

use std::path::PathBuf;

use rustix::io::Errno;

use crate::container::Status;
use crate::init::StepFailure;

/// The result of anything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a caller has to know to decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The container, or a file the request names, does not exist.
    NotFound,
    /// A container of that name exists already.
    Exists,
    /// config.json or an option is wrong.
    InvalidSpec,
    /// The container is in a state that does not allow the request.
    InvalidState,
    /// The command exists and cannot be executed (exit code 126).
    NotExecutable,
    /// The command does not exist (exit code 127).
    CommandNotFound,
    /// The machine refuses us the right to do it.
    PermissionDenied,
    /// Asked for something this runtime does not do.
    Unsupported,
    /// The machine lacks or refuses something that the request needs.
    Machine,
    /// Reading, writing or a kernel call failed.
    Io,
}

/// Any failure of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No container has this id.
    #[error("container {id:?} does not exist")]
    ContainerMissing {
        /// The id asked for.
        id: String,
    },
    /// The id is taken.
    #[error("container with given ID already exists: {id:?}")]
    ContainerExists {
        /// The id asked for.
        id: String,
    },
    /// The text is not a container id.
    #[error("invalid container id {id:?}: {reason}")]
    ContainerId {
        /// The text.
        id: String,
        /// The rule it breaks.
        reason: &'static str,
    },
    /// config.json cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    SpecFile {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: Errno,
    },
    /// A field of config.json is wrong.
    #[error("config.json: {path}: {reason}")]
    Spec {
        /// Where in the document, as `process.args[0]`.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// A request that is understood and not done.
    #[error("{what} is not supported")]
    Unsupported {
        /// The feature, by the name the caller used for it.
        what: String,
    },
    /// An option or argument is wrong.
    #[error("{argument}: {reason}")]
    Argument {
        /// The option or argument.
        argument: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The verb is not allowed in the container's state.
    #[error("{}", wrong_state(id, verb, *status))]
    State {
        /// The container.
        id: String,
        /// What was asked.
        verb: &'static str,
        /// The state it is in.
        status: Status,
    },
    /// The verb works by the container's cgroup, and it has none.
    #[error(
        "{verb}: container {id:?} has no cgroup, as its user may make none; have one delegated to him, and name it in \
         linux.cgroupsPath"
    )]
    NoCgroup {
        /// The container.
        id: String,
        /// What was asked.
        verb: &'static str,
    },
    /// A step inside the container failed.
    #[error(transparent)]
    Step(#[from] StepFailure),
    /// A hook failed.
    #[error(transparent)]
    Hook(#[from] crate::hooks::HookFailure),
    /// The container's first process ended before it was set up.
    #[error("the container's process ended during {stage}; was it killed, or is its memory limit too small?")]
    Vanished {
        /// What it was doing.
        stage: &'static str,
    },
    /// The command is not there.
    #[error("exec: {command:?}: {reason}")]
    CommandNotFound {
        /// The command as given.
        command: String,
        /// In runc's words.
        reason: String,
    },
    /// The command is there and cannot run.
    #[error("exec: {command:?}: {reason}")]
    NotExecutable {
        /// The command as given.
        command: String,
        /// In runc's words.
        reason: String,
    },
    /// A state file is damaged or of a newer version.
    #[error("cannot use {}: {reason}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A kernel call of ours failed.
    #[error("cannot {operation} {object}: {source}")]
    System {
        /// The operation in words.
        operation: &'static str,
        /// What it was done to.
        object: String,
        /// The cause.
        source: Errno,
    },
    /// A cgroup cannot be made, limited or removed.
    #[error(transparent)]
    Cgroup(#[from] crate::cgroup::Error),
    /// Our own program cannot be protected.
    #[error(transparent)]
    OwnExecutable(#[from] crate::security::own_executable::Error),
    /// Capabilities that cannot be.
    #[error(transparent)]
    Capabilities(#[from] crate::security::capabilities::Error),
    /// Resource limits that cannot be.
    #[error(transparent)]
    Rlimits(#[from] crate::security::rlimits::Error),
    /// A system call filter that cannot be.
    #[error(transparent)]
    Seccomp(#[from] crate::security::seccomp::Error),
    /// A network cannot be attached or detached.
    #[error(transparent)]
    Network(#[from] crate::network::Error),
    /// A user or group of the image cannot be resolved.
    #[error(transparent)]
    User(#[from] crate::security::user::Error),
    /// Undoing went on to its end and this is what it met.
    #[error("{}", failures.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Several {
        /// All failures in order.
        failures: Vec<Error>,
    },
}

impl Error {
    /// What kind of failure this is.
    pub fn kind(&self) -> Kind {
        match self {
            Error::ContainerMissing { .. } => Kind::NotFound,
            Error::ContainerExists { .. } => Kind::Exists,
            Error::ContainerId { .. } | Error::Spec { .. } | Error::Argument { .. } => Kind::InvalidSpec,
            Error::SpecFile { source, .. } if *source == Errno::NOENT => Kind::NotFound,
            Error::SpecFile { .. } | Error::Record { .. } => Kind::Io,
            Error::Unsupported { .. } | Error::NoCgroup { .. } => Kind::Unsupported,
            Error::State { .. } => Kind::InvalidState,
            Error::Step(_) | Error::Hook(_) | Error::Vanished { .. } => Kind::Machine,
            Error::CommandNotFound { .. } => Kind::CommandNotFound,
            Error::NotExecutable { .. } => Kind::NotExecutable,
            Error::System { source, .. } => kind_of(*source),
            Error::Cgroup(error) => error.kind(),
            Error::OwnExecutable(error) => error.kind(),
            Error::Capabilities(error) => error.kind(),
            Error::Rlimits(_) => Kind::InvalidSpec,
            Error::Seccomp(error) => error.kind(),
            Error::Network(error) => error.kind(),
            Error::User(error) => error.kind(),
            Error::Several { failures } => failures.first().map_or(Kind::Io, Error::kind),
        }
    }

    /// The exit code of an engine that met this failure before the container's command ran: 127 and 126 for a
    /// command that is missing or not executable, 125 for all else.
    pub fn exit_code(&self) -> u8 {
        match self.kind() {
            Kind::CommandNotFound => 127,
            Kind::NotExecutable => 126,
            _ => 125,
        }
    }

    /// A failed call, for `map_err`.
    pub fn system(operation: &'static str, object: impl Into<String>) -> impl FnOnce(Errno) -> Error {
        let object = object.into();
        move |source| Error::System { operation, object, source }
    }

    /// One error of many, or success of none.
    pub fn collect(mut failures: Vec<Error>) -> Result<()> {
        match failures.len() {
            0 => Ok(()),
            1 => Err(failures.remove(0)),
            _ => Err(Error::Several { failures }),
        }
    }
}

fn kind_of(errno: Errno) -> Kind {
    match errno {
        Errno::PERM | Errno::ACCESS => Kind::PermissionDenied,
        Errno::NOSYS | Errno::OPNOTSUPP => Kind::Machine,
        _ => Kind::Io,
    }
}

/// The refusals that engines read, in runc's words.
fn wrong_state(id: &str, verb: &str, status: Status) -> String {
    match (verb, status) {
        ("resume", _) => "container not paused".to_owned(),
        ("exec", Status::Paused) => {
            "cannot exec in a paused container (use --ignore-paused to override)".to_owned()
        }
        ("kill" | "pause" | "ps" | "update" | "events", _) => "container not running".to_owned(),
        ("start", Status::Running) => "cannot start an already running container".to_owned(),
        ("start", Status::Stopped) => "cannot start a container that has stopped".to_owned(),
        ("delete", status) => format!("cannot delete container {id} that is not stopped: {status}"),
        ("exec", Status::Stopped) => "cannot exec in a stopped container".to_owned(),
        (verb, status) => format!("cannot {verb} container {id:?} in the {status} state"),
    }
}
