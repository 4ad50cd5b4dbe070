//! Layers enter the store: pulled and loaded ones from their blobs, built ones from an overlay's upper directory.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::fs::Mode;

use super::ahead::{hash_beside, read_ahead};
use super::capture::capture_upper;
use super::compress::decompress;
use super::error::Error;
use super::fixup;
use super::limits::Limits;
use super::parents::DIRECTORY;
use super::unpack::{Unpacked, unpack};
use super::view::View;
use crate::digest::{Digest, DigestReader};
use crate::error::{IoContext, Result};
use crate::store::{LayerDescriptor, Lease, Store};

/// File beside a layer's `root/`: the length of its uncompressed tar, in decimal.
pub(crate) const UNPACKED_SIZE: &str = "size";

/// Makes the upper directory of an overlay a layer of the store: cleans it, hashes its tar and moves it.
///
/// `below` are the folders that it was mounted on, lowest first. The overlay must not be mounted any more, and the
/// upper must lie in the lease's temporary folder. Nothing is synced: that happens once, when the image is named.
pub fn commit_upper(
    store: &Store,
    lease: &Lease,
    upper: &Path,
    below: &[PathBuf],
) -> Result<LayerDescriptor> {
    commit_upper_until(store, lease, upper, below, None)
}

/// The same with no time later than `latest` (seconds since 1970, SOURCE_DATE_EPOCH), neither in the tar nor in the
/// folder: the tar stays a function of its folder.
pub fn commit_upper_until(
    store: &Store,
    lease: &Lease,
    upper: &Path,
    below: &[PathBuf],
    latest: Option<i64>,
) -> Result<LayerDescriptor> {
    let folder = open(upper)?;
    let below = View::open(below)?;
    let (captured, diff_id, size) = hash_beside(|tar| capture_upper(folder.as_fd(), &below, latest, tar));
    captured?;
    if lease.keep_layer(&diff_id).is_err() {
        let finished = lease.temporary_path();
        make_directory(&finished)?;
        fs::rename(upper, finished.join("root")).at("move", upper)?;
        lease.add_layer(&finished, &diff_id)?;
    }
    debug_assert!(store.layer_path(&diff_id).exists());
    Ok(LayerDescriptor::built(diff_id, size))
}

/// Unpacks those layers of an image that are not in the store yet, several at a time, and sets each one's `folder`.
///
/// `layers` are lowest first, and their blobs are in the store. Each tar is verified against its diff id before its
/// folder gets a name.
pub fn unpack_image(store: &Store, lease: &Lease, layers: &mut [LayerDescriptor]) -> Result<()> {
    let diff_ids: Vec<Digest> = layers.iter().map(|layer| layer.diff_id).collect();
    let chains = Digest::chain(&diff_ids);
    let mut unpacked = unpack_missing(store, lease, layers, &chains)?;
    for index in 0..layers.len() {
        let (diff_id, chain) = (layers[index].diff_id, chains[index]);
        let pending = match unpacked[index].take() {
            Some(pending) => pending,
            None if keep_complete(store, lease, &diff_id, index == 0) => {
                layers[index].folder = diff_id;
                continue;
            }
            None if lease.keep_layer(&chain).is_ok() => {
                layers[index].folder = chain;
                continue;
            }
            // The same layer twice, where each one needs what is below it.
            None => unpack_blob(store, lease, &layers[index], Pace::Alone)?,
        };
        let (path, rest) = pending;
        layers[index].folder = if rest.is_complete() { diff_id } else { chain };
        if !rest.is_complete() {
            let below: Vec<PathBuf> =
                layers[..index].iter().map(|layer| store.layer_path(&layer.folder)).collect();
            fixup::complete(&open(&path.join("root"))?, &rest, &View::open(&below)?)?;
            // A lowest layer's chain id is its diff id. Above other layers the same tar needs another folder.
            if index == 0 {
                fs::write(path.join(LOWEST), b"").at("write", path.join(LOWEST))?;
            }
        }
        lease.add_layer(&path, &layers[index].folder)?;
    }
    Ok(())
}

/// Beside a layer's `root/`: it was completed with nothing below it, and is good for the lowest place only.
const LOWEST: &str = "lowest";

