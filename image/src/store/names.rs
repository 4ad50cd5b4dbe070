//! `index.json`: which images there are, and their names.
//!
//! One descriptor per name; an image without names has one without annotations. The name stands in both usual
//! annotations, so `skopeo` and others read the folder as the OCI layout it is. These are annotations that *we*
//! wrote: those of an image from outside never get here.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::MetadataExt,
    sync::{Arc, PoisonError},
};

use super::{Hold, Store, StoreError};
use crate::{
    digest::Digest,
    document::{Descriptor, Index, media_type},
    error::{IoContext, IoFailure, Result},
    reference::Reference,
};

const REFERENCE_NAME: &str = "org.opencontainers.image.ref.name";
const IMAGE_NAME: &str = "io.containerd.image.name";
/// Room for some hundred thousand names.
const OWN_INDEX_LIMIT: u64 = 128 << 20;

/// One line of the index: an image's manifest, and a name unless it has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub name: Option<Reference>,
    pub media_type: String,
    pub manifest: Digest,
    pub size: u64,
}

/// The index as read at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    pub entries: Vec<Entry>,
}

#[derive(Debug)]
pub(super) struct CachedIndex {
    inode: u64,
    changed: (i64, i64),
    names: Arc<Names>,
}

impl Names {
    /// The image that a name stands for.
    pub fn get(&self, name: &Reference) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name.as_ref() == Some(name))
    }

    /// True when setting this line would change nothing.
    pub fn has(&self, line: &Entry) -> bool {
        match &line.name {
            Some(name) => self.get(name).is_some_and(|there| there.manifest == line.manifest),
            None => self.contains(&line.manifest),
        }
    }

    /// True when the image is in the index, hence durable.
    pub fn contains(&self, manifest: &Digest) -> bool {
        self.entries.iter().any(|entry| entry.manifest == *manifest)
    }

    /// All names of a manifest, in order.
    pub fn of(&self, manifest: &Digest) -> Vec<Reference> {
        let mut names: Vec<_> = self
            .entries
            .iter()
            .filter(|entry| entry.manifest == *manifest)
            .filter_map(|entry| entry.name.clone())
            .collect();
        names.sort();
        names
    }

    /// Each image once, in the order of the file.
    pub fn manifests(&self) -> Vec<&Entry> {
        let mut seen = std::collections::BTreeSet::new();
        self.entries.iter().filter(|entry| seen.insert(entry.manifest)).collect()
    }

    /// Gives a name to an image; returns the manifest that had it, if another one.
    pub fn set(&mut self, entry: Entry) -> Option<Digest> {
        let lost = match &entry.name {
            Some(name) => self.untag(name).filter(|lost| *lost != entry.manifest),
            None if self.contains(&entry.manifest) => return None,
            None => None,
        };
        self.entries.retain(|old| old.manifest != entry.manifest || old.name.is_some());
        self.entries.push(entry);
        lost
    }

    /// Takes a name away; the image stays, without names if this was the last.
    pub fn untag(&mut self, name: &Reference) -> Option<Digest> {
        let at = self.entries.iter().position(|entry| entry.name.as_ref() == Some(name))?;
        let mut entry = self.entries.remove(at);
        let manifest = entry.manifest;
        if !self.contains(&manifest) {
            entry.name = None;
            self.entries.push(entry);
        }
        Some(manifest)
    }

    /// Takes an image out with all its names.
    pub fn remove(&mut self, manifest: &Digest) {
        self.entries.retain(|entry| entry.manifest != *manifest);
    }
}

