//! Making a container, up to the gate before its command.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::{Held, root};
use image::store::{Image, Store};
use k8s_cri::v1::{ContainerConfig, LinuxContainerUser};
use oci_spec::runtime::Mount;
use runtime::monitor::client::Client;
use runtime::monitor::protocol::{Create, CreateFlags, ErrorKind, Phase};
use runtime::monitor::status_record;
use runtime::process::Signal;

use super::entry::Parts;
use super::mounts::MountTable;
use super::request::{self, Plan};
use super::resources::Machine;
use super::spec::{self, PodParts};
use super::{
    Broken, Container, ImageUse, admission, command, devices, log, mounts, resources, security, user, volumes,
};
use crate::error::{Error, Result};
use crate::node::Node;
use crate::sandbox::create::utf8;
use crate::sandbox::{Pod, files};

/// Makes a container and enters it into the index. On failure everything is undone. The caller shares the pod's gate.
pub fn create(node: &Node, pod: &Pod, config: &ContainerConfig) -> Result<Arc<Container>> {
    admission::add_container(pod.is_ready()).map_err(|refusal| admission::refuse_pod(pod, refusal))?;
    let plan = request::check(config, pod)?;
    // The image cannot be collected until it is in the record of a container.
    let hold = node.store.hold()?;
    let image = find_image(&node.store, config)?;
    let command = command::resolve(config, &image.config.config)?;
    let log = plan.log.as_deref().map(|path| log::prepare(&pod.config.log_directory, path)).transpose()?;
    let mut parts = Parts {
        id: engine::new_id()?,
        config: config.clone(),
        image: image_use(&image, config),
        created_at: status_record::now(),
        log_path: log,
        stop_signal: stop_signal(&image),
        broken: None,
    };
    let arguments = command.args.clone();
    let held = node.containers.create(&Container::record(&parts, pod, image.manifest, &arguments)?)?;
    drop(hold);
    let made = Making { node, pod, plan: &plan, image: &image, held: &held }.run(command, config, &parts);
    let made = made.and_then(|(user, broken)| {
        parts.broken = broken;
        // A later rcri has to know as well: the monitor has nothing of it.
        if parts.broken.is_some() {
            Container::record(&parts, pod, image.manifest, &arguments)?.write(&held.path)?;
        }
        Container::new(parts, pod, user)
    });
    match made {
        Ok(container) => {
            let container = Arc::new(container);
            node.index.add_container(Arc::clone(&container));
            tracing::info!(container = container.short(), pod = pod.short(), "made a container");
            Ok(container)
        }
        Err(error) => Err(error.and_undo(undo(node, pod, held))),
    }
}

fn undo(node: &Node, pod: &Pod, held: Held) -> Result<()> {
    // Its monitor has undone what failed; what it made before something else failed it still has.
    match node.monitor(&pod.id).and_then(|mut client| Ok(client.delete(&held.id)?)) {
        Err(Error::Client(error)) if error.refusal().is_none() && !error.is_gone() => {
            return Err(error.into());
        }
        _ => {}
    }
    Ok(node.containers.remove(held)?)
}

/// Everything at hand while a container is made.
struct Making<'a> {
    node: &'a Node,
    pod: &'a Pod,
    plan: &'a Plan,
    image: &'a Image,
    held: &'a Held,
}

