//! Leases: what a working process protects from collection.
//!
//! A lease is alive as long as its lock file is locked, which the kernel undoes when the process ends in whatever
//! way. Its marks name finished results that nothing else refers to yet; `tmp/` holds unfinished ones.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    os::fd::OwnedFd,
    path::{Component, Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use rustix::fs::{FlockOperation, Mode, OFlags};

use super::{Store, StoreError, make_folder, sweep::Swept};
use crate::{
    digest::Digest,
    error::{IoContext, IoFailure, Result},
};

/// What a mark protects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kept {
    Blob(Digest),
    Layer(Digest),
}

/// A process's claim on unfinished and unnamed work; it ends when dropped.
#[derive(Debug)]
pub struct Lease {
    store: Store,
    folder: PathBuf,
    _lock: OwnedFd,
    added: Mutex<BTreeSet<Kept>>,
}

impl Store {
    /// Starts a lease. `purpose` is for people who look into the folder. What dead leases left is collected on the
    /// way, so one interrupted program costs the next one a moment, not the disk.
    pub fn lease(&self, purpose: &str) -> Result<Lease> {
        self.forget_unsynced_work()?;
        if self.has_dead_lease() {
            self.sweep()?;
        }
        // Shared: a sweeper, who holds it exclusively, never sees a lease without its lock.
        let hold = self.hold()?;
        let folder = self.path("leases").join(random_name());
        make_folder(&folder.join("tmp"))?;
        let path = folder.join("lock");
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let lock = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR).at("create", &path)?;
        // Somebody who probes for dead leases may have it for an instant.
        super::lock::flock(&lock, FlockOperation::LockExclusive, &path)?;
        drop(hold);
        let path = folder.join("purpose");
        fs::write(&path, format!("{purpose}, process {}\n", std::process::id())).at("write", path)?;
        Ok(Lease { store: self.clone(), folder, _lock: lock, added: Mutex::default() })
    }

    /// Whether `path` lies in the folder of a lease whose process is gone.
    pub fn is_abandoned(&self, path: &Path) -> bool {
        let leases = self.path("leases");
        let first = path.strip_prefix(&leases).ok().and_then(|below| below.components().next());
        matches!(first, Some(Component::Normal(name)) if is_dead(&leases.join(name)))
    }

    fn has_dead_lease(&self) -> bool {
        self.lease_folders().is_ok_and(|folders| folders.iter().any(|folder| is_dead(folder)))
    }

    pub(super) fn lease_folders(&self) -> Result<Vec<PathBuf>> {
        let path = self.path("leases");
        let entries = fs::read_dir(&path).at("list", &path)?;
        let folders: io::Result<Vec<_>> = entries.map(|entry| Ok(entry?.path())).collect();
        Ok(folders.at("list", &path)?)
    }
}

impl Lease {
    /// The store it belongs to.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// A folder on the layers' file system for unfinished work; everything in it goes when the lease ends.
    pub fn temporary_dir(&self) -> PathBuf {
        self.folder.join("tmp")
    }

    /// A name in [`Lease::temporary_dir`] that nothing has.
    pub fn temporary_path(&self) -> PathBuf {
        self.temporary_dir().join(random_name())
    }

    /// Protects a layer that is in the store; fails with `Missing` if it is not.
    pub fn keep_layer(&self, layer: &Digest) -> Result<()> {
        self.keep(Kept::Layer(*layer), &self.store.layer_folder(layer))
    }

    /// Protects a blob that is in the store; fails with `Missing` if it is not.
    pub fn keep_blob(&self, blob: &Digest) -> Result<()> {
        self.keep(Kept::Blob(*blob), &self.store.blob_path(blob))
    }

    /// Places a finished layer folder (`root/` in it), made in [`Lease::temporary_dir`], under its name and protects
    /// it. When it is there already the new one is thrown away. Returns whether it was new.
    pub fn add_layer(&self, finished: &Path, layer: &Digest) -> Result<bool> {
        self.place(finished, &self.store.layer_folder(layer), Kept::Layer(*layer))
    }

