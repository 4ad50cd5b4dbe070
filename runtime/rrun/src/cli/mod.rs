//! The command line: global options, the verbs, and what they share.

mod attach;
mod exec;
mod history;
mod images;
mod import;
mod inspect;
mod kill;
pub mod later;
mod load;
mod logs;
mod port;
mod ps;
mod restart;
mod rm;
mod rmi;
mod run;
mod save;
mod start;
mod stop;
mod system;
mod tag;
mod wait;

use std::{
    io::{self, Write},
    path::PathBuf,
};

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use engine::bridge::Bridge;
use engine::{Containers, Record};
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
    /// Bridge of the network that containers share [env: HULL_BRIDGE_NAME] [default: hull0]
    #[arg(long, global = true, value_name = "NAME")]
    bridge_name: Option<String>,
    /// Addresses of that network, of IPv4 or of both kinds [env: HULL_BRIDGE_SUBNET] [default: 10.212.0.0/16]
    #[arg(long, global = true, value_name = "SUBNET[,SUBNET]")]
    bridge_subnet: Option<String>,
    /// Folder of CNI plugins; several are searched in order [env: HULL_CNI_BIN_DIR] [default: /opt/cni/bin,
    /// /usr/libexec/cni, /usr/lib/cni]
    #[arg(long, global = true, value_name = "DIR")]
    cni_bin_dir: Vec<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run a command in a new container
    Run(Box<run::Arguments>),
    /// List containers
    Ps(ps::Arguments),
    /// Show what a container wrote
    Logs(logs::Arguments),
    /// Run a further command in a running container
    Exec(exec::Arguments),
    /// Come to a running container
    Attach(attach::Arguments),
    /// Ask containers to end, and kill those that do not
    Stop(stop::Arguments),
    /// Start containers that have ended
    Start(start::Arguments),
    /// Stop containers and start them again
    Restart(restart::Arguments),
    /// Send a signal to containers
    Kill(kill::Arguments),
    /// Wait until containers have ended and print their exit codes
    Wait(wait::Arguments),
    /// Show where the ports of a container are reached
    Port(port::Arguments),
    /// Remove containers
    Rm(rm::Arguments),
    /// List images
    Images(images::Arguments),
    /// Remove names, and images with their last name
    Rmi(rmi::Arguments),
    /// Give an image another name
    Tag(tag::Arguments),
    /// Show everything about containers or images, as JSON
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
        Verb::Ps(arguments) => ps::run(&global, &arguments),
        Verb::Logs(arguments) => logs::run(&global, &arguments),
        Verb::Exec(arguments) => exec::run(&global, &arguments),
        Verb::Attach(arguments) => attach::run(&global, &arguments),
        Verb::Stop(arguments) => stop::run(&global, &arguments),
        Verb::Start(arguments) => start::run(&global, &arguments),
        Verb::Restart(arguments) => restart::run(&global, &arguments),
        Verb::Kill(arguments) => kill::run(&global, &arguments),
        Verb::Wait(arguments) => wait::run(&global, &arguments),
        Verb::Port(arguments) => port::run(&global, &arguments),
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

    /// The containers of the store, after what dead monitors left was freed.
    pub fn containers(&self) -> Result<Containers> {
        let containers = self.unswept_containers()?;
        if let Err(error) = containers.sweep() {
            // What others left is no reason not to go on.
            crate::report(&format!("warning: {}", crate::causes(&error.into())));
        }
        Ok(containers)
    }

    /// The containers of the store as they lie there.
    pub fn unswept_containers(&self) -> Result<Containers> {
        let state = std::path::absolute(self.state()).context("cannot resolve the state folder")?;
        Ok(Containers::new(&self.store()?, &state))
    }

    /// The network of containers.
    pub fn bridge(&self) -> Result<Bridge> {
        let text = |option: &Option<String>, variable: &str, default: &str| {
            let from_environment = || std::env::var(variable).ok().filter(|value| !value.is_empty());
            option.clone().or_else(from_environment).unwrap_or_else(|| default.to_owned())
        };
        let name = text(&self.bridge_name, "HULL_BRIDGE_NAME", engine::bridge::DEFAULT_NAME);
        let subnet = text(&self.bridge_subnet, "HULL_BRIDGE_SUBNET", engine::bridge::DEFAULT_SUBNET);
        let mut folders = self.cni_bin_dir.clone();
        if folders.is_empty() {
            let variable = std::env::var_os("HULL_CNI_BIN_DIR").unwrap_or_default();
            folders.extend(std::env::split_paths(&variable).filter(|folder| !folder.as_os_str().is_empty()));
        }
        Ok(Bridge::new(&name, &subnet, folders)?)
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

/// Containers that a verb is for.
#[derive(Debug, Args)]
struct Named {
    /// Names or ids of containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Does something to each of several containers and prints what comes of it.
fn each_container(
    global: &Global,
    named: &Named,
    mut act: impl FnMut(&Containers, &Record, &str) -> Result<String>,
) -> Result<u8> {
    let containers = global.containers()?;
    each(&named.containers, |name| {
        let record = containers.find(name)?;
        print(&format!("{}\n", act(&containers, &record, name)?))
    })
}

/// Runs one verb over several objects: all are tried, each failure is printed, and one failure is enough for 1.
fn each<T: AsRef<str>>(objects: &[T], mut act: impl FnMut(&str) -> Result<()>) -> Result<u8> {
    let mut code = 0;
    for object in objects {
        match act(object.as_ref()) {
            Err(error) if error.downcast_ref::<OutputClosed>().is_some() => return Err(error),
            Err(error) => {
                crate::report_error(&error);
                code = 1;
            }
            Ok(()) => {}
        }
    }
    Ok(code)
}
