//! How the kernel is to run the command: set before the rights to do so are given up.

use rustix::io::Errno;
use rustix::thread::CpuSet;

use super::{Step, StepFailure};
use crate::spec::plan::ProcessPlan;
use crate::sys::scheduling::{ioprio_set, personality, sched_setattr, set_mempolicy};

/// Applies what the plan says; nothing costs nothing.
pub(super) fn apply(plan: &ProcessPlan) -> Result<(), StepFailure> {
    let failed = |object: &'static str| StepFailure::of(Step::Schedule, object);
    if let Some(persona) = plan.personality {
        personality(persona).map_err(failed("the personality"))?;
    }
    if let Some(policy) = &plan.memory_policy {
        set_mempolicy(policy.mode, &policy.nodes).map_err(failed("the memory policy"))?;
    }
    if let Some(priority) = plan.io_priority {
        ioprio_set(priority).map_err(failed("the I/O priority"))?;
    }
    if let Some(attributes) = &plan.scheduler {
        sched_setattr(attributes).map_err(failed("the scheduler"))?;
    }
    Ok(())
}

/// Lets this process run wherever its cgroup may, whatever the caller of the runtime was bound to. The kernel takes from
/// the set what there is.
pub(super) fn run_anywhere() {
    let mut set = CpuSet::new();
    (0..CpuSet::MAX_CPU).for_each(|number| set.set(number));
    // A filter around us may forbid it; then the caller's set stays, as without this.
    let _ = rustix::thread::sched_setaffinity(None, &set);
}

/// Lets this process run on some processors only.
pub(super) fn run_on(processors: &[u32]) -> Result<(), StepFailure> {
    let mut set = CpuSet::new();
    let known = processors.iter().all(|number| (*number as usize) < CpuSet::MAX_CPU);
    processors.iter().filter(|_| known).for_each(|number| set.set(*number as usize));
    let done = if known { rustix::thread::sched_setaffinity(None, &set) } else { Err(Errno::INVAL) };
    done.map_err(StepFailure::of(Step::Schedule, format!("the processors {processors:?}")))
}
