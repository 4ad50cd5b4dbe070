//! What the store refuses or fails to do.

use std::path::PathBuf;

use crate::{
    digest::{Digest, DigestError},
    document::DocumentError,
    error::{IoFailure, Kind},
};

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No image has that name or id.
    #[error("no such image: {name}")]
    NoSuchImage {
        /// What was asked for.
        name: String,
    },
    /// A short id that several images have.
    #[error("{prefix:?} is the start of several image ids ({candidates}): give more of it")]
    Ambiguous {
        /// What was asked for.
        prefix: String,
        /// Short ids, comma separated.
        candidates: String,
    },
    /// A blob or layer that should be there is not.
    #[error("{what} {digest} is not in the store")]
    Missing {
        /// Blob or layer.
        what: &'static str,
        /// Which.
        digest: Digest,
    },
    /// Something uses the image.
    #[error("image {image} is in use by {user}: {remedy}")]
    InUse {
        /// Name or id as asked for.
        image: String,
        /// Container, or other names.
        user: String,
        /// What to do.
        remedy: &'static str,
    },
    /// Made by a newer version of this program.
    #[error("the store {path} has format {found}, this program reads up to {known}: use a newer one")]
    NewerFormat {
        /// Root folder.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// Ours.
        known: u64,
    },
    /// The root folder belongs to somebody else.
    #[error("the store {path} belongs to user {owner}, not to user {user}")]
    ForeignOwner {
        /// Root folder.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Who we are.
        user: u32,
    },
    /// A file of the store itself is not what it should be.
    #[error("{path} is damaged: {reason}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Two parts of an image contradict each other.
    #[error("image {image} is refused: {reason}")]
    Contradiction {
        /// Manifest or config digest.
        image: Digest,
        /// What does not fit.
        reason: String,
    },
    /// Bytes that are not what their digest says.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// A stored document cannot be used.
    #[error("cannot read image document {digest}")]
    Document {
        /// Its digest.
        digest: Digest,
        /// Why.
        source: DocumentError,
    },
    /// A file operation failed.
    #[error(transparent)]
    Io(#[from] IoFailure),
}

impl StoreError {
    /// What a caller can decide on.
    pub fn kind(&self) -> Kind {
        match self {
            StoreError::NoSuchImage { .. } | StoreError::Missing { .. } => Kind::NotFound,
            StoreError::Ambiguous { .. } => Kind::Invalid,
            StoreError::InUse { .. } => Kind::InUse,
            StoreError::NewerFormat { .. } | StoreError::ForeignOwner { .. } => Kind::Unsupported,
            StoreError::Damaged { .. } | StoreError::Contradiction { .. } => Kind::Corrupt,
            StoreError::Digest(error) => error.kind(),
            StoreError::Document { source, .. } => source.kind(),
            StoreError::Io(failure) => failure.kind(),
        }
    }
}
