//! How the kernel is to run the command: set before the rights to do so are given up.

use rustix::io::Errno;
use rustix::thread::CpuSet;

use super::protocol::ChildEnd;
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
        sched_setattr(attributes).map_err(|errno| match errno {
            // sched_setattr(2): a deadline is kept on all processors or none.
            Errno::PERM => {
                failed("the scheduler: process scheduler can't be used together with AllowedCPUs")(errno)
            }
            errno => failed("the scheduler")(errno),
        })?;
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

/// Tells the log where this process may run, if anybody wants to know.
pub(super) fn tell_processors(channel: &ChildEnd) {
    if log::log_enabled!(log::Level::Debug)
        && let Ok(set) = rustix::thread::sched_getaffinity(None)
    {
        channel.debug(format_args!("nsexec: affinity: {}", mask(|number| set.is_set(number))));
    }
}

/// A set of processors as one number in hexadecimal digits.
fn mask(has: impl Fn(usize) -> bool) -> String {
    let digit =
        |group: usize| (0..4).fold(0, |digit, bit| digit | (usize::from(has(group * 4 + bit)) << bit));
    let digits: String = (0..CpuSet::MAX_CPU / 4).rev().map(|group| format!("{:x}", digit(group))).collect();
    format!("0x{}", digits.trim_start_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::mask;

    #[test]
    fn processors_are_the_bits_of_a_number() {
        assert_eq!(mask(|number| number == 1), "0x2");
        assert_eq!(mask(|number| [0, 5, 70].contains(&number)), "0x400000000000000021");
    }
}
