//! `StopContainer`: ask, wait, kill; returns when it has ended.

use std::sync::Arc;
use std::time::Duration;

use k8s_cri::v1::{StopContainerRequest, StopContainerResponse};

use crate::container::stop;
use crate::error::Result;
use crate::node::Node;

/// Stops a container. One that is not there, or does not run, is stopped.
pub async fn call(node: &Arc<Node>, request: StopContainerRequest) -> Result<StopContainerResponse> {
    if let Some(container) = node.index.find_container(&request.container_id)? {
        let grace = Duration::from_secs(u64::try_from(request.timeout).unwrap_or(0));
        stop::stop(node, &container, grace).await?;
    }
    Ok(StopContainerResponse {})
}
