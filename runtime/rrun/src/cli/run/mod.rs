//! `rrun run`: a container from an image.
//!
//! Everything is prepared here (folder, overlay, user, config.json, network). In the foreground this process then
//! *becomes* the monitor by executing `roci monitor`, with the root file system as a descriptor: same pid, terminal and
//! signals. Detached, it leaves a monitor behind, and prints the container's id once its command runs. Exit codes are
//! docker's: 125 when we failed, 126 and 127 for a command that cannot run or is missing, else the container's, with 128+n
//! for a signal.

mod creation;
mod foreground;
mod request;

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::Result;
use clap::{ArgAction, Args};
use engine::{NetworkMode, launch};
use image::store::{Image, Store};
use runtime::process::Signal;
use runtime::spec::from_image::Bind;

use super::{Global, print};
use crate::{OUR_FAILURE, options};
use creation::Prepared;
pub use creation::attach_network;
use options::publish::{Exposed, Publish};
use request::Request;

/// Options of `run`.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub struct Arguments {
    /// Leave the container running and print its id
    #[arg(short, long)]
    detach: bool,
    /// Pass standard input on; detached, keep it open for who attaches
    #[arg(short, long)]
    interactive: bool,
    /// Give the container a terminal
    #[arg(short, long)]
    tty: bool,
    /// Remove the container when it has ended
    #[arg(long)]
    rm: bool,
    /// Name for the container
    #[arg(long, value_parser = options::container_name)]
    name: Option<String>,
    /// Lead a port of the host, a free one if none is named, to one of the container; ranges too
    #[arg(short, long, value_name = "[[ADDRESS:]HOST_PORT:]PORT[/PROTOCOL]", value_parser = options::publish::publish)]
    publish: Vec<Vec<Publish>>,
    /// Publish every port that the image or --expose mentions
    #[arg(short = 'P', long)]
    publish_all: bool,
    /// Mention a port that the container listens on
    #[arg(long, value_name = "PORT[/PROTOCOL]", value_parser = options::publish::exposed)]
    expose: Vec<Exposed>,
    /// Network: bridge, none or host
    #[arg(long, alias = "net", value_name = "NETWORK", default_value = "bridge", value_parser = options::network)]
    network: NetworkMode,
    /// Add a line to /etc/hosts
    #[arg(long, value_name = "NAME:ADDRESS", value_parser = options::settings::host)]
    add_host: Vec<(String, IpAddr)>,
    /// Name server instead of the host's
    #[arg(long, value_name = "ADDRESS")]
    dns: Vec<IpAddr>,
    /// Host name inside
    #[arg(short = 'h', long, value_name = "NAME", value_parser = options::hostname)]
    hostname: Option<String>,
    /// Set a variable; without a value it is taken from here
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Set the variables of a file
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Set a label
    #[arg(short, long, value_name = "KEY[=VALUE]", value_parser = options::settings::label)]
    label: Vec<(String, String)>,
    /// Show a folder or file of the host inside
    #[arg(short, long, value_name = "SOURCE:DESTINATION[:ro]", value_parser = options::volume)]
    volume: Vec<Bind>,
    /// Working directory inside
    #[arg(short, long, value_name = "DIR", value_parser = options::working_directory)]
    workdir: Option<PathBuf>,
    /// User and group, names or numbers
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Program instead of the image's entry point
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<String>,
    /// Memory limit
    #[arg(short, long, value_name = "BYTES", value_parser = options::memory)]
    memory: Option<u64>,
    /// CPU limit, as 1.5
    #[arg(long, value_name = "NUMBER", value_parser = options::cpus)]
    cpus: Option<u64>,
    /// Signal that asks the container to end
    #[arg(long, value_name = "SIGNAL", value_parser = options::settings::signal)]
    stop_signal: Option<Signal>,
    /// Seconds until a container that ignores that signal is killed
    #[arg(long, value_name = "SECONDS")]
    stop_timeout: Option<u64>,
    /// How the log is kept: max-size=SIZE (64m), max-file=NUMBER (2)
    #[arg(long, value_name = "KEY=VALUE")]
    log_opt: Vec<String>,
    /// Write the container's id to a file that is not there yet
    #[arg(long, value_name = "FILE")]
    cidfile: Option<PathBuf>,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
    /// Image, and the command to run instead of its own
    #[arg(required = true, trailing_var_arg = true, value_names = ["IMAGE", "COMMAND"])]
    image: Vec<String>,
}

/// Does not return when a foreground container starts: the process is the monitor then.
pub fn run(global: &Global, arguments: &Arguments) -> Result<u8> {
    let error = match Request::new(arguments).and_then(|request| create_and_run(global, &request)) {
        Ok(code) => return Ok(code),
        Err(error) => error,
    };
    crate::report_error(&error);
    Ok(error.downcast_ref::<engine::Error>().map_or(OUR_FAILURE, engine::Error::exit_code))
}

fn create_and_run(global: &Global, request: &Request<'_>) -> Result<u8> {
    let containers = global.containers()?;
    let prepared = creation::create(global, &containers, request)?;
    if !request.arguments.detach {
        let Err(error) = foreground::become_monitor(request, &containers, &prepared);
        return prepared.undo(&containers, error);
    }
    let Prepared { record, held, root } = &prepared;
    let mut client = match launch::create(&containers, record, held, root) {
        Ok(client) => client,
        // As with docker, one that could not be started stays.
        Err(error) if !record.remove => return Err(error.and_undo(containers.release(held)).into()),
        Err(error) => return prepared.undo(&containers, error.into()),
    };
    // From here on it is the monitor that undoes.
    launch::start(&mut client, record)?;
    print(&format!("{}\n", record.id))?;
    Ok(0)
}

/// The image, or an error that names local ones which were perhaps meant.
fn find(store: &Store, name: &str) -> Result<Image> {
    store.find(name).map_err(|error| {
        let near = near_names(store, name);
        let help = match near.is_empty() {
            true => "images are not fetched yet, make one with rbuild, rrun load or rrun import".to_owned(),
            false => format!("here is {}", near.join(", ")),
        };
        anyhow::anyhow!("cannot run {name}: {error} ({help})")
    })
}

/// Up to three local names of the same repository, or that contain or are contained in what was typed.
fn near_names(store: &Store, name: &str) -> Vec<String> {
    let wanted = name.split([':', '@']).next().unwrap_or(name);
    let close = |other: &String| {
        let other = other.split([':', '@']).next().unwrap_or(other);
        other.contains(wanted) || wanted.contains(other)
    };
    let images = store.images().unwrap_or_default();
    let names = images.iter().flat_map(|image| &image.names).map(|name| name.familiar());
    names.filter(close).take(3).collect()
}
