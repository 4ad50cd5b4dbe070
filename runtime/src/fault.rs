//! Numbered fault points: where a test can stop the runtime to see what it leaves behind.
//!
//! With the feature `fault-injection`, `HULL_FAULT=n` kills the process that reaches point `n` with SIGKILL, and
//! `HULL_FAULT=n:error` makes the point fail. Without the feature a point is nothing at all.
//!
//! | points | where |
//! | --- | --- |
//! | 1-9 | create, before the clone |
//! | 10-19 | create, after the clone |
//! | 20-29 | start, exec, delete |
//! | 30-39 | the child inside its new root |
//! | 40-49 | the child on its way to the command |

use crate::error::{Error, Result};
use crate::init::StepFailure;

/// All points, for a test that tries each.
pub const ALL: &[u32] = &[
    1, 2, 3, 4, 5, 6, 10, 11, 12, 13, 14, 15, 20, 21, 22, 23, 24, 25, 26, 27, 28, 30, 31, 32, 33, 34, 35, 36,
    40, 41, 42, 43,
];

/// A point in a process of ours that a caller waits for.
#[inline]
pub fn point(number: u32) -> Result<()> {
    match reached(number) {
        false => Ok(()),
        true => Err(Error::System {
            operation: "pass",
            object: format!("fault point {number}"),
            source: rustix::io::Errno::CANCELED,
        }),
    }
}

/// A point in the child.
#[inline]
pub fn child(number: u32) -> Result<(), StepFailure> {
    match reached(number) {
        false => Ok(()),
        true => Err(StepFailure {
            step: crate::init::Step::Fault,
            object: format!("fault point {number}"),
            errno: rustix::io::Errno::CANCELED,
        }),
    }
}

#[cfg(not(feature = "fault-injection"))]
fn reached(_number: u32) -> bool {
    false
}

/// Is this point to fail? Does not return if it is to kill.
#[cfg(feature = "fault-injection")]
fn reached(number: u32) -> bool {
    let Ok(wanted) = std::env::var("HULL_FAULT") else { return false };
    let (wanted, action) = wanted.split_once(':').unwrap_or((&wanted, "kill"));
    if wanted.parse() != Ok(number) {
        return false;
    }
    if action != "error" {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
    true
}
