//! What a process needs that can be made before the clone: capability sets, limits, filter.

use oci_spec::runtime::LinuxSeccomp;
use rustix::thread::CapabilitySet;

use crate::error::Result;
use crate::security::Notice;
use crate::security::capabilities::{CapabilityPlan, MachineCapabilities};
use crate::security::rlimits::Rlimits;
use crate::security::seccomp::{self, Program};
use crate::spec::plan::ProcessPlan;

/// What this process may hand on.
#[derive(Debug)]
pub(super) struct Machine {
    capabilities: MachineCapabilities,
    held: CapabilitySet,
    caller_is_root: bool,
}

impl Machine {
    /// Reads it; in a user namespace of its own a process starts with every capability there, and may still raise
    /// no limit beyond ours.
    pub(super) fn read(user_namespace: bool) -> Result<Machine> {
        let own = MachineCapabilities::read()?;
        let caller_is_root = own.permitted.contains(CapabilitySet::SYS_ADMIN);
        let held = own.permitted;
        let capabilities = if user_namespace {
            const ALL: u64 = (1 << 41) - 1;
            let all = CapabilitySet::from_bits_retain(ALL);
            MachineCapabilities { bounding: all, permitted: all }
        } else {
            own
        };
        let held = if user_namespace { held.difference(CapabilitySet::SYS_RESOURCE) } else { held };
        Ok(Machine { capabilities, held, caller_is_root })
    }

    /// Has the caller root's rights in the user namespace that he is in, to mount and to join? An ordinary user has not.
    pub(super) fn caller_is_root(&self) -> bool {
        self.caller_is_root
    }
}

/// The prepared parts, and what had to be clamped.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) capabilities: CapabilityPlan,
    pub(super) limits: Rlimits,
    pub(super) filter: Option<Program>,
    pub(super) clamped: Vec<String>,
}

impl Prepared {
    /// Prepares a process.
    pub(super) fn new(process: &ProcessPlan, filter: Filter, machine: &Machine) -> Result<Prepared> {
        let (capabilities, mut notices) =
            CapabilityPlan::new(process.capabilities.as_ref(), &machine.capabilities)?;
        let (limits, more) = Rlimits::new(&process.rlimits, machine.held)?;
        notices.extend(more);
        notices.extend(filter.notices);
        Ok(Prepared {
            capabilities,
            limits,
            filter: filter.program,
            clamped: notices.iter().map(ToString::to_string).collect(),
        })
    }
}

/// A container's filter, which is the same for all its processes.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    program: Option<Program>,
    notices: Vec<Notice>,
}

impl Filter {
    /// Compiles the profile of a container, if it has one.
    pub(super) fn compile(profile: Option<&LinuxSeccomp>) -> Result<Filter> {
        let Some(profile) = profile else { return Ok(Filter::default()) };
        let (program, notices) = seccomp::compile(profile)?;
        Ok(Filter { program: Some(program), notices })
    }
}
