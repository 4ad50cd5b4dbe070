//! `StartContainer`: runs the command of a container that was made. Why it cannot run is shown to people, and stays in its
//! status.

use std::sync::Arc;

use k8s_cri::v1::{StartContainerRequest, StartContainerResponse};

use crate::container::{Container, admission};
use crate::error::{Error, Result};
use crate::node::Node;
use crate::sandbox::Pod;

/// Starts a container; returns when its command was executed.
pub async fn call(node: &Arc<Node>, request: StartContainerRequest) -> Result<StartContainerResponse> {
    let container = node.index.container(&request.container_id)?;
    let pod = node.index.pod(&container.pod)?;
    let node = Arc::clone(node);
    Node::unattended(async move { start(&node, &pod, container).await }).await?;
    Ok(StartContainerResponse {})
}

async fn start(node: &Arc<Node>, pod: &Pod, container: Arc<Container>) -> Result<()> {
    let _gate = pod.gate.read().await;
    admission::start(&container.state()).map_err(|refusal| admission::refuse(&container, refusal))?;
    admission::add_container(pod.is_ready()).map_err(|refusal| admission::refuse_pod(pod, refusal))?;
    node.blocking(move |node| {
        if let Some(broken) = &container.broken {
            container.fail_to_start(node, broken)?;
            return Err(Error::Command { reason: broken.reason.clone() });
        }
        let started = node.monitor(&container.pod)?.start(&container.id);
        // Its state says how it went, whatever we answer.
        container.refresh(node)?;
        Ok(started?)
    })
    .await
}
