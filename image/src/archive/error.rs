//! What can be wrong with an archive of images.

use crate::{
    error::{Error, Kind},
    store::Store,
};

/// An error of loading, saving or importing that is about the archive itself.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Neither kind of archive.
    #[error("this is no archive of images: it has neither index.json with oci-layout nor manifest.json")]
    Unrecognised,
    /// No image in it for this machine.
    #[error("the archive has no image for this machine ({platform})")]
    NoImage {
        /// Operating system and processor.
        platform: String,
    },
    /// A file that a document names is not there.
    #[error("the archive has no file {member:?}")]
    MissingMember {
        /// Its name.
        member: String,
    },
    /// A file that is not what it has to be.
    #[error("file {member:?} of the archive is refused: {reason}")]
    Refused {
        /// Its name.
        member: String,
        /// Why.
        reason: String,
    },
    /// A limit that keeps an archive from exhausting the machine.
    #[error("the archive has more than {limit} {what}")]
    TooMany {
        /// What.
        what: &'static str,
        /// How many are accepted.
        limit: u64,
    },
    /// A document of the archive that is not the JSON it should be.
    #[error("file {member:?} of the archive is malformed")]
    Malformed {
        /// Its name.
        member: String,
        /// Where and why.
        source: serde_json::Error,
    },
    /// The store's disk is full.
    #[error("no space left for the store {} (free space there, or choose another folder with --root)", root.display())]
    StoreFull {
        /// Its root folder.
        root: std::path::PathBuf,
        /// What did not fit.
        source: Box<Error>,
    },
    /// The bytes cannot be read, or are no tar.
    #[error("cannot read the archive")]
    Read(#[source] std::io::Error),
    /// The result cannot be written.
    #[error("cannot write the archive")]
    Write(#[source] std::io::Error),
    /// A `--change` that cannot be applied.
    #[error(transparent)]
    Change(#[from] super::ChangeError),
}

/// Says whose disk is full where the error only knows a name inside a layer.
pub(super) fn naming_the_store(error: Error, store: &Store) -> Error {
    match error {
        Error::Layer(_) if error.kind() == Kind::NoSpace => {
            ArchiveError::StoreFull { root: store.root().to_path_buf(), source: Box::new(error) }.into()
        }
        error => error,
    }
}

impl ArchiveError {
    /// What a caller can decide on.
    pub fn kind(&self) -> Kind {
        match self {
            ArchiveError::Unrecognised
            | ArchiveError::Refused { .. }
            | ArchiveError::Malformed { .. }
            | ArchiveError::Change(_)
            | ArchiveError::NoImage { .. } => Kind::Invalid,
            ArchiveError::MissingMember { .. } => Kind::Corrupt,
            ArchiveError::TooMany { .. } => Kind::Limit,
            ArchiveError::StoreFull { .. } => Kind::NoSpace,
            ArchiveError::Read(source) | ArchiveError::Write(source) => match source.kind() {
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Kind::NoSpace,
                std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof => Kind::Corrupt,
                _ => Kind::Io,
            },
        }
    }
}