impl Making<'_> {
    fn run(
        &self,
        command: command::Command,
        config: &ContainerConfig,
        parts: &Parts,
    ) -> Result<(LinuxContainerUser, Option<Broken>)> {
        let root = root::mount(&self.node.store, self.image, &self.held.path, true)?;
        let wanted = user::wanted(&self.plan.security, &self.image.config.config.user)?;
        let user = user::resolve(root.as_fd(), &wanted)?;
        let mut binds = self.make_volumes(&root)?;
        let shown = user::shown(user.uid, user.gid, &user.additional_gids);
        let mut client = self.node.monitor(&self.pod.id)?;
        let pod = self.pod_parts(&mut client)?;
        let cgroup = self.pod.cgroup_of(&self.held.id)?;
        let table = MountTable::read()?;
        for mount in &self.plan.mounts {
            binds.push(mounts::prepare(mount, &table)?);
        }
        let spec = spec::build(spec::Parts {
            id: &self.held.id,
            folder: &self.held.path,
            cgroup: cgroup.as_str(),
            plan: self.plan,
            terminal: config.tty,
            command,
            user,
            pod: &pod,
            mounts: binds,
            devices: devices::of(&config.devices, self.plan.security.privileged)?,
            limits: resources::limits(&self.plan.resources, Machine::of(&self.node.hierarchies))?,
            seccomp: security::filter(&self.plan.security, &self.plan.granted.bounding)?,
            unified: self.node.hierarchies.is_unified(),
        })?;
        write_spec(&self.held.path, &spec)?;
        match self.ask(&mut client, config, parts.log_path.as_deref(), &root) {
            Ok(()) => Ok((shown, None)),
            Err(error) => Ok((shown, Some(broken(error)?))),
        }
    }

    /// The volumes of the image that no mount covers.
    fn make_volumes(&self, root: &OwnedFd) -> Result<Vec<Mount>> {
        let volumes = self.image.config.config.volumes.keys();
        let places: Vec<PathBuf> =
            volumes.map(|volume| Path::new("/").join(volume).components().collect()).collect();
        let is_covered = |place: &&Path| self.plan.mounts.iter().any(|mount| mount.destination == *place);
        let wanted = places.iter().map(PathBuf::as_path).filter(|place| !is_covered(place));
        volumes::make(root, &self.held.path, self.plan.security.readonly_rootfs, wanted)
    }

    /// What the pod gives. The process that holds its namespaces is asked for now: an earlier number may be somebody
    /// else's by now.
    fn pod_parts(&self, client: &mut Client) -> Result<PodParts> {
        let status = client.status(Some(&self.pod.id))?;
        if status.phase != Phase::Running || status.pid == 0 {
            self.pod.set_not_ready();
            let refusal = admission::add_container(false).err().unwrap_or_default();
            return Err(admission::refuse_pod(self.pod, refusal));
        }
        let own_ipc = !self.pod.has_host_ipc();
        Ok(PodParts {
            pause: status.pid,
            hostname: self.pod.hostname(),
            network: (!self.pod.has_host_network())
                .then(|| self.node.containers.network_namespace(&self.pod.id)),
            own_ipc,
            own_pid: self.pod.has_own_pid(),
            folder: self.node.pods.folder(&self.pod.id),
            shared_memory: match own_ipc {
                true => files::shared_memory(&self.node.pod_state(&self.pod.id)),
                false => PathBuf::from("/dev/shm"),
            },
        })
    }

    fn ask(
        &self,
        client: &mut Client,
        config: &ContainerConfig,
        log: Option<&Path>,
        root: &OwnedFd,
    ) -> Result<()> {
        let request = Create {
            container: &self.held.id,
            folder: utf8(&self.held.path)?,
            log: log.map(utf8).transpose()?,
            // The kubelet rotates.
            log_size: None,
            log_files: 1,
            flags: CreateFlags {
                terminal: config.tty,
                stdin: config.stdin,
                stdin_once: config.stdin_once,
                bound: false,
            },
        };
        client.create(request, root.as_fd(), self.held.lock.as_fd())?;
        Ok(())
    }
}

/// Is it the command that cannot be executed? Everything else is a failure of ours.
fn broken(error: Error) -> Result<Broken> {
    match &error {
        Error::Client(refused)
            if matches!(refused.refusal(), Some(ErrorKind::CommandNotFound | ErrorKind::NotExecutable)) =>
        {
            Ok(Broken { code: refused.exit_code(), reason: error.chain() })
        }
        _ => Err(error),
    }
}

fn find_image(store: &Store, config: &ContainerConfig) -> Result<Image> {
    let name = config.image.as_ref().map_or("", |image| &image.image);
    Ok(store.find(name)?)
}

fn image_use(image: &Image, config: &ContainerConfig) -> ImageUse {
    let asked = config.image.clone().unwrap_or_default();
    let id = image.id.to_string();
    let fallback =
        if asked.user_specified_image.is_empty() { asked.image } else { asked.user_specified_image };
    ImageUse { reference: id.clone(), name: image.names.first().map_or(fallback, ToString::to_string), id }
}

/// The image's, if it is one.
fn stop_signal(image: &Image) -> u32 {
    let named = image.config.config.stop_signal.as_deref().and_then(|name| name.parse::<Signal>().ok());
    let signal = named.filter(|signal| signal.0 > 0).unwrap_or(Signal::TERM);
    signal.0.unsigned_abs()
}

fn write_spec(folder: &Path, spec: &oci_spec::runtime::Spec) -> Result<()> {
    let path = folder.join("config.json");
    let text = serde_json::to_vec(spec).map_err(|error| Error::Internal(error.to_string()))?;
    std::fs::write(&path, text).map_err(Error::io("write", &path))
}
