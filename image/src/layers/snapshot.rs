//! Snapshots: layers stacked by overlayfs into one tree, handed out as the descriptor of a detached mount.
//!
//! Nothing is attached anywhere: the mount lives as long as its descriptor (or the mount namespace it is moved into),
//! so a `kill -9` leaves nothing on the host. Layers travel as descriptors, because option strings end at 255 bytes
//! while stacks may have 500 layers.
//!
//! | kernel | since | else |
//! | --- | --- | --- |
//! | layer as descriptor (`FSCONFIG_SET_FD`) | 6.13 | `lowerdir+` with `/proc/self/fd/N` |
//! | one `lowerdir+` for each layer | 6.8 | one `lowerdir` string, up to 255 bytes |

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_fd, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

use super::attributes::{Attributes, OPAQUE};
use super::error::{Error, Result};

/// The most lower layers that the kernel stacks.
pub const MAXIMUM_LAYERS: usize = 500;

/// The kernel's limit on one option string, with its terminator.
const OPTION_BYTES: usize = 256;

/// Options whose defaults differ between distributions, so each is always given.
const OPTIONS: [(&str, &str); 5] = [
    ("index", "off"),
    ("metacopy", "off"),
    ("redirect_dir", "nofollow"),
    ("nfs_export", "off"),
    ("xino", "auto"),
];

/// A stack of layers, writable when it has an upper.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overlay {
    /// The folders of the layers, lowest first. May be empty: the base is then an empty directory.
    pub lower: Vec<PathBuf>,
    /// Where writes go; without it the tree is read-only.
    pub upper: Option<Upper>,
    /// Skip syncs on the upper: for trees that are synced once later, or never. Such an upper cannot be mounted a
    /// second time unless its `work` is made anew.
    pub volatile: bool,
}

/// The writable side of an overlay: two directories on one file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upper {
    /// Receives what is written.
    pub upper: PathBuf,
    /// The kernel's scratch space.
    pub work: PathBuf,
}

impl Upper {
    /// Makes `upper/` and `work/` below `folder`, the upper with the attributes of the image's root: with a bare 0700
    /// it would lock every user but root out of the container.
    pub fn create(folder: &Path, root: &Attributes) -> Result<Upper> {
        let made = Upper { upper: folder.join("upper"), work: folder.join("work") };
        for path in [&made.upper, &made.work] {
            rustix::fs::mkdir(path, Mode::RWXU)
                .map_err(|errno| Error::io("create directory", path.as_path(), errno))?;
        }
        let handle = open_directory(&made.upper)
            .map_err(|errno| Error::io("open directory", made.upper.as_path(), errno))?;
        root.apply_to_directory(handle.as_fd(), made.upper.as_path().into())?;
        Ok(made)
    }
}

/// The attributes of an image's root: those of the highest layer that describes it, else the default. A layer without
/// an entry for its root has a folder with default attributes, which must not hide what a layer below says.
pub fn root_attributes(lower: &[PathBuf]) -> Result<Attributes> {
    let default = Attributes::default();
    for path in lower.iter().rev() {
        let handle = open_lower(path)?;
        let found = Attributes::of(handle.as_fd(), path.as_path().into())?;
        if (found.mode, found.uid, found.gid, &found.xattrs) != (default.mode, 0, 0, &default.xattrs) {
            return Ok(found);
        }
    }
    Ok(default)
}

