//! Following what monitors say: one task for each pod that has one, and no thread.
//!
//! A monitor writes an end to disk before it tells of it, so all that is done here is to look. A monitor that is gone
//! without having been told to go was killed: then its pod is buried.

use std::sync::Arc;
use std::time::Duration;

use runtime::monitor::client::{Client, Event};

use crate::error::Result;
use crate::node::Node;
use crate::readable::Readable;
use crate::sandbox::{Pod, teardown};

/// Before a monitor that cannot be understood is asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// Follows the monitor of a pod from now on; `client` is a conversation with it that nobody needs any more. To be called
/// where an async runtime is.
pub fn follow(node: &Arc<Node>, pod: &Arc<Pod>, client: Client) {
    let (node, pod) = (Arc::clone(node), Arc::clone(pod));
    tokio::spawn(async move {
        let mut client = Some(client);
        loop {
            if let Err(error) = watch(&node, &pod, client.take()).await {
                tracing::warn!(pod = pod.short(), "lost the monitor: {}", error.chain());
                tokio::time::sleep(PAUSE).await;
            }
            // Not if the pod was removed, and not for ever: one that cannot be reached twice is gone.
            match node.index.find_pod(&pod.id) {
                Ok(Some(_)) => {}
                _ => return,
            }
            let pod_id = pod.id.clone();
            match node.blocking(move |node| node.monitor(&pod_id)).await {
                Ok(again) => client = Some(again),
                Err(_) => break,
            }
        }
        bury(&node, &pod).await;
    });
}

/// Looks at a pod whose monitor is gone. If it was told to go there is nothing left to do.
async fn bury(node: &Arc<Node>, pod: &Arc<Pod>) {
    let _gate = pod.gate.write().await;
    if !matches!(node.index.find_pod(&pod.id), Ok(Some(_))) {
        return;
    }
    if pod.is_ready() {
        tracing::warn!(pod = pod.short(), "its monitor was killed: ending what is left of the pod");
    }
    pod.set_not_ready();
    let buried = Arc::clone(pod);
    if let Err(error) = node.blocking(move |node| teardown::bury(node, &buried)).await {
        tracing::error!(pod = pod.short(), "cannot end what is left of the pod: {}", error.chain());
    }
}

/// Follows a monitor until it is gone.
async fn watch(node: &Arc<Node>, pod: &Arc<Pod>, client: Option<Client>) -> Result<()> {
    let Some(client) = client else { return Ok(()) };
    let watcher = node.blocking(move |_| Ok(client.watch()?)).await?;
    // What happened before somebody was watching.
    look(node, pod).await?;
    let mut watcher = Readable::new(watcher)?;
    loop {
        let event = watcher.next(|watcher| match watcher.next_event()? {
            Event::Nothing => Ok(None),
            event => Ok(Some(event)),
        });
        match event.await? {
            Event::Ended { container, .. } => ended(node, pod, container).await?,
            Event::Gone | Event::Nothing => return Ok(()),
        }
    }
}

async fn ended(node: &Arc<Node>, pod: &Arc<Pod>, id: String) -> Result<()> {
    if id == pod.id {
        pod.set_not_ready();
        tracing::info!(pod = pod.short(), "the process that holds its namespaces is gone");
        return Ok(());
    }
    let Ok(Some(container)) = node.index.find_container(&id) else { return Ok(()) };
    node.blocking(move |node| {
        container.refresh(node)?;
        let code = container.state().exit_code();
        tracing::info!(container = container.short(), code, "a container has ended");
        Ok(())
    })
    .await
}

async fn look(node: &Arc<Node>, pod: &Arc<Pod>) -> Result<()> {
    let pod = Arc::clone(pod);
    node.blocking(move |node| {
        if !node.pods.state(&pod.id)?.is_running() {
            pod.set_not_ready();
        }
        node.index.containers_of(&pod.id).iter().try_for_each(|container| container.refresh(node))
    })
    .await
}
