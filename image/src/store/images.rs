//! Images: finding, listing, making and naming them.

use std::{collections::BTreeMap, path::PathBuf};

use super::{Lease, Store, StoreError, names::Entry};
use crate::{
    digest::Digest,
    document::{self, Descriptor, DocumentError, ImageConfig, Manifest, Timestamp, media_type},
    error::{Error, Result},
    layers,
    reference::Reference,
};

/// One image of the store, read and verified.
#[derive(Debug, Clone)]
pub struct Image {
    /// Digest of the config: what people call the image id.
    pub id: Digest,
    /// Digest of the manifest.
    pub manifest: Digest,
    /// Its names, in order; empty for an image that lost them.
    pub names: Vec<Reference>,
    /// The config.
    pub config: ImageConfig,
    /// The layers, lowest first.
    pub layers: Vec<LayerDescriptor>,
    /// Bytes of all layers as the manifest counts them (compressed where they came so).
    pub size: u64,
    /// When it was made, if the config says so.
    pub created: Option<Timestamp>,
}

/// One layer of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerDescriptor {
    /// How the blob is packed.
    pub media_type: String,
    /// Digest of the blob. A built layer has none: then this is the diff id.
    pub digest: Digest,
    /// Length of the blob, or of the tar that would be made.
    pub size: u64,
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
    /// Name of its folder below `layers/`: the diff id, or the chain id for one that depends on what is below.
    pub folder: Digest,
}

impl Image {
    /// The overlay lowerdirs, lowest first.
    pub fn layer_roots(&self, store: &Store) -> Vec<PathBuf> {
        self.layers.iter().map(|layer| store.layer_path(&layer.folder)).collect()
    }
}

impl LayerDescriptor {
    /// A layer made here: no blob, its tar is made from the folder when needed.
    pub fn built(diff_id: Digest, size: u64) -> LayerDescriptor {
        LayerDescriptor {
            media_type: media_type::LAYER.into(),
            digest: diff_id,
            size,
            diff_id,
            folder: diff_id,
        }
    }
}

