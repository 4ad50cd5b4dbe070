//! `RemoveContainer`: a container, running or not, until nothing but its log is left, which is the kubelet's.

use std::sync::Arc;

use k8s_cri::v1::{RemoveContainerRequest, RemoveContainerResponse};

use crate::container::{Container, remove};
use crate::error::Result;
use crate::node::Node;

/// Removes a container. One that is not there is removed.
pub async fn call(node: &Arc<Node>, request: RemoveContainerRequest) -> Result<RemoveContainerResponse> {
    if let Some(container) = node.index.find_container(&request.container_id)? {
        let node = Arc::clone(node);
        Node::unattended(async move { remove(&node, container).await }).await?;
    }
    Ok(RemoveContainerResponse {})
}

async fn remove(node: &Arc<Node>, container: Arc<Container>) -> Result<()> {
    let pod = node.index.find_pod(&container.pod)?;
    let _gate = match &pod {
        Some(pod) => Some(pod.gate.read().await),
        None => None,
    };
    node.blocking(move |node| remove::remove(node, &container)).await
}
