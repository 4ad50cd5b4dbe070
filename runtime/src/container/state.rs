//! `state`: what a container is, as runc's JSON.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::record::{Folder, Record, observe};
use super::{Id, Status};
use crate::error::{Error, Result};

/// The state document: the specification's, with what runc adds, and what we clamped.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// Version of the specification.
    pub oci_version: String,
    /// The container's id.
    pub id: String,
    /// Its first process, 0 unless it lives.
    pub pid: i32,
    /// Its state.
    pub status: Status,
    /// Its bundle.
    pub bundle: PathBuf,
    /// Its root file system.
    pub rootfs: PathBuf,
    /// When it was created.
    pub created: String,
    /// Its annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Whom it belongs to; always the empty name, as with runc for root.
    pub owner: String,
    /// What the machine refused and nobody insisted on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub clamped: Vec<String>,
}

/// Looks at a container.
pub fn state(state_root: &Path, id: &Id) -> Result<State> {
    let folder = Folder::open(state_root, id)?;
    let Some(record) = folder.read()? else {
        // Its creator was stopped before it wrote anything down.
        return Err(Error::State { id: id.to_string(), verb: "describe", status: Status::Creating });
    };
    let status = observe(&folder, Some(&record))?.status;
    let pid = if status.can_kill() { record.pid } else { 0 };
    Ok(State { pid, ..State::of(id, record, status) })
}

impl State {
    /// The state of a container as its record has it.
    pub(super) fn of(id: &Id, record: Record, status: Status) -> State {
        State {
            oci_version: record.oci_version,
            id: id.to_string(),
            pid: record.pid,
            status,
            bundle: record.bundle,
            rootfs: record.rootfs,
            created: record.created,
            annotations: record.annotations,
            owner: String::new(),
            clamped: record.clamped,
        }
    }

    /// What a hook in the container's namespaces is told: the pid is the one that it sees itself.
    pub(crate) fn seen_from_inside(&self, status: Status) -> State {
        State { pid: rustix::process::getpid().as_raw_nonzero().get(), status, ..self.clone() }
    }

    /// A state for tests.
    #[cfg(test)]
    pub(crate) fn example() -> State {
        State {
            oci_version: "1.2.0".to_owned(),
            id: "x".to_owned(),
            pid: 1,
            status: Status::Creating,
            bundle: "/".into(),
            rootfs: "/".into(),
            created: String::new(),
            annotations: BTreeMap::new(),
            owner: String::new(),
            clamped: Vec::new(),
        }
    }
}
