//! Small files of ours: replaced so that a reader finds the old or the new one, and read with a limit.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// Longest record that is read, in bytes: the configuration of a pod from Kubernetes is in it.
const LONGEST: u64 = 8 << 20;

/// Must a file survive a power cut?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// It is on disk when the call returns.
    Synced,
    /// A power cut may take it away, but never leaves half of it.
    Whole,
    /// The system writes it when it likes to.
    Eventual,
}

/// The part of a record that every version has.
#[derive(serde::Deserialize)]
struct Format {
    version: u32,
}

/// Writes `record` to `path`, aside first.
pub(crate) fn write_record(path: &Path, record: &impl Serialize, durability: Durability) -> Result<()> {
    let bytes =
        serde_json::to_vec(record).map_err(|source| Error::Damaged { path: path.to_owned(), source })?;
    replace(path, &bytes, 0o600, durability)
}

/// Reads a record of at most version `newest`; `None` if there is none.
pub(crate) fn read_record<T: DeserializeOwned>(path: &Path, newest: u32) -> Result<Option<T>> {
    let Some(bytes) = read(path)? else { return Ok(None) };
    let damaged = |source| Error::Damaged { path: path.to_owned(), source };
    // First: what else a newer one says is not known.
    let Format { version } = serde_json::from_slice(&bytes).map_err(damaged)?;
    if version > newest {
        return Err(Error::Newer { path: path.to_owned(), version });
    }
    serde_json::from_slice(&bytes).map_err(damaged).map(Some)
}

/// Replaces `path`, whatever our umask is.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32, durability: Durability) -> Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = Path::new(&name);
    let write = || -> std::io::Result<()> {
        let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600).custom_flags(flags);
        let mut file = options.open(new)?;
        file.write_all(bytes)?;
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
        match durability {
            Durability::Synced => file.sync_all()?,
            Durability::Whole => file.sync_data()?,
            Durability::Eventual => {}
        }
        std::fs::rename(new, path)
    };
    write().map_err(|error| {
        // What matters is the failure.
        let _ = std::fs::remove_file(new);
        Error::io("write", path)(error)
    })?;
    match (durability, path.parent()) {
        (Durability::Synced, Some(folder)) => sync_folder(folder),
        _ => Ok(()),
    }
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::io("sync", folder))
}

/// The content of a small file; `None` if there is none.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        file => file.map_err(Error::io("read", path))?,
    };
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    if bytes.len() as u64 > LONGEST {
        return Err(Error::io("read", path)(std::io::Error::from(ErrorKind::FileTooLarge)));
    }
    Ok(Some(bytes))
}

/// Makes a folder of ours, and those above it that are missing.
pub(crate) fn make_folder(path: &Path) -> Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(Error::io("create", path))
}

/// Removes a file; nothing there is success.
pub(crate) fn remove_file(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(Error::io("remove", path)),
    }
}

/// Removes an empty folder; nothing there is success.
pub(crate) fn remove_folder(path: &Path) -> Result<()> {
    match std::fs::remove_dir(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(Error::io("remove", path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_replaced_whole_and_newer_ones_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.json");
        assert_eq!(read_record::<serde_json::Value>(&path, 1).unwrap(), None);
        for durability in [Durability::Eventual, Durability::Synced] {
            let record = serde_json::json!({"version": 1, "text": format!("{durability:?}")});
            write_record(&path, &record, durability).unwrap();
            assert_eq!(read_record::<serde_json::Value>(&path, 1).unwrap(), Some(record));
        }
        assert!(matches!(read_record::<serde_json::Value>(&path, 0), Err(Error::Newer { version: 1, .. })));
        std::fs::write(&path, "{").unwrap();
        assert!(matches!(read_record::<serde_json::Value>(&path, 1), Err(Error::Damaged { .. })));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
