//! What is wrong with `linux.resources` whatever the machine: found before anything exists.

use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxResources};

use super::{Error, invalid};
use crate::cgroup::DeviceRules;

/// The scheduler's own bounds for `cpu.shares`; it would clamp in silence.
const SHARES: std::ops::RangeInclusive<u64> = 2..=262_144;

/// Checks the fields of a document. What a machine cannot do is found when it is applied.
pub fn check(resources: &LinuxResources) -> Result<(), Error> {
    DeviceRules::new(resources.devices().as_deref().unwrap_or_default())?;
    if let Some(asked) = resources.memory() {
        memory(asked)?;
    }
    if let Some(asked) = resources.cpu() {
        cpu(asked)?;
    }
    for limit in resources.hugepage_limits().iter().flatten() {
        let size = limit.page_size();
        if size.is_empty() || !size.chars().all(|letter| letter.is_ascii_alphanumeric()) {
            return Err(invalid("hugepageLimits", format!("{size:?} is not a page size such as 2MB")));
        }
    }
    for file in resources.unified().iter().flatten().map(|(file, _)| file) {
        let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-');
        // `cgroup.` files move processes and kill: they are no resources.
        if !file.chars().all(plain)
            || !file.contains('.')
            || file.starts_with('.')
            || file.starts_with("cgroup.")
        {
            return Err(invalid("unified", format!("{file:?} is not the name of a resource's control file")));
        }
    }
    Ok(())
}

fn memory(memory: &LinuxMemory) -> Result<(), Error> {
    for (field, value) in [
        ("limit", memory.limit()),
        ("reservation", memory.reservation()),
        ("swap", memory.swap()),
        ("kernel", memory.kernel()),
        ("kernelTCP", memory.kernel_tcp()),
    ] {
        if let Some(value) = value.filter(|value| *value < -1) {
            let reason = format!("{value} is no number of bytes, nor -1 for no limit");
            return Err(invalid(&format!("memory.{field}"), reason));
        }
    }
    let given = |value: Option<i64>| value.filter(|value| *value != 0);
    if let (Some(limit), Some(swap)) = (given(memory.limit()), given(memory.swap()))
        && swap != -1
        && (limit == -1 || swap < limit)
    {
        let reason = format!("{swap} is less than memory.limit, which it includes");
        return Err(invalid("memory.swap", reason));
    }
    if let Some(percent) = memory.swappiness().filter(|percent| *percent > 100) {
        return Err(invalid("memory.swappiness", format!("{percent} is not within 0 to 100")));
    }
    Ok(())
}

fn cpu(cpu: &LinuxCpu) -> Result<(), Error> {
    match cpu.shares().filter(|shares| *shares != 0 && !SHARES.contains(shares)) {
        None => Ok(()),
        Some(shares) => Err(invalid(
            "cpu.shares",
            format!("{shares} is not within {} to {}", SHARES.start(), SHARES.end()),
        )),
    }
}
