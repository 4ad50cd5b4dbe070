//! Where a saved image goes: a tar, or a folder.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use super::ArchiveError;
use crate::error::{IoContext, Result};

/// Takes files by name. A name that was given before is not written again.
pub(super) enum Sink<'a> {
    Tar { archive: tar::Builder<&'a mut dyn Write>, written: BTreeSet<String> },
    Folder { path: PathBuf },
}

impl<'a> Sink<'a> {
    pub fn tar(output: &'a mut dyn Write) -> Sink<'a> {
        Sink::Tar { archive: tar::Builder::new(output), written: BTreeSet::new() }
    }

    /// A folder that is not there yet, or is empty.
    pub fn folder(path: &Path) -> Result<Sink<'a>> {
        fs::create_dir_all(path.join("blobs/sha256")).at("create", path)?;
        Ok(Sink::Folder { path: path.to_path_buf() })
    }

    /// True when a file of that name was written.
    pub fn has(&self, name: &str) -> bool {
        match self {
            Sink::Tar { written, .. } => written.contains(name),
            Sink::Folder { path } => path.join(name).exists(),
        }
    }

    pub fn put_bytes(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.put(name, bytes.len() as u64, |output| {
            Ok(output.write_all(bytes).map_err(ArchiveError::Write)?)
        })
    }

    /// Writes a file of exactly `size` bytes. `fill` may write no more and no less.
    pub fn put(
        &mut self,
        name: &str,
        size: u64,
        fill: impl FnOnce(&mut dyn Write) -> Result<()>,
    ) -> Result<()> {
        if self.has(name) {
            return Ok(());
        }
        match self {
            Sink::Tar { archive, written } => {
                let mut header = tar::Header::new_ustar();
                header.set_path(name).map_err(ArchiveError::Write)?;
                header.set_size(size);
                header.set_mode(0o644);
                header.set_uid(0);
                header.set_gid(0);
                header.set_mtime(0);
                header.set_cksum();
                let output = archive.get_mut();
                output.write_all(header.as_bytes()).map_err(ArchiveError::Write)?;
                fill(output)?;
                let padding = [0; 512];
                output
                    .write_all(&padding[..(512 - size as usize % 512) % 512])
                    .map_err(ArchiveError::Write)?;
                written.insert(name.to_string());
                Ok(())
            }
            Sink::Folder { path } => {
                // A name appears complete: a reader of the folder sees the old index or the new one.
                let (path, beside) = (path.join(name), path.join(format!("{name}.new")));
                let mut file =
                    BufWriter::with_capacity(256 << 10, File::create(&beside).at("create", &beside)?);
                fill(&mut file)?;
                file.flush().at("write", &beside)?;
                fs::rename(&beside, &path).at("rename", path)?;
                Ok(())
            }
        }
    }

    pub fn finish(self) -> Result<()> {
        match self {
            Sink::Tar { mut archive, .. } => {
                archive.finish().and_then(|()| archive.get_mut().flush()).map_err(ArchiveError::Write)?;
                Ok(())
            }
            Sink::Folder { .. } => Ok(()),
        }
    }
}

/// Copies and tells reading from writing in the error.
pub(super) fn copy(mut from: impl Read, to: &mut dyn Write) -> Result<()> {
    let mut buffer = vec![0; 256 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => to.write_all(&buffer[..count]).map_err(ArchiveError::Write)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(ArchiveError::Read(error).into()),
        }
    }
}
