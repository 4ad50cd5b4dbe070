//! The command line: global options, the verbs, and what they share.

mod history;
mod images;
mod import;
mod inspect;
pub mod later;
mod load;
mod rm;
mod rmi;
mod run;
mod save;
mod system;
mod tag;

use std::{
    io::{self, Write},
    path::PathBuf,
};

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use image::store::Store;

/// Run containers and keep images, without a daemon.
#[derive(Debug, Parser)]
#[command(name = "rrun", version, max_term_width = 110)]
pub struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

/// Options of every verb.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Folder of images, layers and containers [env: HULL_ROOT] [default: /var/lib/hull]
    #[arg(long, global = true, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Folder of what a reboot ends [env: HULL_STATE] [default: /run/hull]
    #[arg(long, global = true, value_name = "DIR")]
    state: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run a command in a new container
    Run(Box<run::Arguments>),
    /// Remove containers that have ended
    Rm(rm::Arguments),
    /// List images
    Images(images::Arguments),
    /// Remove names, and images with their last name
    Rmi(rmi::Arguments),
    /// Give an image another name
    Tag(tag::Arguments),
    /// Show everything about images, as JSON
    Inspect(inspect::Arguments),
    /// Show how an image was made
    History(history::Arguments),
    /// Bring images from an archive or OCI layout
    Load(load::Arguments),
    /// Write images to an archive or OCI layout
    Save(save::Arguments),
    /// Make an image of the tar of a root file system
    Import(import::Arguments),
    /// Look after the store
    #[command(subcommand)]
    System(system::Verb),
}

/// Runs the verb; its result is the exit code.
pub fn dispatch(arguments: Arguments) -> Result<u8> {
    let Arguments { global, verb } = arguments;
    match verb {
        Verb::Run(arguments) => run::run(&global, &arguments),
        Verb::Rm(arguments) => rm::run(&global, &arguments),
        Verb::Images(arguments) => images::run(&global, &arguments),
        Verb::Rmi(arguments) => rmi::run(&global, &arguments),
        Verb::Tag(arguments) => tag::run(&global, &arguments),
        Verb::Inspect(arguments) => inspect::run(&global, &arguments),
        Verb::History(arguments) => history::run(&global, &arguments),
        Verb::Load(arguments) => load::run(&global, &arguments),
        Verb::Save(arguments) => save::run(&global, &arguments),
        Verb::Import(arguments) => import::run(&global, &arguments),
        Verb::System(verb) => system::run(&global, &verb),
    }
}

impl Global {
    /// Folder of images, layers and containers.
    pub fn root(&self) -> PathBuf {
        folder(self.root.as_ref(), "HULL_ROOT", "/var/lib/hull")
    }

    /// Folder of what a reboot ends.
    pub fn state(&self) -> PathBuf {
        folder(self.state.as_ref(), "HULL_STATE", "/run/hull")
    }

    /// Opens the store.
    pub fn store(&self) -> Result<Store> {
        let root = self.root();
        Store::open(&root).with_context(|| format!("cannot open the store {}", root.display()))
    }
}

fn folder(option: Option<&PathBuf>, variable: &str, default: &str) -> PathBuf {
    let from_environment = || std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    option.cloned().or_else(from_environment).unwrap_or_else(|| default.into())
}

/// Standard output could not be written.
#[derive(Debug, Clone, Copy)]
pub struct OutputClosed;

impl std::fmt::Display for OutputClosed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cannot write to standard output")
    }
}

/// Prints to standard output, all at once.
fn print(text: &str) -> Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes()).and_then(|()| output.flush()).context(OutputClosed)
}

/// Runs one verb over several objects: all are tried, each failure is printed, and one failure is enough for 1.
fn each<T: AsRef<str>>(objects: &[T], mut act: impl FnMut(&str) -> Result<()>) -> Result<u8> {
    let mut code = 0;
    for object in objects {
        match act(object.as_ref()) {
            Err(error) if error.downcast_ref::<OutputClosed>().is_some() => return Err(error),
            Err(error) => {
                crate::report(&format!("{error:#}"));
                code = 1;
            }
            Ok(()) => {}
        }
    }
    Ok(code)
}
