//! Removing containers.

use std::sync::Arc;

use runtime::monitor::client::ClientError;
use runtime::monitor::protocol::ErrorKind;

use super::Container;
use crate::error::{Error, Result};
use crate::node::Node;

/// Removes a container, which is killed first if it still lives. What is not there any more is removed.
pub fn remove(node: &Node, container: &Arc<Container>) -> Result<()> {
    match node.monitor(&container.pod).and_then(|mut client| Ok(client.delete(&container.id)?)) {
        Ok(()) => {}
        // Without its monitor, or when that has forgotten it, the folder's lock is free.
        Err(Error::Client(error)) if is_gone(&error) => {}
        Err(error) => return Err(error),
    }
    match node.containers.hold(&container.id, container.short()) {
        Ok(held) => node.containers.remove(held)?,
        Err(error) if error.kind() == engine::Kind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    node.index.remove_container(&container.id);
    node.usage.forget(&container.id);
    tracing::info!(container = container.short(), "removed a container");
    Ok(())
}

fn is_gone(error: &ClientError) -> bool {
    error.is_gone() || error.refusal() == Some(ErrorKind::NotFound)
}
