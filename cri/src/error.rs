//! What can go wrong with pods and containers of a kubelet, as data. [`crate::service`] makes gRPC codes of the kinds.
//!
//! The cause is an error's source; whoever answers the call puts the chain into one line.

use std::fmt::Display;
use std::path::PathBuf;

use image::error::Kind as ImageKind;
use runtime::monitor::client::ClientError;
use runtime::monitor::protocol::ErrorKind;
use rustix::io::Errno;

/// The result of anything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the kubelet can decide on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// There is no such object.
    NotFound,
    /// The name is taken.
    Exists,
    /// The request is wrong, or asks for what there is not.
    Invalid,
    /// The object's state does not allow it.
    State,
    /// It took too long.
    Timeout,
    /// The machine, the runtime or a plugin failed.
    Failed,
}

/// Any failure of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A field of the request is wrong.
    #[error("{field}: {reason}")]
    Invalid {
        /// Where in the request, as `config.metadata.name`.
        field: String,
        /// What is wrong.
        reason: String,
    },
    /// A field asks for what is not available.
    #[error("{field}: {what} not available yet")]
    Unsupported {
        /// Where in the request.
        field: &'static str,
        /// What is asked for, with its verb: `user namespaces are`.
        what: &'static str,
    },
    /// Nothing has this id.
    #[error("no such {what}: {id}")]
    Missing {
        /// `pod sandbox`, `container` or `image`.
        what: &'static str,
        /// As asked for.
        id: String,
    },
    /// Several objects have ids that start so.
    #[error("several {what}s have ids that start with {prefix}")]
    Ambiguous {
        /// `pod sandbox` or `container`.
        what: &'static str,
        /// As asked for.
        prefix: String,
    },
    /// The name belongs to something else.
    #[error("{name} exists already, with id {id}")]
    Exists {
        /// Name and attempt, in words.
        name: String,
        /// Who has it.
        id: String,
    },
    /// The state does not allow it.
    #[error("{what} {id} {state}")]
    State {
        /// `pod sandbox` or `container`.
        what: &'static str,
        /// Its short id.
        id: String,
        /// How it is, with a verb: `is not running`.
        state: &'static str,
    },
    /// An image cannot be fetched.
    #[error("{name} is not in the local store; pulling is not available yet")]
    NotLocal {
        /// As asked for.
        name: String,
    },
    /// Pods cannot have a network of their own.
    #[error(
        "no network configuration in {}: install one there (as *.conflist), which is what a network add-on of Kubernetes does, or run the pod on the host's network",
        folder.display()
    )]
    NoNetwork {
        /// Where one is looked for.
        folder: PathBuf,
    },
    /// The plugins of a network did what they should and a pod is unreachable all the same.
    #[error("the network plugins gave the pod no address")]
    NoAddress,
    /// A command did not end in time and was killed.
    #[error("the command did not end within {seconds} s and was killed")]
    Timeout {
        /// The time it had.
        seconds: i64,
    },
    /// The command of a container cannot be executed.
    #[error("{reason}")]
    Command {
        /// Why.
        reason: String,
    },
    /// A container does not die.
    #[error("container {id} is still there {seconds} s after it was killed")]
    Undying {
        /// Its short id.
        id: String,
        /// Since when.
        seconds: u64,
    },
    /// A file or kernel operation failed.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// The operation in words.
        operation: &'static str,
        /// The object.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A record of ours cannot be understood.
    #[error("cannot understand the record of {what} {id}: {reason}")]
    Record {
        /// `pod sandbox` or `container`.
        what: &'static str,
        /// Its id.
        id: String,
        /// Why.
        reason: String,
    },
    /// The parts of Hull that `rrun` shares failed.
    #[error(transparent)]
    Engine(Box<engine::Error>),
    /// The store failed.
    #[error(transparent)]
    Image(Box<image::error::Error>),
    /// The runtime failed.
    #[error(transparent)]
    Runtime(Box<runtime::error::Error>),
    /// The network failed.
    #[error(transparent)]
    Network(Box<runtime::network::Error>),
    /// The monitor refused, or cannot be talked to.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A failure, and what could not be undone after it.
    #[error("{failure}; undoing it: {undoing}")]
    NotUndone {
        /// The failure.
        failure: Box<Error>,
        /// What stays behind.
        undoing: String,
    },
    /// What others got who asked for the same.
    #[error(transparent)]
    Shared(std::sync::Arc<Error>),
    /// We failed ourselves; the message is of a panic.
    #[error("internal error: {0}")]
    Internal(String),
}

/// Larger errors are kept aside, as every result of ours has room for one.
macro_rules! boxed {
    ($($variant:ident($source:ty)),*) => {
        $(impl From<$source> for Error {
            fn from(error: $source) -> Error {
                Error::$variant(Box::new(error))
            }
        })*
    };
}

boxed!(
    Engine(engine::Error),
    Image(image::error::Error),
    Runtime(runtime::error::Error),
    Network(runtime::network::Error)
);

impl Error {
    /// What the kubelet can decide on.
    pub fn kind(&self) -> Kind {
        match self {
            Error::Missing { .. } | Error::NotLocal { .. } => Kind::NotFound,
            Error::Exists { .. } => Kind::Exists,
            Error::Invalid { .. } | Error::Unsupported { .. } | Error::Ambiguous { .. } => Kind::Invalid,
            Error::State { .. } | Error::NoNetwork { .. } => Kind::State,
            Error::Timeout { .. } => Kind::Timeout,
            Error::Engine(error) if error.kind() == engine::Kind::Invalid => Kind::Invalid,
            Error::Image(error) => match error.kind() {
                ImageKind::NotFound => Kind::NotFound,
                ImageKind::Invalid => Kind::Invalid,
                _ => Kind::Failed,
            },
            Error::Client(error) => match error.refusal() {
                Some(ErrorKind::WrongPhase) => Kind::State,
                _ => Kind::Failed,
            },
            Error::NotUndone { failure, .. } => failure.kind(),
            Error::Shared(error) => error.kind(),
            _ => Kind::Failed,
        }
    }

    /// Is there no monitor, or none any more? One that does not answer is not gone.
    pub fn is_monitor_gone(&self) -> bool {
        matches!(self, Error::Client(error) if error.is_gone())
    }

    /// The whole chain of causes in one line.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }

    /// For `map_err`: a field and what is wrong with it.
    pub fn invalid(field: impl Into<String>, reason: impl Display) -> Error {
        Error::Invalid { field: field.into(), reason: reason.to_string() }
    }

    /// For `map_err`: a failed file or kernel operation.
    pub fn io<E: Into<std::io::Error>>(
        operation: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(E) -> Error {
        let path = path.into();
        move |error| Error::Io { operation, path, source: error.into() }
    }

    /// Both a failure and what undoing it met, if it met anything.
    pub fn and_undo(self, undoing: Result<()>) -> Error {
        match undoing {
            Ok(()) => self,
            Err(error) => Error::NotUndone { failure: Box::new(self), undoing: error.chain() },
        }
    }
}

/// Is this a thing that is simply not there?
pub fn is_absent(errno: Errno) -> bool {
    matches!(errno, Errno::NOENT | Errno::NOTDIR)
}
