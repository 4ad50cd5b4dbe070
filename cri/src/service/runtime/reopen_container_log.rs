//! `ReopenContainerLog`: the kubelet has renamed the log, or finds none. Answered when all that follows goes to a new file.

use std::sync::Arc;

use k8s_cri::v1::{ReopenContainerLogRequest, ReopenContainerLogResponse};

use crate::container::admission;
use crate::error::Result;
use crate::node::Node;

/// Opens the log anew. That of a container that does not run is not made.
pub async fn call(
    node: &Arc<Node>,
    request: ReopenContainerLogRequest,
) -> Result<ReopenContainerLogResponse> {
    let container = node.index.container(&request.container_id)?;
    admission::use_running(&container.state()).map_err(|refusal| admission::refuse(&container, refusal))?;
    node.blocking(move |node| Ok(node.monitor(&container.pod)?.reopen_log(&container.id)?)).await?;
    Ok(ReopenContainerLogResponse {})
}
