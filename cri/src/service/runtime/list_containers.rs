//! `ListContainers`: the containers in all states, from memory. Asked every second.

use k8s_cri::v1::{ListContainersRequest, ListContainersResponse};

use super::super::{convert, filter};
use crate::error::Result;
use crate::node::Node;

/// Answers.
pub fn call(node: &Node, request: &ListContainersRequest) -> Result<ListContainersResponse> {
    let containers = node.index.containers();
    let meant = containers.iter().filter(|it| filter::container(request.filter.as_ref(), it));
    Ok(ListContainersResponse { containers: meant.map(|it| convert::container(it)).collect() })
}