impl Overlay {
    /// Mounts the stack and returns the detached mount's root.
    ///
    /// Errors name the layer that cannot be opened, else the kernel's own reason.
    pub fn mount_detached(&self) -> Result<OwnedFd> {
        let mut lower = self.open_lower()?;
        // Overlayfs wants one lower layer always and two when nothing is writable. An empty directory that is already
        // unlinked serves: no plain bind mount, whose read-only flag a container could clear.
        let least = if self.upper.is_some() { 1 } else { 2 };
        while lower.len() < least {
            lower.push((PathBuf::from("(empty)"), empty_directory()?));
        }
        if lower.len() > MAXIMUM_LAYERS {
            return Err(Error::Limit { what: "layers", limit: MAXIMUM_LAYERS as u64 });
        }
        let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)
            .map_err(|errno| refused("open a file system context", None, errno))?;
        let context = Context(context);
        context.string("source", "hull")?;
        context.lower(&lower)?;
        // The descriptors stay open until the superblock exists: the fallback names them by number.
        let mut _held = Vec::new();
        if let Some(upper) = &self.upper {
            for (key, path) in [("upperdir", &upper.upper), ("workdir", &upper.work)] {
                let handle = open_directory(path)
                    .map_err(|errno| Error::io("open overlay directory", path.as_path(), errno))?;
                context.directory(key, key, path, handle.as_fd())?;
                _held.push(handle);
            }
            if self.volatile {
                fsconfig_set_flag(context.0.as_fd(), "volatile")
                    .map_err(|errno| context.refused("set volatile".into(), errno))?;
            }
        }
        for (key, value) in OPTIONS {
            context.string(key, value)?;
        }
        fsconfig_create(context.0.as_fd()).map_err(|errno| {
            let writable = self
                .upper
                .as_ref()
                .map_or(String::new(), |upper| format!(", upperdir {}", upper.upper.display()));
            context.refused(format!("create it from {} layers{writable}", lower.len()), errno)
        })?;
        fsmount(context.0.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
            .map_err(|errno| context.refused("get a mount".into(), errno))
    }

    /// The lower layers that count, highest first: those below an opaque root are hidden as a whole. The kernel does
    /// not look for that mark on the root of a layer, so it is honoured here.
    fn open_lower(&self) -> Result<Vec<(PathBuf, OwnedFd)>> {
        let mut open = Vec::with_capacity(self.lower.len());
        for path in self.lower.iter().rev() {
            // An image may have a layer twice (two steps that changed nothing), which overlayfs refuses. All that the
            // lower one does, the higher one does again.
            if open.iter().any(|(seen, _)| seen == path) {
                continue;
            }
            let handle = open_lower(path)?;
            let mut mark = [0_u8; 1];
            let hides_all = rustix::fs::fgetxattr(&handle, OPAQUE, &mut mark) == Ok(1) && mark == *b"y";
            open.push((path.clone(), handle));
            if hides_all {
                break;
            }
        }
        Ok(open)
    }
}

/// A file system context that is being configured.
struct Context(OwnedFd);

impl Context {
    fn string(&self, key: &str, value: &str) -> Result<()> {
        fsconfig_set_string(self.0.as_fd(), key, value)
            .map_err(|errno| self.refused(format!("set {key}={value}"), errno))
    }

    /// Passes one directory by descriptor, or by the name of that descriptor on kernels that do not take descriptors.
    fn directory(&self, key: &str, fallback: &str, path: &Path, handle: BorrowedFd<'_>) -> Result<()> {
        match fsconfig_set_fd(self.0.as_fd(), key, handle) {
            Err(Errno::INVAL | Errno::NOTSUP) => {}
            Ok(()) => return Ok(()),
            Err(errno) => return Err(self.refused(format!("use {key} {}", path.display()), errno)),
        }
        let name = format!("/proc/self/fd/{}", handle.as_raw_fd());
        fsconfig_set_string(self.0.as_fd(), fallback, name.as_str())
            .map_err(|errno| self.refused(format!("use {key} {}", path.display()), errno))
    }

    /// Adds the layers, highest first.
    fn lower(&self, layers: &[(PathBuf, OwnedFd)]) -> Result<()> {
        for (index, (path, handle)) in layers.iter().enumerate() {
            match self.directory("lowerdir+", "lowerdir+", path, handle.as_fd()) {
                Err(Error::Overlay { source, .. }) if index == 0 && is_unknown_option(&source) => {
                    return self.lower_as_one_string(layers);
                }
                result => result?,
            }
        }
        Ok(())
    }

