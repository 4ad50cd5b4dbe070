//! `ImageFsInfo`: where images and the changes of containers are, and what they take. Counted in the background.

use std::path::Path;
use std::sync::Arc;

use k8s_cri::v1::{FilesystemIdentifier, FilesystemUsage, ImageFsInfoRequest, ImageFsInfoResponse};
use runtime::monitor::status_record;

use super::super::convert::number;
use crate::error::Result;
use crate::node::Node;
use crate::stats::{self, DiskUsage, Keep, Usage};

/// Answers.
pub async fn call(node: &Arc<Node>, _request: ImageFsInfoRequest) -> Result<ImageFsInfoResponse> {
    let folders = node.blocking(|node| layers(node)).await?;
    let layers = Usage::of(node, folders.into_iter().map(|folder| (folder, Keep::ForEver)).collect());
    let changes = stats::disk_usage(node, &node.index.containers());
    Ok(ImageFsInfoResponse {
        image_filesystems: vec![shown(&node.store.root().join("layers"), &layers)],
        container_filesystems: vec![shown(&node.containers.folder(""), &changes)],
    })
}

fn layers(node: &Node) -> Result<Vec<std::path::PathBuf>> {
    let images = node.store.images()?;
    let mut folders: Vec<_> = images.iter().flat_map(|image| image.layer_roots(&node.store)).collect();
    folders.sort();
    folders.dedup();
    Ok(folders)
}

fn shown(mountpoint: &Path, usages: &[DiskUsage]) -> FilesystemUsage {
    let bytes = usages.iter().map(|usage| usage.bytes).sum();
    let inodes = usages.iter().map(|usage| usage.inodes).sum();
    FilesystemUsage {
        timestamp: status_record::now(),
        fs_id: Some(FilesystemIdentifier { mountpoint: mountpoint.display().to_string() }),
        used_bytes: number(bytes),
        inodes_used: number(inodes),
    }
}
