//! What earlier builds knew of a context's files: one file per context in the store's cache folder.
//!
//! ```text
//! magic "hullfd1\0" · blocks u64
//! block: path length u32 · path · device u64 · length of the entries u64 · entry*
//! entry: inode u64 · size u64 · mtime s i64, ns u32 · ctime s i64, ns u32 · digest [32] · name length u16 · name
//! ```
//! Integers are little endian, blocks sorted by path, entries by name. The file is replaced by rename and not synced,
//! like all files of the cache (see [`super::index`]). What is damaged counts as empty.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::Error;
use super::digests::Tick;
use super::tree::{Directory, Entry, Tree, join};

const MAGIC: &[u8; 8] = b"hullfd1\0";
const HEADER: usize = 8 + 8;
/// Bytes of an entry without its name.
const ENTRY: usize = 8 + 8 + 12 + 12 + 32 + 2;
/// A file of digests larger than this is not ours.
const LARGEST: u64 = 1 << 31;

/// The digests that an earlier build recorded for one context.
#[derive(Debug, Default)]
pub struct Recorded {
    bytes: Vec<u8>,
    /// Path and body of each block, in order of the paths.
    blocks: Vec<(Range<usize>, Range<usize>)>,
}

/// What is recorded of one directory.
#[derive(Debug, Clone, Copy)]
pub struct Block<'r> {
    /// Device of the directory; entries on another one are not recorded.
    pub device: u64,
    body: &'r [u8],
}

/// What is recorded of one entry.
#[derive(Debug, Clone, Copy)]
pub struct Record<'r> {
    /// The entry's name.
    pub name: &'r [u8],
    /// The digest that was computed when the attributes were those.
    pub digest: [u8; 32],
    attributes: &'r [u8],
}

impl Record<'_> {
    /// Whether the entry has exactly the attributes that the digest was computed under.
    pub fn describes(&self, entry: &Entry) -> bool {
        self.attributes == attributes(entry)
    }
}

/// The attributes that must be equal, as they are recorded.
fn attributes(entry: &Entry) -> [u8; 40] {
    let mut bytes = [0; 40];
    bytes[0..8].copy_from_slice(&entry.inode.to_le_bytes());
    bytes[8..16].copy_from_slice(&entry.size.to_le_bytes());
    bytes[16..24].copy_from_slice(&entry.modified.seconds.to_le_bytes());
    bytes[24..28].copy_from_slice(&entry.modified.nanoseconds.to_le_bytes());
    bytes[28..36].copy_from_slice(&entry.changed.seconds.to_le_bytes());
    bytes[36..40].copy_from_slice(&entry.changed.nanoseconds.to_le_bytes());
    bytes
}

impl<'r> Block<'r> {
    /// The block in its recorded form: device, length, entries.
    fn of_body(body: &'r [u8]) -> Block<'r> {
        Block {
            device: body.get(..8).and_then(number).unwrap_or_default(),
            body: body.get(16..).unwrap_or_default(),
        }
    }

    /// The entries in order of their names.
    pub fn entries(&self) -> impl Iterator<Item = Record<'r>> + use<'r> {
        let mut rest = self.body;
        std::iter::from_fn(move || {
            let (fixed, tail) = rest.split_at_checked(ENTRY)?;
            let length = usize::from(u16::from_le_bytes([fixed[ENTRY - 2], fixed[ENTRY - 1]]));
            let (name, tail) = tail.split_at_checked(length)?;
            rest = tail;
            let mut digest = [0; 32];
            digest.copy_from_slice(&fixed[40..72]);
            Some(Record { name, digest, attributes: &fixed[..40] })
        })
    }
}

impl Recorded {
    /// Reads the file of digests; one that is missing or damaged counts as empty.
    pub fn read(file: &Path) -> Recorded {
        let small = fs::metadata(file).is_ok_and(|metadata| metadata.len() < LARGEST);
        if !small {
            return Recorded::default();
        }
        fs::read(file).ok().and_then(Recorded::parse).unwrap_or_default()
    }

    pub(super) fn parse(bytes: Vec<u8>) -> Option<Recorded> {
        let header = bytes.get(..HEADER)?;
        if &header[..8] != MAGIC {
            return None;
        }
        let count = usize::try_from(number(&header[8..16])?).ok()?;
        let mut blocks = Vec::with_capacity(count.min(bytes.len() / 20));
        let mut at = HEADER;
        for _ in 0..count {
            let length = u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize;
            let path = at + 4..(at + 4).checked_add(length)?;
            let body_start = path.end.checked_add(16)?;
            let body_length = usize::try_from(number(bytes.get(path.end + 8..body_start)?)?).ok()?;
            let body_end = body_start.checked_add(body_length)?;
            bytes.get(body_start..body_end)?;
            blocks.push((path.clone(), path.end..body_end));
            at = body_end;
        }
        // A file cut short by a crash must not pass as one with fewer entries.
        if at != bytes.len() {
            return None;
        }
        Some(Recorded { bytes, blocks })
    }

    /// What is recorded of the directory `path`.
    pub fn directory(&self, path: &[u8]) -> Option<Block<'_>> {
        let found = self.blocks.binary_search_by(|(range, _)| self.bytes[range.clone()].cmp(path)).ok()?;
        Some(self.block(found))
    }

