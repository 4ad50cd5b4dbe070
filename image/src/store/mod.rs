//! The store on disk: OCI image layout, unpacked layers, leases, locks.
//!
//! ```text
//! <root>/format              {"format":1}: a newer one is refused, never rewritten
//! <root>/gate, <root>/lock   see below
//! <root>/synced              boot id; its mtime is the start of the last sync of the file system
//! <root>/images/             OCI image layout: oci-layout, index.json, blobs/sha256/<hex>
//! <root>/layers/<hex>/       unpacked layer: root/ is an overlay lowerdir; <hex> is a diff id, or a chain id
//! <root>/leases/<id>/        lock (held while alive), tmp/, and one empty file blob-<hex> or layer-<hex> per result
//! <root>/cache/              build cache; what its entries mention survives a sweep, but is no root of collection
//! <root>/containers/<id>/    container.json: `image` is the digest of the manifest that it uses; its owner removes it
//! <root>/trash/              renamed here first, deleted later by nobody's hot path
//! ```
//!
//! What always holds:
//! - Files are written beside and renamed: readers, who take no lock, see the old or the new. `index.json` is read
//!   again when its inode or ctime changed, so each process sees at once what another one named.
//! - Durable before named: the file system is synced once before an entry of `index.json` first refers to an image.
//!   Nothing else is synced. After a boot, work that no sync covered is dropped before anyone can reuse it.
//! - Roots of collection are `index.json`, `containers/*` and live leases. A lease whose lock can be taken is dead.
//! - The store lock is held for milliseconds: shared while a result is placed under its final name and marked in a
//!   lease, exclusive while a name changes or garbage is renamed to `trash/`. Both pass the gate first, so a writer
//!   waits for the readers inside, not for those who keep coming. Deletion happens after the lock is released.
//! - Every folder is 0700, set again when the store is opened.

mod blobs;
mod boot;
mod check;
mod error;
mod images;
mod lease;
mod lock;
mod names;
mod remove;
mod roots;
mod sweep;
mod trash;

