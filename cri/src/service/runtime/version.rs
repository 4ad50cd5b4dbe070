//! `Version`: who we are. The kubelet insists on its own version of the API.

use k8s_cri::v1::{VersionRequest, VersionResponse};

use crate::error::Result;

/// What the kubelet calls its side of the interface, unchanged since the beginning.
const KUBELET_VERSION: &str = "0.1.0";

/// Answers.
pub fn call(_request: &VersionRequest) -> Result<VersionResponse> {
    Ok(VersionResponse {
        version: KUBELET_VERSION.to_owned(),
        runtime_name: "hull".to_owned(),
        runtime_version: env!("CARGO_PKG_VERSION").to_owned(),
        runtime_api_version: "v1".to_owned(),
    })
}
