//! Limits of a container: zero or empty means that nobody asked.

use k8s_cri::v1::LinuxContainerResources;
use oci_spec::runtime::{LinuxCpu, LinuxHugepageLimitBuilder, LinuxMemory, LinuxResources};
use runtime::cgroup::Hierarchies;

use crate::error::{Error, Result};

/// The kernel's least share.
const LEAST_SHARES: u64 = 2;

/// What the machine's cgroups can limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Memory and swap together.
    pub swap: bool,
    /// Large pages.
    pub huge_pages: bool,
    /// The second version only, where settings can be given by their names.
    pub unified: bool,
}

impl Machine {
    /// Looks at the machine.
    pub fn of(hierarchies: &Hierarchies) -> Machine {
        let first = |controller: &str| {
            hierarchies
                .all()
                .iter()
                .find(|hierarchy| hierarchy.controls(controller))
                .map(|found| found.mount())
        };
        let second = hierarchies.is_unified().then(|| hierarchies.all().first()).flatten();
        let has =
            |name: &str| second.is_some_and(|hierarchy| controllers(hierarchy.mount()).any(|it| it == name));
        let swap_counted = |folder: &std::path::Path| folder.join("memory.memsw.limit_in_bytes").exists();
        Machine {
            swap: first("memory").map_or(has("memory"), swap_counted),
            huge_pages: first("hugetlb").is_some() || has("hugetlb"),
            unified: second.is_some(),
        }
    }
}

fn controllers(mount: &std::path::Path) -> impl Iterator<Item = String> + use<> {
    let text = std::fs::read_to_string(mount.join("cgroup.controllers")).unwrap_or_default();
    text.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>().into_iter()
}

/// Limits as config.json has them.
pub fn limits(asked: &LinuxContainerResources, machine: Machine) -> Result<LinuxResources> {
    let mut limits = LinuxResources::default();
    limits.set_cpu(cpu(asked)?);
    limits.set_memory(memory(asked, machine)?);
    let mut pages = Vec::new();
    for limit in asked.hugepage_limits.iter().filter(|_| machine.huge_pages) {
        let limit = LinuxHugepageLimitBuilder::default()
            .page_size(limit.page_size.clone())
            .limit(i64::try_from(limit.limit).unwrap_or(i64::MAX))
            .build();
        pages.push(limit.map_err(|error| Error::invalid("resources.hugepage_limits", error))?);
    }
    limits.set_hugepage_limits((!pages.is_empty()).then_some(pages));
    if !asked.unified.is_empty() {
        if !machine.unified {
            return Err(Error::invalid("resources.unified", "this machine has cgroups of version 1"));
        }
        limits.set_unified(Some(asked.unified.clone()));
    }
    Ok(limits)
}

fn cpu(asked: &LinuxContainerResources) -> Result<Option<LinuxCpu>> {
    let positive = |field: &str, value: i64| match value {
        0 => Ok(None),
        1.. => Ok(Some(value.unsigned_abs())),
        _ => Err(Error::invalid(format!("resources.{field}"), format!("{value} is less than 0"))),
    };
    let word = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let mut cpu = LinuxCpu::default();
    cpu.set_shares(positive("cpu_shares", asked.cpu_shares)?.map(|shares| shares.max(LEAST_SHARES)))
        .set_period(positive("cpu_period", asked.cpu_period)?)
        .set_quota(Some(asked.cpu_quota).filter(|quota| *quota != 0))
        .set_cpus(word(&asked.cpuset_cpus))
        .set_mems(word(&asked.cpuset_mems));
    Ok((cpu != LinuxCpu::default()).then_some(cpu))
}

fn memory(asked: &LinuxContainerResources, machine: Machine) -> Result<Option<LinuxMemory>> {
    let (limit, swap) = (asked.memory_limit_in_bytes, asked.memory_swap_limit_in_bytes);
    if limit == 0 && swap == 0 {
        return Ok(None);
    }
    if limit < -1 || swap < -1 {
        return Err(Error::invalid("resources.memory_limit_in_bytes", "it is less than 0"));
    }
    let mut memory = LinuxMemory::default();
    memory.set_limit(Some(limit).filter(|limit| *limit != 0));
    if machine.swap {
        // Nobody asked for swap, so there is none beside the memory.
        memory.set_swap(Some(if swap == 0 { limit } else { swap }));
    }
    Ok(Some(memory))
}

/// The preference of the out-of-memory killer; what the machine refuses is clamped by the runtime.
pub fn oom_score(asked: &LinuxContainerResources) -> Result<i32> {
    i32::try_from(asked.oom_score_adj)
        .ok()
        .filter(|score| (-1000..=1000).contains(score))
        .ok_or_else(|| Error::invalid("resources.oom_score_adj", "it is not within -1000 and 1000"))
}

#[cfg(test)]
mod tests {
    use k8s_cri::v1::HugepageLimit;

    use super::*;

    const ALL: Machine = Machine { swap: true, huge_pages: true, unified: true };
    const NONE: Machine = Machine { swap: false, huge_pages: false, unified: false };

    #[test]
    fn nothing_asked_for_is_nothing_set() {
        let limits = limits(&LinuxContainerResources::default(), ALL).unwrap();
        assert_eq!((limits.cpu(), limits.memory(), limits.hugepage_limits()), (&None, &None, &None));
    }

    #[test]
    fn what_the_machine_lacks_is_left_out() {
        let asked = LinuxContainerResources {
            cpu_shares: 1,
            cpu_quota: -1,
            memory_limit_in_bytes: 1 << 20,
            hugepage_limits: vec![HugepageLimit { page_size: "2MB".to_owned(), limit: 0 }],
            ..Default::default()
        };
        let set = limits(&asked, ALL).unwrap();
        assert_eq!(set.cpu().as_ref().unwrap().shares(), Some(2));
        assert_eq!(set.cpu().as_ref().unwrap().quota(), Some(-1));
        assert_eq!(set.memory().as_ref().unwrap().swap(), Some(1 << 20));
        assert_eq!(set.hugepage_limits().as_ref().unwrap().len(), 1);
        let left = limits(&asked, NONE).unwrap();
        assert_eq!(left.memory().as_ref().unwrap().swap(), None);
        assert!(left.hugepage_limits().is_none());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let unified = [("memory.oom.group".to_owned(), "1".to_owned())].into();
        for (bad, machine) in [
            (LinuxContainerResources { cpu_shares: -1, ..Default::default() }, ALL),
            (LinuxContainerResources { memory_limit_in_bytes: -2, ..Default::default() }, ALL),
            (LinuxContainerResources { unified, ..Default::default() }, NONE),
        ] {
            assert!(limits(&bad, machine).is_err(), "{bad:?}");
        }
        assert!(oom_score(&LinuxContainerResources { oom_score_adj: 1001, ..Default::default() }).is_err());
        assert_eq!(
            oom_score(&LinuxContainerResources { oom_score_adj: -997, ..Default::default() }).unwrap(),
            -997
        );
    }
}
