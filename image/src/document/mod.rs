//! Typed OCI documents (manifest, index, config), with their exact bytes kept for the digest.
//!
//! A document from outside is bounded in size before it is parsed, keeps the fields we do not know (Docker's among
//! them), and must be what it claims to be: one with the parts of both a manifest and an index, or with a media
//! type other than promised, is refused (CVE-2021-41190). Go's parsers match field names without regard to case,
//! ours do not, so a field that differs from a known one only in case is refused as well: two readers must not see
//! two documents. Nothing here is rewritten: who needs the digest keeps the bytes that were parsed.

mod config;
mod index;
mod manifest;
pub mod media_type;
mod platform;
mod timestamp;

use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::{Map, Value};

pub use config::{ContainerConfig, Healthcheck, History, ImageConfig, RootFs};
pub use index::Index;
pub use manifest::{Descriptor, Manifest};
pub use platform::Platform;
pub use timestamp::Timestamp;

use crate::error::Kind;

/// Largest manifest or index accepted, in bytes.
pub const MANIFEST_LIMIT: u64 = 4 << 20;
/// Largest image config accepted, in bytes.
pub const CONFIG_LIMIT: u64 = 8 << 20;
/// Most layers of one image: what one overlay mount takes (kernel, `OVL_MAX_STACK`).
pub const LAYER_LIMIT: usize = 500;
/// Most entries of an index from outside.
pub const INDEX_LIMIT: usize = 1000;

/// Unknown fields of a document, kept as they came.
pub type Extra = Map<String, Value>;

/// What can be wrong with a document.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// Not the JSON it should be.
    #[error("the {what} is malformed")]
    Malformed {
        /// Which document.
        what: &'static str,
        /// Where and why.
        source: serde_json::Error,
    },
    /// Readable in more than one way, or not what it was promised to be.
    #[error("the {what} is refused: {reason}")]
    Refused {
        /// Which document.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// More bytes or entries than any honest document has.
    #[error("the {what} has {size} {unit}, the limit is {limit}")]
    TooLarge {
        /// Which document.
        what: &'static str,
        /// How much it has.
        size: u64,
        /// How much is accepted.
        limit: u64,
        /// Of what.
        unit: &'static str,
    },
    /// A kind of document, layer or schema that this version does not read.
    #[error("the {what} has media type {media_type:?}, which is not supported")]
    Unsupported {
        /// Which document or part.
        what: &'static str,
        /// Its type.
        media_type: String,
    },
}

impl DocumentError {
    /// What a caller can decide on.
    pub fn kind(&self) -> Kind {
        match self {
            DocumentError::Malformed { .. } | DocumentError::Refused { .. } => Kind::Invalid,
            DocumentError::TooLarge { .. } => Kind::Limit,
            DocumentError::Unsupported { .. } => Kind::Unsupported,
        }
    }

    fn refused(what: &'static str, reason: impl Into<String>) -> DocumentError {
        DocumentError::Refused { what, reason: reason.into() }
    }
}

fn parse<T: DeserializeOwned>(what: &'static str, bytes: &[u8], limit: u64) -> Result<T, DocumentError> {
    check_count(what, bytes.len() as u64, limit, "bytes")?;
    serde_json::from_slice(bytes).map_err(|source| DocumentError::Malformed { what, source })
}

fn check_count(what: &'static str, size: u64, limit: u64, unit: &'static str) -> Result<(), DocumentError> {
    if size > limit { Err(DocumentError::TooLarge { what, size, limit, unit }) } else { Ok(()) }
}

/// Refuses unknown fields that another reader could take for known ones.
fn check_extra(what: &'static str, extra: &Extra, known: &[&str]) -> Result<(), DocumentError> {
    for field in extra.keys() {
        if known.iter().any(|name| name.eq_ignore_ascii_case(field)) {
            return Err(DocumentError::refused(what, format!("its field {field:?} can be read in two ways")));
        }
    }
    Ok(())
}

/// Reads `null`, which Go writes for an empty list or map, as the empty value.
fn null_is_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
