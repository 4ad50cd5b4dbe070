//! `pause` and `resume`: stop and let go every process of a container by its cgroup's freezer.

use std::path::Path;

use super::cgroup::in_state;
use super::create::PATIENCE;
use super::{Id, Status};
use crate::error::Result;
use crate::fault;

/// Freezes a created or running container.
pub fn pause(state_root: &Path, id: &Id) -> Result<()> {
    let cgroup =
        in_state(state_root, id, "pause", |status| matches!(status, Status::Created | Status::Running))?;
    fault::point(50)?;
    cgroup.freeze(PATIENCE)?;
    fault::point(51)
}

/// Lets a paused container go on.
pub fn resume(state_root: &Path, id: &Id) -> Result<()> {
    let cgroup = in_state(state_root, id, "resume", |status| status == Status::Paused)?;
    fault::point(52)?;
    cgroup.thaw()?;
    fault::point(53)
}
