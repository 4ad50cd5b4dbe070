//! `ContainerStatus`: all about a container, from memory.

use k8s_cri::v1::{ContainerStatusRequest, ContainerStatusResponse};

use super::super::convert;
use crate::error::Result;
use crate::node::Node;

/// Answers.
pub fn call(node: &Node, request: &ContainerStatusRequest) -> Result<ContainerStatusResponse> {
    let container = node.index.container(&request.container_id)?;
    let info = match request.verbose {
        true => [
            ("pid".to_owned(), container.state().pid().to_string()),
            ("cgroup".to_owned(), container.cgroup.to_string()),
            ("folder".to_owned(), node.containers.folder(&container.id).display().to_string()),
        ]
        .into(),
        false => Default::default(),
    };
    Ok(ContainerStatusResponse { status: Some(convert::container_status(&container)), info })
}
