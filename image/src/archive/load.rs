//! Loading images: what kind of archive it is, and the frame of all-or-nothing around it.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
};

use super::{ArchiveError, docker, error::naming_the_store, members::Members, oci};
use crate::{
    digest::Digest,
    error::{IoContext, Result},
    layers::{self, Limits},
    reference::Reference,
    store::{Image, Lease, Store},
};

/// Images of one archive.
pub(super) const IMAGE_LIMIT: usize = 1000;

/// One image that was loaded.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The image.
    pub image: Image,
    /// Names that the archive gives it; none if it has none that is a full name.
    pub names: Vec<Reference>,
    /// Those of them that another image had until now, with its id.
    pub taken: Vec<(Reference, Digest)>,
}

/// Loads all images of an archive file or layout folder.
pub fn load_path(store: &Store, path: &Path) -> Result<Vec<Loaded>> {
    let mut file = File::open(path).at("open", path)?;
    let stat = file.metadata().at("examine", path)?;
    if stat.is_dir() {
        return all_or_nothing(store, |_| Members::of_folder(path));
    }
    let mut magic = [0; 4];
    if stat.is_file() {
        let count = file.read(&mut magic).at("read", path)?;
        file.seek(SeekFrom::Start(0)).at("read", path)?;
        if !layers::is_compressed(&magic[..count]) {
            return all_or_nothing(store, |_| Members::of_tar(file));
        }
    }
    load(store, file)
}

/// Loads all images of an archive that comes as a stream, plain or compressed.
pub fn load(store: &Store, from: impl Read) -> Result<Vec<Loaded>> {
    all_or_nothing(store, |lease| Members::of_tar(spool(lease, from)?))
}

/// Names come last and at once; when anything failed before, all that was added goes.
fn all_or_nothing(store: &Store, open: impl FnOnce(&Lease) -> Result<Members>) -> Result<Vec<Loaded>> {
    let lease = store.lease("load")?;
    let prepared = open(&lease).and_then(|members| prepare(store, &lease, &members));
    let entered = prepared.and_then(|prepared| {
        let taken = store.enter_all(&lease, &prepared)?;
        let mut taken = taken.into_iter();
        Ok(prepared
            .into_iter()
            .map(|(image, names)| {
                let taken = taken.by_ref().take(names.len()).zip(&names);
                let taken = taken.filter_map(|(lost, name)| lost.map(|lost| (name.clone(), lost))).collect();
                Loaded { image, names, taken }
            })
            .collect())
    });
    if entered.is_err() {
        // What cannot be taken back now is the next sweep's; the failure that counts is the first.
        if let Err(error) = lease.discard() {
            tracing::debug!(%error, "cannot take back a failed load");
        }
    }
    entered.map_err(|error| naming_the_store(error, store))
}

fn prepare(store: &Store, lease: &Lease, members: &Members) -> Result<Vec<(Image, Vec<Reference>)>> {
    if members.find("index.json")?.is_some() && members.find("oci-layout")?.is_some() {
        return oci::prepare(store, lease, members);
    }
    if members.find("manifest.json")?.is_some() {
        return docker::prepare(store, lease, members);
    }
    Err(ArchiveError::Unrecognised.into())
}

/// Whether a tar can begin so: with the name of its first member.
fn begins_a_name(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|byte| *byte != 0)
}

/// Writes a stream, decompressed, to a file of the lease.
fn spool(lease: &Lease, from: impl Read) -> Result<File> {
    let path = lease.temporary_path();
    let mut file = File::options().read(true).write(true).create_new(true).open(&path).at("create", &path)?;
    let mut from = layers::decompress(from)?;
    let (mut buffer, mut written, limit) = (vec![0; 256 << 10], 0, Limits::default().bytes);
    loop {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                // An endless stream of something else is not written to the disk first.
                if written == 0 && !begins_a_name(&buffer[..count]) {
                    return Err(ArchiveError::Unrecognised.into());
                }
                written += count as u64;
                file.write_all(&buffer[..count]).at("write", &path)?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(ArchiveError::Read(error).into()),
        }
        if written > limit {
            return Err(ArchiveError::TooMany { what: "bytes", limit }.into());
        }
    }
    file.seek(SeekFrom::Start(0)).at("read", &path)?;
    Ok(file)
}
