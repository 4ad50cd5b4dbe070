//! A layer's tar becomes a folder that overlayfs stacks (OCI image specification, "Image Layer Filesystem Changeset").
//!
//! The folder holds only the layer's own entries, so layers unpack in parallel whatever is below them. Two things
//! cannot be known before the layers below are there, and are returned instead: directories that no entry describes
//! (their attributes are those below), and hard links to files of lower layers.

use std::io::Read;
use std::os::fd::BorrowedFd;

use super::compress::decompress;
use super::error::{Error, Name, Result};
use super::limits::Limits;
use super::parents::Links;
use super::place::{Placer, Replace, Tree, components};
use super::tar::{Entry, EntryKind, Reader};

/// How a removal is written in a tar.
pub(super) const WHITEOUT: &[u8] = b".wh.";
/// How the removal of a directory's whole lower content is written.
pub(super) const OPAQUE_WHITEOUT: &[u8] = b".wh..wh..opq";

/// What the layers below have to complete.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Directories that no entry described, parents first; they have 0755, owner root and the epoch's time for now.
    pub implied_parents: Vec<Vec<u8>>,
    /// Hard links whose target this layer does not have: path and target, in order.
    pub lower_hard_links: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Unpacked {
    /// Whether the folder is complete whatever is below.
    pub fn is_complete(&self) -> bool {
        self.implied_parents.is_empty() && self.lower_hard_links.is_empty()
    }
}

/// Unpacks an uncompressed layer into an empty directory, to the end of its tar; the caller drains and verifies.
pub fn unpack(tar: impl Read, into: BorrowedFd<'_>, limits: &Limits) -> Result<Unpacked> {
    unpack_entries(tar, into, limits, Removals::Honoured)
}

/// Unpacks the tar of a whole root file system, compressed or not, into an empty directory. Names that mean removal
/// in a layer are refused: nothing is below.
pub fn unpack_root(from: impl Read, into: BorrowedFd<'_>) -> Result<()> {
    let unpacked = unpack_entries(decompress(from)?, into, &Limits::default(), Removals::Refused)?;
    match unpacked.lower_hard_links.first() {
        None => Ok(()),
        Some((entry, target)) => {
            Err(Error::LinkTarget { entry: Name::from(entry), target: Name::from(target) })
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Removals {
    Honoured,
    Refused,
}

fn unpack_entries(
    tar: impl Read,
    into: BorrowedFd<'_>,
    limits: &Limits,
    removals: Removals,
) -> Result<Unpacked> {
    let top =
        into.try_clone_to_owned().map_err(|error| Error::io("duplicate", "the folder's handle", error))?;
    let mut placer = Placer::new(top, Links::Refused, Tree::New, Replace::Anything, None);
    let mut reader = Reader::new(tar, *limits);
    let mut lower_hard_links = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let path = components(&entry.name)?;
        match removal(&path)? {
            None => place(&mut placer, &path, &entry, &mut reader, &mut lower_hard_links)?,
            Some(_) if removals == Removals::Refused => {
                let reason = "a root file system has no removals";
                return Err(Error::Refused { entry: Name::from(&entry.name), reason });
            }
            Some(Removal::Name(path)) => placer.whiteout(&path)?,
            Some(Removal::Below(directory)) => placer.opaque(directory)?,
        }
    }
    Ok(Unpacked { implied_parents: placer.finish()?, lower_hard_links })
}

fn place<R: Read>(
    placer: &mut Placer,
    path: &[&[u8]],
    entry: &Entry,
    reader: &mut Reader<R>,
    lower: &mut Vec<(Vec<u8>, Vec<u8>)>,
) -> Result<()> {
    let EntryKind::HardLink(target) = &entry.kind else { return placer.place(path, entry, reader) };
    if path.is_empty() {
        let reason = "only a directory can stand for the root";
        return Err(Error::Refused { entry: Name::from(&entry.name), reason });
    }
    let target = components(target)?;
    if !placer.hard_link(path, &target)? {
        placer.clear(path)?;
        lower.push((path.join(&b'/'), target.join(&b'/')));
    }
    Ok(())
}

enum Removal<'a> {
    /// This name is hidden.
    Name(Vec<&'a [u8]>),
    /// All that lower layers have in this directory is hidden.
    Below(&'a [&'a [u8]]),
}

/// What a reserved name means. Names that only look like one are refused: engines differ about them.
fn removal<'a>(path: &'a [&'a [u8]]) -> Result<Option<Removal<'a>>> {
    let odd = |reason| Err(Error::Refused { entry: Name::from(&path.join(&b'/')), reason });
    let Some((name, above)) = path.split_last() else { return Ok(None) };
    if above.iter().any(|part| part.starts_with(WHITEOUT)) {
        return odd("a directory of a reserved name");
    }
    match name.strip_prefix(WHITEOUT) {
        None => Ok(None),
        Some(_) if *name == OPAQUE_WHITEOUT => Ok(Some(Removal::Below(above))),
        Some(b"" | b"." | b"..") => odd("a removal of nothing"),
        Some(hidden) if hidden.starts_with(WHITEOUT) => odd("a reserved name without meaning"),
        Some(hidden) => Ok(Some(Removal::Name(above.iter().copied().chain([hidden]).collect()))),
    }
}
