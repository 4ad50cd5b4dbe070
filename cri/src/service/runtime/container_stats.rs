//! `ContainerStats`: what one container uses.

use std::sync::Arc;

use k8s_cri::v1::{ContainerStatsRequest, ContainerStatsResponse};

use super::list_container_stats::measure;
use crate::error::Result;
use crate::node::Node;

/// Answers.
pub async fn call(node: &Arc<Node>, request: ContainerStatsRequest) -> Result<ContainerStatsResponse> {
    let container = node.index.container(&request.container_id)?;
    let stats = measure(node, vec![container]).await?.pop();
    Ok(ContainerStatsResponse { stats })
}
