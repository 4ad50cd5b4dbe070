//! `PodSandboxStatus`: all about a pod, from memory. It never fails because something of the pod is gone.

use k8s_cri::v1::{PodSandboxStatusRequest, PodSandboxStatusResponse};
use runtime::monitor::status_record;

use super::super::convert;
use crate::error::Result;
use crate::node::Node;

/// Answers.
pub fn call(node: &Node, request: &PodSandboxStatusRequest) -> Result<PodSandboxStatusResponse> {
    let pod = node.index.pod(&request.pod_sandbox_id)?;
    let info = match request.verbose {
        true => [("cgroup".to_owned(), pod.cgroup_parent()?.to_string())].into(),
        false => Default::default(),
    };
    Ok(PodSandboxStatusResponse {
        status: Some(convert::pod_status(&pod)),
        info,
        containers_statuses: Vec::new(),
        timestamp: status_record::now(),
    })
}
