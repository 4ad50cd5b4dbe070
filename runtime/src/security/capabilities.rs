//! Capability sets: from names to five sets, clamped to what the machine has, applied around the change of user.
//!
//! The order matters and is the caller's: [`CapabilityPlan::drop_bounding`] and [`CapabilityPlan::keep_over_setuid`]
//! while still privileged, then groups and user, then [`CapabilityPlan::apply`], then no_new_privs and seccomp.
//! None of these allocates. Inheritable and ambient are empty unless the specification names them
//! (CVE-2022-24769: inheritable capabilities let files of the image raise privilege).

use std::collections::HashSet;

use oci_spec::runtime::{Capability, LinuxCapabilities};
use rustix::io::Errno;
use rustix::thread::{self, CapabilitySet, CapabilitySets};

use super::Notice;
use crate::error::Kind;
use crate::sys::file::read_into;

/// Capability names in the order of their numbers, without `CAP_`.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Why capabilities cannot be planned.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a capability.
    #[error("unknown capability {name:?}")]
    Unknown {
        /// The name as given.
        name: String,
    },
    /// A set that the kernel would refuse whatever the machine.
    #[error(
        "process.capabilities.{set}: {names} is not in the {within} set, so the kernel refuses it (EPERM)"
    )]
    NotWithin {
        /// The faulty set.
        set: &'static str,
        /// The capabilities in question, separated by commas.
        names: String,
        /// The set they must be in.
        within: &'static str,
    },
    /// The kernel does not tell what we have.
    #[error("cannot read our own capabilities: {0}")]
    Machine(Errno),
}

impl Error {
    /// What kind of failure this is.
    pub fn kind(&self) -> Kind {
        match self {
            Error::Unknown { .. } | Error::NotWithin { .. } => Kind::InvalidSpec,
            Error::Machine(_) => Kind::Machine,
        }
    }
}

/// Which capabilities exist for us on this machine, read once per process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MachineCapabilities {
    /// The bounding set.
    pub bounding: CapabilitySet,
    /// What this process holds.
    pub permitted: CapabilitySet,
}

/// The five sets of a process, possible on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CapabilityPlan {
    /// What can ever be gained.
    pub bounding: CapabilitySet,
    /// What counts in checks.
    pub effective: CapabilitySet,
    /// What may be made effective.
    pub permitted: CapabilitySet,
    /// What is kept over execution by files that inherit it.
    pub inheritable: CapabilitySet,
    /// What is kept over execution by any file.
    pub ambient: CapabilitySet,
    to_drop: CapabilitySet,
}

impl MachineCapabilities {
    /// Reads both sets: `CapPrm` and `CapBnd` of `/proc/self/status`, one file instead of 41 calls.
    pub fn read() -> Result<MachineCapabilities, Error> {
        // In one read: the file has no size to ask for, and is a third of this.
        let mut buffer = [0; 4096];
        let length = read_into("/proc/self/status", &mut buffer).map_err(Error::Machine)?;
        let status = String::from_utf8_lossy(&buffer[..length]);
        let set = |field: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(field));
            line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
                .map(CapabilitySet::from_bits_retain)
                .ok_or(Error::Machine(Errno::INVAL))
        };
        Ok(MachineCapabilities { bounding: set("CapBnd:")?, permitted: set("CapPrm:")? })
    }
}

