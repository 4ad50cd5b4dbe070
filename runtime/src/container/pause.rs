//! `pause` and `resume`: stop and let go every process of a container by its cgroup's freezer.

use std::path::Path;

use super::cgroup::in_state;
use super::create::PATIENCE;
use super::{Id, Status};
use crate::error::Result;

/// Freezes a created or running container.
pub fn pause(state_root: &Path, id: &Id) -> Result<()> {
    let cgroup =
        in_state(state_root, id, "pause", |status| matches!(status, Status::Created | Status::Running))?;
    Ok(cgroup.freeze(PATIENCE)?)
}

/// Lets a paused container go on.
pub fn resume(state_root: &Path, id: &Id) -> Result<()> {
    Ok(in_state(state_root, id, "resume", |status| status == Status::Paused)?.thaw()?)
}
