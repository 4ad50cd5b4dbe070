//! The cgroup of a container, as its record names it.

use std::path::Path;

use super::record::{Folder, Record, observe};
use super::{Id, Status};
use crate::cgroup::{Cgroup, CgroupPath, Hierarchies};
use crate::error::{Error, Result};
use crate::fault::{self, Defence};

/// The cgroup of a container whose first process lives: nobody else gets into it meanwhile. None where its user may make
/// none.
pub(super) fn of_living(record: &Record) -> Result<Option<Cgroup>> {
    at_path(record)
}

/// The cgroup of a container that may have ended; `None` if it has none, or its path is another's by now.
pub(super) fn if_own(id: &Id, record: &Record) -> Result<Option<Cgroup>> {
    let Some(cgroup) = at_path(record)? else { return Ok(None) };
    let own = match cgroup.owner() {
        Some(owner) => owner == mark(id, record),
        // systemd removes one that becomes empty, and may still know its unit.
        None if record.unit.is_some() && cgroup.is_nowhere() => true,
        // One of ours that was made anew, by somebody who leaves no mark, has none.
        None => !record.cgroup_marked,
    };
    Ok((own || fault::without(Defence::CgroupOwner)).then_some(cgroup))
}

/// What a container's cgroup is marked with: nobody else has the name at that moment.
pub(super) fn mark(id: &Id, record: &Record) -> String {
    format!("{id} {}", record.created)
}

/// The cgroup of a container that is in a state which allows `verb`: one in which its first process lives.
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
        Some(record) if allowed(status) => match of_living(&record)? {
            Some(cgroup) => Ok(cgroup),
            None => Err(Error::NoCgroup { id: id.to_string(), verb }),
        },
        _ => Err(Error::State { id: id.to_string(), verb, status }),
    }
}

fn at_path(record: &Record) -> Result<Option<Cgroup>> {
    let Some(path) = &record.cgroup else { return Ok(None) };
    let cgroup = Cgroup::open(&Hierarchies::discover()?, &CgroupPath::parse(path)?);
    Ok(Some(match &record.unit {
        // One of another boot is gone, and may have no systemd to be asked about it.
        Some(unit) if record.is_of_this_boot()? => cgroup.of_unit(unit),
        _ => cgroup,
    }))
}
