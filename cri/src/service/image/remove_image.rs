//! `RemoveImage`: an image with all its names. What containers use of it stays on disk until they are gone.

use std::sync::Arc;

use image::error::Kind;
use k8s_cri::v1::{RemoveImageRequest, RemoveImageResponse};

use super::{find, name_of};
use crate::error::Result;
use crate::node::Node;

/// Removes an image. One that is not there is removed.
pub async fn call(node: &Arc<Node>, request: RemoveImageRequest) -> Result<RemoveImageResponse> {
    let name = name_of(request.image)?;
    let _one = node.image_removal.lock().await;
    node.blocking(move |node| {
        let Some(image) = find(&node.store, &name)? else { return Ok(()) };
        // By its id, because a name would only take that name away.
        match node.store.remove(&image.id.to_string(), true) {
            Err(error) if error.kind() != Kind::NotFound => Err(error.into()),
            _ => {
                tracing::info!(image = image.id.short(), "removed an image");
                Ok(())
            }
        }
    })
    .await?;
    Ok(RemoveImageResponse {})
}
