//! OCI layouts, as an archive or a folder: `index.json` leads to manifests, perhaps through further indexes.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::{ArchiveError, load::IMAGE_LIMIT, members::Members};
use crate::{
    digest::Digest,
    document::{
        CONFIG_LIMIT, Descriptor, DocumentError, ImageConfig, Index, MANIFEST_LIMIT, Manifest, Platform,
        media_type,
    },
    error::Result,
    layers,
    reference::Reference,
    store::{Image, Lease, Store, StoreError},
};

const REFERENCE_NAME: &str = "org.opencontainers.image.ref.name";
const IMAGE_NAME: &str = "io.containerd.image.name";
/// Indexes within indexes.
const DEPTH_LIMIT: usize = 4;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layout {
    image_layout_version: String,
}

/// An image that the index leads to, with the name found on the way.
struct Found {
    descriptor: Descriptor,
    name: Option<Reference>,
}

/// Brings every image of the index into the store, unnamed. Of an image for several machines, this one's.
pub(super) fn prepare(
    store: &Store,
    lease: &Lease,
    members: &Members,
) -> Result<Vec<(Image, Vec<Reference>)>> {
    check_layout(members)?;
    let index = Index::parse(&members.read("index.json", MANIFEST_LIMIT)?, media_type::INDEX)?;
    let mut walk = Walk { members, visited: BTreeSet::new(), found: Vec::new() };
    for descriptor in index.manifests {
        let name = name_of(&descriptor);
        walk.visit(descriptor, name, 0, false)?;
    }
    let mut images: Vec<(Image, Vec<Reference>)> = Vec::new();
    for Found { descriptor, name } in walk.found {
        match images.iter_mut().find(|(image, _)| image.manifest == descriptor.digest) {
            Some((_, names)) => names.extend(name),
            None => {
                images.push((prepare_image(store, lease, members, &descriptor)?, name.into_iter().collect()))
            }
        }
    }
    if images.is_empty() {
        let Platform { os, architecture, .. } = Platform::host();
        return Err(ArchiveError::NoImage { platform: format!("{os}/{architecture}") }.into());
    }
    Ok(images)
}

struct Walk<'a> {
    members: &'a Members,
    visited: BTreeSet<Digest>,
    found: Vec<Found>,
}

impl Walk<'_> {
    /// `chosen` says that this is one of several variants, so only this machine's counts.
    fn visit(
        &mut self,
        descriptor: Descriptor,
        name: Option<Reference>,
        depth: usize,
        chosen: bool,
    ) -> Result<()> {
        if chosen && descriptor.platform.as_ref().is_some_and(|platform| !platform.runs_on(&Platform::host()))
        {
            return Ok(());
        }
        if media_type::is_manifest(&descriptor.media_type) {
            self.found.push(Found { descriptor, name });
            return self.check_count(self.found.len());
        }
        if !media_type::is_index(&descriptor.media_type) {
            let media_type = descriptor.media_type.chars().take(120).collect();
            return Err(DocumentError::Unsupported { what: "entry of the index", media_type }.into());
        }
        if depth >= DEPTH_LIMIT {
            return Err(
                ArchiveError::TooMany { what: "indexes within indexes", limit: DEPTH_LIMIT as u64 }.into()
            );
        }
        // Each index once: a small file cannot make us walk for ever.
        if !self.visited.insert(descriptor.digest) {
            return Ok(());
        }
        self.check_count(self.visited.len())?;
        let bytes = self.members.read_blob(&descriptor.digest, descriptor.size, MANIFEST_LIMIT)?;
        let before = self.found.len();
        for inner in Index::parse(&bytes, &descriptor.media_type)?.manifests {
            self.visit(inner, name.clone(), depth + 1, true)?;
        }
        // Variants of one processor, best first: one image gets the name.
        self.found.truncate(before + 1);
        Ok(())
    }

    fn check_count(&self, count: usize) -> Result<()> {
        match count > IMAGE_LIMIT {
            true => Err(ArchiveError::TooMany { what: "images", limit: IMAGE_LIMIT as u64 }.into()),
            false => Ok(()),
        }
    }
}

fn prepare_image(store: &Store, lease: &Lease, members: &Members, descriptor: &Descriptor) -> Result<Image> {
    let manifest_bytes = members.read_blob(&descriptor.digest, descriptor.size, MANIFEST_LIMIT)?;
    let manifest = Manifest::parse(&manifest_bytes, &descriptor.media_type)?;
    let config_bytes = members.read_blob(&manifest.config.digest, manifest.config.size, CONFIG_LIMIT)?;
    let config = ImageConfig::parse(&config_bytes)?;
    let mut stack = store
        .describe_layers(&manifest, &config)
        .map_err(|reason| StoreError::Contradiction { image: descriptor.digest, reason })?;
    for layer in &stack {
        let name = super::members::blob_name(&layer.digest);
        let content = members.open(&name)?;
        // A plain layer's folder stands for its bytes when its digest is the diff id. What is known is not written
        // again; the archive has to be whole all the same.
        let folder = layer.digest == layer.diff_id && lease.keep_layer(&layer.diff_id).is_ok();
        match folder || lease.keep_blob(&layer.digest).is_ok() {
            true => content.verify(&layer.digest, layer.size, &name)?,
            false => lease.copy_blob(content, &layer.digest, layer.size, &name)?,
        }
    }
    layers::unpack_image(store, lease, &mut stack)?;
    lease.write_blob(&config_bytes)?;
    let digest = store.commit_manifest(lease, &manifest_bytes, &descriptor.media_type)?;
    store.image_by_manifest(&digest)
}

fn check_layout(members: &Members) -> Result<()> {
    let member = "oci-layout";
    let bytes = members.read(member, 4096)?;
    let layout: Layout = serde_json::from_slice(&bytes)
        .map_err(|source| ArchiveError::Malformed { member: member.into(), source })?;
    match layout.image_layout_version.starts_with("1.") {
        true => Ok(()),
        false => {
            let version: String = layout.image_layout_version.chars().take(40).collect();
            Err(ArchiveError::Refused {
                member: member.into(),
                reason: format!("version {version:?} is not 1.x"),
            }
            .into())
        }
    }
}

/// The name that a layout's writer gave: containerd's annotation has the whole one; the OCI's may be a mere tag,
/// which names nothing here.
fn name_of(descriptor: &Descriptor) -> Option<Reference> {
    let whole = descriptor.annotations.get(IMAGE_NAME).and_then(|name| name.parse().ok());
    let short = || descriptor.annotations.get(REFERENCE_NAME).filter(|name| name.contains(['/', ':']));
    let name: Reference = whole.or_else(|| short().and_then(|name| name.parse().ok()))?;
    // A name that pins a digest is not one to give.
    Some(name).filter(|name| name.digest.is_none())
}
