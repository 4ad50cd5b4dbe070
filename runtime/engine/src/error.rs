//! What can go wrong with containers and pods, as data: one kind for those who must decide, one message for people.
//!
//! The cause is an error's source; whoever ends the process prints the chain.

use std::io;
use std::path::{Path, PathBuf};

use runtime::monitor::client::ClientError;
use runtime::monitor::detached::StartError;

/// The result of anything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The decision a caller can take on an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// There is no such container or pod.
    NotFound,
    /// Its name or id is taken.
    Exists,
    /// It is in a state, or of an owner, that does not allow the request.
    InvalidState,
    /// What was asked for is not well-formed.
    Invalid,
    /// A file of ours is damaged, or of a newer version.
    Record,
    /// The machine, the runtime or a plugin failed.
    Failed,
}

/// Any failure of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing bears this name or id.
    #[error("no such {what}: {name}")]
    Missing {
        /// `container` or `pod`.
        what: &'static str,
        /// As asked for.
        name: String,
    },
    /// Several ids start like this.
    #[error("several {what}s have ids that start with {prefix}")]
    Ambiguous {
        /// `container` or `pod`.
        what: &'static str,
        /// As asked for.
        prefix: String,
    },
    /// Another container has the name.
    #[error(
        "the container name {name:?} is already in use by container {other}; remove that with rrun rm, or choose another"
    )]
    NameTaken {
        /// The name.
        name: String,
        /// The short id of the container that has it.
        other: String,
    },
    /// Somebody has the port.
    #[error("port {port} is in use by {by}")]
    PortTaken {
        /// Address, port and protocol.
        port: String,
        /// Who has it.
        by: String,
    },
    /// A port cannot be listened on.
    #[error("cannot publish port {port}")]
    Port {
        /// Address, port and protocol.
        port: String,
        /// Why not.
        source: io::Error,
    },
    /// Somebody is responsible for it now, so it cannot be changed.
    #[error("{what} {name} is running")]
    Running {
        /// `container` or `pod`.
        what: &'static str,
        /// As asked for.
        name: String,
    },
    /// What was asked for needs a container that runs.
    #[error("container {name} is not running")]
    NotRunning {
        /// What people call it.
        name: String,
    },
    /// It is Kubernetes' container.
    #[error(
        "container {name} belongs to the pod {pod} of Kubernetes, which would only make it again: use --cri to insist"
    )]
    OfPod {
        /// As asked for.
        name: String,
        /// `namespace/name` of the pod.
        pod: String,
    },
    /// A record of a version that this program does not know.
    #[error("{} is of version {version}, newer than this program", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// A record that no version wrote.
    #[error("cannot understand {}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// A file operation failed.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// The operation in words.
        operation: &'static str,
        /// The object.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// What a dead monitor left cannot be freed.
    #[error("cannot delete the remains of container {id}")]
    Remains {
        /// Its short id.
        id: String,
        /// The cause.
        source: Box<runtime::error::Error>,
    },
    /// The runtime failed.
    #[error(transparent)]
    Runtime(#[from] runtime::error::Error),
    /// The store failed.
    #[error(transparent)]
    Image(#[from] image::error::Error),
    /// A root file system could not be mounted.
    #[error("cannot mount image {image}")]
    Mount {
        /// The short id of the image.
        image: String,
        /// The cause.
        source: image::error::Error,
    },
    /// A volume of an image cannot be made.
    #[error("cannot create volume {} of the image", path.display())]
    Volume {
        /// Where in the container.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A network could not be set up or released.
    #[error(transparent)]
    Network(#[from] runtime::network::Error),
    /// A user cannot be resolved.
    #[error(transparent)]
    User(#[from] runtime::security::user::Error),
    /// The monitor refused or cannot be talked to.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The monitor could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// What was asked for cannot be.
    #[error("{0}")]
    Invalid(String),
    /// There is no randomness.
    #[error("cannot get random bytes for an id")]
    Random(#[source] io::Error),
    /// A failure, and what could not be undone after it.
    #[error("{}; undoing it: {left}", chain(failure))]
    Left {
        /// What stays behind, and why.
        left: String,
        /// The failure.
        failure: Box<Error>,
    },
}

impl Error {
    /// What a caller can decide on.
    pub fn kind(&self) -> Kind {
        match self {
            Error::Missing { .. } => Kind::NotFound,
            Error::NameTaken { .. } | Error::PortTaken { .. } => Kind::Exists,
            Error::Running { .. } | Error::NotRunning { .. } | Error::OfPod { .. } => Kind::InvalidState,
            Error::Ambiguous { .. } | Error::Invalid(_) | Error::User(_) => Kind::Invalid,
            Error::Newer { .. } | Error::Damaged { .. } => Kind::Record,
            Error::Left { failure, .. } => failure.kind(),
            _ => Kind::Failed,
        }
    }

    /// The exit code of an engine that met this before a command ran: 127 and 126 for a command that is missing or
    /// cannot be executed, 125 for all else.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Client(error) | Error::Start(StartError::Client(error)) => error.exit_code(),
            Error::Remains { source, .. } => source.exit_code(),
            Error::Runtime(source) => source.exit_code(),
            Error::Left { failure, .. } => failure.exit_code(),
            _ => 125,
        }
    }

    /// Both a failure and what undoing it met, if it met anything.
    pub fn and_undo(self, undoing: Result<()>) -> Error {
        match undoing {
            Ok(()) => self,
            Err(left) => Error::Left { left: chain(&left), failure: Box::new(self) },
        }
    }

    /// Makes an [`Error::Io`] of an errno or an I/O error.
    pub(crate) fn io<E: Into<io::Error>>(
        operation: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(E) -> Error {
        move |source| Error::Io { operation, path: path.as_ref().to_owned(), source: source.into() }
    }
}

/// The whole chain of causes in one line, each said once.
pub(crate) fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_comes_before_what_undoing_it_met() {
        let file = |operation| Error::io(operation, "/x")(rustix::io::Errno::NOSPC);
        let both = file("write").and_undo(Err(file("remove")));
        let expected = "cannot write /x: No space left on device (os error 28); undoing it: cannot remove /x: \
                        No space left on device (os error 28)";
        assert_eq!(chain(&both), expected);
        assert_eq!(file("write").and_undo(Ok(())).to_string(), "cannot write /x");
    }
}
