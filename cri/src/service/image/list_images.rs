//! `ListImages`: the images of the store, each once with all its names.

use std::sync::Arc;

use k8s_cri::v1::{ListImagesRequest, ListImagesResponse};

use super::super::convert;
use super::find;
use crate::error::Result;
use crate::node::Node;

/// Answers. A filter is any form of a name.
pub async fn call(node: &Arc<Node>, request: ListImagesRequest) -> Result<ListImagesResponse> {
    let wanted = request.filter.and_then(|filter| filter.image).map(|image| image.image);
    node.blocking(move |node| {
        let images = match wanted.filter(|name| !name.is_empty()) {
            Some(name) => find(&node.store, &name)?.into_iter().collect(),
            None => node.store.images()?,
        };
        Ok(ListImagesResponse {
            images: images.iter().map(|image| convert::image(image, &node.store)).collect(),
        })
    })
    .await
}