impl CapabilityPlan {
    /// The sets that `process.capabilities` asks for; without it, none at all.
    ///
    /// What the machine's bounding set lacks is left out and said in the notices. Ambient capabilities that are not
    /// both permitted and inheritable can't exist and are left out likewise.
    pub fn new(
        requested: Option<&LinuxCapabilities>,
        machine: &MachineCapabilities,
    ) -> Result<(CapabilityPlan, Vec<Notice>), Error> {
        let Some(requested) = requested else { return Ok((CapabilityPlan::none(machine), Vec::new())) };
        let mut notices = Vec::new();
        let mut clamp = |set: &'static str, names: &Option<HashSet<Capability>>, limit: CapabilitySet| {
            let wanted = names.as_ref().map_or(CapabilitySet::empty(), from_specification);
            note(&mut notices, set, wanted.difference(limit));
            wanted.intersection(limit)
        };
        let available = machine.bounding.intersection(machine.permitted);
        let bounding = clamp("bounding", requested.bounding(), machine.bounding);
        let permitted = clamp("permitted", requested.permitted(), available);
        let effective = clamp("effective", requested.effective(), available);
        let inheritable = clamp("inheritable", requested.inheritable(), available);
        let ambient = clamp("ambient", requested.ambient(), permitted.intersection(inheritable));
        for (set, members, within, limit) in [
            ("effective", effective, "permitted", permitted),
            ("inheritable", inheritable, "bounding", bounding),
        ] {
            let excess = members.difference(limit);
            if !excess.is_empty() {
                return Err(Error::NotWithin { set, names: names(excess).join(", "), within });
            }
        }
        let to_drop = machine.bounding.difference(bounding);
        Ok((CapabilityPlan { bounding, effective, permitted, inheritable, ambient, to_drop }, notices))
    }

    fn none(machine: &MachineCapabilities) -> CapabilityPlan {
        let empty = CapabilitySet::empty();
        CapabilityPlan {
            bounding: empty,
            effective: empty,
            permitted: empty,
            inheritable: empty,
            ambient: empty,
            to_drop: machine.bounding,
        }
    }

    /// Drops from the bounding set what is not wanted; needs CAP_SETPCAP unless there is nothing to drop.
    pub fn drop_bounding(&self) -> Result<(), Errno> {
        // A bit beyond the capabilities we know by name can be dropped just as well.
        self.to_drop.bits_as_single_sets().try_for_each(thread::remove_capability_from_bounding_set)
    }

    /// Lets the permitted set survive the change of user that follows.
    pub fn keep_over_setuid(&self) -> Result<(), Errno> {
        thread::set_keep_capabilities(true)
    }

    /// Makes all that survived the change of user effective again, for the steps between it and [`Self::apply`] that
    /// only a privileged process may take.
    pub fn raise() -> Result<(), Errno> {
        let held = thread::capabilities(None)?;
        thread::set_capabilities(None, CapabilitySets { effective: held.permitted, ..held })
    }

    /// Sets the final sets, after the change of user.
    pub fn apply(&self) -> Result<(), Errno> {
        thread::set_keep_capabilities(false)?;
        // The change of user emptied the effective set; capset needs only the permitted one. Ambient capabilities
        // inherited from our caller fall with the inheritable set.
        thread::set_capabilities(
            None,
            CapabilitySets {
                effective: self.effective,
                permitted: self.permitted,
                inheritable: self.inheritable,
            },
        )?;
        self.ambient
            .bits_as_single_sets()
            .try_for_each(|capability| thread::configure_capability_in_ambient_set(capability, true))
    }
}

/// A capability by name: `CAP_NET_ADMIN` or `net_admin`.
pub fn parse_name(name: &str) -> Result<Capability, Error> {
    let unknown = || Error::Unknown { name: name.chars().take(64).collect() };
    let upper = name.to_ascii_uppercase();
    let plain = upper.strip_prefix("CAP_").unwrap_or(&upper);
    if !NAMES.contains(&plain) {
        return Err(unknown());
    }
    plain.parse().map_err(|_| unknown())
}

/// Names of a set's members, with `CAP_`, in the order of their numbers.
pub fn names(set: CapabilitySet) -> Vec<String> {
    let known = NAMES.iter().enumerate();
    known.filter(|(bit, _)| set.bits() & (1 << bit) != 0).map(|(_, name)| format!("CAP_{name}")).collect()
}

fn from_specification(names: &HashSet<Capability>) -> CapabilitySet {
    let bit = |capability: &Capability| {
        let name = capability.to_string();
        NAMES.iter().position(|known| *known == name).map_or(0, |number| 1 << number)
    };
    CapabilitySet::from_bits_retain(names.iter().map(bit).fold(0, |bits, bit: u64| bits | bit))
}