impl Store {
    /// All images, one per image id with all its names, newest first.
    pub fn images(&self) -> Result<Vec<Image>> {
        let names = self.names()?;
        let mut images: BTreeMap<Digest, Image> = BTreeMap::new();
        for entry in names.manifests() {
            let image = self.read_image(&entry.manifest, &entry.media_type)?;
            match images.entry(image.id) {
                std::collections::btree_map::Entry::Vacant(free) => drop(free.insert(image)),
                std::collections::btree_map::Entry::Occupied(mut same) => {
                    same.get_mut().names.extend(image.names)
                }
            }
        }
        let mut images: Vec<Image> = images.into_values().collect();
        images.iter_mut().for_each(|image| image.names.sort());
        images.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.names.cmp(&b.names)));
        Ok(images)
    }

    /// The image that a name, `sha256:<id>` or unambiguous start of an id stands for, in this order.
    pub fn find(&self, name: &str) -> Result<Image> {
        let names = self.names()?;
        let reference = name.parse::<Reference>();
        if let Some(entry) = reference.as_ref().ok().and_then(|reference| names.get(reference)) {
            return self.read_image(&entry.manifest, &entry.media_type);
        }
        if let Ok(pinned @ Reference { digest: Some(digest), .. }) = &reference {
            let wanted = pinned.repository();
            let same = |entry: &&Entry| entry.name.as_ref().is_some_and(|name| name.repository() == wanted);
            if let Some(entry) = names.entries.iter().filter(same).find(|entry| entry.manifest == *digest) {
                return self.read_image(&entry.manifest, &entry.media_type);
            }
        }
        let prefix = name.strip_prefix("sha256:").unwrap_or(name);
        match !prefix.is_empty()
            && prefix.len() <= 64
            && prefix.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        {
            true => self.find_by_prefix(name, prefix),
            false => match reference {
                Ok(reference) => Err(StoreError::NoSuchImage { name: reference.familiar() }.into()),
                Err(error) => Err(error.into()),
            },
        }
    }

    /// The image with that manifest digest, named or not.
    pub fn image_by_manifest(&self, manifest: &Digest) -> Result<Image> {
        let names = self.names()?;
        let media_type = names
            .entries
            .iter()
            .find(|entry| entry.manifest == *manifest)
            .map(|entry| entry.media_type.clone());
        match media_type {
            Some(media_type) => self.read_image(manifest, &media_type),
            None => self.read_image(manifest, &self.media_type_of_manifest(manifest)?),
        }
    }

    /// Writes config and manifest of an image whose layers are in the store. It has no name yet: the lease keeps it.
    pub fn commit_image(&self, lease: &Lease, config: &[u8], layers: &[LayerDescriptor]) -> Result<Image> {
        let parsed = ImageConfig::parse(config)?;
        let id = Digest::of(config);
        let diff_ids: Vec<Digest> = layers.iter().map(|layer| layer.diff_id).collect();
        if parsed.rootfs.diff_ids != diff_ids {
            let reason = "the config's diff ids are not those of the layers".to_string();
            return Err(StoreError::Contradiction { image: id, reason }.into());
        }
        for layer in layers {
            lease.keep_layer(&layer.folder)?;
            // Only a built layer may have no blob.
            if layer.digest != layer.diff_id || self.has_blob(&layer.digest) {
                lease.keep_blob(&layer.digest)?;
            }
        }
        lease.write_blob(config)?;
        let describe = |layer: &LayerDescriptor| Descriptor::new(&layer.media_type, layer.digest, layer.size);
        let config = Descriptor::new(media_type::CONFIG, id, config.len() as u64);
        let manifest = Manifest::new(config, layers.iter().map(describe).collect());
        let bytes = serde_json::to_vec(&manifest)
            .map_err(|error| DocumentError::Malformed { what: "image manifest", source: error })?;
        let manifest = self.commit_manifest(lease, &bytes, media_type::MANIFEST)?;
        self.image_by_manifest(&manifest)
    }

    /// Stores a manifest that came from outside, byte for byte, and protects it. Its config and layers come first.
    pub fn commit_manifest(&self, lease: &Lease, bytes: &[u8], media_type: &str) -> Result<Digest> {
        let manifest = Manifest::parse(bytes, media_type)?;
        lease.keep_blob(&manifest.config.digest)?;
        lease.write_blob(bytes)
    }

    /// Gives an image a name, durably. Returns the id of the image that lost it, if another one had it.
    pub fn set_name(&self, lease: &Lease, image: &Image, name: &Reference) -> Result<Option<Digest>> {
        let lost = self.enter_all(lease, &[(image.clone(), vec![name.clone()])])?;
        Ok(lost.into_iter().next().flatten())
    }

    /// Puts an image without a name into the index, durably: what a build without `-t` leaves.
    pub fn keep_nameless(&self, lease: &Lease, image: &Image) -> Result<()> {
        self.enter_all(lease, &[(image.clone(), Vec::new())]).map(drop)
    }

    /// Gives the image that `source` stands for another name.
    pub fn tag(&self, source: &str, name: &Reference) -> Result<()> {
        let image = self.find(source)?;
        self.enter(&[(image, vec![name.clone()])]).map(drop)
    }

    /// Names several images in one step, all or none; one without names is entered without. Returns, for each name in
    /// order, the id of the image that lost it.
    pub fn enter_all(
        &self,
        _lease: &Lease,
        images: &[(Image, Vec<Reference>)],
    ) -> Result<Vec<Option<Digest>>> {
        self.enter(images)
    }

    fn enter(&self, images: &[(Image, Vec<Reference>)]) -> Result<Vec<Option<Digest>>> {
        let mut lines = Vec::new();
        let mut durable = true;
        let names = self.names()?;
        for (image, given) in images {
            if given.iter().any(|name| name.digest.is_some()) {
                let reason = "a name with a digest cannot be given, only resolved".to_string();
                return Err(StoreError::Contradiction { image: image.id, reason }.into());
            }
            durable &= names.contains(&image.manifest);
            let bytes = self.read_blob(&image.manifest, document::MANIFEST_LIMIT)?;
            let (media_type, size) = (self.media_type_of_manifest(&image.manifest)?, bytes.len() as u64);
            let line = |name| Entry { name, media_type: media_type.clone(), manifest: image.manifest, size };
            lines.extend(given.iter().cloned().map(|name| line(Some(name))));
            if given.is_empty() {
                lines.push(line(None));
            }
        }
        if lines.iter().all(|line| names.has(line)) {
            return Ok(vec![None; images.iter().map(|(_, given)| given.len()).sum()]);
        }
        if !durable {
            self.sync()?;
        }
        let lost: Vec<Option<Digest>> = self.change_names(|names| {
            // Another program may have collected it, when no lease kept it.
            if let Some(gone) = lines.iter().find(|line| !self.has_blob(&line.manifest)) {
                return Err(StoreError::Missing { what: "manifest", digest: gone.manifest }.into());
            }
            let named = |line: &Entry| line.name.is_some();
            let lost = lines.into_iter().map(|line| (named(&line), names.set(line))).collect::<Vec<_>>();
            Ok((lost.into_iter().filter(|(named, _)| *named).map(|(_, lost)| lost).collect(), true))
        })?;
        let id = |manifest: Digest| self.image_by_manifest(&manifest).ok().map(|image| image.id);
        Ok(lost.into_iter().map(|manifest| manifest.and_then(id)).collect())
    }

    /// Bytes of the image's layers unpacked, as far as that is known.
    pub fn unpacked_size(&self, image: &Image) -> u64 {
        image.layers.iter().map(|layer| self.layer_size(layer)).sum()
    }

    /// Bytes of one layer's uncompressed tar; of the compressed one, if nobody noted the other.
    pub fn layer_size(&self, layer: &LayerDescriptor) -> u64 {
        if layer.digest == layer.diff_id {
            return layer.size;
        }
        let noted = std::fs::read_to_string(self.layer_folder(&layer.folder).join(layers::UNPACKED_SIZE));
        noted.ok().and_then(|noted| noted.parse().ok()).unwrap_or(layer.size)
    }

    fn find_by_prefix(&self, name: &str, prefix: &str) -> Result<Image> {
        let mut found: BTreeMap<Digest, Image> = BTreeMap::new();
        for entry in self.names()?.manifests() {
            let image = self.read_image(&entry.manifest, &entry.media_type)?;
            if image.id.hex().starts_with(prefix) || image.manifest.hex() == prefix {
                found.entry(image.id).or_insert(image);
            }
        }
        if found.len() > 1 {
            let candidates: Vec<String> = found.keys().map(Digest::short).collect();
            return Err(
                StoreError::Ambiguous { prefix: name.into(), candidates: candidates.join(", ") }.into()
            );
        }
        found.into_values().next().ok_or_else(|| StoreError::NoSuchImage { name: name.into() }.into())
    }

    /// Reads manifest and config, each verified, and fits them together.
    pub(super) fn read_image(&self, manifest_digest: &Digest, media_type: &str) -> Result<Image> {
        let manifest = self.read_manifest(manifest_digest, media_type)?;
        let id = manifest.config.digest;
        let bytes = self.read_blob(&id, document::CONFIG_LIMIT)?;
        let config =
            ImageConfig::parse(&bytes).map_err(|source| StoreError::Document { digest: id, source })?;
        let contradiction = |reason: String| StoreError::Contradiction { image: *manifest_digest, reason };
        if bytes.len() as u64 != manifest.config.size {
            let reason =
                format!("its config has {} bytes, the manifest says {}", bytes.len(), manifest.config.size);
            return Err(contradiction(reason).into());
        }
        let layers = self.describe_layers(&manifest, &config).map_err(contradiction)?;
        let names = self.names()?.of(manifest_digest);
        let size = layers.iter().map(|layer| layer.size).sum();
        let created = config.created();
        Ok(Image { id, manifest: *manifest_digest, names, config, layers, size, created })
    }

    pub(super) fn read_manifest(&self, digest: &Digest, media_type: &str) -> Result<Manifest> {
        let bytes = self.read_blob(digest, document::MANIFEST_LIMIT)?;
        Ok(Manifest::parse(&bytes, media_type)
            .map_err(|source| StoreError::Document { digest: *digest, source })?)
    }

    /// Pairs the manifest's layers with the config's diff ids.
    pub fn describe_layers(
        &self,
        manifest: &Manifest,
        config: &ImageConfig,
    ) -> std::result::Result<Vec<LayerDescriptor>, String> {
        let diff_ids = &config.rootfs.diff_ids;
        if manifest.layers.len() != diff_ids.len() {
            return Err(format!(
                "its manifest has {} layers, its config {}",
                manifest.layers.len(),
                diff_ids.len()
            ));
        }
        let chain = Digest::chain(diff_ids);
        let describe = |((layer, diff_id), chain_id): ((&Descriptor, &Digest), Digest)| {
            // A folder by chain id exists only for a layer that depends on what is below it.
            let by_chain = chain_id != *diff_id && self.layer_folder(&chain_id).exists();
            LayerDescriptor {
                media_type: layer.media_type.clone(),
                digest: layer.digest,
                size: layer.size,
                diff_id: *diff_id,
                folder: if by_chain { chain_id } else { *diff_id },
            }
        };
        Ok(manifest.layers.iter().zip(diff_ids).zip(chain).map(describe).collect())
    }

    /// The type that a stored manifest says it has; manifests without one are OCI's.
    pub fn media_type_of_manifest(&self, manifest: &Digest) -> Result<String> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Typed {
            media_type: Option<String>,
        }
        let bytes = self.read_blob(manifest, document::MANIFEST_LIMIT)?;
        let typed: Typed = serde_json::from_slice(&bytes)
            .map_err(|source| Error::from(DocumentError::Malformed { what: "image manifest", source }))?;
        Ok(typed.media_type.unwrap_or_else(|| media_type::MANIFEST.to_string()))
    }
}
