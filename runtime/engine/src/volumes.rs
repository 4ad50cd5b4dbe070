//! Folders that an image or a user promises to a container before it starts.

use std::os::fd::BorrowedFd;
use std::path::Path;

use crate::error::{Error, Result};

/// Makes a volume of the image: the image promises that the folder is there. It is part of the container's own
/// changes, as long as there are no volumes that outlive it; the path is resolved inside the root, wherever its links
/// point (CVE-2022-23648).
pub fn make_volume(root: BorrowedFd<'_>, path: &str) -> Result<()> {
    let path = Path::new("/").join(path);
    runtime::rootfs::create_directory(root, &path)
        .map(drop)
        .map_err(|errno| Error::Volume { path, source: errno.into() })
}

/// Makes a missing folder of the host, as docker does.
pub fn make_source(path: &Path) -> Result<()> {
    match path.try_exists().map_err(Error::io("examine", path))? {
        true => Ok(()),
        false => std::fs::create_dir_all(path).map_err(Error::io("create", path)),
    }
}