use std::{
    fs,
    io::Write,
    os::{fd::OwnedFd, unix::fs::DirBuilderExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

pub use blobs::BlobWriter;
pub use check::{CheckReport, Problem};
pub use error::StoreError;
pub use images::{Image, LayerDescriptor};
pub use lease::Lease;
pub use lock::Hold;
pub use remove::Removed;
pub use sweep::Swept;
pub use trash::remove_tree;

use crate::{
    digest::Digest,
    error::{IoContext, Result},
};
use names::CachedIndex;

/// Ends the name of a file of the layout that is being written.
const UNFINISHED: &str = ".new";
/// What this program writes and understands.
const FORMAT: u64 = 1;
const FOLDERS: [&str; 10] = [
    "images",
    "images/blobs",
    "images/blobs/sha256",
    "layers",
    "leases",
    "cache",
    "containers",
    "pods",
    "trash",
    ".",
];

/// The image store below one root folder. Cheap to clone; clones share the cached index.
#[derive(Debug, Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    root: PathBuf,
    folder: OwnedFd,
    index: Mutex<Option<CachedIndex>>,
}

#[derive(Serialize, Deserialize)]
struct Format {
    format: u64,
}

impl Store {
    /// Opens the store below `root`, making it if there is none.
    pub fn open(root: &Path) -> Result<Store> {
        make_folder(root)?;
        let root = fs::canonicalize(root).at("resolve", root)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(&root, flags, Mode::empty()).at("open", &root)?;
        let store = Store { shared: Arc::new(Shared { root, folder, index: Mutex::new(None) }) };
        store.check_owner()?;
        store.check_format()?;
        store.assert_folders()?;
        Ok(store)
    }

    /// The root folder, absolute.
    pub fn root(&self) -> &Path {
        &self.shared.root
    }

    /// The overlay lowerdir of a layer; `layer` is the `folder` of its [`LayerDescriptor`].
    pub fn layer_path(&self, layer: &Digest) -> PathBuf {
        self.layer_folder(layer).join("root")
    }

    /// The folder of a layer: `root/` and what the unpacker notes beside it.
    pub fn layer_folder(&self, layer: &Digest) -> PathBuf {
        self.path("layers").join(layer.hex())
    }

    /// Where the build cache lives.
    pub fn cache_dir(&self) -> PathBuf {
        self.path("cache")
    }

    /// Where containers live.
    pub fn containers_dir(&self) -> PathBuf {
        self.path("containers")
    }

    /// Makes everything written so far durable, once for the whole file system.
    pub fn sync(&self) -> Result<()> {
        let start = std::time::SystemTime::now();
        rustix::fs::syncfs(&self.shared.folder).at("sync the file system of", self.root())?;
        self.note_sync(&self.hold_exclusive()?, start)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.shared.root.join(name)
    }

    fn check_owner(&self) -> Result<()> {
        let stat = rustix::fs::fstat(&self.shared.folder).at("examine", self.root())?;
        let user = rustix::process::geteuid().as_raw();
        if stat.st_uid != user && user != 0 {
            let path = self.root().to_path_buf();
            return Err(StoreError::ForeignOwner { path, owner: stat.st_uid, user }.into());
        }
        Ok(())
    }

    fn check_format(&self) -> Result<()> {
        let path = self.path("format");
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return self.initialise(),
            Err(error) => return Err(crate::error::IoFailure::new("read", path, error).into()),
        };
        let damaged = |error: serde_json::Error| StoreError::Damaged { path, reason: error.to_string() };
        let found = serde_json::from_slice::<Format>(&text).map_err(damaged)?.format;
        if found > FORMAT {
            return Err(
                StoreError::NewerFormat { path: self.root().to_path_buf(), found, known: FORMAT }.into()
            );
        }
        Ok(())
    }

    /// Lays out an empty store. Several processes may do so at once.
    fn initialise(&self) -> Result<()> {
        for folder in FOLDERS {
            make_folder(&self.path(folder))?;
        }
        let hold = self.hold_exclusive()?;
        self.write_beside(&hold, "images/oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        let format = serde_json::to_vec(&Format { format: FORMAT }).unwrap_or_default();
        self.write_beside(&hold, "format", &format)
    }

    /// Writes a small file under another name and renames it. The lock is exclusive, so one other name is enough,
    /// and what a crash leaves of it is overwritten.
    fn write_beside(&self, _exclusive: &Hold, name: &str, bytes: &[u8]) -> Result<()> {
        let (path, beside) = (self.path(name), self.path(&format!("{name}{UNFINISHED}")));
        let mut file = fs::File::create(&beside).at("create", &beside)?;
        file.write_all(bytes).at("write", &beside)?;
        // Once in a store's life. After a power cut an empty `format` would read as a damaged store.
        file.sync_all().at("sync", &beside)?;
        fs::rename(&beside, &path).at("rename", &path)?;
        Ok(())
    }

    /// Puts back modes that a restore or a careless hand changed.
    fn assert_folders(&self) -> Result<()> {
        for name in FOLDERS {
            let path = self.path(name);
            let stat =
                match rustix::fs::statat(&self.shared.folder, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW) {
                    Err(rustix::io::Errno::NOENT) => {
                        make_folder(&path)?;
                        continue;
                    }
                    stat => stat.at("examine", &path)?,
                };
            if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::Directory {
                return Err(StoreError::Damaged { path, reason: "it is not a folder".into() }.into());
            }
            if stat.st_mode & 0o7777 != 0o700 {
                rustix::fs::chmodat(&self.shared.folder, name, Mode::RWXU, rustix::fs::AtFlags::empty())
                    .at("set the mode of", &path)?;
            }
        }
        Ok(())
    }
}

fn make_folder(path: &Path) -> Result<()> {
    Ok(fs::DirBuilder::new().recursive(true).mode(0o700).create(path).at("create", path)?)
}

#[cfg(test)]
mod tests;
