//! The start of `rcri`: memory from disk, and the end of what was half made when an earlier one was killed.
//!
//! ```text
//! folder without a record         its maker was killed at once              removed
//! record that cannot be read      damaged, or of a newer version            told and left alone, containers too
//! pod without status.json         it was never handed out                   not ready; undone while we serve
//! pod with status.json            ready if its pause process lives          its monitor is followed, or found gone
//! container without pod folder    its pod was removed meanwhile             removed
//! container, never made           no status.json, its monitor knows nothing removed
//! ```
//!
//! Only files of ours are looked at before requests are served. Whatever may have to wait for a monitor or a plugin is a
//! task of its own, which has the gate of its pod until it is done, so that requests about that pod wait for it.

use std::sync::Arc;

use engine::{PodRecord, Record, State};
use k8s_cri::v1::LinuxContainerUser;
use runtime::monitor::status_record::StatusRecord;
use tokio::sync::OwnedRwLockWriteGuard;

use crate::container::{Container, user};
use crate::error::{Error, Result};
use crate::monitors;
use crate::node::Node;
use crate::sandbox::{Pod, network, teardown};

/// A pod as it was found.
struct Found {
    pod: Arc<Pod>,
    gate: OwnedRwLockWriteGuard<()>,
    /// Its maker was killed.
    half_made: bool,
    /// Containers that may never have been made.
    unsure: Vec<Arc<Container>>,
}

/// Reads everything back. What cannot be understood is told and left alone: it may be of a newer version. To be called
/// where an async runtime is.
pub fn recover(node: &Arc<Node>) -> Result<()> {
    if let Err(error) = remove_stillborn(node) {
        tracing::warn!("cannot remove pods that were hardly begun: {}", error.chain());
    }
    let mut found = Vec::new();
    for (id, record) in node.pods.entries()? {
        match record.map_err(Error::from).and_then(|record| record.map(|it| find(node, it)).transpose()) {
            Ok(pod) => found.extend(pod),
            Err(error) => tracing::error!(pod = id, "cannot take the pod over: {}", error.chain()),
        }
    }
    for (id, record) in node.containers.entries()? {
        let recovered = record.map_err(Error::from).and_then(|record| match record {
            Some(record) => recover_container(node, record, &mut found),
            None => Ok(()),
        });
        if let Err(error) = recovered {
            tracing::error!(container = id, "cannot take the container over: {}", error.chain());
        }
    }
    tracing::info!(
        pods = node.index.pods().len(),
        containers = node.index.containers().len(),
        "read what was there before"
    );
    // Only now are all containers known whose ends a monitor may tell of.
    for Found { pod, gate, half_made, unsure } in found {
        match half_made {
            true => undo(node, pod, gate),
            false => monitors::take_over(node, &pod, unsure, gate),
        }
    }
    tidy(node);
    Ok(())
}

fn remove_stillborn(node: &Node) -> Result<()> {
    for held in node.pods.dead()? {
        if matches!(PodRecord::read(&held.path), Ok(None)) {
            // There is none without a record; but if there were, nobody else would find it.
            runtime::network::release(&engine::network_file(&held.path))?;
            node.pods.remove(held)?;
        }
    }
    Ok(())
}

/// Frees what others left, in nobody's way: there may be much of it, and plugins may hang.
fn tidy(node: &Arc<Node>) {
    let node = Arc::clone(node);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = node.store.empty_trash() {
            tracing::warn!("cannot empty the trash: {}", Error::from(error).chain());
        }
        // Whoever comes next frees what the dead left, also of what is not ours.
        if let Err(error) = node.containers.sweep() {
            tracing::warn!("cannot free what a killed monitor left: {}", Error::from(error).chain());
        }
    });
}

fn find(node: &Node, record: PodRecord) -> Result<Found> {
    let pod = Arc::new(Pod::from_record(record)?);
    let folder = node.pods.folder(&pod.id);
    let mut half_made = false;
    match StatusRecord::read(&folder) {
        Ok(status) => half_made = status.is_none(),
        // It can be stopped and removed.
        Err(error) => tracing::error!(pod = pod.short(), "not ready: {}", Error::from(error).chain()),
    }
    // Its lock says whether it has a monitor, which need not answer now.
    if !half_made && node.pods.state(&pod.id).is_ok_and(|state| state.is_running()) {
        pod.set_ready(network::addresses(&folder));
    }
    let gate = Arc::clone(&pod.gate).try_write_owned();
    let gate = gate.map_err(|_| Error::Internal(format!("somebody changes pod {} already", pod.short())))?;
    node.index.add_pod(Arc::clone(&pod));
    Ok(Found { pod, gate, half_made, unsure: Vec::new() })
}

/// Ends a pod that was never handed out. If that fails it stays, for the kubelet to stop and remove.
fn undo(node: &Arc<Node>, pod: Arc<Pod>, gate: OwnedRwLockWriteGuard<()>) {
    let node = Arc::clone(node);
    tokio::spawn(async move {
        let _gate = gate;
        let _turn = node.network_turn(&pod).await;
        let undone = Arc::clone(&pod);
        let undone = node.blocking(move |node| {
            teardown::take_down(node, &undone, None)?;
            teardown::remove(node, &undone)
        });
        if let Err(error) = undone.await {
            tracing::error!(pod = pod.short(), "cannot undo a half-made pod: {}", error.chain());
        }
    });
}

fn recover_container(node: &Node, record: Record, found: &mut [Found]) -> Result<()> {
    let Some(cri) = record.cri.clone() else { return Ok(()) };
    let id = record.id.clone();
    let Some(pod) = found.iter_mut().find(|it| it.pod.id == cri.sandbox_id) else {
        return match node.pods.folder(&cri.sandbox_id).exists() {
            // Its pod was told of.
            true => Err(Error::Record {
                what: "pod sandbox",
                id: cri.sandbox_id,
                reason: "it cannot be read, so its containers are left alone".to_owned(),
            }),
            false => remove(node, &id),
        };
    };
    let mut state = node.containers.state(&id)?;
    if let State::Lost { finished: 0, .. } = state {
        // Nobody has its lock: its monitor was killed.
        let held = node.containers.hold(&id, &id)?;
        node.containers.bury(&held)?;
        state = node.containers.state(&id)?;
    }
    let user = user_of(node, &id).unwrap_or_default();
    let container = Arc::new(Container::from_record(record, cri, &pod.pod, user)?);
    if state == State::Created && container.broken.is_none() {
        pod.unsure.push(Arc::clone(&container));
    }
    container.advance(state);
    node.index.add_container(container);
    Ok(())
}

/// Removes a container that was never made.
pub fn forget(node: &Node, container: &Container) -> Result<()> {
    remove(node, &container.id)?;
    node.index.remove_container(&container.id);
    Ok(())
}

/// Removes a container that nobody can know of.
fn remove(node: &Node, id: &str) -> Result<()> {
    let held = node.containers.hold(id, id)?;
    tracing::info!(container = id, "removing what is left of a container that was never made");
    Ok(node.containers.remove(held)?)
}

/// Who it runs as: what was found in its image's user database when it was made.
fn user_of(node: &Node, id: &str) -> Option<LinuxContainerUser> {
    let spec = runtime::spec::load(&node.containers.folder(id)).ok()?.spec;
    let found = spec.process().as_ref()?.user();
    let groups = found.additional_gids().clone().unwrap_or_default();
    Some(user::shown(found.uid(), found.gid(), &groups))
}
