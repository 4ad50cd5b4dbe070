//! Importing: the tar of a root file system becomes an image of one built layer.

use std::{
    fs,
    io::Read,
    os::{fd::AsFd, unix::fs::DirBuilderExt},
};

use rustix::fs::{Mode, OFlags};

use super::{change, error::naming_the_store};
use crate::{
    document::{History, ImageConfig, Timestamp},
    error::{IoContext, Result},
    layers,
    reference::Reference,
    store::{Image, Lease, Store},
};

/// What the image is to be, besides its files.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// Its name.
    pub name: Option<Reference>,
    /// Instructions such as `CMD ["sh"]`.
    pub changes: Vec<String>,
    /// A remark in its history.
    pub message: Option<String>,
    /// When it was made; now, if absent.
    pub created: Option<Timestamp>,
    /// What its history says it was made from.
    pub source: String,
}

/// Makes an image of a tar, plain or compressed. Nothing of a failed import stays.
pub fn import(store: &Store, from: impl Read, options: &ImportOptions) -> Result<Image> {
    let mut config = ImageConfig::scratch();
    for change in &options.changes {
        change::apply(&mut config.config, change).map_err(super::ArchiveError::from)?;
    }
    let lease = store.lease("import")?;
    let imported = unpack(store, &lease, from, config, options);
    if imported.is_err()
        && let Err(error) = lease.discard()
    {
        tracing::debug!(%error, "cannot take back a failed import");
    }
    imported.map_err(|error| naming_the_store(error, store))
}

fn unpack(
    store: &Store,
    lease: &Lease,
    from: impl Read,
    mut config: ImageConfig,
    options: &ImportOptions,
) -> Result<Image> {
    let upper = lease.temporary_path();
    fs::DirBuilder::new().mode(0o700).create(&upper).at("create", &upper)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::open(&upper, flags, Mode::empty()).at("open", &upper)?;
    // What the root has unless the archive says otherwise: every user of a container has to pass it.
    rustix::fs::fchmod(&folder, Mode::from_raw_mode(0o755)).at("set the mode of", &upper)?;
    layers::unpack_root(from, folder.as_fd())?;
    let layer = layers::commit_upper(store, lease, &upper, &[])?;
    let created = options.created.unwrap_or_else(Timestamp::now).to_string();
    config.rootfs.diff_ids = vec![layer.diff_id];
    config.created = Some(created.clone());
    let history = History {
        created: Some(created),
        created_by: Some(format!("import {}", options.source)),
        ..History::default()
    };
    config.history = vec![History { comment: options.message.clone(), ..history }];
    let image = store.commit_image(lease, &config.to_bytes(), &[layer])?;
    match &options.name {
        Some(name) => drop(store.set_name(lease, &image, name)?),
        None => store.keep_nameless(lease, &image)?,
    }
    store.image_by_manifest(&image.manifest)
}
