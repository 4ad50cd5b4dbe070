//! Saving images. The result depends on the images, their names and the format, on nothing else.
//!
//! A docker-archive is written as docker 25 and later do: an OCI layout with `manifest.json` beside it, so that old
//! readers find the one and new ones the other. A built layer's tar is made from its folder on the way, and compared.

use std::{fs, io::Write, os::fd::AsFd, path::Path};

use rustix::fs::{Mode, OFlags};
use serde::Serialize;

use super::{
    ArchiveError,
    members::blob_name,
    sink::{Sink, copy},
};
use crate::{
    digest::{DigestError, DigestReader, DigestWriter},
    document::{CONFIG_LIMIT, Descriptor, Index, MANIFEST_LIMIT},
    error::{IoContext, Result},
    layers,
    reference::Reference,
    store::{Image, LayerDescriptor, Store},
};

/// Kinds of archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A tar that `docker load` and `podman load` read.
    DockerArchive,
    /// An OCI layout in a tar.
    OciArchive,
    /// An OCI layout.
    OciFolder,
}

/// What to save: an image, and the names it is to have there.
#[derive(Debug, Clone)]
pub struct Saved {
    /// The image.
    pub image: Image,
    /// Its names.
    pub names: Vec<Reference>,
}

/// One image of `manifest.json`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

impl Saved {
    /// Asks for an image by name or id: a name is saved with it, an id without names. The same image asked for
    /// several times gets several names.
    pub fn add(list: &mut Vec<Saved>, image: Image, asked: &str) {
        let asked = asked.parse::<Reference>().ok().filter(|name| image.names.contains(name));
        match list.iter_mut().find(|saved| saved.image.manifest == image.manifest) {
            Some(saved) => saved.names.extend(asked),
            None => list.push(Saved { image, names: asked.into_iter().collect() }),
        }
    }
}

/// Writes images as a tar in one of the two archive formats.
pub fn save(store: &Store, images: &[Saved], format: Format, output: &mut dyn Write) -> Result<()> {
    write(store, images, format, Sink::tar(output))
}

/// Writes images as an OCI layout folder, which must be new or empty.
pub fn save_folder(store: &Store, images: &[Saved], path: &Path) -> Result<()> {
    let there = fs::read_dir(path).map(|mut entries| entries.next().is_some()).unwrap_or(false);
    if there {
        let reason = "the folder is not empty".to_string();
        return Err(ArchiveError::Refused { member: path.display().to_string(), reason }.into());
    }
    write(store, images, Format::OciFolder, Sink::folder(path)?)
}

fn write(store: &Store, images: &[Saved], format: Format, mut sink: Sink<'_>) -> Result<()> {
    sink.put_bytes("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    let (mut entries, mut listed) = (Vec::new(), Vec::new());
    for Saved { image, names } in images {
        for layer in &image.layers {
            put_layer(store, layer, &mut sink)?;
        }
        let manifest = store.read_blob(&image.manifest, MANIFEST_LIMIT)?;
        sink.put_bytes(&blob_name(&image.id), &store.read_blob(&image.id, CONFIG_LIMIT)?)?;
        sink.put_bytes(&blob_name(&image.manifest), &manifest)?;
        let media_type = store.media_type_of_manifest(&image.manifest)?;
        let descriptor = Descriptor::new(&media_type, image.manifest, manifest.len() as u64);
        entries.extend(named(&descriptor, names, format));
        listed.push(Listed {
            config: blob_name(&image.id),
            // Whole names: podman would take `busybox:1` for `localhost/busybox:1`.
            repo_tags: names.iter().map(Reference::to_string).collect(),
            layers: image.layers.iter().map(|layer| blob_name(&layer.digest)).collect(),
        });
    }
    if format == Format::DockerArchive {
        sink.put_bytes("manifest.json", &encode(&listed)?)?;
    }
    // Last: what it leads to is there.
    sink.put_bytes("index.json", &encode(&Index::new(entries))?)?;
    sink.finish()
}

/// One descriptor per name; docker puts the tag into the OCI's annotation, everybody else the whole name.
fn named(descriptor: &Descriptor, names: &[Reference], format: Format) -> Vec<Descriptor> {
    let with_name = |name: &Reference| {
        let mut descriptor = descriptor.clone();
        let tag = name.tag.clone().filter(|_| format == Format::DockerArchive);
        let annotations = [
            ("io.containerd.image.name", name.to_string()),
            ("org.opencontainers.image.ref.name", tag.unwrap_or_else(|| name.to_string())),
        ];
        descriptor.annotations = annotations.map(|(key, value)| (key.to_string(), value)).into();
        descriptor
    };
    if names.is_empty() { vec![descriptor.clone()] } else { names.iter().map(with_name).collect() }
}

fn put_layer(store: &Store, layer: &LayerDescriptor, sink: &mut Sink<'_>) -> Result<()> {
    let name = blob_name(&layer.digest);
    sink.put(&name, layer.size, |output| {
        let mut output = DigestWriter::new(output);
        if store.has_blob(&layer.digest) {
            let mut blob = DigestReader::new(store.open_blob(&layer.digest)?);
            copy(&mut blob, &mut output)?;
        } else {
            make_tar(store, layer, &mut output)?;
        }
        let (_, digest, count) = output.finish();
        digest.expect(&layer.digest, &format!("layer {}", layer.folder.short()))?;
        match count == layer.size {
            true => Ok(()),
            false => {
                Err(DigestError::WrongSize { what: name.clone(), expected: layer.size, actual: count }.into())
            }
        }
    })
}

fn make_tar(store: &Store, layer: &LayerDescriptor, output: &mut dyn Write) -> Result<()> {
    let root = store.layer_path(&layer.folder);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::open(&root, flags, Mode::empty()).at("open", &root)?;
    layers::capture(folder.as_fd(), output)?;
    Ok(())
}

fn encode(document: &impl Serialize) -> Result<Vec<u8>> {
    Ok(serde_json::to_vec(document).map_err(|error| ArchiveError::Write(std::io::Error::other(error)))?)
}
