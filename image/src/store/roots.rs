//! What must not be collected.

use std::{collections::BTreeSet, fs, io, path::Path};

use serde::Deserialize;

use super::{
    Hold, Store, StoreError,
    lease::{Kept, is_dead, marks},
};
use crate::{
    digest::Digest,
    document::{self, ImageConfig},
    error::{IoContext, IoFailure, Kind, Result},
};

/// Everything that a root leads to.
#[derive(Debug, Default)]
pub(super) struct Reachable {
    pub kept: BTreeSet<Kept>,
}

/// A container that uses an image.
#[derive(Debug, Clone)]
pub(super) struct User {
    pub id: String,
    pub manifest: Digest,
}

/// The part of `container.json` that matters here.
#[derive(Deserialize)]
struct ContainerRecord {
    image: Option<Digest>,
}

impl Store {
    /// Walks from all roots. Under the exclusive lock, so that nothing is being added meanwhile.
    pub(super) fn reachable(&self, _exclusive: &Hold) -> Result<Reachable> {
        let mut reachable = Reachable::default();
        for entry in self.names()?.manifests() {
            self.reach_image(&entry.manifest, &entry.media_type, &mut reachable)?;
        }
        for user in self.users()? {
            if let Ok(media_type) = self.media_type_of_manifest(&user.manifest) {
                self.reach_image(&user.manifest, &media_type, &mut reachable)?;
            }
        }
        for folder in self.lease_folders()?.iter().filter(|folder| !is_dead(folder)) {
            reachable.kept.extend(marks(folder)?);
        }
        Ok(reachable)
    }

    /// The containers that use images. A record that cannot be read stops the caller: what it protects is unknown.
    pub(super) fn users(&self) -> Result<Vec<User>> {
        let folder = self.containers_dir();
        let mut users = Vec::new();
        for entry in fs::read_dir(&folder).at("list", &folder)? {
            let entry = entry.at("list", &folder)?;
            let path = entry.path().join("container.json");
            let bytes = match fs::read(&path) {
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
                {
                    continue;
                }
                bytes => bytes.at("read", &path)?,
            };
            let record: ContainerRecord =
                serde_json::from_slice(&bytes).map_err(|error| StoreError::Damaged {
                    path: path.clone(),
                    reason: format!("{error} (rrun rm removes the container)"),
                })?;
            if let Some(manifest) = record.image {
                users.push(User { id: entry.file_name().to_string_lossy().into_owned(), manifest });
            }
        }
        Ok(users)
    }

    /// Adds an image with all it is made of. A damaged one keeps what can still be read of it.
    fn reach_image(&self, manifest: &Digest, media_type: &str, reachable: &mut Reachable) -> Result<()> {
        if !reachable.kept.insert(Kept::Blob(*manifest)) {
            return Ok(());
        }
        let Some(document) = damage_is_none(self.read_manifest(manifest, media_type))? else { return Ok(()) };
        reachable.kept.insert(Kept::Blob(document.config.digest));
        reachable.kept.extend(document.layers.iter().map(|layer| Kept::Blob(layer.digest)));
        let bytes = damage_is_none(self.read_blob(&document.config.digest, document::CONFIG_LIMIT))?;
        let Some(config) = bytes.and_then(|bytes| ImageConfig::parse(&bytes).ok()) else { return Ok(()) };
        reachable.kept.extend(config.rootfs.diff_ids.iter().map(|diff_id| Kept::Layer(*diff_id)));
        reachable.kept.extend(Digest::chain(&config.rootfs.diff_ids).into_iter().map(Kept::Layer));
        Ok(())
    }

    /// Layers that the build cache mentions: not a root, but worth keeping while the disk is not short.
    pub(super) fn cached_layers(&self) -> BTreeSet<Digest> {
        let mut layers = BTreeSet::new();
        collect_digests(&self.cache_dir(), 0, &mut layers);
        layers
    }
}

fn damage_is_none<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == Kind::Io => Err(error),
        Err(_) => Ok(None),
    }
}

/// Finds every `sha256:<hex>` in the small files below `folder`.
fn collect_digests(folder: &Path, depth: u32, into: &mut BTreeSet<Digest>) {
    let Ok(entries) = fs::read_dir(folder).map_err(|error| IoFailure::new("list", folder, error)) else {
        return;
    };
    for entry in entries.flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth < 3 => collect_digests(&entry.path(), depth + 1, into),
            Ok(kind) if kind.is_file() && entry.metadata().is_ok_and(|stat| stat.len() <= 64 << 10) => {
                let text = fs::read(entry.path()).unwrap_or_default();
                into.extend(digests_in(&String::from_utf8_lossy(&text)));
            }
            _ => {}
        }
    }
}

fn digests_in(text: &str) -> impl Iterator<Item = Digest> + '_ {
    text.match_indices("sha256:")
        .filter_map(|(at, prefix)| Digest::from_hex(text.get(at + prefix.len()..)?.get(..64)?).ok())
}
