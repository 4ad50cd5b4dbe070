//! `rrun load`.

use std::{
    io::{self, IsTerminal},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use clap::Args;
use image::archive;

use super::{Global, print};

/// Options of `load`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Archive or OCI layout folder to read instead of standard input
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Print only image ids
    #[arg(short, long)]
    quiet: bool,
}

pub fn run(global: &Global, arguments: &Arguments) -> Result<u8> {
    let path = arguments.input.as_deref().filter(|path| *path != Path::new("-"));
    if path.is_none() && io::stdin().is_terminal() {
        bail!("cannot load from a terminal: use -i FILE, or redirect standard input");
    }
    let store = global.store()?;
    let loaded = match path {
        Some(path) => {
            archive::load_path(&store, path).with_context(|| format!("cannot load {}", path.display()))?
        }
        None => archive::load(&store, io::stdin().lock()).context("cannot load standard input")?,
    };
    let mut text = String::new();
    for loaded in &loaded {
        for (name, id) in &loaded.taken {
            text.push_str(&format!(
                "The image {} now has no longer this name: {}\n",
                id.short(),
                name.familiar()
            ));
        }
        for name in &loaded.names {
            text.push_str(&format!("Loaded image: {}\n", name.familiar()));
        }
        if loaded.names.is_empty() {
            text.push_str(&format!("Loaded image ID: {}\n", loaded.image.id));
        }
    }
    if arguments.quiet {
        text = loaded.iter().map(|loaded| format!("{}\n", loaded.image.id)).collect();
    }
    print(&text)?;
    Ok(0)
}
