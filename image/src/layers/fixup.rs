//! The one pass that needs the layers below: attributes of directories that a layer only implies, and hard links to
//! files of lower layers, which become copies.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::attributes::Attributes;
use super::error::{Error, Name, Result};
use super::parents::{DIRECTORY, Links, beneath};
use super::place::{Placer, Replace, Tree};
use super::unpack::Unpacked;
use super::view::{View, is_directory};

/// Completes an unpacked layer's folder by what lies below it.
pub(super) fn complete(folder: &OwnedFd, unpacked: &Unpacked, below: &View) -> Result<()> {
    let top = folder.try_clone().map_err(|error| Error::io("duplicate", "the layer's handle", error))?;
    let mut placer = Placer::new(top, Links::Refused, Tree::Existing, Replace::Anything, None);
    // Links to one file stay links to one file: the first brings the copy.
    let mut copies: HashMap<&[u8], &[u8]> = HashMap::new();
    for (path, target) in &unpacked.lower_hard_links {
        let first = copies.entry(target).or_insert(path);
        if *first == path || !placer.hard_link(&split(path), &split(first))? {
            link(folder, &mut placer, below, path, target)?;
        }
    }
    placer.finish()?;
    for path in &unpacked.implied_parents {
        imply(folder, below, path)?;
    }
    Ok(())
}

fn link(folder: &OwnedFd, placer: &mut Placer, below: &View, path: &[u8], target: &[u8]) -> Result<()> {
    let parts = split(path);
    // A later entry of the same name counts more.
    match rustix::fs::openat2(
        folder,
        path,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
        beneath(),
    ) {
        Err(Errno::NOENT) => {}
        _ => return Ok(()),
    }
    let targets = split(target);
    // An earlier link may have brought the target into this layer.
    if placer.hard_link(&parts, &targets)? {
        return Ok(());
    }
    let missing = || Error::LinkTarget { entry: Name::from(path), target: Name::from(target) };
    let found = below.find_below(folder.as_fd(), &targets)?.ok_or_else(missing)?;
    let handle = match FileType::from_raw_mode(found.stat.st_mode) {
        FileType::RegularFile => found.open()?,
        FileType::Symlink => {
            let text = rustix::fs::readlinkat(&found.parent, found.name.as_slice(), Vec::new())
                .map_err(|errno| Error::io("read link", target, errno))?;
            return placer.copy_of_link(&parts, text.to_bytes(), &Attributes::of_stat(&found.stat));
        }
        _ => {
            let reason = "a hard link to something of a lower layer that is no file";
            return Err(Error::Refused { entry: Name::from(path), reason });
        }
    };
    let attributes = Attributes::of(handle.as_fd(), Name::from(target))?;
    placer.copy_of(&parts, File::from(handle), &attributes)
}

/// Gives an implied directory the attributes of the one below; without one it keeps the defaults.
fn imply(folder: &OwnedFd, below: &View, path: &[u8]) -> Result<()> {
    let Some(found) = below.find_below(folder.as_fd(), &split(path))? else { return Ok(()) };
    if !is_directory(&found.stat) {
        let reason = "a lower layer has a link or file where this layer needs a directory";
        return Err(Error::Refused { entry: Name::from(path), reason });
    }
    let attributes = Attributes::of(found.open()?.as_fd(), Name::from(path))?;
    let own = match rustix::fs::openat2(folder, path, DIRECTORY, Mode::empty(), beneath()) {
        Ok(own) => own,
        // A later entry took its place.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
        Err(errno) => return Err(Error::io("open directory", path, errno)),
    };
    attributes.apply_to_directory(own.as_fd(), Name::from(path))
}

fn split(path: &[u8]) -> Vec<&[u8]> {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).collect()
}
