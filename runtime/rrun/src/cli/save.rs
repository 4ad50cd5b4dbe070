//! `rrun save`.

use std::{
    fs::{self, File},
    io::{self, BufWriter, IsTerminal},
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use image::{
    archive::{self, Saved},
    store::Store,
};

use super::Global;

/// Options of `save`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Names or ids of images
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// File, or folder for oci-dir, to write instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Kind of archive
    #[arg(long, value_enum, default_value_t = Format::DockerArchive)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// What `docker load` and `podman load` read
    DockerArchive,
    /// An OCI layout in a tar
    OciArchive,
    /// An OCI layout folder
    OciDir,
}

pub fn run(global: &Global, arguments: &Arguments) -> Result<u8> {
    let store = global.store()?;
    let asked = arguments.images.join(" ");
    let mut images = Vec::new();
    for name in &arguments.images {
        let image = store.find(name).with_context(|| format!("cannot save {name}"))?;
        Saved::add(&mut images, image, name);
    }
    match &arguments.output {
        Some(path) => to_path(&store, &images, arguments.format, path)
            .with_context(|| format!("cannot save {asked} to {}", path.display()))?,
        None => to_standard_output(&store, &images, arguments.format)
            .with_context(|| format!("cannot save {asked}"))?,
    }
    Ok(0)
}

fn to_standard_output(store: &Store, images: &[Saved], format: Format) -> Result<()> {
    if io::stdout().is_terminal() {
        bail!("standard output is a terminal: use -o FILE, or redirect it");
    }
    let Some(format) = archive_format(format) else {
        bail!("a folder cannot be written to standard output: use -o FOLDER")
    };
    // Not through the standard library's, which looks for ends of lines.
    let mut output =
        BufWriter::with_capacity(256 << 10, File::from(io::stdout().as_fd().try_clone_to_owned()?));
    Ok(archive::save(store, images, format, &mut output)?)
}

/// A regular file appears complete or not at all; a pipe or device is written as it is.
fn to_path(store: &Store, images: &[Saved], format: Format, path: &Path) -> Result<()> {
    let Some(format) = archive_format(format) else { return to_folder(store, images, path) };
    if fs::metadata(path).is_ok_and(|stat| !stat.is_file()) {
        let mut file = File::options().write(true).open(path)?;
        return Ok(archive::save(store, images, format, &mut file)?);
    }
    let beside = beside(path)?;
    let written = write_file(store, images, format, &beside).and_then(|()| Ok(fs::rename(&beside, path)?));
    if written.is_err() {
        // It may not even be there; the failure that counts is the first.
        let _ = fs::remove_file(&beside);
    }
    written
}

fn write_file(store: &Store, images: &[Saved], format: archive::Format, path: &Path) -> Result<()> {
    let mut file = BufWriter::with_capacity(256 << 10, File::create(path)?);
    Ok(archive::save(store, images, format, &mut file)?)
}

fn to_folder(store: &Store, images: &[Saved], path: &Path) -> Result<()> {
    if path.exists() {
        return Ok(archive::save_folder(store, images, path)?);
    }
    let beside = beside(path)?;
    let written = archive::save_folder(store, images, &beside)
        .map_err(Into::into)
        .and_then(|()| Ok(fs::rename(&beside, path)?));
    if written.is_err() {
        let _ = fs::remove_dir_all(&beside);
    }
    written
}

fn beside(path: &Path) -> Result<PathBuf> {
    let Some(name) = path.file_name() else { bail!("{} is not a file name", path.display()) };
    Ok(path.with_file_name(format!(".{}.{}.partial", name.to_string_lossy(), std::process::id())))
}

fn archive_format(format: Format) -> Option<archive::Format> {
    match format {
        Format::DockerArchive => Some(archive::Format::DockerArchive),
        Format::OciArchive => Some(archive::Format::OciArchive),
        Format::OciDir => None,
    }
}
