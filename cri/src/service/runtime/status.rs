//! `Status`: are we ready, is the network, and what can we do? Asked every five seconds.

use std::sync::Arc;

use k8s_cri::v1::{
    RuntimeCondition, RuntimeFeatures, RuntimeHandler, RuntimeHandlerFeatures, RuntimeStatus, StatusRequest,
    StatusResponse,
};

use crate::error::Result;
use crate::node::Node;

/// Answers.
pub async fn call(node: &Arc<Node>, request: StatusRequest) -> Result<StatusResponse> {
    let failure = node.readiness.failure().await;
    let condition = |kind: &str, failure: Option<&String>, reason: &str| RuntimeCondition {
        r#type: kind.to_owned(),
        status: failure.is_none(),
        reason: failure.map_or(String::new(), |_| reason.to_owned()),
        message: failure.cloned().unwrap_or_default(),
    };
    let conditions = vec![
        condition("RuntimeReady", None, ""),
        condition("NetworkReady", failure.as_ref(), "NetworkPluginNotReady"),
    ];
    let info = match request.verbose {
        true => [("config".to_owned(), format!("{:?}", node.config))].into(),
        false => Default::default(),
    };
    Ok(StatusResponse {
        status: Some(RuntimeStatus { conditions }),
        info,
        // The one without a name is the default.
        runtime_handlers: vec![RuntimeHandler {
            name: String::new(),
            features: Some(RuntimeHandlerFeatures {
                recursive_read_only_mounts: true,
                user_namespaces: false,
            }),
        }],
        features: Some(RuntimeFeatures { supplemental_groups_policy: true }),
    })
}
