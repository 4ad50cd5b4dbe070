//! What can go wrong in the image store, as data: one kind for those who must decide, one message for people.
//!
//! Each module has its own small enum; [`Error`] gathers them and [`Error::kind`] is what callers match on. A
//! message names the operation and the object; the cause is the error's source, so the one who ends the process
//! prints the chain once.

use std::{fmt, io, path::PathBuf};

/// The decision a caller can take on an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The named object does not exist here.
    NotFound,
    /// The object to be made exists already.
    Exists,
    /// The object cannot be removed because something uses it.
    InUse,
    /// What was asked or fed is not well-formed.
    Invalid,
    /// Bytes do not match their digest, size or type.
    Corrupt,
    /// A limit on size, count, depth or ratio was reached.
    Limit,
    /// The disk, or the quota, is full.
    NoSpace,
    /// Well-formed, but not something this version does.
    Unsupported,
    /// Somebody else works on it now; trying again can help.
    Busy,
    /// The machine failed a file operation.
    Io,
}

/// Any error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A malformed digest, or bytes that do not have theirs.
    #[error(transparent)]
    Digest(#[from] crate::digest::DigestError),
    /// A malformed image name.
    #[error(transparent)]
    Reference(#[from] crate::reference::ReferenceError),
    /// A malformed or ambiguous manifest, index or config.
    #[error(transparent)]
    Document(#[from] crate::document::DocumentError),
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    /// A layer could not be read, written, hashed or mounted.
    #[error(transparent)]
    Layer(#[from] crate::layers::Error),
    /// An archive of images is malformed, incomplete or refused.
    #[error(transparent)]
    Archive(#[from] crate::archive::ArchiveError),
    /// A file operation failed.
    #[error(transparent)]
    Io(#[from] IoFailure),
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// What a caller can decide on.
    pub fn kind(&self) -> Kind {
        match self {
            Error::Digest(error) => error.kind(),
            Error::Reference(_) => Kind::Invalid,
            Error::Document(error) => error.kind(),
            Error::Store(error) => error.kind(),
            Error::Layer(error) => error.kind(),
            Error::Archive(error) => error.kind(),
            Error::Io(failure) => failure.kind(),
        }
    }
}

/// A failed file operation: what was tried, on which path, and the errno as source.
#[derive(Debug)]
pub struct IoFailure {
    /// The verb of the sentence "cannot ... PATH".
    pub operation: &'static str,
    /// The object.
    pub path: PathBuf,
    /// The cause.
    pub source: io::Error,
}

impl IoFailure {
    /// Makes one; `source` may be an [`io::Error`] or a [`rustix::io::Errno`].
    pub fn new(operation: &'static str, path: impl Into<PathBuf>, source: impl Into<io::Error>) -> IoFailure {
        IoFailure { operation, path: path.into(), source: source.into() }
    }

    /// [`Kind::NoSpace`] for a full disk or quota, else [`Kind::Io`].
    pub fn kind(&self) -> Kind {
        if is_no_space(&self.source) { Kind::NoSpace } else { Kind::Io }
    }
}

impl fmt::Display for IoFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {}", self.operation, self.path.display())?;
        if self.kind() == Kind::NoSpace {
            f.write_str(" (free space on that file system, or choose another one with --root)")?;
        }
        Ok(())
    }
}

impl std::error::Error for IoFailure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Adds operation and path to the error of a file operation.
pub trait IoContext<T> {
    /// `operation` is the verb of the sentence "cannot ... PATH".
    fn at(self, operation: &'static str, path: impl Into<PathBuf>) -> std::result::Result<T, IoFailure>;
}

impl<T, E: Into<io::Error>> IoContext<T> for std::result::Result<T, E> {
    fn at(self, operation: &'static str, path: impl Into<PathBuf>) -> std::result::Result<T, IoFailure> {
        self.map_err(|source| IoFailure::new(operation, path, source))
    }
}

pub(crate) fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_other_failures_and_names_a_remedy() {
        let full = IoFailure::new("write", "/x/blob", io::Error::from_raw_os_error(libc::ENOSPC));
        assert_eq!(Error::from(full).kind(), Kind::NoSpace);
        let full = IoFailure::new("write", "/x/blob", io::Error::from_raw_os_error(libc::EDQUOT));
        assert!(full.to_string().starts_with("cannot write /x/blob (free space"));
        let other = IoFailure::new("open", "/x", io::Error::from_raw_os_error(libc::EACCES));
        assert_eq!((other.kind(), other.to_string().as_str()), (Kind::Io, "cannot open /x"));
    }
}
