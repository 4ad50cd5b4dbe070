//! Why a build failed.

use std::path::PathBuf;

use super::copy::CopyError;
use super::source::SelectError;
use crate::cache;
use crate::dockerfile::Diagnostic;

/// Result of this module.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a build failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A step failed for a reason that has a place in the Dockerfile.
    #[error("{}", .0.message)]
    Step(Box<Diagnostic>),
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] image::error::Error),
    /// A layer could not be mounted, made or read.
    #[error(transparent)]
    Layer(#[from] image::layers::Error),
    /// The cache, or a walk of the context, failed.
    #[error(transparent)]
    Cache(#[from] cache::Error),
    /// A file operation of ours failed.
    #[error("cannot {operation} {}", path.display())]
    File {
        /// The verb.
        operation: &'static str,
        /// The object.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}

impl Error {
    pub(super) fn file(
        operation: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        move |source| Error::File { operation, path, source }
    }
}

/// Why one step failed, before it is known where the step stands.
#[derive(Debug, thiserror::Error)]
pub(super) enum StepError {
    /// A source path selects nothing.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// Files could not be put where they should go.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// Anything that has no place in the file.
    #[error(transparent)]
    Other(#[from] Error),
    /// Anything that a sentence and a few hints tell.
    #[error("{message}")]
    Told {
        /// The cause.
        message: String,
        /// More facts.
        notes: Vec<String>,
        /// What to do.
        helps: Vec<String>,
    },
}

impl StepError {
    pub(super) fn told(message: impl Into<String>) -> StepError {
        StepError::Told { message: message.into(), notes: Vec::new(), helps: Vec::new() }
    }
}

impl From<image::error::Error> for StepError {
    fn from(error: image::error::Error) -> StepError {
        StepError::Other(Error::Store(error))
    }
}

impl From<image::layers::Error> for StepError {
    fn from(error: image::layers::Error) -> StepError {
        StepError::Other(Error::Layer(error))
    }
}

impl From<cache::Error> for StepError {
    fn from(error: cache::Error) -> StepError {
        StepError::Other(Error::Cache(error))
    }
}
