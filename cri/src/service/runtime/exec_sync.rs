//! `ExecSync`: a command in a container, with what it prints and its exit code. Another code than 0 is a normal answer.

use std::sync::Arc;

use k8s_cri::v1::{ExecSyncRequest, ExecSyncResponse};

use crate::container::exec;
use crate::error::Result;
use crate::node::Node;

/// Executes; who gives up waiting ends the command.
pub async fn call(node: &Arc<Node>, request: ExecSyncRequest) -> Result<ExecSyncResponse> {
    let container = node.index.container(&request.container_id)?;
    let output = exec::exec(node, &container, request.cmd, request.timeout).await?;
    Ok(ExecSyncResponse { stdout: output.stdout, stderr: output.stderr, exit_code: output.code })
}
