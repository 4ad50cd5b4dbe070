//! Entry points for fuzzing: whatever the bytes are, they return, and what was accepted holds what DESIGN promises.
//!
//! They need the rights that unpacking needs (device nodes, foreign owners) and write below the temporary folder only.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::Mode;

use super::parents::DIRECTORY;
use super::{ExtractOptions, Limits, capture, decompress, extract_archive, unpack};

/// Small enough that no input of a fuzzer, however well compressed, takes long.
const LIMITS: Limits = Limits { entries: 2000, bytes: 8 << 20, name_bytes: 4095, until: None };

/// A layer's tar. What is accepted comes out of its folder as a tar that unpacks to the same tar again.
pub fn layer(bytes: &[u8]) {
    unpack_twice(bytes);
    unpack_twice(&repaired(bytes));
}

fn unpack_twice(bytes: &[u8]) {
    let first = Folder::new();
    let Ok(unpacked) = unpack(bytes, first.handle.as_fd(), &LIMITS) else { return };
    let Some(tar) = captured(&first) else { return };
    let second = Folder::new();
    let again = unpack(&tar[..], second.handle.as_fd(), &LIMITS);
    assert!(again.as_ref().is_ok_and(super::Unpacked::is_complete), "our own tar is refused: {again:?}");
    assert_eq!(captured(&second).as_ref(), Some(&tar), "a tar of an unpacked tar differs; {unpacked:?}");
}

/// An archive that ADD extracts over a tree with links. Nothing beside the tree may change.
pub fn archive(bytes: &[u8]) {
    let folder = Folder::new();
    let (root, canary) = (folder.path.join("root"), folder.path.join("canary"));
    let links = [("up", "../.."), ("out", "/canary"), ("file", "../canary/file"), ("inside", "folder")];
    let prepared = fs::create_dir_all(root.join("folder"))
        .and_then(|()| fs::create_dir(&canary))
        .and_then(|()| fs::write(canary.join("file"), "sings"))
        .and_then(|()| {
            links.iter().try_for_each(|(name, to)| std::os::unix::fs::symlink(to, root.join(name)))
        });
    assert!(prepared.is_ok(), "the temporary folder can be written: {prepared:?}");
    let options = ExtractOptions { limits: LIMITS, ..ExtractOptions::default() };
    if let Ok(handle) = rustix::fs::open(&root, DIRECTORY, Mode::empty()) {
        let _ = extract_archive(bytes, handle.as_fd(), Path::new("folder"), &options);
        let _ = extract_archive(&repaired(bytes)[..], handle.as_fd(), Path::new("folder"), &options);
    }
    let listed = fs::read_dir(&canary).map_or(0, Iterator::count);
    let content = fs::read(canary.join("file")).unwrap_or_default();
    assert!(listed == 1 && content == b"sings", "the canary was touched");
}

/// The same bytes with right checksums, without which a changed header is never looked at.
fn repaired(bytes: &[u8]) -> Vec<u8> {
    let mut repaired = bytes.to_vec();
    for block in repaired.chunks_exact_mut(512).filter(|block| block[257..].starts_with(b"ustar")) {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    }
    repaired
}

/// A compressed stream of any kind.
pub fn compressed(bytes: &[u8]) {
    let Ok(stream) = decompress(bytes) else { return };
    let _ = std::io::copy(&mut stream.take(LIMITS.bytes), &mut std::io::sink());
}

/// A short stream of each kind.
pub fn compressed_seeds() -> Vec<Vec<u8>> {
    let text = b"a layer ".repeat(40);
    let mut seeds = vec![text.clone()];
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    let written =
        gzip.write_all(&text).and_then(|()| xz.write_all(&text)).and_then(|()| bzip2.write_all(&text));
    assert!(written.is_ok(), "memory can be written: {written:?}");
    seeds.extend(gzip.finish().ok());
    seeds.extend(xz.finish().ok());
    seeds.extend(bzip2.finish().ok());
    seeds.extend(zstd::encode_all(&text[..], 1).ok());
    seeds
}

fn captured(folder: &Folder) -> Option<Vec<u8>> {
    let mut tar = Vec::new();
    // A folder may hold what no tar can: a path that became too long with its mark.
    capture(folder.handle.as_fd(), &mut tar).ok().map(|()| tar)
}

/// A folder that goes with its value.
struct Folder {
    path: PathBuf,
    handle: OwnedFd,
}

impl Folder {
    fn new() -> Folder {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("hull-fuzz-{}-{number}", std::process::id()));
        let handle = rustix::fs::mkdir(&path, Mode::from_raw_mode(0o755))
            .and_then(|()| rustix::fs::open(&path, DIRECTORY, Mode::empty()));
        match handle {
            Ok(handle) => Folder { path, handle },
            Err(errno) => unreachable!("the temporary folder can be written: {errno}"),
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = crate::store::remove_tree(&self.path);
    }
}