    fn lower_as_one_string(&self, layers: &[(PathBuf, OwnedFd)]) -> Result<()> {
        let names: Vec<String> =
            layers.iter().map(|(_, handle)| format!("/proc/self/fd/{}", handle.as_raw_fd())).collect();
        let joined = names.join(":");
        if joined.len() >= OPTION_BYTES {
            return Err(Error::Unsupported("a stack of this many layers before Linux 6.8"));
        }
        self.string("lowerdir", &joined)
    }

    fn refused(&self, step: String, errno: Errno) -> Error {
        refused(&step, Some(self), errno)
    }

    /// What the kernel logged on the context: lines such as `e overlay: reason`.
    fn log(&self) -> String {
        let mut text = Vec::new();
        let mut line = [0_u8; 1024];
        // One message for each read, ENODATA after the last; the kernel keeps at most eight.
        while let Ok(length @ 1..) = rustix::io::read(&self.0, &mut line) {
            text.push(String::from_utf8_lossy(&line[..length]).trim_end().to_owned());
        }
        text.join("; ")
    }
}

fn refused(step: &str, context: Option<&Context>, errno: Errno) -> Error {
    let log = context.map(Context::log).unwrap_or_default();
    let detail = if log.is_empty() { log } else { format!(" ({log})") };
    Error::Overlay { step: step.to_owned(), detail, source: errno.into() }
}

fn is_unknown_option(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::INVAL.raw_os_error())
}

fn open_directory(path: &Path) -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

fn open_lower(path: &Path) -> Result<OwnedFd> {
    open_directory(path).map_err(|errno| Error::Lower {
        path: path.into(),
        problem: match errno {
            Errno::NOENT => "missing",
            Errno::NOTDIR | Errno::LOOP => "not a directory",
            _ => "not accessible",
        },
        source: errno.into(),
    })
}

/// An empty directory that has no name any more.
fn empty_directory() -> Result<OwnedFd> {
    let mut template = std::env::temp_dir();
    template.push(format!("hull-empty-{}-{:x}", std::process::id(), unique()));
    let path = CString::new(template.as_os_str().as_encoded_bytes())
        .map_err(|_| Error::Unsupported("a TMPDIR with a NUL in it"))?;
    let object = || template.as_path().into();
    rustix::fs::mkdir(&path, Mode::RWXU | Mode::RGRP | Mode::XGRP | Mode::ROTH | Mode::XOTH).map_err(
        |errno| Error::Io { operation: "create directory", object: object(), source: errno.into() },
    )?;
    let opened = open_directory(&template);
    // Unlinked at once: what has no name cannot be filled by others, nor be left behind.
    let removed = rustix::fs::rmdir(&path);
    removed.map_err(|errno| Error::Io {
        operation: "remove directory",
        object: object(),
        source: errno.into(),
    })?;
    opened.map_err(|errno| Error::Io { operation: "open directory", object: object(), source: errno.into() })
}

