//! From a request to a container that only needs a monitor: its folder, root, config.json and network.

use std::fs;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use engine::network_files::HostFiles;
use engine::{Containers, Error, Held, NetworkMode, Record, names, new_id, root, short, user, volumes};
use image::store::Image;
use runtime::spec::from_image::{
    ContainerSettings, Identity, Network, NetworkFiles, TerminalSize, container_spec, merge_env,
};

use super::request::{Request, assign};
use crate::cli::Global;
use crate::options::publish::HostPort;

/// How often a name or port that we choose ourselves may turn out to be taken.
const ATTEMPTS: u32 = 100;

/// A container without monitor.
pub struct Prepared {
    pub record: Record,
    pub held: Held,
    /// Its root, mounted nowhere.
    pub root: OwnedFd,
}

impl Prepared {
    /// Removes the container again, after `error`.
    pub fn undo<T>(self, containers: &Containers, error: anyhow::Error) -> Result<T> {
        drop(self.root);
        undo(containers, self.held, error)
    }
}

/// Makes the container; after a failure nothing is left of it.
pub fn create(global: &Global, containers: &Containers, request: &Request<'_>) -> Result<Prepared> {
    let store = containers.store();
    let hold = store.hold()?;
    let image = super::find(store, request.image)?;
    let mut record = request.record(&new_id()?, &image)?;
    let held = take_place(containers, request, &mut record)?;
    // From here on the record keeps the image.
    drop(hold);
    match prepare(global, containers, request, &image, &record, &held) {
        Ok(root) => Ok(Prepared { record, held, root }),
        Err(error) => undo(containers, held, error),
    }
}

fn undo<T>(containers: &Containers, held: Held, error: anyhow::Error) -> Result<T> {
    let id = short(&held.id).to_owned();
    if let Err(left) = containers.remove(held) {
        crate::report(&format!("warning: container {id} stays behind: {}", crate::causes(&left.into())));
    }
    Err(error)
}

/// Makes the container's folder, under a name and with ports that nobody has.
fn take_place(containers: &Containers, request: &Request<'_>, record: &mut Record) -> Result<Held> {
    let wanted = request.published(record)?;
    let chooses_ports = wanted.iter().any(|port| !matches!(port.host, HostPort::Fixed(_)));
    let chooses_name = record.name.is_none();
    let mut avoid = Vec::new();
    for attempt in 0..ATTEMPTS {
        record.ports = assign(&wanted, &avoid)?;
        if chooses_name {
            record.name = Some(names::generate(attempt)?);
        }
        match containers.create(record) {
            Err(Error::NameTaken { .. }) if chooses_name => {}
            Err(Error::PortTaken { .. }) if chooses_ports => {
                let chosen = wanted.iter().zip(&record.ports);
                avoid.extend(
                    chosen
                        .filter(|(port, _)| !matches!(port.host, HostPort::Fixed(_)))
                        .map(|(_, port)| port.clone()),
                );
            }
            result => return Ok(result?),
        }
    }
    anyhow::bail!("{ATTEMPTS} names and ports that were chosen are in use")
}

/// Fills the container's folder and attaches it to its network; returns its root.
fn prepare(
    global: &Global,
    containers: &Containers,
    request: &Request<'_>,
    image: &Image,
    record: &Record,
    held: &Held,
) -> Result<OwnedFd> {
    let root = root::mount(containers.store(), image, &held.path, record.remove)?;
    let mut settings = settings(containers, request, image, record, &root)?;
    for bind in &request.arguments.volume {
        volumes::make_source(&bind.source)?;
    }
    settings.files = attach_network(global, containers, record)?;
    let path = held.path.join("config.json");
    let spec = serde_json::to_vec(&container_spec(&settings)).context("cannot encode config.json")?;
    fs::write(&path, spec).with_context(|| format!("cannot write {}", path.display()))?;
    if let Some(file) = &request.arguments.cidfile {
        write_id(file, &record.id).with_context(|| format!("cannot write --cidfile {}", file.display()))?;
    }
    Ok(root)
}

/// Connects the container to its network, and writes the files that tell it of names there.
pub fn attach_network(global: &Global, containers: &Containers, record: &Record) -> Result<NetworkFiles> {
    let hostname = record.shown_hostname();
    let mut files = HostFiles::of_network(record.network, &hostname);
    files.set_name_servers(&record.dns);
    files.add_hosts(record.extra_hosts.iter().map(|(name, address)| (name.as_str(), *address)));
    if record.network == NetworkMode::Bridge {
        let result = global.bridge()?.attach(containers, record).map_err(with_way_out)?;
        files.add_hosts(result.primary_first().into_iter().map(|address| (hostname.as_str(), address)));
    }
    Ok(files.write(&containers.folder(&record.id))?)
}

/// Who lacks plugins may not want a network.
fn with_way_out(error: Error) -> anyhow::Error {
    match &error {
        Error::Network(runtime::network::Error::PluginMissing { .. }) => {
            anyhow::anyhow!("{error}, or use --network none or --network host")
        }
        _ => error.into(),
    }
}

fn settings(
    containers: &Containers,
    request: &Request<'_>,
    image: &Image,
    record: &Record,
    root: &OwnedFd,
) -> Result<ContainerSettings> {
    let (arguments, config) = (request.arguments, &image.config.config);
    let wanted = arguments.user.as_deref().unwrap_or(&config.user);
    let user = user::resolve(root.as_fd(), wanted, &[])?;
    for volume in config.volumes.keys() {
        volumes::make_volume(root.as_fd(), volume)?;
    }
    let working_dir = Some(config.working_dir.as_str()).filter(|folder| !folder.is_empty()).unwrap_or("/");
    let mut settings = ContainerSettings::new(&record.id, record.command.clone());
    settings.rootfs = containers.folder(&record.id).join("rootfs");
    settings.env = merge_env(&config.env, &request.env);
    settings.cwd = arguments.workdir.clone().unwrap_or_else(|| Path::new("/").join(working_dir));
    settings.home = user.home;
    settings.user = Identity { uid: user.uid, gid: user.gid, additional_gids: user.additional_gids };
    settings.hostname = record.shown_hostname();
    settings.terminal = record.tty.then(TerminalSize::default);
    settings.network = match record.network {
        NetworkMode::None | NetworkMode::Pod => Network::None,
        NetworkMode::Host => Network::Host,
        NetworkMode::Bridge => Network::Namespace(containers.network_namespace(&record.id)),
    };
    settings.memory = arguments.memory;
    settings.nano_cpus = arguments.cpus;
    settings.binds = arguments.volume.clone();
    Ok(settings)
}

fn write_id(file: &PathBuf, id: &str) -> std::io::Result<()> {
    fs::OpenOptions::new().write(true).create_new(true).open(file)?.write_all(id.as_bytes())
}
