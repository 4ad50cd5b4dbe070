//! The index of the build cache: one tiny file per step, named by its key.
//!
//! `<cache>/<key>` tells which layer a step made, when, and how many bytes its tar has:
//! ```text
//! hull-cache 1
//! created <seconds> <nanoseconds>
//! layer <diff id> <size>            (absent for steps that made none)
//! end
//! ```
//! An entry is never proof of content: the layer's folder must exist, and whoever saves or pushes it hashes it again.
//! Only this program writes entries; images that were loaded, pulled or imported put nothing here.
//!
//! Entries are replaced by rename and never synced: a lost one costs a step. After a crash of the machine one may be
//! there without the layer it speaks of, or full of zeros; the store's first lease of a boot drops what no sync
//! covered, so an index is opened under a lease. The digests in an entry keep its layer from a sweep.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use image::digest::Digest;
use image::document::Timestamp;

use super::Error;
use super::key::Key;

const FIRST_LINE: &str = "hull-cache 1";
/// No entry is longer.
const LARGEST: u64 = 4096;

/// What a step made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// When it was made; the image's history repeats it, so that a rebuild gives the same image.
    pub created: Timestamp,
    /// The layer, if the step makes one.
    pub layer: Option<BuiltLayer>,
}

/// A layer of this store that has no blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuiltLayer {
    /// Digest of its tar, and the name of its folder.
    pub diff_id: Digest,
    /// Bytes of its tar.
    pub size: u64,
}

/// The cache folder of a store.
#[derive(Debug)]
pub struct Index {
    folder: PathBuf,
}

impl Index {
    /// The index in `folder`, which exists.
    pub fn new(folder: &Path) -> Index {
        Index { folder: folder.to_owned() }
    }

    /// The cache folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What the step with this key made earlier. A damaged entry counts as absent.
    pub fn find(&self, key: &Key) -> Option<Outcome> {
        let path = self.path(key);
        if fs::metadata(&path).ok()?.len() > LARGEST {
            return None;
        }
        parse(&fs::read_to_string(path).ok()?)
    }

    /// Remembers what a step made.
    pub fn store(&self, key: &Key, outcome: &Outcome) -> Result<(), Error> {
        replace(&self.path(key), render(outcome).as_bytes())
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.folder.join(key.hex())
    }
}

fn render(outcome: &Outcome) -> String {
    let Timestamp { seconds, nanoseconds } = outcome.created;
    let layer = match &outcome.layer {
        Some(layer) => format!("layer {} {}\n", layer.diff_id, layer.size),
        None => String::new(),
    };
    format!("{FIRST_LINE}\ncreated {seconds} {nanoseconds}\n{layer}end\n")
}

fn parse(text: &str) -> Option<Outcome> {
    let mut lines = text.lines();
    if lines.next()? != FIRST_LINE {
        return None;
    }
    let (seconds, nanoseconds) = lines.next()?.strip_prefix("created ")?.split_once(' ')?;
    let created = Timestamp { seconds: seconds.parse().ok()?, nanoseconds: nanoseconds.parse().ok()? };
    let mut line = lines.next()?;
    let mut layer = None;
    if let Some(rest) = line.strip_prefix("layer ") {
        let (diff_id, size) = rest.split_once(' ')?;
        layer = Some(BuiltLayer { diff_id: diff_id.parse().ok()?, size: size.parse().ok()? });
        line = lines.next()?;
    }
    // The last line proves that nothing is cut off.
    (line == "end" && text.ends_with("end\n")).then_some(Outcome { created, layer })
}

/// Replaces `path` by a file with these bytes: a reader sees the old or the new one. Not synced.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let failed = |action| move |source| Error::File { action, path: path.to_owned(), source };
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let beside = path.with_extension(format!("{}-{number}.new", std::process::id()));
    let written = File::create_new(&beside).and_then(|mut file| file.write_all(bytes));
    if let Err(source) = written {
        let _ = fs::remove_file(&beside);
        return Err(failed("write")(source));
    }
    fs::rename(&beside, path).map_err(failed("replace"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome() -> Outcome {
        let layer = BuiltLayer { diff_id: Digest::of(b"layer"), size: 10_240 };
        Outcome { created: Timestamp { seconds: 1_700_000_000, nanoseconds: 5 }, layer: Some(layer) }
    }

    #[test]
    fn an_outcome_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let index = Index::new(folder.path());
        let key = Key::of("test", |_| {});
        assert_eq!(index.find(&key), None);
        index.store(&key, &outcome()).unwrap();
        assert_eq!(index.find(&key), Some(outcome()));
        let empty = Outcome { layer: None, ..outcome() };
        index.store(&key, &empty).unwrap();
        assert_eq!(index.find(&key), Some(empty));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary is left");
    }

    #[test]
    fn a_damaged_entry_counts_as_absent() {
        let text = render(&outcome());
        assert!(parse(&text).is_some());
        for cut in 0..text.len() {
            assert_eq!(parse(&text[..cut]), None, "cut at {cut}");
        }
        assert_eq!(parse(&"\0".repeat(text.len())), None);
    }
}
