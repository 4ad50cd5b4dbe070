//! Ending pods. Every step takes for done what is not there, and the steps after a failed one are still done, so it can be
//! repeated from any point, by a later request or by a later `rcri`.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use engine::{Held, network_file};
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
    let mut failures = Failures::default();
    failures.note(take_down(node, pod, None));
    pod.set_not_ready();
    let is_down = failures.is_empty();
    for container in node.index.containers_of(&pod.id) {
        // Where its monitor does not answer, nobody knows that it will never be started.
        failures.note(match is_down {
            true => container.settle_stopped(node),
            false => container.refresh(node),
        });
    }
    if is_down {
        pod.forget_addresses();
        tracing::info!(pod = pod.short(), "stopped a pod");
    }
    failures.result()
}

/// Stops and removes a pod. Also one that was stopped before: what that could not release must not lose its record. The
/// caller has the pod's gate.
pub fn end(node: &Node, pod: &Pod) -> Result<()> {
    stop(node, pod)?;
    remove(node, pod)
}

/// Removes a pod that was stopped, with its containers. The caller has the pod's gate.
pub fn remove(node: &Node, pod: &Pod) -> Result<()> {
    let mut failures = Failures::default();
    for container in node.index.containers_of(&pod.id) {
        failures.note(remove_container(node, &container));
    }
    failures.result()?;
    match node.pods.hold(&pod.id) {
        Ok(held) => node.pods.remove(held)?,
        Err(error) if error.kind() == engine::Kind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    node.index.remove_pod(&pod.id);
    tracing::info!(pod = pod.short(), "removed a pod");
    Ok(())
}

/// Ends everything that a pod has beside its record. `held` is its lock where that is the caller's, because the pod is being
/// made.
pub fn take_down(node: &Node, pod: &Pod, held: Option<&Held>) -> Result<()> {
    let folder = node.pods.folder(&pod.id);
    let netns = node.containers.network_namespace(&pod.id);
    let mut failures = Failures::default();
    match shut_down(node, pod) {
        Ok(true) => {}
        // Nobody was there to end its processes.
        Ok(false) => {
            failures.note(bury(node, pod, held));
            failures.note(remove_socket(&node.containers.socket(&pod.id)));
        }
        Err(error) => failures.note(Err(error)),
    }
    failures.note(runtime::network::release(&network_file(&folder)).map_err(Error::from));
    // The namespace is older than the attachment's record only for an instant; but that may be the last one.
    if !network_file(&folder).exists() {
        failures.note(namespace::remove(&netns).map_err(Error::from));
    }
    failures.note(files::remove_shared_memory(&node.pod_state(&pod.id)));
    failures.note(remove_parent(node, pod));
    failures.result()
}

/// What failed while going on.
#[derive(Debug, Default)]
struct Failures(Vec<Error>);

impl Failures {
    fn note(&mut self, result: Result<()>) {
        self.0.extend(result.err());
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first one, and the others in words.
    fn result(self) -> Result<()> {
        let mut failures = self.0.into_iter();
        match (failures.next(), failures.map(|error| error.chain()).collect::<Vec<_>>()) {
            (None, _) => Ok(()),
            (Some(only), others) if others.is_empty() => Err(only),
            (Some(first), others) => {
                Err(Error::NotUndone { failure: Box::new(first), undoing: others.join("; ") })
            }
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

/// Ends what is left of a pod whose monitor was killed, or whose machine was restarted.
pub fn end_remains(node: &Node, pod: &Pod) -> Result<()> {
    bury(node, pod, None)?;
    // After a reboot there is nothing in the namespace any more, but plugins hold addresses on the host.
    let lost = !pod.has_host_network() && !namespace::is_pinned(&node.containers.network_namespace(&pod.id));
    match lost {
        true => Ok(runtime::network::release(&network_file(&node.pods.folder(&pod.id)))?),
        false => Ok(()),
    }
}

/// Ends what a pod without a monitor has: its containers' processes and its own. Their end is then on record as unknown.
/// Fails, and does nothing, when somebody else has the pod's lock: then a monitor is there after all.
fn bury(node: &Node, pod: &Pod, held: Option<&Held>) -> Result<()> {
    let found;
    let held = match held {
        Some(held) => Some(held),
        None => {
            found = match node.pods.hold(&pod.id) {
                Ok(held) => Some(held),
                Err(error) if error.kind() == engine::Kind::NotFound => None,
                Err(error) => return Err(error.into()),
            };
            found.as_ref()
        }
    };
    if pod.is_ready() {
        tracing::warn!(pod = pod.short(), "its monitor was killed: ending what is left of the pod");
    }
    pod.set_not_ready();
    let mut failures = Failures::default();
    for container in node.index.containers_of(&pod.id) {
        failures.note(bury_container(node, &container));
    }
    failures.note(pod.pause_cgroup().and_then(|cgroup| remove_cgroup(node, &cgroup)));
    if let Some(held) = held {
        failures.note(write_lost(&held.path));
    }
    failures.result()
}

fn write_lost(folder: &Path) -> Result<()> {
    match StatusRecord::read(folder)? {
        Some(status) if !status.has_ended() => Ok(status.lost().write(folder)?),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_counts_and_the_others_are_told() {
        let failed = |seconds| Err(Error::Timeout { seconds });
        let all = |results: Vec<Result<()>>| {
            let mut failures = Failures::default();
            results.into_iter().for_each(|result| failures.note(result));
            failures.result()
        };
        assert!(all(vec![Ok(()), Ok(())]).is_ok());
        assert!(matches!(all(vec![Ok(()), failed(1), Ok(())]), Err(Error::Timeout { seconds: 1 })));
        let error = all(vec![failed(1), Ok(()), failed(2)]).unwrap_err();
        assert_eq!(error.kind(), crate::Kind::Timeout);
        assert!(error.chain().contains("1 s") && error.chain().contains("2 s"), "{}", error.chain());
    }
}
