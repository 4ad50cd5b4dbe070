//! What containers use: memory and processor time from their cgroups, read when asked for; space on disk from a walk in
//! the background, so that no request ever waits for one.

mod cgroup;
mod disk;

use std::sync::Arc;

pub use cgroup::{Memory, Sample, Swap, sample};
pub use disk::{DiskUsage, Keep, Usage};

use crate::container::Container;
use crate::node::Node;

/// What the changes of these containers take on disk, as far as that is known.
pub fn disk_usage(node: &Arc<Node>, containers: &[Arc<Container>]) -> Vec<DiskUsage> {
    let folders = containers.iter().map(|it| (node.containers.folder(&it.id).join("upper"), Keep::ForAWhile));
    Usage::of(node, folders.collect())
}
