//! `ImageStatus`: one image by any form of its name; no image is a normal answer.

use std::sync::Arc;

use k8s_cri::v1::{ImageStatusRequest, ImageStatusResponse};

use super::super::convert;
use super::{find, name_of};
use crate::error::Result;
use crate::node::Node;

/// Answers.
pub async fn call(node: &Arc<Node>, request: ImageStatusRequest) -> Result<ImageStatusResponse> {
    let name = name_of(request.image)?;
    node.blocking(move |node| {
        let found = find(&node.store, &name)?;
        Ok(ImageStatusResponse {
            image: found.map(|image| convert::image(&image, &node.store)),
            info: Default::default(),
        })
    })
    .await
}
