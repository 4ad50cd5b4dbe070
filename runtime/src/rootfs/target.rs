//! Finding and making the places that mounts and devices go to, always from the root's descriptor.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::fault::{self, Defence};

/// Opens `path` (absolute in the container) as a handle, creating what is missing: folders, and at the end a folder
/// or an empty file.
pub fn open_or_create(root: BorrowedFd<'_>, path: &Path, directory: bool) -> Result<OwnedFd, Errno> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        match open(root, &path, OFlags::PATH) {
            Err(Errno::NOENT) => {}
            other => return other,
        }
        let parent = match ensure_parents(root, path.parent().ok_or(Errno::INVAL)?)? {
            Reached::Folder(parent) => parent,
            Reached::Link(way) => {
                let rest = path.strip_prefix(&way.link).map_err(|_| Errno::INVAL)?;
                path = follow(&way.link, &way.target).join(rest);
                continue;
            }
        };
        let name = Path::new(path.file_name().ok_or(Errno::INVAL)?);
        match rustix::fs::readlinkat(&parent, name, Vec::new()) {
            // Made where it leads, as /etc/resolv.conf of many systems to a file below /run.
            Ok(target) => path = follow(&path, Path::new(OsStr::from_bytes(target.as_bytes()))),
            Err(Errno::NOENT) => match create(parent.as_fd(), name, directory) {
                // Somebody else made it meanwhile: containers may share a volume.
                Err(Errno::EXIST) => {}
                other => return other,
            },
            Err(Errno::INVAL) => {}
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::LOOP)
}

/// Links that lead nowhere and are followed on the way to one place.
const MOST_LINKS: usize = 8;

/// The path that a link at `path` means, in words: the image chose both, and whatever it is, it is resolved inside the
/// root.
fn follow(path: &Path, target: &Path) -> PathBuf {
    let mut followed = PathBuf::from("/");
    for component in path.parent().into_iter().flat_map(Path::components).chain(target.components()) {
        match component {
            Component::RootDir => followed = PathBuf::from("/"),
            Component::ParentDir => drop(followed.pop()),
            Component::Normal(name) => followed.push(name),
            Component::CurDir | Component::Prefix(_) => {}
        }
    }
    followed
}

/// Opens `path` in the root. Links are followed inside the root; below /proc, /sys and /dev there must be none, for
/// these are made by us and a link there can only be planted by an image (CVE-2019-19921, CVE-2026-41579).
pub fn open(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let relative = path.strip_prefix("/").unwrap_or(path);
    let relative = if relative.as_os_str().is_empty() { Path::new(".") } else { relative };
    let mut resolve = ResolveFlags::NO_MAGICLINKS;
    if !fault::without(Defence::InRoot) {
        resolve |= ResolveFlags::IN_ROOT;
    }
    let kernels = ["/proc", "/sys", "/dev"].iter().any(|place| path.starts_with(place));
    if kernels && !fault::without(Defence::NoKernelLinks) {
        resolve |= ResolveFlags::NO_SYMLINKS;
    }
    open_resolved(root, relative, flags, resolve)
}

/// Opens `path`, whose first folder must be one, following links below it that stay below it. For what is to be hidden: where
/// it leads is hidden too.
pub fn open_below_first(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let relative = path.strip_prefix("/").unwrap_or(path);
    let first = relative.iter().next().ok_or(Errno::INVAL)?;
    let below = relative.strip_prefix(first).map_err(|_| Errno::INVAL)?;
    let first = open(root, &Path::new("/").join(first), OFlags::PATH | OFlags::DIRECTORY)?;
    open_resolved(first.as_fd(), below, flags, ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS)
}

fn open_resolved(
    folder: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
    resolve: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    loop {
        match rustix::fs::openat2(folder, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            // A rename elsewhere made the kernel unsure; it asks to try again (openat2(2)).
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
}

/// Makes a folder and its parents in the root.
pub fn create_directory(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    open_or_create(root, path, true)
}

fn create(parent: BorrowedFd<'_>, name: &Path, directory: bool) -> Result<OwnedFd, Errno> {
    if directory {
        return make_folder(parent, name);
    }
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o644))
}

