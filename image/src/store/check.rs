//! `system check`: is everything that is named whole, and what is left over?

use std::{fmt, fs, os::fd::AsFd, path::PathBuf};

use rustix::fs::{Mode, OFlags};

use super::{
    Image, LayerDescriptor, Store, Swept,
    lease::{Kept, is_dead},
};
use crate::{
    digest::{Digest, DigestWriter},
    document::media_type,
    error::{Error, IoContext, Result},
    layers,
};

/// Something that is not as it must be.
#[derive(Debug)]
pub enum Problem {
    /// A file of the store cannot be read or understood.
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: Error,
    },
    /// An image's manifest or config is missing or damaged, or they contradict each other.
    Image {
        /// Its name, or the digest of its manifest.
        name: String,
        /// Why.
        cause: Error,
    },
    /// A blob that does not have its digest, or is missing.
    Blob {
        /// The image it belongs to.
        image: String,
        /// Which blob.
        blob: Digest,
        /// Why.
        cause: Error,
    },
    /// A layer whose folder is missing, or not what it was.
    Layer {
        /// The image it belongs to.
        image: String,
        /// Its folder's name.
        layer: Digest,
        /// Why.
        reason: String,
    },
}

/// What a check found.
#[derive(Debug, Default)]
pub struct CheckReport {
    /// Damage: an image that cannot be trusted. Loading or building it again replaces the damaged part.
    pub problems: Vec<Problem>,
    /// Images examined.
    pub images: usize,
    /// What interrupted programs left: harmless, and removed by the next one that writes.
    pub leftovers: Leftovers,
    /// What a repair removed.
    pub repaired: Option<Swept>,
}

/// What interrupted programs left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Leases of processes that are gone.
    pub leases: usize,
    /// Entries of the trash.
    pub trash: usize,
    /// Blobs that nothing refers to.
    pub blobs: usize,
    /// Layers that nothing refers to.
    pub layers: usize,
    /// Files that do not belong where they are.
    pub strays: usize,
}

impl CheckReport {
    /// No damage.
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }
}

impl Leftovers {
    /// Nothing is left over.
    pub fn is_empty(&self) -> bool {
        *self == Leftovers::default()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Unreadable { path, cause } => write!(f, "{}: {}", path.display(), chain(cause)),
            Problem::Image { name, cause } => write!(f, "image {name}: {}", chain(cause)),
            Problem::Blob { image, blob, cause } => {
                write!(f, "image {image}: blob {}: {}", blob.short(), chain(cause))
            }
            Problem::Layer { image, layer, reason } => {
                write!(f, "image {image}: layer {}: {reason}", layer.short())
            }
        }
    }
}

impl Store {
    /// Examines every image and every byte of its parts. With `repair`, leftovers are swept first, and damaged
    /// images are taken out of the index (what is whole of them stays as long as something uses it).
    pub fn check(&self, repair: bool) -> Result<CheckReport> {
        let mut report = CheckReport::default();
        if repair {
            report.repaired = Some(self.sweep()?);
        }
        let mut damaged = Vec::new();
        for entry in self.names()?.manifests() {
            report.images += 1;
            let found = report.problems.len();
            let name = match self.names()?.of(&entry.manifest).first() {
                Some(name) => name.familiar(),
                None => entry.manifest.to_string(),
            };
            match self.read_image(&entry.manifest, &entry.media_type) {
                Ok(image) => self.check_parts(&name, &image, &mut report.problems),
                Err(cause) => report.problems.push(Problem::Image { name, cause }),
            }
            if report.problems.len() > found {
                damaged.push(entry.manifest);
            }
        }
        if let Err(cause) = self.users() {
            report.problems.push(Problem::Unreadable { path: self.containers_dir(), cause });
            return Ok(report);
        }
        report.leftovers = self.leftovers()?;
        if repair && !damaged.is_empty() {
            self.drop_damaged(&damaged)?;
        }
        Ok(report)
    }

    fn check_parts(&self, name: &str, image: &Image, problems: &mut Vec<Problem>) {
        for layer in &image.layers {
            let built = layer.media_type == media_type::LAYER && layer.digest == layer.diff_id;
            let folder_only = built && !self.has_blob(&layer.digest);
            if !folder_only && let Err(cause) = self.verify_blob(&layer.digest) {
                problems.push(Problem::Blob { image: name.into(), blob: layer.digest, cause });
            }
            if let Some(reason) = self.layer_damage(layer, folder_only) {
                problems.push(Problem::Layer { image: name.into(), layer: layer.folder, reason });
            }
        }
    }

    /// A layer without a blob is compared with its diff id through the tar that its folder makes; of others, which
    /// can be unpacked again, the folder has to be there.
    fn layer_damage(&self, layer: &LayerDescriptor, folder_only: bool) -> Option<String> {
        let root = self.layer_path(&layer.folder);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = match rustix::fs::open(&root, flags, Mode::empty()) {
            Ok(folder) => folder,
            Err(errno) => {
                return Some(format!("cannot open {}: {}", root.display(), std::io::Error::from(errno)));
            }
        };
        if !folder_only || layer.folder != layer.diff_id {
            return None;
        }
        let mut output = DigestWriter::new(std::io::sink());
        match layers::capture(folder.as_fd(), &mut output) {
            Ok(_) if output.finish().1 == layer.diff_id => None,
            Ok(_) => Some("its files are not what they were".to_string()),
            Err(error) => Some(chain(&error)),
        }
    }

    /// Counts under the exclusive lock, so that nobody's work in progress is taken for a leftover.
    fn leftovers(&self) -> Result<Leftovers> {
        let cached = self.cached_layers();
        let hold = self.hold_exclusive()?;
        let reachable = self.reachable(&hold)?;
        let (garbage, strays) = self.unreferenced(&reachable)?;
        let trash = self.path("trash");
        let mut leftovers = Leftovers { strays: strays.len(), ..Leftovers::default() };
        leftovers.leases = self.lease_folders()?.iter().filter(|folder| is_dead(folder)).count();
        leftovers.trash = fs::read_dir(&trash).at("list", &trash)?.count();
        for kept in garbage {
            match kept {
                Kept::Blob(_) => leftovers.blobs += 1,
                Kept::Layer(layer) if cached.contains(&layer) => {}
                Kept::Layer(_) => leftovers.layers += 1,
            }
        }
        Ok(leftovers)
    }

    fn drop_damaged(&self, manifests: &[Digest]) -> Result<()> {
        self.change_names(|names| {
            manifests.iter().for_each(|manifest| names.remove(manifest));
            Ok(((), true))
        })?;
        self.sweep().map(drop)
    }
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
