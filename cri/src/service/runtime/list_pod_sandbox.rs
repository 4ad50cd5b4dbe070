//! `ListPodSandbox`: the pods, ready or not, from memory. Asked every second.

use k8s_cri::v1::{ListPodSandboxRequest, ListPodSandboxResponse};

use super::super::{convert, filter};
use crate::error::Result;
use crate::node::Node;

/// Answers.
pub fn call(node: &Node, request: &ListPodSandboxRequest) -> Result<ListPodSandboxResponse> {
    let pods = node.index.pods();
    let meant = pods.iter().filter(|pod| filter::pod(request.filter.as_ref(), pod));
    Ok(ListPodSandboxResponse { items: meant.map(|pod| convert::pod(pod)).collect() })
}
