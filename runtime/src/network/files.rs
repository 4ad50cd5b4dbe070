//! Small files of ours: read with a limit, replaced so that a reader finds the old or the new one.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::error::{Error, Result, errno};

/// Must a new file survive a power cut?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durability {
    /// It is on disk when the call returns.
    Synced,
    /// The system writes it when it likes to.
    Eventual,
}

/// Replaces `path`. It is for our eyes only.
pub(super) fn replace(path: &Path, bytes: &[u8], durability: Durability) -> Result<()> {
    let new = beside(path);
    let fail = |operation| {
        let object = new.display().to_string();
        move |error: std::io::Error| Error::system(operation, object)(errno(&error))
    };
    let write = || -> Result<()> {
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.custom_flags(libc::O_NOFOLLOW).open(&new).map_err(fail("create"))?;
        file.write_all(bytes).map_err(fail("write"))?;
        if durability == Durability::Synced {
            file.sync_all().map_err(fail("sync"))?;
        }
        std::fs::rename(&new, path).map_err(fail("rename"))
    };
    write().inspect_err(|_| {
        // What matters is the failure above.
        let _ = std::fs::remove_file(&new);
    })?;
    if durability == Durability::Synced { sync_folder(path) } else { Ok(()) }
}

/// Removes `path`, and what a run that was killed meant to replace it with. Nothing there is success.
pub(super) fn remove(path: &Path) -> Result<()> {
    for path in [&beside(path), path] {
        match rustix::fs::unlink(path) {
            Ok(()) | Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(errno) => return Err(Error::system("remove", path.display())(errno)),
        }
    }
    Ok(())
}

/// The content of a file of at most `limit` bytes; `None` if there is none.
pub(super) fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
    let fail = |error: std::io::Error| Error::system("read", path.display())(errno(&error));
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail(error)),
    };
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > limit {
        let reason = format!("it is larger than {limit} bytes");
        return Err(Error::Record { path: path.to_owned(), reason });
    }
    Ok(Some(bytes))
}

/// Makes a folder of ours and those above it that are missing.
pub(super) fn make_folder(path: &Path) -> Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| Error::system("create", path.display())(errno(&error)))
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

fn sync_folder(path: &Path) -> Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| Error::system("sync", folder.display())(errno(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        assert_eq!(read(&path, 10).unwrap(), None);
        replace(&path, b"old", Durability::Synced).unwrap();
        // Left by a run that was killed.
        std::fs::write(beside(&path), "half of something lon").unwrap();
        replace(&path, b"new", Durability::Eventual).unwrap();
        assert_eq!(read(&path, 3).unwrap().unwrap(), b"new");
        assert!(read(&path, 2).is_err());
        assert!(replace(&path.join("b"), b"x", Durability::Synced).is_err());
        std::fs::write(beside(&path), "half").unwrap();
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
