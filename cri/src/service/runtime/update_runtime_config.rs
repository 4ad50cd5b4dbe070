//! `UpdateRuntimeConfig`: the node's range of pod addresses, which is the network plugins' business and not ours.

use k8s_cri::v1::{UpdateRuntimeConfigRequest, UpdateRuntimeConfigResponse};

use crate::error::Result;

/// Accepts.
pub fn call(request: &UpdateRuntimeConfigRequest) -> Result<UpdateRuntimeConfigResponse> {
    let network = request.runtime_config.as_ref().and_then(|config| config.network_config.as_ref());
    tracing::debug!(pod_cidr = network.map(|network| &network.pod_cidr), "the kubelet has pod addresses");
    Ok(UpdateRuntimeConfigResponse {})
}
