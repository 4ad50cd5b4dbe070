//! What can go wrong with a layer, as data.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Kind, is_no_space};

/// The result of everything in [`crate::layers`].
pub type Result<T> = std::result::Result<T, Error>;

/// A failure while a layer was read, written, hashed or mounted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed on one object.
    #[error("cannot {operation} {object}")]
    Io {
        /// What was tried, as a verb: `create`, `set the owner of`.
        operation: &'static str,
        /// The object's name, shown without control characters.
        object: Name,
        /// The errno.
        #[source]
        source: io::Error,
    },
    /// The bytes of an archive could not be read from where they come from, or not be decompressed.
    #[error("cannot read the archive")]
    Read(#[source] io::Error),
    /// The archive's bytes are not a well-formed tar, or readers of tar would disagree about them.
    #[error("malformed archive near byte {offset}: {reason}")]
    Malformed {
        /// How far the archive had been read, in bytes of the uncompressed stream.
        offset: u64,
        /// Which rule is broken.
        reason: &'static str,
    },
    /// One entry of an archive, or one file of a folder, asks for something that is not allowed.
    #[error("refused entry {entry}: {reason}")]
    Refused {
        /// The entry's name.
        entry: Name,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// A limit that keeps hostile input from exhausting the machine was reached.
    #[error("the archive has {what} above the limit of {limit}")]
    Limit {
        /// What was counted.
        what: &'static str,
        /// The most that is accepted.
        limit: u64,
    },
    /// The archive was not read within the time that its limits give.
    #[error("the archive takes longer than the time limit")]
    TimeOut,
    /// A hard link names a file that neither its layer nor those below it have.
    #[error("hard link {entry} points to {target}, which no layer has")]
    LinkTarget {
        /// The link.
        entry: Name,
        /// What it links to.
        target: Name,
    },
    /// A folder that should become an overlay's lower layer cannot be opened.
    #[error("cannot mount overlay: lowerdir {path} is {problem}")]
    Lower {
        /// The folder.
        path: Name,
        /// `missing`, `not a directory`, `not accessible`.
        problem: &'static str,
        /// The errno of opening it.
        #[source]
        source: io::Error,
    },
    /// The kernel refused the overlay.
    #[error("cannot mount overlay: {step}{detail}")]
    Overlay {
        /// The call that failed, with the object it was about.
        step: String,
        /// The kernel's own words where it has some, else nothing.
        detail: String,
        /// The errno.
        #[source]
        source: io::Error,
    },
    /// A compression or tar feature that is not built, by its name.
    #[error("{0} is not supported")]
    Unsupported(&'static str),
}

impl Error {
    /// What a caller can decide on.
    pub fn kind(&self) -> Kind {
        match self {
            Error::Io { source, .. } | Error::Overlay { source, .. } if is_no_space(source) => Kind::NoSpace,
            Error::Io { .. } | Error::Overlay { .. } => Kind::Io,
            // Decompressors report broken data so; a broken disk has an errno.
            Error::Read(source) if source.raw_os_error().is_none() => Kind::Corrupt,
            Error::Read(_) => Kind::Io,
            Error::Malformed { .. } | Error::Refused { .. } | Error::LinkTarget { .. } => Kind::Invalid,
            Error::Limit { .. } | Error::TimeOut => Kind::Limit,
            Error::Lower { .. } => Kind::Corrupt,
            Error::Unsupported(_) => Kind::Unsupported,
        }
    }

    /// An [`Error::Io`] about `object`.
    pub(crate) fn io(
        operation: &'static str,
        object: impl Into<Name>,
        source: impl Into<io::Error>,
    ) -> Error {
        Error::Io { operation, object: object.into(), source: source.into() }
    }
}

/// A path as an error carries it: exact bytes, printed with control characters escaped so that an archive cannot
/// write to the terminal of whoever reads the message.
#[derive(Clone, PartialEq, Eq)]
pub struct Name(pub PathBuf);

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string_lossy();
        // A name may be up to a path long; its end says more than its beginning.
        let skip = text.chars().count().saturating_sub(256);
        if skip > 0 {
            out.write_str("..")?;
        }
        for letter in text.chars().skip(skip) {
            match letter {
                letter if letter.is_control() => write!(out, "{}", letter.escape_default())?,
                letter => write!(out, "{letter}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, out)
    }
}

impl From<&[u8]> for Name {
    fn from(bytes: &[u8]) -> Name {
        use std::os::unix::ffi::OsStrExt;
        Name(PathBuf::from(std::ffi::OsStr::from_bytes(if bytes.is_empty() { b"." } else { bytes })))
    }
}

impl From<&Vec<u8>> for Name {
    fn from(bytes: &Vec<u8>) -> Name {
        bytes.as_slice().into()
    }
}

impl From<&Path> for Name {
    fn from(path: &Path) -> Name {
        Name(path.to_path_buf())
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Name {
        Name(PathBuf::from(text))
    }
}