/// Opens the deepest existing folder of `path` and makes the rest, one level by handle after the other.
fn ensure_parents(root: BorrowedFd<'_>, path: &Path) -> Result<Reached, Errno> {
    match open(root, path, OFlags::PATH | OFlags::DIRECTORY) {
        Err(Errno::NOENT) => {}
        other => return other.map(Reached::Folder),
    }
    let mut reached = PathBuf::from("/");
    let mut folder = open(root, &reached, OFlags::PATH | OFlags::DIRECTORY)?;
    for component in path.components() {
        let Component::Normal(name) = component else { continue };
        reached.push(name);
        folder = match open(root, &reached, OFlags::PATH | OFlags::DIRECTORY) {
            Err(Errno::NOENT) => match rustix::fs::readlinkat(&folder, Path::new(name), Vec::new()) {
                Ok(target) => {
                    let target = PathBuf::from(OsStr::from_bytes(target.as_bytes()));
                    return Ok(Reached::Link(Way { link: reached, target }));
                }
                Err(_) => make_folder(folder.as_fd(), Path::new(name))?,
            },
            other => other?,
        };
    }
    Ok(Reached::Folder(folder))
}

/// How far a way into the root went.
enum Reached {
    /// To its end.
    Folder(OwnedFd),
    /// To a link that leads nowhere yet.
    Link(Way),
}

/// A link in the root, and what it says.
struct Way {
    link: PathBuf,
    target: PathBuf,
}

/// A link that leads nowhere counts as existing here and is refused by the open that follows no link.
fn make_folder(parent: BorrowedFd<'_>, name: &Path) -> Result<OwnedFd, Errno> {
    match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn root() -> (tempfile::TempDir, OwnedFd) {
        let folder = tempfile::tempdir().unwrap();
        let handle =
            rustix::fs::open(folder.path(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        (folder, handle)
    }

    #[test]
    fn missing_places_are_made_inside() {
        let (folder, handle) = root();
        open_or_create(handle.as_fd(), Path::new("/a/b/c"), true).unwrap();
        open_or_create(handle.as_fd(), Path::new("/a/f/file"), false).unwrap();
        assert!(folder.path().join("a/b/c").is_dir());
        assert!(folder.path().join("a/f/file").is_file());
    }

    #[test]
    fn links_stay_inside_the_root() {
        let (folder, handle) = root();
        let outside = tempfile::tempdir().unwrap();
        symlink(outside.path(), folder.path().join("link")).unwrap();
        symlink("../../../../../../../../..", folder.path().join("up")).unwrap();
        // The target of the link does not exist inside: made there, or refused, but never outside.
        let _ = open_or_create(handle.as_fd(), Path::new("/link/x"), true);
        open_or_create(handle.as_fd(), Path::new("/up/y"), true).unwrap();
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
        assert!(folder.path().join("y").is_dir());
    }

    #[test]
    fn a_link_to_nothing_is_made_where_it_leads() {
        let (folder, handle) = root();
        let outside = tempfile::tempdir().unwrap();
        let etc = folder.path().join("etc");
        std::fs::create_dir(&etc).unwrap();
        symlink("../run/resolve/stub.conf", etc.join("resolv.conf")).unwrap();
        symlink(outside.path().join("made"), etc.join("out")).unwrap();
        symlink("loop", etc.join("loop")).unwrap();
        symlink("../../../../../etc/chain2", etc.join("chain1")).unwrap();
        symlink("/end", etc.join("chain2")).unwrap();
        symlink("../later", etc.join("below")).unwrap();
        let below = open_or_create(handle.as_fd(), Path::new("/etc/below/deep/file"), false).unwrap();
        drop(below);
        assert!(folder.path().join("later/deep/file").is_file());
        for name in ["resolv.conf", "out", "chain1"] {
            let path = Path::new("/etc").join(name);
            let made = open_or_create(handle.as_fd(), &path, false).unwrap();
            let seen = rustix::fs::fstat(open(handle.as_fd(), &path, OFlags::PATH).unwrap()).unwrap();
            assert_eq!(rustix::fs::fstat(&made).unwrap().st_ino, seen.st_ino, "{name}");
        }
        assert!(folder.path().join("run/resolve/stub.conf").is_file() && folder.path().join("end").is_file());
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
        assert_eq!(open_or_create(handle.as_fd(), Path::new("/etc/loop"), false).unwrap_err(), Errno::LOOP);
    }

    #[test]
    fn no_link_counts_where_the_kernel_file_systems_go() {
        let (folder, handle) = root();
        std::fs::create_dir(folder.path().join("real")).unwrap();
        for place in ["proc", "sys", "dev"] {
            symlink("real", folder.path().join(place)).unwrap();
            let path = Path::new("/").join(place);
            assert_eq!(open_or_create(handle.as_fd(), &path, true).unwrap_err(), Errno::LOOP);
            assert_eq!(open_or_create(handle.as_fd(), &path.join("x"), true).unwrap_err(), Errno::LOOP);
        }
        assert_eq!(std::fs::read_dir(folder.path().join("real")).unwrap().count(), 0);
    }
}
