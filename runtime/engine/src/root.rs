//! The root file system of a container: its image's layers below a folder for its changes, as a detached mount.

use std::os::fd::OwnedFd;
use std::path::Path;

use image::layers::{Overlay, Upper, root_attributes};
use image::store::{Image, Store};

use crate::error::{Error, Result};
use crate::files;

/// Mounts the root of a new container, whose changes go to `folder`. The place for them starts with the attributes of
/// the image's own root.
///
/// Changes that go with the container need not reach the disk: `volatile` spares it a sync of the whole file system
/// when the last process leaves, before anybody learns of its end (seen: 1.3 s on a busy disk).
pub fn mount(store: &Store, image: &Image, folder: &Path, volatile: bool) -> Result<OwnedFd> {
    let lower = image.layer_roots(store);
    let upper = Upper::create(folder, &root_attributes(&lower).map_err(image::error::Error::from)?)
        .map_err(image::error::Error::from)?;
    overlay(image, Overlay { lower, upper: Some(upper), volatile })
}

/// Mounts the root of a container that was there before, with all it changed.
pub fn mount_again(store: &Store, image: &Image, folder: &Path) -> Result<OwnedFd> {
    let upper = Upper { upper: folder.join("upper"), work: folder.join("work") };
    files::make_folder(&upper.work)?;
    overlay(image, Overlay { lower: image.layer_roots(store), upper: Some(upper), volatile: false })
}

fn overlay(image: &Image, overlay: Overlay) -> Result<OwnedFd> {
    overlay.mount_detached().map_err(|source| Error::Mount { image: image.id.short(), source: source.into() })
}