/// Protects the folder with this diff id, if there is one that is complete in this place.
fn keep_complete(store: &Store, lease: &Lease, diff_id: &Digest, lowest: bool) -> bool {
    lease.keep_layer(diff_id).is_ok() && (lowest || !store.layer_folder(diff_id).join(LOWEST).exists())
}

/// A layer in the lease's temporary folder, and what is left to do about it.
type Pending = Option<(PathBuf, Unpacked)>;

/// Unpacks every layer that has no folder yet, one thread for each processor.
fn unpack_missing(
    store: &Store,
    lease: &Lease,
    layers: &[LayerDescriptor],
    chains: &[Digest],
) -> Result<Vec<Pending>> {
    let mut seen = HashSet::new();
    let missing: Vec<usize> = (0..layers.len())
        .filter(|index| {
            let diff_id = &layers[*index].diff_id;
            seen.insert(*diff_id)
                && !keep_complete(store, lease, diff_id, *index == 0)
                && lease.keep_layer(&chains[*index]).is_err()
        })
        .collect();
    let results = Mutex::new((0..layers.len()).map(|_| None).collect::<Vec<Pending>>());
    let failure = Mutex::new(None);
    let next = AtomicUsize::new(0);
    let take_turns = |pace: Pace| {
        while let Some(index) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
            match unpack_blob(store, lease, &layers[*index], pace) {
                Ok(pending) => lock(&results)[*index] = Some(pending),
                Err(error) => {
                    lock(&failure).get_or_insert(error);
                    // The others would be thrown away.
                    next.store(missing.len(), Ordering::Relaxed);
                }
            }
        }
    };
    let pace = if missing.len() == 1 { Pace::Alone } else { Pace::AmongOthers };
    let work = || take_turns(pace);
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(missing.len());
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(results.into_inner().unwrap_or_else(PoisonError::into_inner)),
    }
}

/// Whether other layers keep the other processors busy.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    Alone,
    AmongOthers,
}

fn unpack_blob(
    store: &Store,
    lease: &Lease,
    layer: &LayerDescriptor,
    pace: Pace,
) -> Result<(PathBuf, Unpacked)> {
    let path = lease.temporary_path();
    make_directory(&path)?;
    // Not 0700: until an entry says otherwise this is what every user of the container has to pass.
    let root = path.join("root");
    make_directory(&root)?;
    let folder = open(&root)?;
    rustix::fs::fchmod(&folder, Mode::from_raw_mode(0o755)).at("set the mode of", &root)?;
    let mut tar = DigestReader::new(decompress(store.open_blob(&layer.digest)?)?);
    let work = |mut tar: &mut dyn io::Read| {
        let unpacked = unpack(&mut tar, folder.as_fd(), &Limits::default())?;
        // Bytes behind the end mark belong to the digest too.
        drain(&mut tar)?;
        Ok::<_, crate::error::Error>(unpacked)
    };
    let (unpacked, tar) = match pace {
        Pace::AmongOthers => (work(&mut tar)?, Some(tar)),
        Pace::Alone => {
            let (unpacked, tar) = read_ahead(tar, work);
            (unpacked?, tar)
        }
    };
    let ended = tar.ok_or_else(|| Error::Read(io::ErrorKind::UnexpectedEof.into()))?;
    let (actual, size) = ended.finish();
    actual.expect(&layer.diff_id, &format!("the content of layer {}", layer.digest.short()))?;
    // A compressed layer's descriptor does not say what it takes unpacked.
    let note = path.join(UNPACKED_SIZE);
    fs::write(&note, size.to_string()).at("write", note)?;
    Ok((path, unpacked))
}

/// Reads to the end, but not for ever.
fn drain(tar: &mut impl io::Read) -> Result<()> {
    let limit = Limits::default().bytes;
    let rest = io::copy(&mut io::Read::take(tar, limit), &mut io::sink()).map_err(Error::Read)?;
    match rest < limit {
        true => Ok(()),
        false => Err(Error::Limit { what: "bytes behind its end", limit }.into()),
    }
}

fn make_directory(path: &Path) -> Result<()> {
    Ok(rustix::fs::mkdir(path, Mode::RWXU).at("create", path)?)
}

fn open(path: &Path) -> Result<OwnedFd> {
    Ok(rustix::fs::open(path, DIRECTORY, Mode::empty()).at("open", path)?)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
