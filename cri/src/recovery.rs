//! The start of `rcri`: memory from disk, and the end of what was half made when an earlier one was killed.
//!
//! ```text
//! folder without a record         its maker was killed at once              removed
//! pod without status.json         it was never handed out                   undone; stays, not ready, if that fails
//! pod with a monitor              ready if its pause process lives          followed
//! pod without one                 killed, or the machine was restarted      not ready; what is left is ended
//! container without pod           its pod was removed meanwhile             removed
//! container, never made           no status.json, and nobody has its lock   removed
//! ```

use std::sync::Arc;

use engine::{Held, PodRecord, Record, State};
use k8s_cri::v1::LinuxContainerUser;
use runtime::monitor::client::Client;
use runtime::monitor::status_record::StatusRecord;
use runtime::network::namespace;

use crate::container::{Container, user};
use crate::error::{Error, Result};
use crate::monitors;
use crate::node::Node;
use crate::sandbox::{Pod, network, teardown};

/// Reads everything back. What cannot be understood is told and left alone: it may be of a newer version.
pub fn recover(node: &Arc<Node>) -> Result<()> {
    remove_stillborn(node)?;
    // Whoever comes next frees what the dead left, also of what is not ours.
    if let Err(error) = node.containers.sweep() {
        tracing::warn!("cannot free what a killed monitor left: {}", Error::from(error).chain());
    }
    let store = node.store.clone();
    // In nobody's way: there may be much of it.
    tokio::task::spawn_blocking(move || {
        if let Err(error) = store.empty_trash() {
            tracing::warn!("cannot empty the trash: {}", Error::from(error).chain());
        }
    });
    let mut followed = Vec::new();
    for record in node.pods.records()? {
        let id = record.id.clone();
        match recover_pod(node, record) {
            Ok(Some(conversation)) => followed.push(conversation),
            Ok(None) => {}
            Err(error) => tracing::error!(pod = id, "cannot take the pod over: {}", error.chain()),
        }
    }
    for record in node.containers.records()? {
        let id = record.id.clone();
        if let Err(error) = recover_container(node, record) {
            tracing::error!(container = id, "cannot take the container over: {}", error.chain());
        }
    }
    // Only now are all containers known whose ends a monitor may tell of.
    for (pod, client) in followed {
        match client {
            Some(client) => monitors::follow(node, &pod, client),
            None => {
                if let Err(error) = end_remains(node, &pod) {
                    tracing::error!(
                        pod = pod.short(),
                        "cannot end what is left of the pod: {}",
                        error.chain()
                    );
                }
            }
        }
    }
    tracing::info!(
        pods = node.index.pods().len(),
        containers = node.index.containers().len(),
        "read what was there before"
    );
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

type Conversation = (Arc<Pod>, Option<Client>);

fn recover_pod(node: &Arc<Node>, record: PodRecord) -> Result<Option<Conversation>> {
    let pod = Arc::new(Pod::from_record(record)?);
    let folder = node.pods.folder(&pod.id);
    if StatusRecord::read(&folder)?.is_none() {
        undo(node, &pod)?;
        return Ok(None);
    }
    let client = node.monitor(&pod.id).ok();
    if client.is_some() && node.pods.state(&pod.id)?.is_running() {
        pod.set_ready(network::addresses(&folder));
    }
    node.index.add_pod(Arc::clone(&pod));
    Ok(Some((pod, client)))
}

/// Ends a pod that was never handed out.
fn undo(node: &Node, pod: &Arc<Pod>) -> Result<()> {
    let undone = teardown::take_down(node, pod).and_then(|()| {
        let held: Held = node.pods.hold(&pod.id)?;
        Ok(node.pods.remove(held)?)
    });
    if undone.is_err() {
        node.index.add_pod(Arc::clone(pod));
    }
    undone
}

/// Ends what a pod without monitor has left.
fn end_remains(node: &Node, pod: &Pod) -> Result<()> {
    teardown::bury(node, pod)?;
    // After a reboot there is nothing in the namespace any more, but plugins hold addresses on the host.
    let lost = !pod.has_host_network() && !namespace::is_pinned(&node.containers.network_namespace(&pod.id));
    match lost {
        true => Ok(runtime::network::release(&engine::network_file(&node.pods.folder(&pod.id)))?),
        false => Ok(()),
    }
}

fn recover_container(node: &Node, record: Record) -> Result<()> {
    let Some(cri) = record.cri.clone() else { return Ok(()) };
    let id = record.id.clone();
    let Ok(Some(pod)) = node.index.find_pod(&cri.sandbox_id) else { return remove(node, &id) };
    let state = node.containers.state(&id)?;
    if state == State::Created && node.monitor(&pod.id).and_then(|mut it| Ok(it.status(Some(&id))?)).is_err()
    {
        return remove(node, &id);
    }
    let user = user_of(node, &id).unwrap_or_default();
    let container = Container::from_record(record, cri, &pod, user)?;
    container.advance(state);
    node.index.add_container(Arc::new(container));
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
    let (spec, _) = runtime::spec::load(&node.containers.folder(id)).ok()?;
    let found = spec.process().as_ref()?.user();
    let groups = found.additional_gids().clone().unwrap_or_default();
    Some(user::shown(found.uid(), found.gid(), &groups))
}
