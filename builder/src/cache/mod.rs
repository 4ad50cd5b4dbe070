//! The build cache: what identifies a step, and what it produced.
//!
//! Keys are computed from content ([`key`]); results are tiny files in the store's `cache/` folder ([`index`]); the
//! content of a build context is known from the attributes of its files without reading them again ([`tree`], [`walk`],
//! [`digests`], [`recorded`]).
//!
//! Losing any of it costs time, never a wrong image.

use std::path::PathBuf;

pub mod digests;
pub mod index;
pub mod key;
pub mod recorded;
pub mod tree;
pub mod walk;

/// Why the cache or a walk of the context failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An entry could not be looked at.
    #[error("cannot look at {path}")]
    Look {
        /// Path below the context, with odd characters escaped.
        path: String,
        /// The kernel's answer.
        source: rustix::io::Errno,
    },
    /// A file could not be read for its digest.
    #[error("cannot read {path}")]
    Read {
        /// Path below the context, with odd characters escaped.
        path: String,
        /// The kernel's answer.
        source: rustix::io::Errno,
    },
    /// A file of the cache could not be read or written.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A worker thread panicked.
    #[error("a worker thread of the context walk ended unexpectedly")]
    Thread,
}

/// A path below the context as a person reads it: the root is `.`, control characters are escaped.
pub fn shown(path: &[u8]) -> String {
    if path.is_empty() {
        return ".".to_owned();
    }
    String::from_utf8_lossy(path)
        .chars()
        .flat_map(|letter| {
            let escaped = letter.is_control();
            let plain = (!escaped).then_some(letter);
            plain.into_iter().chain(letter.escape_default().take(if escaped { 16 } else { 0 }))
        })
        .collect()
}
