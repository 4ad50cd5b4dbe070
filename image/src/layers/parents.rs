//! Open directories on the way to the current entry.
//!
//! Archives list a directory's entries together, so the handles of the last path are kept and most entries cost no
//! resolution at all. Every step is one component, opened beneath its parent's handle and never through a link.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::error::{Error, Name, Result};

/// Handles that are kept; deeper directories are opened again for each entry, so that depth costs no descriptors.
const KEPT: usize = 64;

pub(super) const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What happens where a component is a symbolic link.
#[derive(Debug)]
pub(super) enum Links {
    /// Refused: a layer's folder holds only its own entries, so no honest layer needs this.
    Refused,
    /// Followed inside `root`, in which the tree stands at `under`: what a stage's file system needs (`/lib` is a
    /// link on most distributions). The kernel keeps the resolution inside.
    Within { root: OwnedFd, under: Vec<u8> },
}

/// What happens to a directory on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// It was there, and its entries are about to change.
    Changes,
    /// It was missing and has just been made.
    Made,
}

/// Sees each step with the directory's path and handle.
type Watch<'a> = &'a mut dyn FnMut(Step, &[&[u8]], BorrowedFd<'_>) -> Result<()>;

/// The current path's directories.
#[derive(Debug)]
pub(super) struct Parents {
    top: OwnedFd,
    links: Links,
    stack: Vec<(Vec<u8>, OwnedFd)>,
    deep: Option<OwnedFd>,
}

impl Parents {
    pub(super) fn new(top: OwnedFd, links: Links) -> Parents {
        Parents { top, links, stack: Vec::new(), deep: None }
    }

    /// The directory with these components, made where it is missing (0755 minus umask; `watch` sees each).
    pub(super) fn open(&mut self, path: &[&[u8]], watch: Watch<'_>) -> Result<BorrowedFd<'_>> {
        let known = self.stack.iter().zip(path).take_while(|((name, _), wanted)| name == *wanted).count();
        self.stack.truncate(known);
        self.deep = None;
        for depth in known..path.len() {
            let handle = self.enter(&path[..=depth], watch)?;
            if depth < KEPT {
                self.stack.push((path[depth].to_vec(), handle));
            } else {
                self.deep = Some(handle);
            }
        }
        Ok(self.current())
    }

    /// Forgets handles at and below a path, whose directory is about to be replaced.
    pub(super) fn forget(&mut self, path: &[&[u8]]) {
        let same = self.stack.iter().zip(path).take_while(|((name, _), wanted)| name == *wanted).count();
        if same == path.len() {
            self.stack.truncate(path.len().saturating_sub(1));
        }
        self.deep = None;
    }

    /// An existing directory, resolved by the kernel in one call.
    pub(super) fn reopen(&self, path: &[u8]) -> std::result::Result<OwnedFd, Errno> {
        match &self.links {
            Links::Refused => rustix::fs::openat2(&self.top, path, DIRECTORY, Mode::empty(), beneath()),
            Links::Within { root, under } => within(root.as_fd(), &[under.as_slice(), path].join(&b'/')),
        }
    }

    /// The top directory.
    pub(super) fn top(&self) -> BorrowedFd<'_> {
        self.top.as_fd()
    }

    /// The directory that was opened last.
    pub(super) fn current(&self) -> BorrowedFd<'_> {
        match (&self.deep, self.stack.last()) {
            (Some(handle), _) | (None, Some((_, handle))) => handle.as_fd(),
            (None, None) => self.top.as_fd(),
        }
    }

    fn enter(&self, path: &[&[u8]], watch: Watch<'_>) -> Result<OwnedFd> {
        let above = self.current();
        let name = path[path.len() - 1];
        let failed = |operation| move |errno: Errno| Error::io(operation, &path.join(&b'/'), errno);
        match rustix::fs::openat(above, name, DIRECTORY, Mode::empty()) {
            Ok(handle) => Ok(handle),
            Err(Errno::NOENT) => {
                watch(Step::Changes, &path[..path.len() - 1], above)?;
                rustix::fs::mkdirat(above, name, Mode::from_raw_mode(0o755))
                    .map_err(failed("create directory"))?;
                let handle = rustix::fs::openat(above, name, DIRECTORY, Mode::empty())
                    .map_err(failed("open directory"))?;
                watch(Step::Made, path, handle.as_fd())?;
                Ok(handle)
            }
            Err(Errno::LOOP | Errno::NOTDIR) => match &self.links {
                Links::Refused => Err(Error::Refused {
                    entry: Name::from(&path.join(&b'/')),
                    reason: "it should be a directory and is a link or a file",
                }),
                Links::Within { root, under } => {
                    within(root.as_fd(), &[&[under.as_slice()], path].concat().join(&b'/'))
                        .map_err(failed("enter directory"))
                }
            },
            Err(errno) => Err(failed("open directory")(errno)),
        }
    }
}

/// Resolution that ends with an error at any link and at any way out.
pub(super) fn beneath() -> ResolveFlags {
    ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS
}

/// Opens a directory with links resolved as if `root` were `/`.
pub(super) fn within(root: BorrowedFd<'_>, path: &[u8]) -> std::result::Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let path = if path.is_empty() { b"." } else { path };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    loop {
        // EAGAIN: somebody renamed on the way while `..` was resolved.
        match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN) => {}
            result => return result,
        }
    }
}
