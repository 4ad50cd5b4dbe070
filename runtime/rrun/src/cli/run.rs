//! `rrun run`: a container from an image, in the foreground.
//!
//! Everything is prepared here (folder, overlay, user, config.json); then this process *becomes* the monitor by
//! executing `roci monitor`, with the root file system as a descriptor: same pid, terminal and signals. Exit codes
//! are docker's: 125 when we failed, 126 and 127 for a command that cannot run or is missing, else the container's,
//! with 128+n for a signal.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::{ArgAction, Args};
use engine::network_files::HostFiles;
use engine::{Containers, Held, NetworkMode, Record, new_id, root, short, user, volumes};
use image::store::{Image, Store};
use runtime::spec::from_image::{
    Bind, ContainerSettings, Identity, Network, TerminalSize, container_spec, merge_env,
};
use rustix::io::FdFlags;

use super::Global;
use crate::{OUR_FAILURE, options};

/// Options of `run`.
#[derive(Debug, Args)]
#[command(
    disable_help_flag = true,
    after_help = "The network is `none` unless asked for: a bridge comes with a later version."
)]
pub struct Arguments {
    /// Pass standard input on
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
    /// Set a variable; without a value it is taken from here
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Set the variables of a file
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
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
    /// Host name inside
    #[arg(short = 'h', long, value_name = "NAME", value_parser = options::hostname)]
    hostname: Option<String>,
    /// Memory limit
    #[arg(short, long, value_name = "BYTES", value_parser = options::memory)]
    memory: Option<u64>,
    /// CPU limit, as 1.5
    #[arg(long, value_name = "NUMBER", value_parser = options::cpus)]
    cpus: Option<u64>,
    /// Network: none or host
    #[arg(long, alias = "net", value_name = "NETWORK", default_value = "none", value_parser = options::network)]
    network: Network,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
    /// Image, and the command to run instead of its own
    #[arg(required = true, trailing_var_arg = true, value_names = ["IMAGE", "COMMAND"])]
    image: Vec<String>,
}

/// Does not return when all goes well: the process is the monitor then.
pub fn run(global: &Global, arguments: &Arguments) -> Result<u8> {
    let Err(error) = prepare_and_become(global, arguments);
    crate::report(&format!("{error:#}"));
    Ok(OUR_FAILURE)
}

/// What was typed, checked as far as that needs no image.
struct Request<'a> {
    arguments: &'a Arguments,
    image: &'a str,
    command: &'a [String],
    env: Vec<String>,
}

