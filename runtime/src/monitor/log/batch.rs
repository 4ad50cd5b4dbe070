//! Entries on their way to the file: many short ones in one write, and none ever in two.

use std::os::fd::OwnedFd;

use rustix::io::Errno;

use super::line::{CONTENT, HEADER, Line, is_partial};

/// Most bytes of one write: any entry fits. Short entries are copied together here rather than written from where
/// they are by `writev`, which costs the kernel more for each than copying it costs us.
const LIMIT: usize = CONTENT + (4 << 10);

/// Entries to be written together. Takes no memory until there is one.
#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
}

/// A write that did not bring everything into the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failed {
    /// Bytes of whole entries that are in the file.
    pub(super) written: usize,
    /// Bytes of the container's that are not.
    pub(super) lost: usize,
    pub(super) errno: Errno,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether this entry fits in.
    pub(super) fn has_room(&self, line: &Line<'_>) -> bool {
        self.bytes.len() + line.length() <= LIMIT
    }

    /// Bytes that a write would add to the file.
    pub(super) fn length(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn push(&mut self, line: &Line<'_>) {
        if self.bytes.capacity() == 0 {
            self.bytes.reserve_exact(LIMIT);
        }
        for part in [&line.header[..], line.held, line.new] {
            self.bytes.extend_from_slice(part);
        }
        if line.needs_end() {
            self.bytes.push(b'\n');
        }
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Writes all entries. Of what cannot be written no half entry stays in the file.
    pub(super) fn write_to(&self, file: &OwnedFd) -> Result<(), Failed> {
        let mut written = 0;
        while written < self.bytes.len() {
            // A full disk takes a part; the next attempt says why, or finds that there is room again.
            match rustix::io::write(file, &self.bytes[written..]) {
                Ok(0) => return Err(self.give_up(file, written, Errno::IO)),
                Ok(count) => written += count,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(self.give_up(file, written, errno)),
            }
        }
        Ok(())
    }

    /// Nothing of the batch will be written.
    pub(super) fn failed(&self, errno: Errno) -> Failed {
        Failed { written: 0, lost: content(&self.bytes), errno }
    }

    fn give_up(&self, file: &OwnedFd, written: usize, errno: Errno) -> Failed {
        let whole = memchr::memrchr(b'\n', &self.bytes[..written]).map_or(0, |at| at + 1);
        // Ours is the last write to the file, so the half entry is its end. Should cutting it off fail as well, readers
        // skip what is damaged.
        let half = (written - whole) as u64;
        if half > 0
            && let Ok(stat) = rustix::fs::fstat(file)
        {
            let _ = rustix::fs::ftruncate(file, stat.st_size.unsigned_abs().saturating_sub(half));
        }
        Failed { written: whole, lost: content(&self.bytes[whole..]), errno }
    }
}

/// Bytes of the container's in whole entries.
fn content(entries: &[u8]) -> usize {
    entries
        .split_inclusive(|&byte| byte == b'\n')
        .map(|entry| entry.len() - HEADER - usize::from(is_partial(entry)))
        .sum()
}
