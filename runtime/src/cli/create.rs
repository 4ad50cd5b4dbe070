//! `roci create`.

use std::path::PathBuf;

use clap::Args;
use runtime::container::{self, Console, CreateRequest, Gate, Id, Stdio};

use super::Context;
use super::log::Log;

/// Options that create and run share.
#[derive(Debug, Args)]
pub struct Setup {
    /// Folder with config.json
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    pub bundle: PathBuf,
    /// Socket that receives the terminal's master
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,
    /// File to write the pid of the container's process to
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Socket that receives a descriptor of the container's process
    #[arg(long, value_name = "SOCKET")]
    pub pidfd_socket: Option<PathBuf>,
    /// Pass this many descriptors after standard error on
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub preserve_fds: u32,
    /// Change the root without pivot_root, for a host that runs from an initramfs: less safe
    #[arg(long)]
    pub no_pivot: bool,
    /// Keep the caller's session keyring
    #[arg(long)]
    pub no_new_keyring: bool,
    /// Name of the container
    #[arg(value_name = "ID", value_parser = super::id)]
    pub id: Id,
}

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    setup: Setup,
}

impl Setup {
    /// The request, with what the verb decides left at its default.
    pub fn request(&self, context: &Context, console: Console, gate: Gate) -> anyhow::Result<CreateRequest> {
        super::run::check_preserved(self.preserve_fds)?;
        Ok(CreateRequest {
            id: self.id.clone(),
            bundle: self.bundle.clone(),
            state_root: context.state_root.clone(),
            stdio: Stdio::Inherit,
            rootfs: None,
            console,
            preserve_descriptors: self.preserve_fds,
            pid_file: self.pid_file.clone(),
            new_keyring: !self.no_new_keyring,
            pidfd_socket: self.pidfd_socket.clone(),
            no_pivot: self.no_pivot,
            cgroup_driver: context.cgroup_driver,
            gate,
            dies_with_creator: false,
            as_sibling: false,
            rootless: context.rootless,
        })
    }
}

pub fn run(arguments: &Arguments, context: &Context, log: &Log) -> anyhow::Result<u8> {
    let console = arguments.setup.console_socket.clone().map_or(Console::Absent, Console::Socket);
    let created = container::create(arguments.setup.request(context, console, Gate::Shared)?)?;
    log.created(&created);
    Ok(0)
}