    fn path(&self, index: usize) -> &[u8] {
        &self.bytes[self.blocks[index].0.clone()]
    }

    fn block(&self, index: usize) -> Block<'_> {
        Block::of_body(&self.bytes[self.blocks[index].1.clone()])
    }
}

fn number(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

/// Writes what is known of a context now: what `trees` found, and of directories outside them what was known.
///
/// Does nothing if that is what `recorded` says already.
pub fn record(file: &Path, recorded: &Recorded, trees: &[Tree], tick: Tick) -> Result<(), Error> {
    if !trees.iter().any(|tree| tree.directories.iter().any(|directory| directory.differs)) {
        return Ok(());
    }
    let mut blocks: Vec<(&[u8], Vec<u8>)> = Vec::new();
    for directory in trees.iter().flat_map(|tree| &tree.directories).filter(|found| !found.partial) {
        blocks.push((&directory.path, encode(directory, None, tick)));
    }
    blocks.sort_by(|one, other| one.0.cmp(other.0));
    blocks.dedup_by(|one, other| one.0 == other.0);
    for directory in trees.iter().flat_map(|tree| &tree.directories).filter(|found| found.partial) {
        let older = recorded.directory(&directory.path);
        match blocks.binary_search_by(|(path, _)| (*path).cmp(&directory.path)) {
            // Several single files of one directory add up.
            Ok(at) => {
                let body = encode(directory, Some(Block::of_body(&blocks[at].1)), tick);
                blocks[at].1 = body;
            }
            Err(at) => blocks.insert(at, (&directory.path, encode(directory, older, tick))),
        }
    }
    let seen = blocks.len();
    for index in 0..recorded.blocks.len() {
        let path = recorded.path(index);
        let known = blocks[..seen].binary_search_by(|(seen, _)| (*seen).cmp(path)).is_ok();
        if !known && !trees.iter().any(|tree| covers(tree, path)) {
            blocks.push((path, recorded.bytes[recorded.blocks[index].1.clone()].to_vec()));
        }
    }
    blocks.sort_by(|one, other| one.0.cmp(other.0));
    let mut bytes = Vec::with_capacity(
        HEADER + blocks.iter().map(|(path, body)| path.len() + body.len() + 4).sum::<usize>(),
    );
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&(blocks.len() as u64).to_le_bytes());
    for (path, body) in blocks {
        bytes.extend_from_slice(&(path.len() as u32).to_le_bytes());
        bytes.extend_from_slice(path);
        bytes.extend_from_slice(&body);
    }
    super::index::replace(file, &bytes)
}

/// Whether `path` would have been seen by the walk that made `tree`, were it still there.
fn covers(tree: &Tree, path: &[u8]) -> bool {
    let Some(start) = tree.directories.first().filter(|start| !start.partial) else { return false };
    start.path.is_empty()
        || path.strip_prefix(start.path.as_slice()).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

/// A block's device, length and entries; `older` adds what was known of names not looked at.
fn encode(directory: &Directory, older: Option<Block<'_>>, tick: Tick) -> Vec<u8> {
    let mut entries: Vec<(&[u8], [u8; 40], [u8; 32])> = directory
        .entries
        .iter()
        .filter(|entry| entry.hashed && entry.device == directory.device && !tick.is_racy(entry))
        .map(|entry| (directory.name(entry), attributes(entry), entry.digest))
        .collect();
    if let Some(older) = older.filter(|older| older.device == directory.device) {
        for record in older.entries() {
            let looked_at = directory.entries.iter().any(|entry| directory.name(entry) == record.name);
            if !looked_at {
                let mut kept = [0; 40];
                kept.copy_from_slice(record.attributes);
                entries.push((record.name, kept, record.digest));
            }
        }
        entries.sort_by(|one, other| one.0.cmp(other.0));
    }
    let length: usize = entries.iter().map(|(name, ..)| ENTRY + name.len()).sum();
    let mut body = Vec::with_capacity(16 + length);
    body.extend_from_slice(&directory.device.to_le_bytes());
    body.extend_from_slice(&(length as u64).to_le_bytes());
    for (name, attributes, digest) in entries {
        body.extend_from_slice(&attributes);
        body.extend_from_slice(&digest);
        body.extend_from_slice(&(name.len() as u16).to_le_bytes());
        body.extend_from_slice(name);
    }
    body
}

/// Where the digests of the context directory `path` are recorded.
pub fn file_for(cache: &Path, path: &Path) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    let name = Sha256::digest(join(b"context", path.as_os_str().as_bytes()));
    let hex: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
    cache.join(format!("{hex}.files"))
}

/// Entry point for fuzzing: any bytes are read without a panic, and what is read can be walked.
pub fn fuzz(bytes: &[u8]) {
    let Some(recorded) = Recorded::parse(bytes.to_vec()) else { return };
    for index in 0..recorded.blocks.len() {
        let total: usize = recorded.block(index).entries().map(|record| ENTRY + record.name.len()).sum();
        assert!(total <= bytes.len());
        // Paths that are not sorted are not found, or another block is: never a panic.
        let _ = recorded.directory(recorded.path(index));
    }
}
