//! The volumes that an image promises.
//!
//! In a root that can be written they are folders of the container's own changes. A read-only root needs them elsewhere:
//! then they are folders beside it, with what the image has there.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use oci_spec::runtime::Mount;

use super::mounts::bind;
use crate::error::{Error, Result};

/// A volume with more files than this is no place for what a container writes.
const MOST: usize = 100_000;

/// Makes the volumes `wanted` of a container; returns what has to be mounted. `folder` is the container's.
pub fn make<'a>(
    root: &OwnedFd,
    folder: &Path,
    read_only_root: bool,
    wanted: impl Iterator<Item = &'a Path>,
) -> Result<Vec<Mount>> {
    let mut mounts = Vec::new();
    for (index, volume) in wanted.enumerate() {
        let place = runtime::rootfs::create_directory(root.as_fd(), volume)
            .map_err(Error::io("create the volume", volume))?;
        if read_only_root {
            let beside = folder.join("volumes").join(index.to_string());
            copy(&place, &beside)?;
            mounts.push(bind(&beside, volume, &["rbind", "rprivate", "rw"]));
        }
    }
    Ok(mounts)
}

/// Copies a folder of the image, which nobody changes meanwhile: nothing runs in the container yet. Links stay links, and
/// what is neither file, folder nor link is left out.
fn copy(from: &OwnedFd, to: &Path) -> Result<()> {
    let top = PathBuf::from(format!("/proc/self/fd/{}/.", from.as_fd().as_raw_fd()));
    fs::create_dir_all(to).map_err(Error::io("create", to))?;
    let mut folders = vec![(top, to.to_owned())];
    let mut count = 0;
    while let Some((source, target)) = folders.pop() {
        for entry in fs::read_dir(&source).map_err(Error::io("read", &source))? {
            let entry = entry.map_err(Error::io("read", &source))?;
            let (source, target) = (entry.path(), target.join(entry.file_name()));
            let kind = entry.file_type().map_err(Error::io("examine", &source))?;
            count += 1;
            if count > MOST {
                let reason = format!("a volume of the image has more than {MOST} files");
                return Err(Error::invalid("config.image", reason));
            }
            if kind.is_dir() {
                fs::create_dir(&target).map_err(Error::io("create", &target))?;
                folders.push((source, target));
            } else if kind.is_file() {
                fs::copy(&source, &target).map_err(Error::io("copy to", &target))?;
                take_over(&source, &target)?;
            } else if kind.is_symlink() {
                let link = fs::read_link(&source).map_err(Error::io("read", &source))?;
                symlink(link, &target).map_err(Error::io("create", &target))?;
            }
        }
        // Last, as it may be one that nobody may write.
        take_over(&source, &target)?;
    }
    Ok(())
}

/// Owner and mode.
fn take_over(source: &Path, target: &Path) -> Result<()> {
    let metadata = fs::metadata(source).map_err(Error::io("examine", source))?;
    lchown(target, Some(metadata.uid()), Some(metadata.gid()))
        .and_then(|()| fs::set_permissions(target, PermissionsExt::from_mode(metadata.mode() & 0o7777)))
        .map_err(Error::io("set the owner of", target))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_only_root_has_its_volumes_beside_it_with_their_content() {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("data");
        fs::create_dir_all(data.join("sub")).unwrap();
        fs::write(data.join("sub/file"), "content").unwrap();
        fs::set_permissions(&data, PermissionsExt::from_mode(0o1777)).unwrap();
        symlink("/etc/passwd", data.join("link")).unwrap();
        let handle: OwnedFd = fs::File::open(root.path()).unwrap().into();
        let folder = tempfile::tempdir().unwrap();
        let volumes = [Path::new("/data"), Path::new("/new")];
        assert!(make(&handle, folder.path(), false, volumes.into_iter()).unwrap().is_empty());
        assert!(root.path().join("new").is_dir());
        let mounts = make(&handle, folder.path(), true, volumes.into_iter()).unwrap();
        let beside = mounts[0].source().clone().unwrap();
        assert_eq!(fs::read_to_string(beside.join("sub/file")).unwrap(), "content");
        assert_eq!(fs::metadata(&beside).unwrap().mode() & 0o7777, 0o1777);
        assert_eq!(fs::read_link(beside.join("link")).unwrap(), Path::new("/etc/passwd"));
        assert_eq!(mounts[1].destination(), Path::new("/new"));
    }
}
