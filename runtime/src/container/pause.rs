//! `pause` and `resume`: stop and let go every process of a container by its cgroup's freezer.

use std::path::Path;

use super::create::PATIENCE;
use super::record::{Folder, Record, observe};
use super::{Id, Status};
use crate::cgroup::{Cgroup, CgroupPath, Hierarchies};
use crate::error::{Error, Result};

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

/// The cgroup of a container that is in a state which allows `verb`.
pub(super) fn in_state(
    state_root: &Path,
    id: &Id,
    verb: &'static str,
    allowed: impl Fn(Status) -> bool,
) -> Result<Cgroup> {
    let folder = Folder::open(state_root, id)?;
    let record = folder.read()?;
    let status = observe(&folder, record.as_ref())?.status;
    match record {
        Some(record) if allowed(status) => cgroup_of(&record),
        _ => Err(Error::State { id: id.to_string(), verb, status }),
    }
}

/// The cgroup of a container that has a process, or had one.
pub(super) fn cgroup_of(record: &Record) -> Result<Cgroup> {
    Ok(Cgroup::open(&Hierarchies::discover()?, &CgroupPath::parse(&record.cgroup)?))
}
