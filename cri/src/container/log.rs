//! Where a container's log goes: below the pod's log folder, by handle, through no link (CVE-2025-0750).

use std::fs::DirBuilder;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::error::{Error, Result};

/// Checks a path that is relative to the pod's log folder; `None` where no log is wanted.
pub fn check(directory: &str, path: &str) -> Result<Option<PathBuf>> {
    const FIELD: &str = "config.log_path";
    if directory.is_empty() || path.is_empty() {
        return Ok(None);
    }
    if !Path::new(directory).is_absolute() {
        return Err(Error::invalid("sandbox_config.log_directory", format!("{directory:?} is not absolute")));
    }
    crate::text::printable(FIELD, path)?;
    let normal = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    match normal && !path.ends_with('/') {
        true => Ok(Some(PathBuf::from(path))),
        false => Err(Error::invalid(FIELD, format!("{path:?} leads out of the pod's log folder"))),
    }
}

/// Makes the folders of a log and returns its path, which has no links. The file itself is its writer's business.
pub fn prepare(directory: &str, path: &Path) -> Result<PathBuf> {
    let top = Path::new(directory);
    DirBuilder::new().recursive(true).mode(0o755).create(top).map_err(Error::io("create", top))?;
    let top = std::fs::canonicalize(top).map_err(Error::io("resolve", top))?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut folder: OwnedFd =
        rustix::fs::openat(CWD, &top, flags, Mode::empty()).map_err(Error::io("open", &top))?;
    let mut place = top.clone();
    for part in path.parent().into_iter().flat_map(Path::components) {
        place.push(part);
        let name = Path::new(part.as_os_str());
        match rustix::fs::mkdirat(&folder, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(Error::io("create", &place)(errno)),
        }
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        folder = rustix::fs::openat2(&folder, name, flags, Mode::empty(), resolve)
            .map_err(Error::io("open the folder", &place))?;
    }
    Ok(top.join(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_stays_below_its_folder() {
        assert_eq!(check("", "a/0.log").unwrap(), None);
        assert_eq!(check("/logs", "").unwrap(), None);
        assert_eq!(check("/logs", "a/0.log").unwrap(), Some("a/0.log".into()));
        for bad in ["../x", "/etc/passwd", "a/../../x", "a/", "./a", "a\nb"] {
            assert!(check("/logs", bad).is_err(), "{bad:?}");
        }
        assert!(check("relative", "a").is_err());
    }

    #[test]
    fn folders_are_made_and_links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().canonicalize().unwrap();
        let directory = top.join("pod");
        let text = directory.to_str().unwrap();
        assert_eq!(prepare(text, Path::new("web/0.log")).unwrap(), directory.join("web/0.log"));
        assert!(directory.join("web").is_dir());
        std::fs::create_dir(top.join("elsewhere")).unwrap();
        std::os::unix::fs::symlink(top.join("elsewhere"), directory.join("evil")).unwrap();
        assert!(prepare(text, Path::new("evil/0.log")).is_err());
        // The kubelet's own folder may be behind a link.
        std::os::unix::fs::symlink("pod", top.join("alias")).unwrap();
        let alias = top.join("alias");
        assert_eq!(
            prepare(alias.to_str().unwrap(), Path::new("web/1.log")).unwrap(),
            directory.join("web/1.log")
        );
    }
}
