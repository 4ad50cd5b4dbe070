//! `PullImage`: an image that is in the store already; fetching is not built.

use std::sync::Arc;

use k8s_cri::v1::{PullImageRequest, PullImageResponse};

use super::{find, name_of};
use crate::error::{Error, Result};
use crate::node::Node;

/// Answers with the image's id.
pub async fn call(node: &Arc<Node>, request: PullImageRequest) -> Result<PullImageResponse> {
    let name = name_of(request.image)?;
    node.blocking(move |node| match find(&node.store, &name)? {
        Some(image) => Ok(PullImageResponse { image_ref: image.id.to_string() }),
        None => Err(Error::NotLocal { name }),
    })
    .await
}
