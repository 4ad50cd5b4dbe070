//! ADD of local archives: what is a tar by its content, plain or compressed, becomes files.
//!
//! The unpacker is that of layers with another meaning of members: no whiteouts, names confined to the destination.

use std::fs::File;
use std::io::Read;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use image::layers::{ExtractOptions, decompress, extract_archive};
use rustix::fs::{FileType, Mode, OFlags};

use super::copy::CopyError;
use super::error::StepError;
use super::keys::{SelectedSource, SelectedSources};
use super::made::make_directory;
use super::rooted::Owner;
use super::source::{Selected, SourceTree};
use crate::cache::digests::is_as_seen;
use crate::cache::shown;
use crate::cache::tree::open_beneath;
use crate::plan::CopyStep;

/// Bytes of a tar header.
const HEADER: usize = 512;

/// The selected files that are archives. Files inside selected directories never are.
pub(super) fn archives(from: &SourceTree, selected: &SelectedSources) -> Result<Vec<Selected>, StepError> {
    let mut found = Vec::new();
    for source in &selected.0 {
        let SelectedSource::Paths(paths) = source else { continue };
        for one in paths.iter().filter(|one| one.entry.file_type() == FileType::RegularFile) {
            if is_archive(open(from, one)?) {
                found.push(one.clone());
            }
        }
    }
    Ok(found)
}

/// Whether the first bytes are, or decompress to, a tar header whose checksum is right.
fn is_archive(file: File) -> bool {
    let Ok(mut reader) = decompress(file) else { return false };
    let mut header = [0u8; HEADER];
    if reader.read_exact(&mut header).is_err() {
        return false;
    }
    let stored = std::str::from_utf8(&header[148..156]).unwrap_or_default();
    let stored = u64::from_str_radix(stored.trim_matches(['\0', ' ']), 8);
    let sum: u64 = header
        .iter()
        .enumerate()
        .map(|(at, byte)| if (148..156).contains(&at) { u64::from(b' ') } else { u64::from(*byte) })
        .sum();
    stored == Ok(sum)
}

/// Unpacks one archive into the destination. False if it was no longer what the walk saw.
pub(super) fn unpack(
    root: BorrowedFd<'_>,
    step: &CopyStep,
    owner: Option<Owner>,
    from: &SourceTree,
    archive: &Selected,
) -> Result<bool, StepError> {
    make_directory(root, &step.destination, owner.unwrap_or_default())?;
    let file = open(from, archive)?;
    let same = |file: &File| rustix::fs::fstat(file).is_ok_and(|now| is_as_seen(&now, &archive.entry));
    let before = same(&file);
    let reader = decompress(&file)?;
    let options =
        ExtractOptions { owner: owner.map(|owner| (owner.uid, owner.gid)), ..ExtractOptions::default() };
    let under = Path::new(step.destination.trim_start_matches('/'));
    extract_archive(reader, root, under, &options).map_err(|error| {
        let name = shown(&archive.name);
        StepError::told(format!("cannot unpack {name}: {}", crate::plan::chain(&error)))
    })?;
    Ok(before && same(&file))
}

fn open(from: &SourceTree, one: &Selected) -> Result<File, StepError> {
    let holder = from.holder(one);
    let path = holder.path_of(&one.entry);
    let failed = |source| CopyError::Source { operation: "open", path: shown(&path), source };
    let parent: OwnedFd =
        open_beneath(from.root(), &holder.path, OFlags::PATH | OFlags::DIRECTORY).map_err(failed)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&parent, holder.name_for_call(&one.entry), flags, Mode::empty());
    Ok(File::from(file.map_err(failed)?))
}
