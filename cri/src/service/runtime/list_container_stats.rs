//! `ListContainerStats`: what containers use. Asked every ten seconds, so nothing is counted here that is not counted
//! already.

use std::sync::Arc;

use k8s_cri::v1::{
    ContainerStats, CpuUsage, FilesystemIdentifier, FilesystemUsage, ListContainerStatsRequest,
    ListContainerStatsResponse, MemoryUsage, SwapUsage,
};

use super::super::convert::{self, number};
use super::super::filter;
use crate::container::Container;
use crate::error::Result;
use crate::node::Node;
use crate::stats::{self, DiskUsage, Sample};

/// Answers; only running containers use anything.
pub async fn call(
    node: &Arc<Node>,
    request: ListContainerStatsRequest,
) -> Result<ListContainerStatsResponse> {
    let mut containers = node.index.containers();
    containers.retain(|it| it.is_running() && filter::stats(request.filter.as_ref(), it));
    Ok(ListContainerStatsResponse { stats: measure(node, containers).await? })
}

/// Reads the numbers of containers.
pub async fn measure(node: &Arc<Node>, containers: Vec<Arc<Container>>) -> Result<Vec<ContainerStats>> {
    let disks = stats::disk_usage(node, &containers);
    node.blocking(move |node| {
        let pairs = containers.iter().zip(disks);
        Ok(pairs.map(|(container, disk)| shown(node, container, disk)).collect())
    })
    .await
}

/// No part is ever left out: the kubelet takes some for granted.
fn shown(node: &Node, container: &Container, disk: DiskUsage) -> ContainerStats {
    let Sample { timestamp, cpu, memory, swap } = stats::sample(&node.hierarchies, &container.cgroup);
    ContainerStats {
        attributes: Some(convert::attributes(container)),
        cpu: Some(CpuUsage {
            timestamp,
            usage_core_nano_seconds: number(cpu),
            // Worked out by the kubelet of two samples.
            usage_nano_cores: None,
        }),
        memory: Some(MemoryUsage {
            timestamp,
            working_set_bytes: number(memory.working_set),
            available_bytes: number(memory.available),
            usage_bytes: number(memory.usage),
            rss_bytes: number(memory.rss),
            page_faults: number(memory.page_faults),
            major_page_faults: number(memory.major_page_faults),
        }),
        writable_layer: Some(FilesystemUsage {
            timestamp: disk.timestamp,
            fs_id: Some(FilesystemIdentifier {
                mountpoint: node.containers.folder("").display().to_string(),
            }),
            used_bytes: number(disk.bytes),
            inodes_used: number(disk.inodes),
        }),
        swap: Some(SwapUsage {
            timestamp,
            swap_available_bytes: number(swap.available),
            swap_usage_bytes: number(swap.usage),
        }),
    }
}
