//! `runtime.v1.ImageService`. Images are the store's; whatever `rbuild` and `rrun` name there is here at once.

mod image_fs_info;
mod image_status;
mod list_images;
mod pull_image;
mod remove_image;

use std::sync::Arc;

use image::error::Kind;
use image::store::{Image, Store};
use k8s_cri::v1::image_service_server::ImageService;
use k8s_cri::v1::{
    ImageFsInfoRequest, ImageFsInfoResponse, ImageSpec, ImageStatusRequest, ImageStatusResponse,
    ListImagesRequest, ListImagesResponse, PullImageRequest, PullImageResponse, RemoveImageRequest,
    RemoveImageResponse,
};
use tonic::{Request, Response, Status};

use super::status::answer;
use crate::error::{Error, Result};
use crate::node::Node;

/// The image service.
#[derive(Debug, Clone)]
pub struct Images {
    node: Arc<Node>,
}

impl Images {
    /// The service of this node.
    pub fn new(node: Arc<Node>) -> Images {
        Images { node }
    }
}

/// The image of any form of a name: id, start of an id, name with or without tag, name with digest.
fn find(store: &Store, name: &str) -> Result<Option<Image>> {
    match store.find(name) {
        Ok(image) => Ok(Some(image)),
        Err(error) if error.kind() == Kind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn name_of(image: Option<ImageSpec>) -> Result<String> {
    let name = image.map(|image| image.image).filter(|name| !name.is_empty());
    name.ok_or_else(|| Error::invalid("image", "it is missing"))
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl ImageService for Images {
    async fn list_images(&self, request: Request<ListImagesRequest>) -> Answer<ListImagesResponse> {
        answer("ListImages", list_images::call(&self.node, request.into_inner()).await)
    }

    async fn image_status(&self, request: Request<ImageStatusRequest>) -> Answer<ImageStatusResponse> {
        answer("ImageStatus", image_status::call(&self.node, request.into_inner()).await)
    }

    async fn pull_image(&self, request: Request<PullImageRequest>) -> Answer<PullImageResponse> {
        answer("PullImage", pull_image::call(&self.node, request.into_inner()).await)
    }

    async fn remove_image(&self, request: Request<RemoveImageRequest>) -> Answer<RemoveImageResponse> {
        answer("RemoveImage", remove_image::call(&self.node, request.into_inner()).await)
    }

    async fn image_fs_info(&self, request: Request<ImageFsInfoRequest>) -> Answer<ImageFsInfoResponse> {
        answer("ImageFsInfo", image_fs_info::call(&self.node, request.into_inner()).await)
    }
}
