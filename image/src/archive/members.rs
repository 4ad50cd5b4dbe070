//! The files of an archive by name, for reading in any order.
//!
//! An archive that comes as a stream or compressed is first written, plain, to the lease's temporary folder: the
//! document that says what the others are usually comes last. Names are compared, never resolved on the host; a
//! folder is read beneath its descriptor without following any link.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    os::{fd::OwnedFd, unix::fs::FileExt},
    path::Path,
    sync::Arc,
};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};

use super::ArchiveError;
use crate::{
    digest::{Digest, DigestError, DigestReader},
    error::{IoContext, Result},
    layers::{
        Limits,
        tar::{self, EntryKind},
    },
};

/// Members of one archive; an image has a handful.
const MEMBER_LIMIT: usize = 20_000;
/// Links from one member to the next (old docker archives have one).
const LINK_LIMIT: usize = 8;

/// Where the files are.
#[derive(Debug)]
pub(super) enum Members {
    Tar { file: Arc<File>, index: BTreeMap<String, Member> },
    Folder(OwnedFd),
}

#[derive(Debug)]
pub(super) enum Member {
    File { offset: u64, size: u64 },
    Link { target: String },
}

/// One file of an archive, opened.
#[derive(Debug)]
pub(super) struct Content {
    file: Arc<File>,
    position: u64,
    /// Bytes that it has.
    pub size: u64,
}

impl Members {
    /// Indexes a plain tar, by the strict reader that layers have too: bodies are skipped, not read.
    pub fn of_tar(file: File) -> Result<Members> {
        let mut index = BTreeMap::new();
        let limits = Limits { entries: MEMBER_LIMIT as u64, ..Limits::default() };
        let mut archive = tar::Reader::new(&file, limits);
        while let Some(entry) = archive.next_entry()? {
            let (offset, size) = archive.pass_body()?;
            let text = |bytes: Vec<u8>| String::from_utf8(bytes).ok();
            // A name that leads out, or is no text, is one that no document of ours can mean.
            let Some(name) = text(entry.name).and_then(|name| tidy(&name)) else { continue };
            let member = match entry.kind {
                EntryKind::File => Some(Member::File { offset, size }),
                EntryKind::Symlink(target) => text(target)
                    .and_then(|target| resolve(parent(&name), &target))
                    .map(|target| Member::Link { target }),
                EntryKind::HardLink(target) => {
                    text(target).and_then(|target| tidy(&target)).map(|target| Member::Link { target })
                }
                _ => None,
            };
            // The last one of a name counts, as when the archive is unpacked.
            match member {
                Some(member) => drop(index.insert(name, member)),
                None => drop(index.remove(&name)),
            }
        }
        Ok(Members::Tar { file: Arc::new(file), index })
    }

    /// The files beneath a folder.
    pub fn of_folder(path: &Path) -> Result<Members> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Members::Folder(rustix::fs::open(path, flags, Mode::empty()).at("open", path)?))
    }

    /// Opens a file.
    pub fn open(&self, name: &str) -> Result<Content> {
        self.find(name)?.ok_or_else(|| ArchiveError::MissingMember { member: shorten(name) }.into())
    }

    /// Opens a file if it is there.
    pub fn find(&self, name: &str) -> Result<Option<Content>> {
        let Some(name) = tidy(name) else {
            let reason = "its name leads out of the archive".to_string();
            return Err(ArchiveError::Refused { member: shorten(name), reason }.into());
        };
        match self {
            Members::Tar { file, index } => {
                let mut member = index.get(&name);
                for _ in 0..LINK_LIMIT {
                    match member {
                        Some(Member::Link { target }) => member = index.get(target),
                        Some(Member::File { offset, size }) => {
                            return Ok(Some(Content { file: file.clone(), position: *offset, size: *size }));
                        }
                        None => return Ok(None),
                    }
                }
                let reason = "it is a chain of links".to_string();
                Err(ArchiveError::Refused { member: shorten(&name), reason }.into())
            }
            Members::Folder(folder) => open_beneath(folder, &name),
        }
    }

    /// Reads a small file.
    pub fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>> {
        let content = self.open(name)?;
        if content.size > limit {
            let reason = format!("it has {} bytes, the limit is {limit}", content.size);
            return Err(ArchiveError::Refused { member: shorten(name), reason }.into());
        }
        let mut bytes = Vec::with_capacity(content.size as usize);
        content.take(limit).read_to_end(&mut bytes).map_err(ArchiveError::Read)?;
        Ok(bytes)
    }

    /// Reads a document of a layout by its digest, and compares digest and size.
    pub fn read_blob(&self, digest: &Digest, size: u64, limit: u64) -> Result<Vec<u8>> {
        let name = blob_name(digest);
        let bytes = self.read(&name, limit)?;
        if bytes.len() as u64 != size {
            return Err(
                DigestError::WrongSize { what: name, expected: size, actual: bytes.len() as u64 }.into()
            );
        }
        Digest::of(&bytes).expect(digest, &name)?;
        Ok(bytes)
    }
}