fn unique() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Reads a file of a detached mount.
    fn read(mount: &OwnedFd, name: &str) -> io::Result<String> {
        let file = rustix::fs::openat(mount, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        io::read_to_string(fs::File::from(file))
    }

    fn layer(folder: &Path, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let path = folder.join(name);
        fs::create_dir_all(&path).unwrap();
        for (name, content) in files {
            fs::create_dir_all(path.join(name).parent().unwrap()).unwrap();
            fs::write(path.join(name), content).unwrap();
        }
        path
    }

    #[test]
    fn a_stack_shows_the_highest_layer_and_writes_to_the_upper() {
        let folder = tempfile::tempdir().unwrap();
        let low = layer(folder.path(), "low", &[("both", "low"), ("low", "low")]);
        let high = layer(folder.path(), "high", &[("both", "high")]);
        let root = Attributes { mode: 0o711, uid: 7, gid: 8, ..Attributes::default() };
        let upper = Upper::create(folder.path(), &root).unwrap();
        let overlay = Overlay { lower: vec![low, high], upper: Some(upper.clone()), volatile: true };
        let mount = overlay.mount_detached().unwrap();
        assert_eq!(read(&mount, "both").unwrap(), "high");
        assert_eq!(read(&mount, "low").unwrap(), "low");
        let stat = rustix::fs::fstat(&mount).unwrap();
        assert_eq!((stat.st_mode & 0o7777, stat.st_uid, stat.st_gid), (0o711, 7, 8));
        rustix::fs::openat(&mount, "new", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap();
        assert!(upper.upper.join("new").exists());
        let mounted = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounted.contains(folder.path().to_str().unwrap()));
    }

    #[test]
    fn a_layer_that_an_image_has_twice_counts_once() {
        let folder = tempfile::tempdir().unwrap();
        let twice = layer(folder.path(), "twice", &[("both", "twice"), ("own", "twice")]);
        let between = layer(folder.path(), "between", &[("both", "between"), ("low", "between")]);
        let lower = vec![twice.clone(), between, twice];
        let mount = Overlay { lower, ..Overlay::default() }.mount_detached().unwrap();
        assert_eq!(read(&mount, "both").unwrap(), "twice");
        assert_eq!(read(&mount, "low").unwrap(), "between");
    }

    #[test]
    fn one_layer_or_none_without_an_upper_is_a_read_only_tree() {
        let folder = tempfile::tempdir().unwrap();
        let only = layer(folder.path(), "only", &[("file", "content")]);
        let mount = Overlay { lower: vec![only], ..Overlay::default() }.mount_detached().unwrap();
        assert_eq!(read(&mount, "file").unwrap(), "content");
        let error =
            rustix::fs::openat(&mount, "new", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap_err();
        assert_eq!(error, Errno::ROFS);
        Overlay::default().mount_detached().unwrap();
    }

    #[test]
    fn no_layer_with_an_upper_is_an_empty_writable_tree() {
        let folder = tempfile::tempdir().unwrap();
        let upper = Upper::create(folder.path(), &Attributes::default()).unwrap();
        let mount = Overlay { upper: Some(upper), ..Overlay::default() }.mount_detached().unwrap();
        rustix::fs::mkdirat(&mount, "made", Mode::RWXU).unwrap();
    }

    #[test]
    fn a_missing_layer_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let there = layer(folder.path(), "there", &[]);
        let missing = folder.path().join("missing");
        let error = Overlay { lower: vec![there, missing.clone()], ..Overlay::default() }
            .mount_detached()
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("cannot mount overlay: lowerdir {} is missing", missing.display())
        );
    }

    #[test]
    fn hundreds_of_layers_stack() {
        let folder = tempfile::tempdir().unwrap();
        let mut lower: Vec<PathBuf> = (0..MAXIMUM_LAYERS)
            .map(|index| layer(folder.path(), &index.to_string(), &[(&format!("file{index}"), "x")]))
            .collect();
        let mount = Overlay { lower: lower.clone(), ..Overlay::default() }.mount_detached().unwrap();
        assert_eq!(read(&mount, "file0").unwrap(), "x");
        lower.push(layer(folder.path(), "more", &[]));
        let error = Overlay { lower, ..Overlay::default() }.mount_detached().unwrap_err();
        assert!(error.to_string().contains("layers above the limit of 500"), "{error}");
    }

    #[test]
    fn nothing_shows_through_a_layer_whose_root_is_opaque() {
        let folder = tempfile::tempdir().unwrap();
        let low = layer(folder.path(), "low", &[("hidden", "low")]);
        let high = layer(folder.path(), "high", &[("file", "high")]);
        let handle = open_directory(&high).unwrap();
        rustix::fs::fsetxattr(&handle, OPAQUE, b"y", rustix::fs::XattrFlags::empty()).unwrap();
        let mount = Overlay { lower: vec![low, high], ..Overlay::default() }.mount_detached().unwrap();
        assert_eq!(read(&mount, "file").unwrap(), "high");
        assert!(read(&mount, "hidden").is_err());
    }
}
