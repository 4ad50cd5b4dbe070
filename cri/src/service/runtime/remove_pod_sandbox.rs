//! `RemovePodSandbox`: a pod and its containers, running or not, until nothing is left of them.

use std::sync::Arc;

use k8s_cri::v1::{RemovePodSandboxRequest, RemovePodSandboxResponse};

use crate::error::Result;
use crate::node::Node;
use crate::sandbox::teardown;

/// Removes a pod. One that is not there is removed.
pub async fn call(node: &Arc<Node>, request: RemovePodSandboxRequest) -> Result<RemovePodSandboxResponse> {
    if let Some(pod) = node.index.find_pod_to_end(&request.pod_sandbox_id)? {
        let node = Arc::clone(node);
        Node::unattended(async move { node.end_pod(pod, teardown::end).await }).await?;
    }
    Ok(RemovePodSandboxResponse {})
}
