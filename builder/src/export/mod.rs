//! Results that leave the store: archives for other tools.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use image::archive::{Format, Saved, save};
use image::reference::Reference;
use image::store::{Image, Store};

use crate::cli::{Output, OutputFormat};

/// Writes the image as an archive to a file or stdout. The file appears complete or not at all.
pub fn export(store: &Store, image: &Image, names: &[Reference], output: &Output) -> Result<()> {
    let format = match output.format {
        OutputFormat::Oci => Format::OciArchive,
        OutputFormat::Docker => Format::DockerArchive,
    };
    let saved = [Saved { image: image.clone(), names: names.to_vec() }];
    let Some(path) = &output.destination else {
        let mut out = BufWriter::new(io::stdout().lock());
        save(store, &saved, format, &mut out).context("cannot write the archive to stdout")?;
        return out.flush().context("cannot write the archive to stdout");
    };
    let mut beside = path.clone().into_os_string();
    beside.push(format!(".{}.part", std::process::id()));
    let beside = PathBuf::from(beside);
    let written = File::create(&beside).map_err(anyhow::Error::from).and_then(|file| {
        let mut out = BufWriter::with_capacity(1 << 20, file);
        save(store, &saved, format, &mut out)?;
        out.flush()?;
        Ok(fs::rename(&beside, path)?)
    });
    if written.is_err() {
        // Best effort: the error that matters is the one below.
        let _ = fs::remove_file(&beside);
    }
    written.with_context(|| format!("cannot write the archive {}", path.display()))
}
