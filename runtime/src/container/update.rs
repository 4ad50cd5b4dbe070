//! `update`: other limits for a container that exists.

use std::path::Path;

use oci_spec::runtime::LinuxResources;

use super::cgroup::in_state;
use super::{Id, Status};
use crate::error::Result;
use crate::fault;

/// Applies the limits that `resources` has; those it lacks stay, and so do device rules. Returns in words what the kernel
/// no longer knows.
pub fn update(state_root: &Path, id: &Id, resources: &LinuxResources) -> Result<Vec<String>> {
    let cgroup = in_state(state_root, id, "update", Status::can_kill)?;
    fault::point(54)?;
    let notices = cgroup.limit(resources)?;
    fault::point(55)?;
    Ok(notices.iter().map(ToString::to_string).collect())
}
