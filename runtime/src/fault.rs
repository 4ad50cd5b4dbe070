//! What a test may do to the runtime: stop it at a numbered point to see what it leaves behind, and leave a defence out to
//! see the attack on it get through. Nothing of it is in a program without the feature `fault-injection`.
//!
//! `HULL_FAULT=n` kills the process that reaches point `n` with SIGKILL, `HULL_FAULT=n:stop` stops it with SIGSTOP, and
//! `HULL_FAULT=n:error` makes the point fail. `HULL_WITHOUT=A,B` leaves the defences `A` and `B` out.
//!
//! | points | where |
//! | --- | --- |
//! | 1-9 | create, before the clone |
//! | 10-19 | create, after the clone; 16 and 17 around the creator's hooks, 18 and 19 around handing a listener on |
//! | 20-29 | start, exec, delete |
//! | 30-39 | the child inside its new root; 37 before the creator's hooks, 38 before its own |
//! | 40-49 | the child on its way to the command; 44 and 45 around joining a container, 46 before start hooks |
//! | 50-59 | pause, resume, update, kill |
//! | 60-69 | around moving network devices |

use crate::error::{Error, Result};
use crate::init::StepFailure;

/// The points of every create, start, exec and forced delete, for a test that tries each.
pub const ALWAYS: &[u32] = &[
    1, 2, 3, 4, 5, 6, 10, 11, 12, 13, 14, 15, 20, 21, 22, 23, 24, 25, 26, 27, 28, 30, 31, 32, 33, 34, 35, 36,
    40, 41, 42, 43, 44, 45,
];
/// Those of a container with hooks.
pub const WITH_HOOKS: &[u32] = &[16, 17, 29, 37, 38, 46];
/// Those of a filter that hands calls over.
pub const WITH_LISTENER: &[u32] = &[18, 19];
/// Those of a container that gets network devices.
pub const WITH_DEVICES: &[u32] = &[60, 61];
/// Those of verbs on a container that runs.
pub const OF_VERBS: &[u32] = &[50, 51, 52, 53, 54, 55, 56];

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

/// Steps that keep an attack out. Each is one condition in the code, so that a test can see what happens without it; the
/// table of attacks is `docs/threats.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defence {
    /// The program runs from an image that nobody can write.
    ProtectedImage,
    /// A process on its way into a container cannot be looked into.
    NotDumpable,
    /// Nothing of ours is open when the working directory is entered.
    ClosedDescriptors,
    /// The working directory is proven to be in the root.
    ProvenDirectory,
    /// Paths of the container are resolved in its root.
    InRoot,
    /// There are no links to where the kernel's file systems go.
    NoKernelLinks,
    /// A bind that is led over the kernel's folders is refused.
    UncoveredKernelFolders,
    /// What masks are made of is the null device.
    ProvenMask,
    /// The null device that the container shows is one before it becomes a standard stream.
    ProvenNull,
    /// The container's own null device takes the place of the host's.
    OwnNull,
    /// The terminal is bound on a fresh file.
    FreshConsole,
    /// Kernel parameters are written through a proc that nobody else has.
    PrivateProc,
    /// No capability is left that was not asked for.
    ExactCapabilities,
    /// So are groups.
    ExactGroups,
    /// The filter of system calls.
    Filter,
    /// Devices that were not allowed are denied.
    DeviceRules,
    /// A cgroup that another container took over is left alone.
    CgroupOwner,
}

/// Did a test ask for this defence to be left out? Never, without the feature.
#[cfg(not(feature = "fault-injection"))]
#[inline]
pub const fn without(_defence: Defence) -> bool {
    false
}

/// Did a test ask for this defence to be left out?
#[cfg(feature = "fault-injection")]
pub fn without(defence: Defence) -> bool {
    std::env::var("HULL_WITHOUT").is_ok_and(|list| list.split(',').any(|name| name == format!("{defence:?}")))
}

#[cfg(not(feature = "fault-injection"))]
fn reached(_number: u32) -> bool {
    false
}

/// Is this point to fail? Does not return if it is to kill.
#[cfg(feature = "fault-injection")]
fn reached(number: u32) -> bool {
    use rustix::process::{Signal, getpid, kill_process};
    let Ok(wanted) = std::env::var("HULL_FAULT") else { return false };
    let (wanted, action) = wanted.split_once(':').unwrap_or((&wanted, "kill"));
    if wanted.parse() != Ok(number) {
        return false;
    }
    // Our own process takes both, unless it is the first of its PID namespace.
    match action {
        "error" => true,
        "stop" => {
            let _ = kill_process(getpid(), Signal::STOP);
            false
        }
        _ => {
            let _ = kill_process(getpid(), Signal::KILL);
            crate::sys::clone::exit_now(137)
        }
    }
}