    pub(super) fn add_blob(&self, finished: &Path, blob: &Digest) -> Result<bool> {
        self.place(finished, &self.store.blob_path(blob), Kept::Blob(*blob))
    }

    /// Ends the lease and takes back what it added to the store and nothing else refers to: a failed load leaves
    /// the store as it was.
    pub fn discard(self) -> Result<Swept> {
        let added = std::mem::take(&mut *self.added.lock().unwrap_or_else(PoisonError::into_inner));
        let store = self.store.clone();
        drop(self);
        store.collect(&added)
    }

    fn keep(&self, kept: Kept, path: &Path) -> Result<()> {
        let _hold = self.store.hold()?;
        match path.symlink_metadata() {
            Ok(_) => self.mark(kept),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(kept.missing().into()),
            Err(error) => Err(IoFailure::new("examine", path, error).into()),
        }
    }

    fn place(&self, finished: &Path, path: &Path, kept: Kept) -> Result<bool> {
        let _hold = self.store.hold()?;
        self.mark(kept)?;
        let new = path.symlink_metadata().is_err() && {
            match fs::rename(finished, path) {
                // Somebody else's equal layer came first: a folder with entries is not replaced.
                Err(error) if error.raw_os_error() == Some(libc::ENOTEMPTY) => false,
                result => {
                    result.at("move into the store", path)?;
                    true
                }
            }
        };
        if new {
            self.added.lock().unwrap_or_else(PoisonError::into_inner).insert(kept);
        }
        Ok(new)
    }

    fn mark(&self, kept: Kept) -> Result<()> {
        let path = self.folder.join(kept.mark());
        File::create(&path).at("create", path)?;
        Ok(())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // With it goes what a killed program left in the trash. What cannot be removed now is for the next one.
        let emptied = self.store.trash(&self.folder).and_then(|_| self.store.empty_trash());
        if let Err(error) = emptied {
            tracing::debug!(folder = %self.folder.display(), %error, "left for the next lease");
        }
    }
}

impl Kept {
    fn mark(self) -> String {
        match self {
            Kept::Blob(digest) => format!("blob-{}", digest.hex()),
            Kept::Layer(digest) => format!("layer-{}", digest.hex()),
        }
    }

    fn from_mark(name: &str) -> Option<Kept> {
        let (kind, hex) = name.split_once('-')?;
        let digest = Digest::from_hex(hex).ok()?;
        match kind {
            "blob" => Some(Kept::Blob(digest)),
            "layer" => Some(Kept::Layer(digest)),
            _ => None,
        }
    }

    fn missing(self) -> StoreError {
        match self {
            Kept::Blob(digest) => StoreError::Missing { what: "blob", digest },
            Kept::Layer(digest) => StoreError::Missing { what: "layer", digest },
        }
    }
}

/// The marks in a lease's folder; a folder that just went away has none.
pub(super) fn marks(folder: &Path) -> Result<Vec<Kept>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.at("list", folder)?,
    };
    let mut marks = Vec::new();
    for entry in entries {
        let name = entry.at("list", folder)?.file_name();
        marks.extend(name.to_str().and_then(Kept::from_mark));
    }
    Ok(marks)
}

/// True when the lease's process is gone: its lock can be taken, or was never made.
pub(super) fn is_dead(folder: &Path) -> bool {
    let Ok(lock) = rustix::fs::open(folder.join("lock"), OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
    else {
        return true;
    };
    rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok()
}

/// 128 random bits as hexadecimal digits.
pub(super) fn random_name() -> String {
    let mut bytes = [0_u8; 16];
    // Fails only before the kernel's generator is seeded; the names below one folder still differ by time then.
    if rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).is_err() {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        bytes = (now.as_nanos() ^ u128::from(std::process::id()) << 96).to_ne_bytes();
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
