//! Resource limits of the process: checked and clamped before the clone, set in the child.

use oci_spec::runtime::{PosixRlimit, PosixRlimitType};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::CapabilitySet;

use super::Notice;

/// The kernel never lets anybody raise the number of descriptors above this sysctl.
const DESCRIPTOR_CEILING: &str = "/proc/sys/fs/nr_open";

/// A wrong list of limits.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// The soft limit is above the hard one.
    #[error("process.rlimits[{name}]: soft limit {soft} is above the hard limit {hard}")]
    SoftAboveHard {
        /// The limit.
        name: String,
        /// As requested.
        soft: u64,
        /// As requested.
        hard: u64,
    },
    /// The same limit twice.
    #[error("process.rlimits[{name}]: appears twice")]
    Twice {
        /// The limit.
        name: String,
    },
}

/// Limits that this process may set.
#[derive(Debug, Clone, Default)]
pub struct Rlimits {
    limits: Vec<(Resource, Rlimit)>,
}

impl Rlimits {
    /// Checks a list. Where we may not raise a hard limit (no CAP_SYS_RESOURCE in `held`), it is clamped to ours.
    pub fn new(requested: &[PosixRlimit], held: CapabilitySet) -> Result<(Rlimits, Vec<Notice>), Error> {
        let mut limits: Vec<(Resource, Rlimit)> = Vec::with_capacity(requested.len());
        let mut notices = Vec::new();
        for limit in requested {
            let (resource, name) = (resource(limit.typ()), limit.typ().to_string());
            let (soft, hard) = (limit.soft(), limit.hard());
            if soft > hard {
                return Err(Error::SoftAboveHard { name, soft, hard });
            }
            if limits.iter().any(|(known, _)| *known == resource) {
                return Err(Error::Twice { name });
            }
            let ceiling = ceiling(resource, hard, held.contains(CapabilitySet::SYS_RESOURCE));
            if hard > ceiling {
                notices.push(Notice {
                    setting: format!("process.rlimits[{name}]"),
                    reason: format!("{hard} clamped to {ceiling}, the most this machine lets us set"),
                });
            }
            let finite = |value: u64| (value != u64::MAX).then_some(value);
            let value = Rlimit { current: finite(soft.min(ceiling)), maximum: finite(hard.min(ceiling)) };
            limits.push((resource, value));
        }
        Ok((Rlimits { limits }, notices))
    }

    /// Sets them for the calling process. Does not allocate; the failing limit comes with its errno.
    pub fn apply(&self) -> Result<(), (Resource, Errno)> {
        for (resource, limit) in &self.limits {
            setrlimit(*resource, *limit).map_err(|error| (*resource, error))?;
        }
        Ok(())
    }
}

/// The highest hard limit that we can give, where `wanted` is more than that.
fn ceiling(resource: Resource, wanted: u64, may_raise: bool) -> u64 {
    let own = getrlimit(resource).maximum.unwrap_or(u64::MAX);
    if wanted <= own {
        return u64::MAX;
    }
    if !may_raise {
        return own;
    }
    if resource == Resource::Nofile {
        let text = std::fs::read_to_string(DESCRIPTOR_CEILING).unwrap_or_default();
        return text.trim().parse().unwrap_or(own);
    }
    u64::MAX
}

fn resource(kind: PosixRlimitType) -> Resource {
    match kind {
        PosixRlimitType::RlimitCpu => Resource::Cpu,
        PosixRlimitType::RlimitFsize => Resource::Fsize,
        PosixRlimitType::RlimitData => Resource::Data,
        PosixRlimitType::RlimitStack => Resource::Stack,
        PosixRlimitType::RlimitCore => Resource::Core,
        PosixRlimitType::RlimitRss => Resource::Rss,
        PosixRlimitType::RlimitNproc => Resource::Nproc,
        PosixRlimitType::RlimitNofile => Resource::Nofile,
        PosixRlimitType::RlimitMemlock => Resource::Memlock,
        PosixRlimitType::RlimitAs => Resource::As,
        PosixRlimitType::RlimitLocks => Resource::Locks,
        PosixRlimitType::RlimitSigpending => Resource::Sigpending,
        PosixRlimitType::RlimitMsgqueue => Resource::Msgqueue,
        PosixRlimitType::RlimitNice => Resource::Nice,
        PosixRlimitType::RlimitRtprio => Resource::Rtprio,
        PosixRlimitType::RlimitRttime => Resource::Rttime,
    }
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::PosixRlimitBuilder;

    use super::*;

    fn limit(kind: PosixRlimitType, soft: u64, hard: u64) -> PosixRlimit {
        PosixRlimitBuilder::default().typ(kind).soft(soft).hard(hard).build().unwrap()
    }

    #[test]
    fn wrong_lists_are_refused() {
        let above = [limit(PosixRlimitType::RlimitCore, 2, 1)];
        assert_eq!(
            Rlimits::new(&above, CapabilitySet::empty()).unwrap_err().to_string(),
            "process.rlimits[RLIMIT_CORE]: soft limit 2 is above the hard limit 1"
        );
        let twice = [limit(PosixRlimitType::RlimitCore, 0, 1), limit(PosixRlimitType::RlimitCore, 0, 1)];
        assert!(matches!(Rlimits::new(&twice, CapabilitySet::empty()), Err(Error::Twice { .. })));
    }

    #[test]
    fn a_hard_limit_that_we_may_not_raise_is_clamped_and_said() {
        let own = getrlimit(Resource::Nofile).maximum.unwrap();
        let wanted = [limit(PosixRlimitType::RlimitNofile, own + 1, own + 5)];
        let (limits, notices) = Rlimits::new(&wanted, CapabilitySet::empty()).unwrap();
        assert_eq!(limits.limits[0].1, Rlimit { current: Some(own), maximum: Some(own) });
        assert_eq!(notices.len(), 1);
        let (_, notices) =
            Rlimits::new(&[limit(PosixRlimitType::RlimitNofile, 1, own)], CapabilitySet::empty()).unwrap();
        assert!(notices.is_empty());
    }

    #[test]
    fn infinity_is_infinity() {
        let wanted = [limit(PosixRlimitType::RlimitCpu, u64::MAX, u64::MAX)];
        let (limits, _) = Rlimits::new(&wanted, CapabilitySet::SYS_RESOURCE).unwrap();
        assert_eq!(limits.limits[0].1, Rlimit { current: None, maximum: None });
    }
}
