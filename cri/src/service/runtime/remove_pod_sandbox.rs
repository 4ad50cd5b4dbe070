//! `RemovePodSandbox`: a pod and its containers, running or not, until nothing is left of them.

use std::sync::Arc;

use k8s_cri::v1::{RemovePodSandboxRequest, RemovePodSandboxResponse};

use crate::error::Result;
use crate::node::Node;
use crate::sandbox::{Pod, teardown};

/// Removes a pod. One that is not there is removed.
pub async fn call(node: &Arc<Node>, request: RemovePodSandboxRequest) -> Result<RemovePodSandboxResponse> {
    if let Some(pod) = node.index.find_pod_to_end(&request.pod_sandbox_id)? {
        remove(node, pod).await?;
    }
    Ok(RemovePodSandboxResponse {})
}

async fn remove(node: &Arc<Node>, pod: Arc<Pod>) -> Result<()> {
    let node = Arc::clone(node);
    Node::unattended(async move {
        let _gate = pod.gate.write().await;
        // It may have been removed while we waited, or never come to be.
        if !node.index.has_pod(&pod.id) {
            return Ok(());
        }
        let _turn = node.network_turn(&pod).await;
        let removed = Arc::clone(&pod);
        // Also when it was stopped before: what that could not release must not lose its record.
        node.blocking(move |node| {
            teardown::stop(node, &removed)?;
            teardown::remove(node, &removed)
        })
        .await
    })
    .await
}
