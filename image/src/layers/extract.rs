//! An ordinary archive becomes files of an existing tree: what ADD does with a local tar.

use std::io::Read;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::error::{Error, Name, Result};
use super::limits::Limits;
use super::parents::{Links, within};
use super::place::{Placer, Replace, Tree, components};
use super::tar::{EntryKind, Reader};
use super::unpack::WHITEOUT;

/// How an archive is extracted.
#[derive(Debug, Clone, Default)]
pub struct ExtractOptions {
    /// User and group of everything, instead of those in the archive.
    pub owner: Option<(u32, u32)>,
    /// What the archive may cost.
    pub limits: Limits,
}

/// Extracts an uncompressed tar into the directory `under`, which exists in `root`.
///
/// Links in directories' names are followed inside `root`; a member over a file or link replaces it, directories merge.
/// The reserved names of layers are refused, for they would remove files when the layer is stacked.
pub fn extract_archive(
    tar: impl Read,
    root: BorrowedFd<'_>,
    under: &Path,
    options: &ExtractOptions,
) -> Result<()> {
    let under = under.as_os_str().as_bytes();
    let top = within(root, under).map_err(|errno| Error::io("open directory", under, errno))?;
    let root =
        root.try_clone_to_owned().map_err(|error| Error::io("duplicate", "the root's handle", error))?;
    let links = Links::Within { root, under: under.to_vec() };
    let mut placer = Placer::new(top, links, Tree::Existing, Replace::AllButDirectories, options.owner);
    let mut reader = Reader::new(tar, options.limits);
    while let Some(entry) = reader.next_entry()? {
        let path = components(&entry.name)?;
        if path.iter().any(|part| part.starts_with(WHITEOUT)) {
            return Err(Error::Refused {
                entry: Name::from(&entry.name),
                reason: "a name that layers reserve",
            });
        }
        match &entry.kind {
            EntryKind::HardLink(target) => {
                let target = components(target)?;
                if !placer.hard_link(&path, &target)? {
                    let (entry, target) = (Name::from(&entry.name), Name::from(&target.join(&b'/')));
                    return Err(Error::LinkTarget { entry, target });
                }
            }
            _ => placer.place(&path, &entry, &mut reader)?,
        }
    }
    placer.finish().map(drop)
}
