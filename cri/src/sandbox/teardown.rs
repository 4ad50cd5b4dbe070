//! Ending pods. Every step takes for done what is not there, and the steps after a failed one are still done, so it can be
//! repeated from any point, by a later request or by a later `rcri`.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use engine::network_file;
use runtime::cgroup::{Cgroup, CgroupPath};
use runtime::monitor::client::{Client, ClientError};
use runtime::monitor::status_record::StatusRecord;
use runtime::network::namespace;

use super::{Pod, files};
use crate::container::Container;
use crate::container::remove::remove as remove_container;
use crate::error::{Error, Result};
use crate::node::Node;

/// How long processes that were killed may take to leave their cgroup.
const PATIENCE: Duration = Duration::from_secs(10);

/// Stops a pod: kills what runs in it, and releases its network. Its record stays. The caller has the pod's gate.
pub fn stop(node: &Node, pod: &Pod) -> Result<()> {
    let ended = take_down(node, pod);
    pod.set_not_ready();
    for container in node.index.containers_of(&pod.id) {
        container.settle_stopped(node)?;
    }
    if ended.is_ok() {
        pod.forget_addresses();
        tracing::info!(pod = pod.short(), "stopped a pod");
    }
    ended
}

/// Removes a pod that was stopped, with its containers. The caller has the pod's gate.
pub fn remove(node: &Node, pod: &Pod) -> Result<()> {
    for container in node.index.containers_of(&pod.id) {
        remove_container(node, &container)?;
    }
    match node.pods.hold(&pod.id) {
        Ok(held) => node.pods.remove(held)?,
        Err(error) if error.kind() == engine::Kind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    node.index.remove_pod(&pod.id);
    tracing::info!(pod = pod.short(), "removed a pod");
    Ok(())
}

/// Ends everything that a pod has beside its record.
pub fn take_down(node: &Node, pod: &Pod) -> Result<()> {
    let folder = node.pods.folder(&pod.id);
    let netns = node.containers.network_namespace(&pod.id);
    let mut failures = Vec::new();
    let mut step = |result: Result<()>| failures.extend(result.err());
    match shut_down(node, pod) {
        Ok(true) => {}
        // Nobody was there to end its processes.
        Ok(false) => {
            step(bury(node, pod));
            step(remove_socket(&node.containers.socket(&pod.id)));
        }
        Err(error) => step(Err(error)),
    }
    step(runtime::network::release(&network_file(&folder)).map_err(Error::from));
    // The namespace is older than the attachment's record only for an instant; but that may be the last one.
    if !network_file(&folder).exists() {
        step(namespace::remove(&netns).map_err(Error::from));
    }
    step(files::remove_shared_memory(&node.pod_state(&pod.id)));
    step(remove_parent(node, pod));
    let mut failures = failures.into_iter();
    match (failures.next(), failures.map(|error| error.chain()).collect::<Vec<_>>()) {
        (None, _) => Ok(()),
        (Some(only), others) if others.is_empty() => Err(only),
        (Some(first), others) => {
            Err(Error::NotUndone { failure: Box::new(first), undoing: others.join("; ") })
        }
    }
}

/// Has the pod's monitor end everything; false if there is none.
fn shut_down(node: &Node, pod: &Pod) -> Result<bool> {
    let gone = |error: &ClientError| error.is_gone();
    match Client::connect(&node.containers.socket(&pod.id)).and_then(|mut client| client.shutdown()) {
        Ok(()) => Ok(true),
        Err(error) if gone(&error) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// A monitor that was killed could not remove it.
fn remove_socket(socket: &Path) -> Result<()> {
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io("remove", socket)(error)),
        _ => Ok(()),
    }
}

/// Ends what a pod without a monitor has: its containers' processes and its own. Their end is then on record as unknown.
pub fn bury(node: &Node, pod: &Pod) -> Result<()> {
    for container in node.index.containers_of(&pod.id) {
        bury_container(node, &container)?;
    }
    let held = match node.pods.hold(&pod.id) {
        Ok(held) => held,
        // We have it ourselves: the pod is being made.
        Err(error) if error.kind() == engine::Kind::InvalidState => return kill_pause(node, pod),
        Err(error) if error.kind() == engine::Kind::NotFound => return kill_pause(node, pod),
        Err(error) => return Err(error.into()),
    };
    kill_pause(node, pod)?;
    match StatusRecord::read(&held.path)? {
        Some(status) if !status.has_ended() => Ok(status.lost().write(&held.path)?),
        _ => Ok(()),
    }
}

fn bury_container(node: &Node, container: &Arc<Container>) -> Result<()> {
    match node.containers.hold(&container.id, &container.id) {
        Ok(held) => node.containers.bury(&held)?,
        // It went meanwhile.
        Err(error) if error.kind() == engine::Kind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    container.refresh(node)
}

fn kill_pause(node: &Node, pod: &Pod) -> Result<()> {
    remove_cgroup(node, &pod.pause_cgroup()?)
}

/// The cgroup of a pod for which the kubelet had none goes with the pod.
fn remove_parent(node: &Node, pod: &Pod) -> Result<()> {
    match pod.owns_cgroup_parent() {
        true => remove_cgroup(node, &pod.cgroup_parent()?),
        false => Ok(()),
    }
}

fn remove_cgroup(node: &Node, path: &CgroupPath) -> Result<()> {
    let cgroup = Cgroup::open(&node.hierarchies, path);
    let removed = cgroup.kill().and_then(|()| cgroup.remove(PATIENCE));
    removed.map_err(|error| runtime::error::Error::from(error).into())
}
