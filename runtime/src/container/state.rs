//! `state`: what a container is, as runc's JSON.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::record::{Folder, observe};
use super::{Id, Status};
use crate::error::{Error, Result};

/// The state document: the specification's, with what runc adds, and what we clamped.
#[derive(Debug, Serialize)]
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
    Ok(State {
        oci_version: record.oci_version,
        id: id.to_string(),
        pid,
        status,
        bundle: record.bundle,
        rootfs: record.rootfs,
        created: record.created,
        annotations: record.annotations,
        owner: String::new(),
        clamped: record.clamped,
    })
}
