//! The states of a container and which verb each allows.
//!
//! ```text
//! creating -> created -> running <-> paused -> stopped -> (deleted)
//! ```
//!
//! A state is always derived by looking (is the process alive, does it still wait at its gate, is its cgroup
//! frozen), never remembered from what we once did.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It is being set up, or its creator died while doing so.
    Creating,
    /// All is set up and the command waits for `start`.
    Created,
    /// The command runs.
    Running,
    /// Its processes are frozen.
    Paused,
    /// Its first process has ended.
    Stopped,
}

impl Status {
    /// The name that the runtime specification and engines use.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        }
    }

    /// May `start` run the command?
    pub fn can_start(self) -> bool {
        self == Status::Created
    }

    /// May another process join? A created container takes one: runc allows it, and engines use it for probes.
    pub fn can_exec(self) -> bool {
        matches!(self, Status::Created | Status::Running)
    }

    /// Is there a process that a signal can reach?
    pub fn can_kill(self) -> bool {
        matches!(self, Status::Created | Status::Running | Status::Paused)
    }

    /// May it be deleted without force?
    pub fn can_delete(self) -> bool {
        self == Status::Stopped
    }
}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
