//! Looking a path up in stacked layers without mounting them, by overlayfs's own rules.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::attributes::OPAQUE;
use super::error::{Error, Name, Result};
use super::parents::DIRECTORY;

/// Layers, highest first.
#[derive(Debug)]
pub(super) struct View {
    layers: Vec<OwnedFd>,
}

/// What one layer contributes to a path.
enum Part {
    /// Nothing; layers below are looked at.
    Nothing,
    /// Something that hides all below.
    Removed,
    /// The object.
    Found(Box<Found>),
}

/// An object of a layer: the directory that holds it, its name there and its `stat`.
pub(super) struct Found {
    pub(super) parent: OwnedFd,
    pub(super) name: Vec<u8>,
    pub(super) stat: Stat,
    /// Whether a directory above it in its layer hides what is below.
    alone: bool,
}

impl View {
    /// Opens the layers' folders, given lowest first.
    pub(super) fn open(layers: &[PathBuf]) -> Result<View> {
        let open = |path: &PathBuf| {
            rustix::fs::open(path, DIRECTORY, Mode::empty())
                .map_err(|errno| Error::io("open layer", path.as_path(), errno))
        };
        Ok(View { layers: layers.iter().rev().map(open).collect::<Result<_>>()? })
    }

    /// Whether there are no layers.
    pub(super) fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// The object that the stack shows under this path.
    pub(super) fn find(&self, path: &[&[u8]]) -> Result<Option<Found>> {
        for layer in &self.layers {
            match part(layer.as_fd(), path)? {
                Part::Nothing => {}
                Part::Removed => return Ok(None),
                Part::Found(found) => return Ok(Some(*found)),
            }
        }
        Ok(None)
    }

    /// The same, seen from a layer that is going to lie on top: nothing if that layer hides the path.
    pub(super) fn find_below(&self, top: BorrowedFd<'_>, path: &[&[u8]]) -> Result<Option<Found>> {
        match part(top, path)? {
            Part::Removed => Ok(None),
            Part::Found(found)
                if found.alone || !is_directory(&found.stat) || is_opaque(found.open()?.as_fd()) =>
            {
                Ok(None)
            }
            Part::Nothing | Part::Found(_) => self.find(path),
        }
    }
}

impl Found {
    /// Opens what was found, never through a link.
    pub(super) fn open(&self) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        rustix::fs::openat(&self.parent, self.name.as_slice(), flags, Mode::empty())
            .map_err(|errno| Error::io("open", &self.name, errno))
    }
}

/// Whether overlayfs takes this for a removal.
pub(super) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// Whether the directory hides what lower layers have in it.
pub(super) fn is_opaque(directory: BorrowedFd<'_>) -> bool {
    let mut mark = [0_u8; 1];
    rustix::fs::fgetxattr(directory, OPAQUE, &mut mark) == Ok(1) && mark == *b"y"
}

pub(super) fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

fn part(layer: BorrowedFd<'_>, path: &[&[u8]]) -> Result<Part> {
    let failed = |errno: Errno| Error::io("look up", Name::from(&path.join(&b'/')), errno);
    let Some((last, above)) = path.split_last() else { return Ok(Part::Nothing) };
    let mut hides = is_opaque(layer);
    let nothing = |hides| if hides { Part::Removed } else { Part::Nothing };
    let mut current = rustix::io::dup(layer).map_err(failed)?;
    for name in above {
        current = match rustix::fs::openat(&current, *name, DIRECTORY, Mode::empty()) {
            Ok(inner) => inner,
            Err(Errno::NOENT) => return Ok(nothing(hides)),
            Err(Errno::NOTDIR | Errno::LOOP) => return Ok(Part::Removed),
            Err(errno) => return Err(failed(errno)),
        };
        hides |= is_opaque(current.as_fd());
    }
    match rustix::fs::statat(&current, *last, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(nothing(hides)),
        Err(errno) => Err(failed(errno)),
        Ok(stat) if is_whiteout(&stat) => Ok(Part::Removed),
        Ok(stat) => {
            Ok(Part::Found(Box::new(Found { parent: current, name: last.to_vec(), stat, alone: hides })))
        }
    }
}
