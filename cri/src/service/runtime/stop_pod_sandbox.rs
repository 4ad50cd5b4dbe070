//! `StopPodSandbox`: kills what runs in a pod and releases its network; the record stays. Repeated until it succeeds.

use std::sync::Arc;

use k8s_cri::v1::{StopPodSandboxRequest, StopPodSandboxResponse};

use crate::error::Result;
use crate::node::Node;
use crate::sandbox::{Pod, teardown};

/// Stops a pod. One that is not there is stopped: garbage collection takes any error for one that lasts.
pub async fn call(node: &Arc<Node>, request: StopPodSandboxRequest) -> Result<StopPodSandboxResponse> {
    if let Some(pod) = node.index.find_pod_to_end(&request.pod_sandbox_id)? {
        stop(node, pod).await?;
    }
    Ok(StopPodSandboxResponse {})
}

async fn stop(node: &Arc<Node>, pod: Arc<Pod>) -> Result<()> {
    let node = Arc::clone(node);
    Node::unattended(async move {
        let _gate = pod.gate.write().await;
        // It may have been removed while we waited, or never come to be.
        if !node.index.has_pod(&pod.id) {
            return Ok(());
        }
        let _turn = node.network_turn(&pod).await;
        let stopped = Arc::clone(&pod);
        node.blocking(move |node| teardown::stop(node, &stopped)).await
    })
    .await
}
