//! Control files of v2, and the specification's v1 numbers on their scales.

use std::collections::HashMap;

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory};

use super::{Cgroup, Error, Notice, Target, in_either_order, invalid, version1};

pub(super) fn memory(
    target: &Target<'_>,
    memory: &LinuxMemory,
    notices: &mut Vec<Notice>,
) -> Result<(), Error> {
    let limit = memory.limit().filter(|limit| *limit != 0);
    if let Some(swap) = memory.swap().filter(|swap| *swap != 0).or(limit.filter(|limit| *limit == -1)) {
        // The specification counts memory and swap together, v2 apart. An update of swap alone means the limit there is.
        let there = || target.read_number("memory.max").and_then(|limit| i64::try_from(limit).ok());
        let value = match (swap, limit.or_else(there)) {
            (-1, _) => "max".to_owned(),
            (swap, Some(limit)) if limit > 0 && swap >= limit => (swap - limit).to_string(),
            // What was given together was checked: this is less than the limit there is, or there is none.
            _ => return Err(invalid("memory.swap", "needs a memory.limit not above it, which it includes")),
        };
        target.set("memory.swap.max", &value)?;
    }
    if let Some(limit) = limit {
        if memory.check_before_update() == Some(true)
            && let Some(usage) = target.read_number("memory.current")
            && u64::try_from(limit).is_ok_and(|limit| usage > limit)
        {
            return Err(invalid("memory.limit", format!("{limit} is less than the {usage} bytes in use")));
        }
        target.set("memory.max", &bytes(limit))?;
    }
    if let Some(reservation) = memory.reservation().filter(|reservation| *reservation != 0) {
        target.set("memory.low", &bytes(reservation))?;
    }
    let kernel = memory.kernel().is_some();
    for (field, wanted) in [
        ("kernel", kernel),
        ("kernelTCP", memory.kernel_tcp().is_some()),
        ("swappiness", memory.swappiness().is_some()),
        ("disableOOMKiller", memory.disable_oom_killer() == Some(true)),
    ] {
        if wanted {
            notices.push(Notice {
                setting: format!("linux.resources.memory.{field}"),
                reason: "left out, cgroup v2 has no such setting".to_owned(),
            });
        }
    }
    Ok(())
}

pub(super) fn cpu(target: &Target<'_>, cpu: &LinuxCpu) -> Result<(), Error> {
    if cpu.realtime_period().is_some_and(|period| period != 0)
        || cpu.realtime_runtime().is_some_and(|runtime| runtime != 0)
    {
        let reason = "cgroup v2 has no limit of real-time scheduling";
        return Err(Error::Unsupported { setting: "cpu.realtimeRuntime", reason });
    }
    // Idle first: an idle group refuses a weight.
    if let Some(idle) = cpu.idle() {
        target.set("cpu.idle", &idle.to_string())?;
    }
    if let Some(shares) = version1::shares(cpu)
        && cpu.idle() != Some(1)
    {
        target.set("cpu.weight", &weight_of_shares(shares).to_string())?;
    }
    let quota = cpu.quota().filter(|quota| *quota != 0);
    let period = cpu.period().filter(|period| *period != 0);
    let set_quota = || {
        let quota = match quota {
            Some(quota @ 1..) => quota.to_string(),
            Some(_) => "max".to_owned(),
            // An update of the period alone keeps the quota.
            None if period.is_some() => target.first_word("cpu.max").unwrap_or_else(|| "max".to_owned()),
            None => return Ok(()),
        };
        // Without a period the file keeps its own, 100 ms unless changed.
        let value = period.map_or_else(|| quota.clone(), |period| format!("{quota} {period}"));
        target.set("cpu.max", &value)
    };
    let set_burst = || cpu.burst().map_or(Ok(()), |burst| target.set("cpu.max.burst", &burst.to_string()));
    // A quota is not below its burst.
    in_either_order(&set_quota, &set_burst)
}

/// 2 to 262144 onto 1 to 10000 such that the default 1024 becomes the default 100: a parabola through the three in
/// logarithms, as runc and crun compute it since 2025.
fn weight_of_shares(shares: u64) -> u64 {
    let logarithm = (shares as f64).log2();
    let exponent = (logarithm * logarithm + 125.0 * logarithm) / 612.0 - 7.0 / 34.0;
    (10f64.powf(exponent).ceil() as u64).clamp(1, 10_000)
}

pub(super) fn block_io(target: &Target<'_>, block_io: &LinuxBlockIo) -> Result<(), Error> {
    if block_io.leaf_weight().is_some_and(|weight| weight != 0) {
        return Err(Error::Unsupported {
            setting: "blockIO.leafWeight",
            reason: "cgroup v2 has no leaf weights",
        });
    }
    let bfq = target.has("io.bfq.weight");
    if let Some(weight) = block_io.weight().filter(|weight| *weight != 0) {
        if bfq {
            target.set("io.bfq.weight", &weight.to_string())?;
        } else {
            target.set("io.weight", &weight_of_block_weight(weight).to_string())?;
        }
    }
    for device in block_io.weight_device().iter().flatten() {
        if let Some(weight) = device.weight() {
            target.set("io.bfq.weight", &format!("{}:{} {weight}", device.major(), device.minor()))?;
        }
    }
    for (key, devices) in [
        ("rbps", block_io.throttle_read_bps_device()),
        ("wbps", block_io.throttle_write_bps_device()),
        ("riops", block_io.throttle_read_iops_device()),
        ("wiops", block_io.throttle_write_iops_device()),
    ] {
        for device in devices.iter().flatten() {
            // 0 lifts a limit, as on v1.
            let rate = match device.rate() {
                0 => "max".to_owned(),
                rate => rate.to_string(),
            };
            target.set("io.max", &format!("{}:{} {key}={rate}", device.major(), device.minor()))?;
        }
    }
    Ok(())
}

/// 10 to 1000 onto 1 to 10000.
fn weight_of_block_weight(weight: u16) -> u64 {
    1 + u64::from(weight.clamp(10, 1000) - 10) * 9999 / 990
}

/// `unified`: file names and values taken as they are, in an order that does not depend on the map's.
pub(super) fn unified(cgroup: &Cgroup, settings: &HashMap<String, String>) -> Result<(), Error> {
    let version2_only = cgroup.folder_of("memory").is_none() && cgroup.folder_of("cpu").is_none();
    let Some(folder) = cgroup.version2_folder().filter(|_| version2_only) else {
        return Err(Error::Unsupported {
            setting: "unified",
            reason: "invalid configuration: it needs a machine with cgroup v2 only",
        });
    };
    let target = Target { folder, group: cgroup.path().as_str() };
    let mut settings: Vec<_> = settings.iter().collect();
    settings.sort();
    for (file, value) in settings {
        target.set(file, value)?;
    }
    Ok(())
}

fn bytes(limit: i64) -> String {
    if limit < 0 { "max".to_owned() } else { limit.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_keep_their_bounds_and_default() {
        for (shares, weight) in [(2, 1), (1024, 100), (262_144, 10_000)] {
            assert_eq!(weight_of_shares(shares), weight, "{shares}");
        }
        let mut last = 0;
        for shares in 2..=262_144 {
            let weight = weight_of_shares(shares);
            assert!(weight >= last, "{shares}");
            last = weight;
        }
    }

    #[test]
    fn block_weights_keep_their_bounds() {
        assert_eq!([10, 1000, 500].map(weight_of_block_weight), [1, 10_000, 4950]);
    }
}
