//! The process: command, environment, identity, capabilities, limits.

use oci_spec::runtime::{Capability, LinuxCapabilities, PosixRlimitType, Process};
use rustix::process::Resource;

use super::{c_string, container_path, invalid, refuse_if};
use crate::error::Result;
use crate::spec::plan::{CapabilitySets, ProcessPlan};

/// Checks a process; `at` is its place in the document ("process", or "" for a document of its own).
pub fn process(at: &str, process: &Process) -> Result<ProcessPlan> {
    let field = |name: &str| if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
    for (name, present) in [
        ("commandLine", process.command_line().is_some()),
        ("apparmorProfile", process.apparmor_profile().as_ref().is_some_and(|text| !text.is_empty())),
        ("selinuxLabel", process.selinux_label().as_ref().is_some_and(|text| !text.is_empty())),
        ("ioPriority", process.io_priority().is_some()),
        ("scheduler", process.scheduler().is_some()),
        ("execCPUAffinity", process.exec_cpu_affinity().is_some()),
    ] {
        refuse_if(present, &field(name))?;
    }
    let args = process.args().as_deref().unwrap_or_default();
    match args.first() {
        None => return Err(invalid(&field("args"), "it is empty".to_owned())),
        Some(command) if command.is_empty() => {
            return Err(invalid(&field("args[0]"), "the command is empty".to_owned()));
        }
        Some(_) => {}
    }
    let strings = |name: &str, list: &[String]| {
        list.iter()
            .enumerate()
            .map(|(index, value)| c_string(|| format!("{}[{index}]", field(name)), value))
            .collect::<Result<Vec<_>>>()
    };
    let user = process.user();
    if user.uid() == u32::MAX || user.gid() == u32::MAX {
        return Err(invalid(&field("user"), "4294967295 is no user or group".to_owned()));
    }
    let terminal = process.terminal().unwrap_or(false);
    if let Some(value) = process.oom_score_adj()
        && !(-1000..=1000).contains(&value)
    {
        return Err(invalid(&field("oomScoreAdj"), format!("{value} is not within -1000 and 1000")));
    }
    Ok(ProcessPlan {
        terminal,
        console_size: process.console_size().filter(|_| terminal).map(|size| {
            (size.height().min(u16::MAX.into()) as u16, size.width().min(u16::MAX.into()) as u16)
        }),
        args: strings("args", args)?,
        env: strings("env", process.env().as_deref().unwrap_or_default())?,
        cwd: container_path(&field("cwd"), process.cwd())?,
        uid: user.uid(),
        gid: user.gid(),
        additional_gids: user.additional_gids().clone().unwrap_or_default(),
        umask: user.umask(),
        capabilities: process.capabilities().as_ref().map(capability_sets).unwrap_or_default(),
        rlimits: rlimits(&field("rlimits"), process)?,
        no_new_privileges: process.no_new_privileges().unwrap_or(false),
        oom_score_adj: process.oom_score_adj(),
    })
}

fn capability_sets(sets: &LinuxCapabilities) -> CapabilitySets {
    CapabilitySets {
        bounding: bits(sets.bounding()),
        effective: bits(sets.effective()),
        inheritable: bits(sets.inheritable()),
        permitted: bits(sets.permitted()),
        ambient: bits(sets.ambient()),
    }
}

fn bits(set: &Option<std::collections::HashSet<Capability>>) -> u64 {
    set.iter()
        .flatten()
        .map(|&capability| 1u64 << capability_number(capability))
        .fold(0, |set, bit| set | bit)
}

/// The kernel's number of a capability (linux/capability.h).
pub(super) fn capability_number(capability: Capability) -> u8 {
    match capability {
        Capability::Chown => 0,
        Capability::DacOverride => 1,
        Capability::DacReadSearch => 2,
        Capability::Fowner => 3,
        Capability::Fsetid => 4,
        Capability::Kill => 5,
        Capability::Setgid => 6,
        Capability::Setuid => 7,
        Capability::Setpcap => 8,
        Capability::LinuxImmutable => 9,
        Capability::NetBindService => 10,
        Capability::NetBroadcast => 11,
        Capability::NetAdmin => 12,
        Capability::NetRaw => 13,
        Capability::IpcLock => 14,
        Capability::IpcOwner => 15,
        Capability::SysModule => 16,
        Capability::SysRawio => 17,
        Capability::SysChroot => 18,
        Capability::SysPtrace => 19,
        Capability::SysPacct => 20,
        Capability::SysAdmin => 21,
        Capability::SysBoot => 22,
        Capability::SysNice => 23,
        Capability::SysResource => 24,
        Capability::SysTime => 25,
        Capability::SysTtyConfig => 26,
        Capability::Mknod => 27,
        Capability::Lease => 28,
        Capability::AuditWrite => 29,
        Capability::AuditControl => 30,
        Capability::Setfcap => 31,
        Capability::MacOverride => 32,
        Capability::MacAdmin => 33,
        Capability::Syslog => 34,
        Capability::WakeAlarm => 35,
        Capability::BlockSuspend => 36,
        Capability::AuditRead => 37,
        Capability::Perfmon => 38,
        Capability::Bpf => 39,
        Capability::CheckpointRestore => 40,
    }
}

fn rlimits(at: &str, process: &Process) -> Result<Vec<(Resource, u64, u64)>> {
    let mut limits: Vec<(Resource, u64, u64)> = Vec::new();
    for (index, limit) in process.rlimits().iter().flatten().enumerate() {
        let resource = resource(limit.typ());
        if limits.iter().any(|(known, ..)| *known == resource) {
            return Err(invalid(&format!("{at}[{index}].type"), format!("{} is given twice", limit.typ())));
        }
        if limit.soft() > limit.hard() {
            return Err(invalid(&format!("{at}[{index}]"), "soft is above hard".to_owned()));
        }
        limits.push((resource, limit.soft(), limit.hard()));
    }
    Ok(limits)
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