impl<'a> Request<'a> {
    fn new(arguments: &'a Arguments) -> Result<Request<'a>> {
        let Some((image, command)) = arguments.image.split_first() else { bail!("no image was named") };
        if arguments.tty && arguments.interactive && !rustix::termios::isatty(std::io::stdin()) {
            bail!("the input device is not a TTY: -it needs a terminal, use -i alone to pass input on");
        }
        for (index, bind) in arguments.volume.iter().enumerate() {
            if arguments.volume[..index].iter().any(|other| other.destination == bind.destination) {
                bail!("duplicate mount point: {}", bind.destination.display());
            }
        }
        let env = options::environment(&arguments.env_file, &arguments.env).map_err(anyhow::Error::msg)?;
        Ok(Request { arguments, image, command, env })
    }

    /// Docker's rule: a given entry point also discards the image's command.
    fn args(&self, image: &Image) -> Result<Vec<String>> {
        let config = &image.config.config;
        let (mut args, default) = match self.arguments.entrypoint.as_deref() {
            Some("") => (Vec::new(), None),
            Some(program) => (vec![program.to_owned()], None),
            None => (config.entrypoint.clone().unwrap_or_default(), config.cmd.as_deref()),
        };
        args.extend_from_slice(if self.command.is_empty() {
            default.unwrap_or_default()
        } else {
            self.command
        });
        if args.is_empty() {
            bail!("no command specified: image {} has none either", self.image);
        }
        Ok(args)
    }
}

fn prepare_and_become(global: &Global, arguments: &Arguments) -> Result<std::convert::Infallible> {
    let request = Request::new(arguments)?;
    let store = global.store()?;
    let state = std::path::absolute(global.state()).context("cannot resolve the state folder")?;
    let containers = Containers::new(&store, &state);
    if let Err(error) = containers.sweep() {
        // What others left is no reason not to run.
        crate::report(&format!("warning: {error:#}"));
    }

    let hold = store.hold()?;
    let image = find(&store, request.image)?;
    let args = request.args(&image)?;
    let id = new_id()?;
    let mut record = Record::new(&id, image.manifest, request.image, &args);
    record.name = arguments.name.clone();
    record.remove = arguments.rm;
    record.network = mode(arguments.network);
    let held = containers.create(&record)?;
    // From here on the record keeps the image.
    drop(hold);

    let prepared = prepare(&request, &store, &image, &held, args);
    let error = match prepared.and_then(|root| become_monitor(&request, &containers, &held, &root)) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    match containers.remove(held) {
        Ok(()) => Err(error),
        Err(left) => Err(error.context(format!("container {} stays behind: {left:#}", short(&id)))),
    }
}

/// Fills the container's folder and returns its root, mounted nowhere.
fn prepare(
    request: &Request<'_>,
    store: &Store,
    image: &Image,
    held: &Held,
    args: Vec<String>,
) -> Result<OwnedFd> {
    let arguments = request.arguments;
    let config = &image.config.config;
    let root = root::mount(store, image, &held.path, arguments.rm)?;
    let wanted = arguments.user.as_deref().unwrap_or(&config.user);
    let user = user::resolve(root.as_fd(), wanted, &[])?;
    for volume in config.volumes.keys() {
        volumes::make_volume(root.as_fd(), volume)?;
    }
    for bind in &arguments.volume {
        volumes::make_source(&bind.source)?;
    }
    let hostname = match (&arguments.hostname, arguments.network) {
        (Some(name), _) => name.clone(),
        (None, Network::None) => short(&held.id).to_owned(),
        (None, Network::Host) => rustix::system::uname().nodename().to_string_lossy().into_owned(),
    };
    let working_dir = Some(config.working_dir.as_str()).filter(|folder| !folder.is_empty()).unwrap_or("/");
    let mut settings = ContainerSettings::new(&held.id, args);
    settings.rootfs = held.path.join("rootfs");
    settings.env = merge_env(&config.env, &request.env);
    settings.cwd = arguments.workdir.clone().unwrap_or_else(|| Path::new("/").join(working_dir));
    settings.home = user.home;
    settings.user = Identity { uid: user.uid, gid: user.gid, additional_gids: user.additional_gids };
    settings.files = HostFiles::of_network(mode(arguments.network), &hostname).write(&held.path)?;
    settings.hostname = hostname;
    settings.terminal = arguments.tty.then(TerminalSize::default);
    settings.network = arguments.network;
    settings.memory = arguments.memory;
    settings.nano_cpus = arguments.cpus;
    settings.binds = arguments.volume.clone();
    let path = held.path.join("config.json");
    let spec = serde_json::to_vec(&container_spec(&settings)).context("cannot encode config.json")?;
    std::fs::write(&path, spec).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(root)
}

fn mode(network: Network) -> NetworkMode {
    match network {
        Network::None => NetworkMode::None,
        Network::Host => NetworkMode::Host,
    }
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

/// Executes the monitor in this process. The root and the lock are the only descriptors that it inherits.
fn become_monitor(
    request: &Request<'_>,
    containers: &Containers,
    held: &Held,
    root: &OwnedFd,
) -> Result<std::convert::Infallible> {
    let roci = runtime::container::roci_path();
    let mut command = Command::new(&roci);
    command.arg("--root").arg(containers.runtime_state());
    command.args(["monitor", "--foreground", "--program", "rrun", "--id", &held.id]);
    command.arg("--bundle").arg(&held.path);
    command.arg("--socket").arg(containers.socket(&held.id));
    for (option, descriptor) in [("--rootfs-fd", root), ("--lock-fd", &held.lock)] {
        rustix::io::fcntl_setfd(descriptor, FdFlags::empty()).context("cannot pass a descriptor on")?;
        command.arg(option).arg(descriptor.as_raw_fd().to_string());
    }
    if request.arguments.rm {
        command.arg("--remove").arg(&held.path);
    }
    if request.arguments.interactive {
        command.arg("--interactive");
    }
    if request.arguments.tty {
        command.arg("--terminal");
    }
    Err(command.exec()).with_context(|| format!("cannot execute the runtime {}", roci.display()))
}
