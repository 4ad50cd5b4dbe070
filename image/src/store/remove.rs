//! Taking names and images away.

use std::collections::BTreeSet;

use super::{
    Image, Store, StoreError,
    names::{Entry, Names},
};
use crate::{
    digest::Digest,
    error::{Kind, Result},
    reference::Reference,
};

/// What `rmi` did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// Names taken away.
    pub untagged: Vec<Reference>,
    /// Image ids, then the diff ids of layers, that are gone.
    pub deleted: Vec<Digest>,
}

impl Store {
    /// Removes a name, and the image with its last name. Given an id, removes the image with all its names. An image
    /// that a container uses, or that is given by id and has names in several repositories, needs `force`; what a
    /// container uses stays on disk until the container is gone.
    pub fn remove(&self, name: &str, force: bool) -> Result<Removed> {
        let image = self.find_for_removal(name)?;
        let hold = self.hold_exclusive()?;
        let mut removed = Removed::default();
        let mut parts = BTreeSet::new();
        let users = self.users()?;
        let by_name = name.parse::<Reference>().ok().filter(|name| image.names.contains(name));
        self.change_names_held(&hold, |names| {
            let same: Vec<Entry> = same_image(self, names, &image);
            let given: Vec<Reference> = same.iter().filter_map(|entry| entry.name.clone()).collect();
            if let Some(name) = by_name.as_ref().filter(|_| given.len() > 1) {
                names.untag(name);
                removed.untagged.push(name.clone());
                return Ok(((), true));
            }
            if !force {
                refuse_if_used(name, by_name.is_some(), &given, &same, &users)?;
            }
            for entry in &same {
                parts.extend(self.parts_of(&hold, &entry.manifest, &entry.media_type));
                names.remove(&entry.manifest);
            }
            removed.untagged = given;
            Ok(((), !same.is_empty()))
        })?;
        drop(hold);
        let swept = self.collect(&parts)?;
        if swept.blobs.contains(&image.id) {
            removed.deleted.push(image.id);
        }
        removed.deleted.extend(swept.layers);
        Ok(removed)
    }

    /// As [`Store::find`], but an image whose documents are damaged can still be removed by name or manifest digest.
    fn find_for_removal(&self, name: &str) -> Result<Image> {
        match self.find(name) {
            Err(error) if error.kind() == Kind::Corrupt || error.kind() == Kind::NotFound => {
                self.damaged_image(name).ok_or(error)
            }
            found => found,
        }
    }

    fn damaged_image(&self, name: &str) -> Option<Image> {
        let names = self.names().ok()?;
        let by_name = name.parse().ok().and_then(|name| names.get(&name)).map(|entry| entry.manifest);
        let manifest = by_name.or_else(|| name.parse().ok())?;
        names.contains(&manifest).then(|| Image {
            id: manifest,
            manifest,
            names: names.of(&manifest),
            config: Default::default(),
            layers: Vec::new(),
            size: 0,
            created: None,
        })
    }
}

/// The entries of all manifests that have the image's config.
fn same_image(store: &Store, names: &Names, image: &Image) -> Vec<Entry> {
    let same = |entry: &&Entry| {
        entry.manifest == image.manifest
            || store
                .read_manifest(&entry.manifest, &entry.media_type)
                .is_ok_and(|manifest| manifest.config.digest == image.id)
    };
    names.entries.iter().filter(same).cloned().collect()
}

fn refuse_if_used(
    name: &str,
    by_name: bool,
    given: &[Reference],
    same: &[Entry],
    users: &[super::roots::User],
) -> std::result::Result<(), StoreError> {
    if let Some(user) = users.iter().find(|user| same.iter().any(|entry| entry.manifest == user.manifest)) {
        let short: String = user.id.chars().take(12).collect();
        return Err(StoreError::InUse {
            image: name.into(),
            user: format!("container {short}"),
            remedy: "remove the container first, or use --force to take only the name away",
        });
    }
    let repositories: BTreeSet<String> = given.iter().map(Reference::repository).collect();
    if !by_name && repositories.len() > 1 {
        let names: Vec<String> = given.iter().map(Reference::familiar).collect();
        return Err(StoreError::InUse {
            image: name.into(),
            user: format!("several repositories ({})", names.join(", ")),
            remedy: "remove it by name, or use --force",
        });
    }
    Ok(())
}
