//! Control files of v1.

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory};
use rustix::io::Errno;

use super::{Error, Notice, Target, invalid};

pub(super) fn memory(
    target: &Target<'_>,
    memory: &LinuxMemory,
    notices: &mut Vec<Notice>,
) -> Result<(), Error> {
    let limit = memory.limit().filter(|limit| *limit != 0);
    if let Some(limit) = limit
        && memory.check_before_update() == Some(true)
        && let Some(usage) = target.read_number("memory.usage_in_bytes")
        && u64::try_from(limit).is_ok_and(|limit| usage > limit)
    {
        return Err(invalid("memory.limit", format!("{limit} is less than the {usage} bytes in use")));
    }
    // No limit on memory means none on memory and swap together, unless one is given.
    let swap = memory.swap().filter(|swap| *swap != 0).or(limit.filter(|limit| *limit == -1));
    limit_and_swap(target, limit, swap)?;
    if let Some(reservation) = memory.reservation().filter(|reservation| *reservation != 0) {
        target.set("memory.soft_limit_in_bytes", &reservation.to_string())?;
    }
    if let Some(limit) = memory.kernel_tcp() {
        target.set("memory.kmem.tcp.limit_in_bytes", &limit.to_string())?;
    }
    if let Some(percent) = memory.swappiness() {
        target.set("memory.swappiness", &percent.to_string())?;
    }
    if memory.disable_oom_killer() == Some(true) {
        target.set("memory.oom_control", "1")?;
    }
    if memory.kernel().is_some() {
        notices.push(Notice {
            setting: "linux.resources.memory.kernel".to_owned(),
            reason: "left out, kernels since 5.4 do not limit kernel memory apart".to_owned(),
        });
    }
    Ok(())
}

/// The limit of memory and swap together must never be below that of memory, so the order depends on the direction.
fn limit_and_swap(target: &Target<'_>, limit: Option<i64>, swap: Option<i64>) -> Result<(), Error> {
    const LIMIT: &str = "memory.limit_in_bytes";
    const LIMIT_WITH_SWAP: &str = "memory.memsw.limit_in_bytes";
    let Some(limit) = limit else {
        return swap.map_or(Ok(()), |swap| target.set(LIMIT_WITH_SWAP, &swap.to_string()));
    };
    let swap = match swap {
        // Derived from the limit, not asked for: a kernel without swap accounting has nothing to set.
        Some(-1) if limit == -1 && !target.has(LIMIT_WITH_SWAP) => None,
        other => other,
    };
    let set_limit = || target.set(LIMIT, &limit.to_string());
    let set_swap = || swap.map_or(Ok(()), |swap| target.set(LIMIT_WITH_SWAP, &swap.to_string()));
    match set_limit() {
        Err(error) if error.errno() == Some(Errno::INVAL) && swap.is_some() => {
            set_swap()?;
            set_limit()
        }
        Err(error) => Err(error),
        Ok(()) => set_swap(),
    }
}

/// True if a field other than the cpuset's is set.
pub(super) fn wants_cpu(cpu: &LinuxCpu) -> bool {
    cpu.shares().is_some()
        || cpu.quota().is_some()
        || cpu.period().is_some()
        || cpu.burst().is_some()
        || cpu.idle().is_some()
        || cpu.realtime_period().is_some()
        || cpu.realtime_runtime().is_some()
}

/// Shares, where 0 means unset.
pub(super) fn shares(cpu: &LinuxCpu) -> Option<u64> {
    cpu.shares().filter(|shares| *shares != 0)
}

pub(super) fn cpu(target: &Target<'_>, cpu: &LinuxCpu) -> Result<(), Error> {
    if let Some(shares) = shares(cpu) {
        target.set("cpu.shares", &shares.to_string())?;
    }
    let runtime = cpu.realtime_runtime().filter(|runtime| *runtime != 0);
    let set_runtime =
        || runtime.map_or(Ok(()), |runtime| target.set("cpu.rt_runtime_us", &runtime.to_string()));
    if let Some(period) = cpu.realtime_period().filter(|period| *period != 0) {
        match target.set("cpu.rt_period_us", &period.to_string()) {
            // As with the quota below: the old runtime may not fit into the new period.
            Err(error) if error.errno() == Some(Errno::INVAL) && runtime.is_some() => {
                set_runtime()?;
                target.set("cpu.rt_period_us", &period.to_string())?;
            }
            other => other?,
        }
    }
    set_runtime()?;
    let quota = cpu.quota().filter(|quota| *quota != 0);
    let set_quota = || quota.map_or(Ok(()), |quota| target.set("cpu.cfs_quota_us", &quota.to_string()));
    if let Some(period) = cpu.period().filter(|period| *period != 0) {
        match target.set("cpu.cfs_period_us", &period.to_string()) {
            // With the old quota the new period may be more than all cpus; with the new one it is not.
            Err(error) if error.errno() == Some(Errno::INVAL) && quota.is_some() => {
                set_quota()?;
                target.set("cpu.cfs_period_us", &period.to_string())?;
            }
            other => other?,
        }
    }
    set_quota()?;
    if let Some(burst) = cpu.burst() {
        target.set("cpu.cfs_burst_us", &burst.to_string())?;
    }
    if let Some(idle) = cpu.idle() {
        target.set("cpu.idle", &idle.to_string())?;
    }
    Ok(())
}

pub(super) fn block_io(target: &Target<'_>, block_io: &LinuxBlockIo) -> Result<(), Error> {
    // The proportional scheduler of today is BFQ; the files without its name went with CFQ in 5.0.
    let weight_file = |plain: &'static str, bfq: &'static str| if target.has(plain) { plain } else { bfq };
    if let Some(weight) = block_io.weight().filter(|weight| *weight != 0) {
        target.set(weight_file("blkio.weight", "blkio.bfq.weight"), &weight.to_string())?;
    }
    if let Some(weight) = block_io.leaf_weight().filter(|weight| *weight != 0) {
        target.set("blkio.leaf_weight", &weight.to_string())?;
    }
    for device in block_io.weight_device().iter().flatten() {
        let number = format!("{}:{}", device.major(), device.minor());
        if let Some(weight) = device.weight() {
            let file = weight_file("blkio.weight_device", "blkio.bfq.weight_device");
            target.set(file, &format!("{number} {weight}"))?;
        }
        if let Some(weight) = device.leaf_weight() {
            target.set("blkio.leaf_weight_device", &format!("{number} {weight}"))?;
        }
    }
    for (file, devices) in [
        ("blkio.throttle.read_bps_device", block_io.throttle_read_bps_device()),
        ("blkio.throttle.write_bps_device", block_io.throttle_write_bps_device()),
        ("blkio.throttle.read_iops_device", block_io.throttle_read_iops_device()),
        ("blkio.throttle.write_iops_device", block_io.throttle_write_iops_device()),
    ] {
        for device in devices.iter().flatten() {
            target.set(file, &format!("{}:{} {}", device.major(), device.minor(), device.rate()))?;
        }
    }
    Ok(())
}
