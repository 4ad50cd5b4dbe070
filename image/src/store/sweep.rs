//! Collection: mark from the roots and rename to the trash under the exclusive lock, delete after it.

use std::{collections::BTreeSet, fs, path::PathBuf};

use super::{
    Hold, Store, UNFINISHED,
    lease::{Kept, is_dead},
    remove_tree,
    roots::Reachable,
};
use crate::{
    digest::Digest,
    error::{IoContext, Result},
};

/// What a collection took away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// Folders of dead leases.
    pub leases: u64,
    /// Blobs that nothing referred to.
    pub blobs: Vec<Digest>,
    /// Layers that nothing referred to.
    pub layers: Vec<Digest>,
    /// Files with names that nothing in the store has.
    pub strays: u64,
}

impl Swept {
    /// True when there was nothing to collect.
    pub fn is_empty(&self) -> bool {
        *self == Swept::default()
    }
}

impl Store {
    /// Collects everything that no root leads to: dead leases, their unfinished and unnamed work, what is left of
    /// interrupted removals. Layers that the build cache mentions stay.
    pub fn sweep(&self) -> Result<Swept> {
        // Many small files, so before the lock: an entry that comes later has its layer in a live lease, or misses.
        let cached = self.cached_layers();
        let hold = self.hold_exclusive()?;
        let mut swept = Swept::default();
        for folder in self.lease_folders()?.iter().filter(|folder| is_dead(folder)) {
            match self.trash(folder) {
                // Its owner was just ending it.
                Err(_) if !folder.exists() => {}
                trashed => {
                    trashed?;
                    swept.leases += 1;
                }
            }
        }
        let reachable = self.reachable(&hold)?;
        let (garbage, strays) = self.unreferenced(&reachable)?;
        let worth = |kept: &Kept| matches!(kept, Kept::Layer(layer) if cached.contains(layer));
        self.trash_kept(garbage.into_iter().filter(|kept| !worth(kept)), &mut swept)?;
        // Nobody is writing these now: the lock is exclusive.
        for unfinished in ["format", "synced", "images/oci-layout", "images/index.json"] {
            remove_tree(&self.path(&format!("{unfinished}{UNFINISHED}")))?;
        }
        for stray in strays {
            self.trash(&stray)?;
            swept.strays += 1;
        }
        drop(hold);
        self.empty_trash()?;
        Ok(swept)
    }

    /// Collects those of `candidates` that no root leads to.
    pub(super) fn collect(&self, candidates: &BTreeSet<Kept>) -> Result<Swept> {
        let mut swept = Swept::default();
        if candidates.is_empty() {
            return Ok(swept);
        }
        let hold = self.hold_exclusive()?;
        let reachable = self.reachable(&hold)?;
        self.trash_kept(
            candidates.iter().copied().filter(|kept| !reachable.kept.contains(kept)),
            &mut swept,
        )?;
        drop(hold);
        self.empty_trash()?;
        Ok(swept)
    }

    /// Blobs and layers that no root leads to, and files that are neither.
    pub(super) fn unreferenced(&self, reachable: &Reachable) -> Result<(Vec<Kept>, Vec<PathBuf>)> {
        let (mut garbage, mut strays) = (Vec::new(), Vec::new());
        for (folder, kept) in
            [("images/blobs/sha256", Kept::Blob as fn(Digest) -> Kept), ("layers", Kept::Layer)]
        {
            let path = self.path(folder);
            for entry in fs::read_dir(&path).at("list", &path)? {
                let entry = entry.at("list", &path)?;
                match entry.file_name().to_str().map(Digest::from_hex) {
                    Some(Ok(digest)) if reachable.kept.contains(&kept(digest)) => {}
                    Some(Ok(digest)) => garbage.push(kept(digest)),
                    _ => strays.push(entry.path()),
                }
            }
        }
        garbage.sort();
        Ok((garbage, strays))
    }

    fn trash_kept(&self, garbage: impl Iterator<Item = Kept>, swept: &mut Swept) -> Result<()> {
        for kept in garbage {
            let (path, list) = match kept {
                Kept::Blob(digest) => (self.blob_path(&digest), &mut swept.blobs),
                Kept::Layer(digest) => (self.layer_folder(&digest), &mut swept.layers),
            };
            // A built layer is reached as a blob too, and has none.
            if path.symlink_metadata().is_err() {
                continue;
            }
            self.trash(&path)?;
            list.push(match kept {
                Kept::Blob(digest) | Kept::Layer(digest) => digest,
            });
        }
        Ok(())
    }

    /// Everything that an image alone leads to, for its removal.
    pub(super) fn parts_of(&self, _exclusive: &Hold, manifest: &Digest, media_type: &str) -> BTreeSet<Kept> {
        let mut parts = BTreeSet::from([Kept::Blob(*manifest)]);
        let Ok(image) = self.read_image(manifest, media_type) else { return parts };
        parts.insert(Kept::Blob(image.id));
        for layer in image.layers {
            parts.extend([Kept::Blob(layer.digest), Kept::Layer(layer.diff_id), Kept::Layer(layer.folder)]);
        }
        parts
    }
}
