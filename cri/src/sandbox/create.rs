//! Making a pod: the record first, then everything that takes time side by side, the pause process last.

use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, ScopedJoinHandle};

use engine::Held;
use runtime::monitor::client::Client;
use runtime::monitor::detached::Detached;
use runtime::monitor::protocol::{Pause, PauseFlags};

use super::plan::Plan;
use super::{Pod, files, network, teardown};
use crate::error::{Error, Result};
use crate::monitors;
use crate::node::Node;

/// Stack of a thread that starts a monitor or runs plugins, in bytes.
const STACK: usize = 256 << 10;

/// Makes a pod and enters it into the index. On failure everything is undone; what cannot be stays on record as a pod
/// that is not ready, so that the kubelet's next attempt to remove it is another attempt to undo it. The caller has the
/// pod's gate.
pub fn create(node: &Arc<Node>, pod: &Arc<Pod>, plan: &Plan) -> Result<()> {
    let held = node.pods.create(&pod.record(node)?)?;
    match build(node, pod, plan, &held) {
        Ok((client, addresses)) => {
            pod.set_ready(addresses);
            node.index.add_pod(Arc::clone(pod));
            monitors::follow(node, pod, client);
            tracing::info!(pod = pod.short(), name = pod.metadata().name, "made a pod");
            Ok(())
        }
        Err(error) => {
            let undone =
                teardown::take_down(node, pod, Some(&held)).and_then(|()| Ok(node.pods.remove(held)?));
            if undone.is_err() {
                node.index.add_pod(Arc::clone(pod));
            }
            Err(error.and_undo(undone))
        }
    }
}

fn build(node: &Node, pod: &Pod, plan: &Plan, held: &Held) -> Result<(Client, Vec<IpAddr>)> {
    let folder = &held.path;
    let (monitor, addresses, files) = thread::scope(|scope| {
        let monitor = spawn(scope, || start_monitor(node, pod));
        let addresses = spawn(scope, || match plan.own_network {
            true => network::set_up(node, pod, &plan.ports, folder),
            false => Ok(Vec::new()),
        });
        let files = make_files(node, pod, plan, folder);
        (monitor.and_then(join), addresses.and_then(join), files)
    });
    // The network's failure first: it is the one that people can do something about.
    let addresses = addresses?;
    files?;
    let mut client = monitor?;
    let network_namespace = node.containers.network_namespace(&pod.id);
    let sysctls = plan.sysctls.join("\n");
    let hostname = pod.hostname();
    let cgroup = pod.pause_cgroup()?;
    client.pause(
        Pause {
            pod: &pod.id,
            folder: utf8(folder)?,
            network_namespace: if plan.own_network { Some(utf8(&network_namespace)?) } else { None },
            hostname: plan.own_network.then_some(hostname.as_str()),
            cgroup: cgroup.as_str(),
            sysctls: (!sysctls.is_empty()).then_some(sysctls.as_str()),
            flags: PauseFlags { pid: plan.own_pid, ipc: plan.own_ipc },
        },
        held.lock.as_fd(),
    )?;
    Ok((client, addresses))
}

fn start_monitor(node: &Node, pod: &Pod) -> Result<Client> {
    let detached = Detached {
        id: pod.id.clone(),
        state_root: node.containers.runtime_state(),
        socket: node.containers.socket(&pod.id),
        standalone: false,
        network: None,
        remove: None,
    };
    detached.start().map_err(|error| engine::Error::from(error).into())
}

fn make_files(node: &Node, pod: &Pod, plan: &Plan, folder: &Path) -> Result<()> {
    files::write(pod, folder)?;
    match plan.own_ipc {
        true => files::mount_shared_memory(&node.pod_state(&pod.id)),
        false => Ok(()),
    }
}

fn spawn<'scope, 'env, T: Send + 'scope>(
    scope: &'scope thread::Scope<'scope, 'env>,
    work: impl FnOnce() -> Result<T> + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, Result<T>>> {
    let builder = thread::Builder::new().stack_size(STACK);
    builder
        .spawn_scoped(scope, work)
        .map_err(|error| Error::Internal(format!("cannot start a thread: {error}")))
}

fn join<T>(thread: ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Messages to monitors are text.
pub fn utf8(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| Error::invalid(path.to_string_lossy(), "the path is not UTF-8"))
}
