//! How a container or pod is, from what can be seen: the lock of its folder, and what its monitor wrote.
//!
//! ```text
//! status.json     lock held    lock free
//! none            Created      Created
//! running         Running      Lost: its monitor was killed, and nobody has swept yet
//! ended           Exited       Exited
//! ```

use std::path::Path;

use runtime::monitor::status_record::{LOST, StatusRecord};

use crate::error::Result;
use crate::folder::is_held;

/// How a container is. Times are nanoseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It is there, and its command was never executed, or not again since it is being started anew.
    Created,
    /// Its command runs.
    Running {
        /// Its first process, as the host sees it.
        pid: i32,
        /// Since when.
        since: i64,
    },
    /// It has ended, or could not be started.
    Exited {
        /// Its exit code, or 128 and the signal.
        code: u8,
        /// When its command was executed; 0 if that failed.
        started: i64,
        /// When it had ended.
        finished: i64,
        /// The kernel's out-of-memory killer hit one of its processes.
        oom: bool,
        /// Why its command was never executed.
        failure: Option<String>,
    },
    /// Its monitor was killed, or the machine was restarted, so how it ended is not known.
    Lost {
        /// When its command was executed.
        started: i64,
        /// When that was noticed; 0 if nobody did yet.
        finished: i64,
    },
}

impl State {
    /// Looks at the folder of a container or pod.
    pub fn of(folder: &Path) -> Result<State> {
        let before = StatusRecord::read(folder)?;
        if before.as_ref().is_some_and(StatusRecord::has_ended) || is_held(folder)? {
            return State::from_record(before, true);
        }
        // Its monitor may have written the end between our two looks.
        State::from_record(StatusRecord::read(folder)?, false)
    }

    fn from_record(record: Option<StatusRecord>, held: bool) -> Result<State> {
        let Some(record) = record else { return Ok(State::Created) };
        let StatusRecord { started, finished, .. } = record;
        Ok(match record.exit_code {
            _ if record.lost => State::Lost { started, finished },
            Some(code) => {
                State::Exited { code, started, finished, oom: record.oom_killed, failure: record.failure }
            }
            None if held && record.boot == runtime::process::boot_id()? => {
                State::Running { pid: record.pid, since: started }
            }
            None => State::Lost { started, finished: 0 },
        })
    }

    /// Does its command run now?
    pub fn is_running(&self) -> bool {
        matches!(self, State::Running { .. })
    }

    /// Its exit code, once it has ended; 255 when nobody knows.
    pub fn exit_code(&self) -> Option<u8> {
        match self {
            State::Created | State::Running { .. } => None,
            State::Exited { code, .. } => Some(*code),
            State::Lost { .. } => Some(LOST),
        }
    }

    /// When its command was executed; 0 if it never was.
    pub fn started(&self) -> i64 {
        match self {
            State::Created => 0,
            State::Running { since, .. } => *since,
            State::Exited { started, .. } | State::Lost { started, .. } => *started,
        }
    }

    /// When it had ended; 0 before.
    pub fn finished(&self) -> i64 {
        match self {
            State::Created | State::Running { .. } => 0,
            State::Exited { finished, .. } | State::Lost { finished, .. } => *finished,
        }
    }

    /// Its first process while it runs; 0 otherwise.
    pub fn pid(&self) -> i32 {
        match self {
            State::Running { pid, .. } => *pid,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use runtime::process::Exit;

    use super::*;

    #[test]
    fn a_state_is_the_lock_and_the_status() {
        let parent = tempfile::tempdir().unwrap();
        let held = crate::folder::create(parent.path(), "a").unwrap();
        let state = || State::of(&parent.path().join("a")).unwrap();
        assert_eq!(state(), State::Created);
        let running = StatusRecord::running(7).unwrap();
        running.write(&held.path).unwrap();
        assert_eq!(state(), State::Running { pid: 7, since: running.started });
        StatusRecord { boot: "another".to_owned(), ..running.clone() }.write(&held.path).unwrap();
        assert_eq!(state(), State::Lost { started: running.started, finished: 0 });
        running.write(&held.path).unwrap();
        drop(held);
        assert_eq!((state().exit_code(), state().finished()), (Some(255), 0));
        let folder = parent.path().join("a");
        running.clone().lost().write(&folder).unwrap();
        assert!(matches!(state(), State::Lost { finished: 1.., .. }));
        running.ended(Exit::Signal(9), true).write(&folder).unwrap();
        assert!(matches!(state(), State::Exited { code: 137, oom: true, .. }));
    }
}
