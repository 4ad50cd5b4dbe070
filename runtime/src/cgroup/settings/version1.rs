//! Control files of v1.

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory};

use super::{Error, Notice, Target, in_either_order, invalid};

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
    match memory.disable_oom_killer() {
        Some(true) => target.set("memory.oom_control", "1")?,
        // Engines say so of every container; only an update finds it disabled.
        Some(false) if target.has_line("memory.oom_control", "oom_kill_disable 1") => {
            target.set("memory.oom_control", "0")?;
        }
        _ => {}
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
    in_either_order(&|| target.set(LIMIT, &limit.to_string()), &|| {
        swap.map_or(Ok(()), |swap| target.set(LIMIT_WITH_SWAP, &swap.to_string()))
    })
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
    // Idle first: an idle group refuses shares, and has none of its own.
    if let Some(idle) = cpu.idle() {
        target.set("cpu.idle", &idle.to_string())?;
    }
    if let Some(shares) = shares(cpu)
        && cpu.idle() != Some(1)
    {
        target.set("cpu.shares", &shares.to_string())?;
    }
    let set = |file: &str, value: Option<String>| value.map_or(Ok(()), |value| target.set(file, &value));
    // The runtime there is may not fit into the new period.
    in_either_order(&|| set("cpu.rt_period_us", given(cpu.realtime_period())), &|| {
        set("cpu.rt_runtime_us", given(cpu.realtime_runtime()))
    })?;
    // With the quota there is the new period may be more than all cpus, and a quota is not below its burst.
    in_either_order(&|| set("cpu.cfs_period_us", given(cpu.period())), &|| {
        in_either_order(&|| set("cpu.cfs_quota_us", given(cpu.quota())), &|| {
            set("cpu.cfs_burst_us", cpu.burst().map(|burst| burst.to_string()))
        })
    })
}

/// A number as it is written, where 0 means unset.
fn given<T: Default + PartialEq + ToString>(value: Option<T>) -> Option<String> {
    value.filter(|value| *value != T::default()).map(|value| value.to_string())
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