impl Store {
    /// The index as it is now; parsed again only when the file is another one.
    pub(super) fn names(&self) -> Result<Arc<Names>> {
        let path = self.path("images/index.json");
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Arc::default()),
            file => file.at("open", &path)?,
        };
        let stat = file.metadata().at("examine", &path)?;
        let (inode, changed) = (stat.ino(), (stat.ctime(), stat.ctime_nsec()));
        let mut cached = self.shared.index.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cached) =
            cached.as_ref().filter(|cached| cached.inode == inode && cached.changed == changed)
        {
            return Ok(cached.names.clone());
        }
        let mut bytes = Vec::with_capacity(stat.len().min(OWN_INDEX_LIMIT) as usize);
        file.take(OWN_INDEX_LIMIT + 1).read_to_end(&mut bytes).at("read", &path)?;
        let damaged = |error: crate::document::DocumentError| {
            let reason = std::error::Error::source(&error)
                .map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
            StoreError::Damaged { path: path.clone(), reason }
        };
        let index = Index::parse_own(&bytes, OWN_INDEX_LIMIT).map_err(damaged)?;
        let names = Arc::new(Names { entries: index.manifests.into_iter().map(entry).collect() });
        *cached = Some(CachedIndex { inode, changed, names: names.clone() });
        Ok(names)
    }

    /// Changes the index under the exclusive lock and makes the change durable. `change` sees the newest index and
    /// says whether there is anything to write.
    pub(super) fn change_names<T>(&self, change: impl FnOnce(&mut Names) -> Result<(T, bool)>) -> Result<T> {
        let hold = self.hold_exclusive()?;
        self.change_names_held(&hold, change)
    }

    pub(super) fn change_names_held<T>(
        &self,
        _exclusive: &Hold,
        change: impl FnOnce(&mut Names) -> Result<(T, bool)>,
    ) -> Result<T> {
        let mut names = Names::clone(&*self.names()?);
        let (result, changed) = change(&mut names)?;
        if changed {
            self.write_names(&names)?;
        }
        Ok(result)
    }

    fn write_names(&self, names: &Names) -> Result<()> {
        let index = Index::new(names.entries.iter().map(descriptor).collect());
        let bytes = serde_json::to_vec(&index)
            .map_err(|error| IoFailure::new("encode", "index.json", io::Error::other(error)))?;
        let path = self.path("images/index.json");
        // One name for the unfinished file is enough: the lock is exclusive, and a crash's leftover is overwritten.
        let beside = self.path("images/index.json.new");
        let write = || -> io::Result<()> {
            let mut file = File::create(&beside)?;
            file.write_all(&bytes)?;
            file.sync_all()
        };
        write().at("write", &beside)?;
        fs::rename(&beside, &path).at("rename", &path)?;
        let folder = self.path("images");
        File::open(&folder).and_then(|folder| folder.sync_all()).at("sync", folder)?;
        Ok(())
    }
}

fn entry(descriptor: Descriptor) -> Entry {
    let Descriptor { media_type, digest, size, annotations, .. } = descriptor;
    let name = annotations.get(IMAGE_NAME).and_then(|name| name.parse().ok());
    Entry { name, media_type, manifest: digest, size }
}

fn descriptor(entry: &Entry) -> Descriptor {
    let media_type =
        if media_type::is_manifest(&entry.media_type) { &entry.media_type } else { media_type::MANIFEST };
    let mut descriptor = Descriptor::new(media_type, entry.manifest, entry.size);
    if let Some(name) = &entry.name {
        let name = name.to_string();
        descriptor.annotations =
            BTreeMap::from([(REFERENCE_NAME.to_string(), name.clone()), (IMAGE_NAME.to_string(), name)]);
    }
    descriptor
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: Option<&str>, content: &[u8]) -> Entry {
        let name = name.map(|name| name.parse().unwrap());
        Entry {
            name,
            media_type: media_type::MANIFEST.into(),
            manifest: Digest::of(content),
            size: content.len() as u64,
        }
    }

    #[test]
    fn a_moved_name_leaves_the_old_image_without_one() {
        let mut names = Names::default();
        assert_eq!(names.set(entry(Some("a"), b"1")), None);
        assert_eq!(names.set(entry(Some("a"), b"1")), None);
        assert_eq!(names.set(entry(Some("a"), b"2")), Some(Digest::of(b"1")));
        assert_eq!(names.entries.len(), 2);
        assert!(names.of(&Digest::of(b"1")).is_empty() && names.contains(&Digest::of(b"1")));
        names.set(entry(Some("b"), b"1"));
        assert_eq!(names.entries.len(), 2, "the nameless line went");
        names.set(entry(None, b"1"));
        assert_eq!(names.entries.len(), 2, "a named image needs no nameless line");
        assert_eq!(names.untag(&"b".parse().unwrap()), Some(Digest::of(b"1")));
        assert!(names.contains(&Digest::of(b"1")));
        names.remove(&Digest::of(b"1"));
        assert!(!names.contains(&Digest::of(b"1")));
    }

    #[test]
    fn lines_survive_the_way_through_a_descriptor() {
        for line in [entry(Some("localhost:5000/x:1"), b"1"), entry(None, b"2")] {
            assert_eq!(super::entry(descriptor(&line)), line);
        }
    }
}