/// Where a layout keeps a blob.
pub(super) fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

impl Content {
    /// The first bytes, which are read again later.
    pub fn peek(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        let read = self.file.read_at(&mut bytes, self.position)?;
        bytes.truncate(read.min(usize::try_from(self.size).unwrap_or(usize::MAX)));
        Ok(bytes)
    }
}

impl Content {
    /// Reads it all and compares it with what was promised.
    pub fn verify(self, digest: &Digest, size: u64, name: &str) -> Result<()> {
        if self.size != size {
            return Err(
                DigestError::WrongSize { what: name.into(), expected: size, actual: self.size }.into()
            );
        }
        let mut reader = DigestReader::new(self);
        let mut buffer = vec![0; 256 << 10];
        while reader.read(&mut buffer).map_err(ArchiveError::Read)? > 0 {}
        Ok(reader.finish().0.expect(digest, name)?)
    }
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.size).unwrap_or(usize::MAX));
        let count = self.file.read_at(&mut buffer[..most], self.position)?;
        if count == 0 && most > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive is cut off"));
        }
        self.position += count as u64;
        self.size -= count as u64;
        Ok(count)
    }
}

fn open_beneath(folder: &OwnedFd, name: &str) -> Result<Option<Content>> {
    // Not blocking, so that a FIFO is found out instead of waited for.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let refused = |reason: &str| ArchiveError::Refused { member: shorten(name), reason: reason.to_string() };
    let file = match rustix::fs::openat2(folder, name, flags, Mode::empty(), resolve) {
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(None),
        Err(rustix::io::Errno::LOOP | rustix::io::Errno::XDEV) => {
            return Err(refused("it is reached through a link").into());
        }
        file => file.at("open", name)?,
    };
    let stat = rustix::fs::fstat(&file).at("examine", name)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(refused("it is not a regular file").into());
    }
    Ok(Some(Content { file: Arc::new(file.into()), position: 0, size: stat.st_size as u64 }))
}

/// A member's name without leading and empty parts; none if it leads out or names nothing.
fn tidy(name: &str) -> Option<String> {
    resolve("", name).filter(|name| !name.is_empty())
}

/// Resolves `target` as text, seen from folder `from`; none if it is absolute or leads out.
fn resolve(from: &str, target: &str) -> Option<String> {
    if target.starts_with('/') || target.contains('\0') {
        return None;
    }
    let mut parts: Vec<&str> = from.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

fn parent(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn shorten(name: &str) -> String {
    name.chars().take(120).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_inside() {
        for (from, target, expected) in [
            ("", "./a//b", Some("a/b")),
            ("x", "../a", Some("a")),
            ("x/y", "../../a", Some("a")),
            ("x", "../../a", None),
            ("", "/etc/passwd", None),
            ("", "..", None),
            ("", "a/..", Some("")),
        ] {
            assert_eq!(resolve(from, target).as_deref(), expected, "{from} {target}");
        }
        assert_eq!(tidy("."), None);
    }
}