fn note(notices: &mut Vec<Notice>, set: &str, missing: CapabilitySet) {
    if missing.is_empty() {
        return;
    }
    let missing = names(missing).join(", ");
    let reason = match set {
        "ambient" => {
            format!("can't raise ambient capability {missing}: it is not both permitted and inheritable")
        }
        _ => format!("{missing} left out, this machine does not have it"),
    };
    notices.push(Notice { setting: format!("process.capabilities.{set}"), reason });
}

/// The members of a set as sets of one.
trait Members {
    fn bits_as_single_sets(&self) -> impl Iterator<Item = CapabilitySet>;
}

impl Members for CapabilitySet {
    fn bits_as_single_sets(&self) -> impl Iterator<Item = CapabilitySet> {
        let bits = self.bits();
        (0..64).map(|bit| 1u64 << bit).filter(move |bit| bits & bit != 0).map(CapabilitySet::from_bits_retain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(bounding: u64) -> MachineCapabilities {
        let set = CapabilitySet::from_bits_retain(bounding);
        MachineCapabilities { bounding: set, permitted: set }
    }

    fn set(names: &[Capability]) -> Option<HashSet<Capability>> {
        Some(names.iter().copied().collect())
    }

    #[test]
    fn every_name_stands_for_its_number() {
        for (number, name) in NAMES.iter().enumerate() {
            let capability = parse_name(name).unwrap();
            assert_eq!(from_specification(&[capability].into()).bits(), 1 << number, "{name}");
        }
        assert_eq!(CapabilitySet::SYS_RESOURCE.bits(), 1 << 24);
        assert_eq!(names(CapabilitySet::CHECKPOINT_RESTORE), ["CAP_CHECKPOINT_RESTORE"]);
    }

    #[test]
    fn names_in_any_case_and_no_others() {
        assert_eq!(parse_name("cap_net_admin").unwrap(), Capability::NetAdmin);
        assert_eq!(parse_name("KILL").unwrap(), Capability::Kill);
        for name in ["", "CAP_", "CAP_CAP_KILL", "ALL", "KILLER", "kill "] {
            assert!(parse_name(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn what_the_machine_lacks_is_left_out_and_said() {
        let wanted = set(&[Capability::Kill, Capability::SysResource]);
        let mut request = LinuxCapabilities::default();
        request
            .set_bounding(wanted.clone())
            .set_permitted(wanted.clone())
            .set_effective(wanted)
            .set_inheritable(None)
            .set_ambient(None);
        let (plan, notices) = CapabilityPlan::new(Some(&request), &machine((1 << 5) | 1)).unwrap();
        assert_eq!(plan.bounding, CapabilitySet::KILL);
        assert_eq!(plan.permitted, CapabilitySet::KILL);
        assert_eq!(plan.inheritable, CapabilitySet::empty());
        assert_eq!(plan.to_drop, CapabilitySet::CHOWN);
        assert_eq!(notices.len(), 3);
        assert_eq!(
            notices[0].to_string(),
            "process.capabilities.bounding: CAP_SYS_RESOURCE left out, this machine does not have it"
        );
    }

    #[test]
    fn effective_beyond_permitted_is_an_error() {
        let mut request = LinuxCapabilities::default();
        request.set_effective(set(&[Capability::Kill])).set_permitted(None).set_ambient(None);
        let error = CapabilityPlan::new(Some(&request), &machine(!0)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "process.capabilities.effective: CAP_KILL is not in the permitted set, so the kernel refuses it (EPERM)"
        );
    }

    #[test]
    fn no_request_means_no_capability() {
        let (plan, _) = CapabilityPlan::new(None, &machine(0b111)).unwrap();
        assert_eq!(plan.to_drop.bits(), 0b111);
        assert!(plan.permitted.is_empty() && plan.bounding.is_empty() && plan.ambient.is_empty());
    }
}
