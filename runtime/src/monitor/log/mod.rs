//! The log of a container, in the format that CRI fixed and every reader of Kubernetes logs knows.
//!
//! ```text
//! bytes of a stream --[line: cut]--> entries --[batch]--> one write --[file: rotate, reopen, count losses]--> log
//! log, log.1, log.2 ... --[tail: where to begin]--> read: entries again, over rotations, as they come
//! ```
//!
//! Invariants:
//!
//! - an entry is in the file whole or not at all, in one write with `O_APPEND`, in the order of its stream
//! - memory is bounded: what has no line end yet is held up to [`CONTENT`] bytes per stream and let go with the line
//! - a log that cannot be written never stops the container: what is lost is counted, and told in the log itself
//!   when it can be written again
//! - readers know the container's bytes from ours by position alone; content is never interpreted

mod batch;
mod file;
mod line;
pub mod read;
mod tail;

use std::path::{Path, PathBuf};

use rustix::io::Errno;

use batch::Batch;
use file::LogFile;
pub use line::{CONTENT, Stream};
use line::{Cutter, Headers};

use crate::container::timestamp::{since_epoch, stamp};

/// Most files of a log that is rotated, the current one included.
pub const MAX_FILES: u32 = 100;

/// Where a log is and how it is rotated.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// The file: absolute, without links on the way.
    pub path: PathBuf,
    /// Its size at which we rotate it; `None` leaves that to somebody else ([`Log::reopen`]).
    pub max_size: Option<u64>,
    /// How many files are kept when we rotate, the current one included: 1 to [`MAX_FILES`].
    pub max_files: u32,
}

/// A log that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The system call failed.
    #[error("cannot open the log {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: Errno,
    },
    /// Something else has the name.
    #[error("cannot open the log {}: it is no regular file", path.display())]
    Irregular {
        /// The file.
        path: PathBuf,
    },
}

impl LogError {
    fn open(path: &Path) -> impl Fn(Errno) -> LogError {
        move |source| LogError::Open { path: path.to_owned(), source }
    }

    fn errno(&self) -> Errno {
        match self {
            LogError::Open { source, .. } => *source,
            LogError::Irregular { .. } => Errno::INVAL,
        }
    }
}

/// The log of one container, for writing. Its monitor is the only writer.
#[derive(Debug)]
pub struct Log {
    file: LogFile,
    /// What has no line end yet, of each stream.
    held: [Vec<u8>; 2],
}

impl Log {
    /// A log whose file is opened when there is something to write.
    pub fn new(mut settings: LogSettings) -> Log {
        settings.max_files = settings.max_files.clamp(1, MAX_FILES);
        Log { file: LogFile::new(settings), held: [const { Vec::new() }; 2] }
    }

    /// Opens the file now, so that it is there and any reason why it cannot be is known.
    pub fn open_now(&mut self) -> Result<(), LogError> {
        self.file.open()
    }

    /// Adds output of the container. All entries that it completes have the time of this call.
    pub fn append(&mut self, stream: Stream, bytes: &[u8]) {
        let headers = Headers::new(&stamp(since_epoch()), stream);
        let held = std::mem::take(&mut self.held[stream as usize]);
        let mut cutter = Cutter::new(&headers, &held, bytes);
        let mut batch = Batch::default();
        for line in cutter.by_ref() {
            self.file.add(&mut batch, &line);
        }
        self.file.write(&mut batch);
        let (still_held, rest) = cutter.rest();
        // What was held is freed with its line, so that a flood leaves nothing behind.
        let mut held = if still_held { held } else { Vec::new() };
        hold(&mut held, &bytes[bytes.len() - rest..]);
        self.held[stream as usize] = held;
    }

    /// Says that a stream has ended: what has no line end becomes an entry that no other follows.
    pub fn end(&mut self, stream: Stream) {
        let held = std::mem::take(&mut self.held[stream as usize]);
        if !held.is_empty() {
            let headers = Headers::new(&stamp(since_epoch()), stream);
            let mut batch = Batch::default();
            self.file.add(&mut batch, &line::Line { header: &headers.partial, held: &held, new: &[] });
            self.file.write(&mut batch);
        }
        self.file.tell_losses();
    }

    /// Goes on in the file that has the log's name now, made if there is none: somebody renamed the old one. On
    /// failure the old file is written on.
    pub fn reopen(&mut self) -> Result<(), LogError> {
        self.file.reopen()
    }

    /// How many bytes of output are in no log, because it could not be written.
    pub fn lost(&self) -> u64 {
        self.file.lost()
    }
}

/// Appends without ever taking more memory than an entry's content can have.
fn hold(held: &mut Vec<u8>, more: &[u8]) {
    let needed = held.len() + more.len();
    if needed > held.capacity() {
        let capacity = needed.max((held.capacity() * 2).min(CONTENT));
        held.reserve_exact(capacity - held.len());
    }
    held.extend_from_slice(more);
}

#[cfg(test)]
mod tests;
