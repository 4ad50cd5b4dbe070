//! `StopPodSandbox`: kills what runs in a pod and releases its network; the record stays. Repeated until it succeeds.

use std::sync::Arc;

use k8s_cri::v1::{StopPodSandboxRequest, StopPodSandboxResponse};

use crate::error::Result;
use crate::node::Node;
use crate::sandbox::teardown;

/// Stops a pod. One that is not there is stopped: garbage collection takes any error for one that lasts.
pub async fn call(node: &Arc<Node>, request: StopPodSandboxRequest) -> Result<StopPodSandboxResponse> {
    if let Some(pod) = node.index.find_pod_to_end(&request.pod_sandbox_id)? {
        let node = Arc::clone(node);
        Node::unattended(async move { node.end_pod(pod, teardown::stop).await }).await?;
    }
    Ok(StopPodSandboxResponse {})
}
