//! docker-archive: `manifest.json` lists configs and layers by file name.
//!
//! Such an archive has no manifest that we could keep; one is made. The config's digest is not written anywhere
//! except in its file name, which is compared where it is one.

use serde::Deserialize;

use super::{
    ArchiveError,
    load::IMAGE_LIMIT,
    members::{Content, Members},
};
use crate::{
    digest::Digest,
    document::{CONFIG_LIMIT, ImageConfig, MANIFEST_LIMIT, media_type},
    error::Result,
    layers,
    reference::Reference,
    store::{Image, LayerDescriptor, Lease, Store},
};

const LIST: &str = "manifest.json";

/// One image of `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// Brings every listed image into the store, unnamed.
pub(super) fn prepare(
    store: &Store,
    lease: &Lease,
    members: &Members,
) -> Result<Vec<(Image, Vec<Reference>)>> {
    let bytes = members.read(LIST, MANIFEST_LIMIT)?;
    let listed: Vec<Listed> = serde_json::from_slice(&bytes)
        .map_err(|source| ArchiveError::Malformed { member: LIST.into(), source })?;
    if listed.len() > IMAGE_LIMIT {
        return Err(ArchiveError::TooMany { what: "images", limit: IMAGE_LIMIT as u64 }.into());
    }
    listed.iter().map(|image| prepare_image(store, lease, members, image)).collect()
}

fn prepare_image(
    store: &Store,
    lease: &Lease,
    members: &Members,
    listed: &Listed,
) -> Result<(Image, Vec<Reference>)> {
    let names: std::result::Result<Vec<Reference>, _> =
        listed.repo_tags.iter().flatten().map(|name| name.parse::<Reference>()).collect();
    let names = names?;
    let config_bytes = members.read(&listed.config, CONFIG_LIMIT)?;
    if let Some(promised) = promised_digest(&listed.config) {
        Digest::of(&config_bytes).expect(&promised, &listed.config)?;
    }
    let config = ImageConfig::parse(&config_bytes)?;
    let files: Vec<&String> = listed.layers.iter().flatten().collect();
    if files.len() != config.rootfs.diff_ids.len() {
        let (listed, has) = (files.len(), config.rootfs.diff_ids.len());
        let reason = format!("it lists {listed} layers for an image whose config has {has}");
        return Err(ArchiveError::Refused { member: LIST.into(), reason }.into());
    }
    let mut stack = Vec::with_capacity(files.len());
    for (file, diff_id) in files.into_iter().zip(&config.rootfs.diff_ids) {
        stack.push(take_layer(lease, members.open(file)?, file, diff_id)?);
    }
    layers::unpack_image(store, lease, &mut stack)?;
    Ok((store.commit_image(lease, &config_bytes, &stack)?, names))
}

/// Stores a layer's bytes as they are. A compressed one is compared with its diff id when it is unpacked.
fn take_layer(lease: &Lease, mut content: Content, file: &str, diff_id: &Digest) -> Result<LayerDescriptor> {
    let size = content.size;
    let magic = content.peek(4).map_err(ArchiveError::Read)?;
    let folder = *diff_id;
    let Some(media_type) = layers::media_type_of(&magic) else {
        let layer = LayerDescriptor {
            media_type: media_type::LAYER.into(),
            digest: *diff_id,
            size,
            diff_id: *diff_id,
            folder,
        };
        // A layer built here, or loaded before, is not written again; the archive has to be whole all the same.
        match lease.keep_layer(diff_id).is_ok() || lease.keep_blob(diff_id).is_ok() {
            true => content.verify(diff_id, size, file)?,
            false => lease.copy_blob(content, diff_id, size, file)?,
        }
        return Ok(layer);
    };
    let mut writer = lease.blob_writer()?;
    std::io::copy(&mut content, &mut writer).map_err(ArchiveError::Read)?;
    let (digest, size) = writer.finish_any()?;
    Ok(LayerDescriptor { media_type: media_type.into(), digest, size, diff_id: *diff_id, folder })
}

/// The digest that a config's file name is: `<hex>.json`, or `blobs/sha256/<hex>`.
fn promised_digest(name: &str) -> Option<Digest> {
    let last = name.rsplit('/').next()?;
    Digest::from_hex(last.strip_suffix(".json").unwrap_or(last)).ok()
}
