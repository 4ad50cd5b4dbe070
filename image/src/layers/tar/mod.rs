//! The tar format, read strictly and written in one way only.
//!
//! Readers of tar disagree about broken or doubtful headers, and hidden entries live in that disagreement
//! (CVE-2025-62518, RUSTSEC-2026-0067, -0068). So the reader here accepts what GNU tar, libarchive and Go all read alike
//! and refuses the rest: a PAX size always wins over the header's, links and directories have no body, an extension
//! applies to exactly one entry and never twice. A general tar library has to be lenient where this one must not, and
//! its writer may change from one version to the next; the digest of a built layer may not.
//!
//! References: POSIX.1-2017 `pax` (ustar and extended headers), GNU tar manual "Tar Internals".

mod header;
mod pax;
mod reader;
mod writer;

pub(crate) use reader::{Entry, EntryKind, Reader};
pub(crate) use writer::Writer;

/// Everything in a tar starts at a multiple of this.
pub(crate) const BLOCK: usize = 512;

/// Bytes that follow a body of `size` bytes up to the next block.
pub(crate) fn padding(size: u64) -> u64 {
    (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64
}
