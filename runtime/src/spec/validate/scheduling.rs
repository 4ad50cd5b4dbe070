//! How the kernel runs the process: scheduler, priorities, processors, memory nodes, personality.

use std::fmt::Display;

use oci_spec::runtime::{
    IOPriorityClass, LinuxMemoryPolicy, LinuxPersonality, LinuxPersonalityDomain, LinuxSchedulerFlag,
    LinuxSchedulerPolicy, MemoryPolicyFlagType, MemoryPolicyModeType, Process, Scheduler,
};

use super::invalid;
use crate::error::Result;
use crate::spec::number_list;
use crate::spec::plan::{ExecAffinity, MemoryPolicy};
use crate::sys::scheduling::SchedulerAttributes;

/// `process.scheduler`, checked as far as the kernel's message would not say which field is wrong (sched_setattr(2)).
pub(super) fn scheduler(
    field: &impl Fn(&str) -> String,
    asked: Option<&Scheduler>,
) -> Result<Option<SchedulerAttributes>> {
    let Some(asked) = asked else { return Ok(None) };
    let refuse =
        |name: &str, reason: &str| Err(invalid(&field(&format!("scheduler.{name}")), reason.to_owned()));
    let policy = asked.policy();
    let real_time = matches!(policy, LinuxSchedulerPolicy::SchedFifo | LinuxSchedulerPolicy::SchedRr);
    let deadline = *policy == LinuxSchedulerPolicy::SchedDeadline;
    let nice = asked.nice().unwrap_or(0);
    if !(-20..=19).contains(&nice) {
        return refuse("nice", "it is not within -20 and 19");
    }
    let priority = asked.priority().unwrap_or(0);
    if priority != 0 && !real_time {
        return refuse("priority", "only SCHED_FIFO and SCHED_RR have one");
    }
    if real_time && !(1..=99).contains(&priority) {
        return refuse("priority", "SCHED_FIFO and SCHED_RR need one within 1 and 99");
    }
    let (runtime, period) = (asked.runtime().unwrap_or(0), asked.period().unwrap_or(0));
    let until = asked.deadline().unwrap_or(0);
    if !deadline && (runtime != 0 || until != 0 || period != 0) {
        return refuse("runtime", "runtime, deadline and period belong to SCHED_DEADLINE");
    }
    let flag = |flag: &LinuxSchedulerFlag| match flag {
        LinuxSchedulerFlag::SchedResetOnFork => 0x01,
        LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
        LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
        LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
        LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
        LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
        LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
    };
    Ok(Some(SchedulerAttributes {
        size: 0,
        policy: match policy {
            LinuxSchedulerPolicy::SchedOther => 0,
            LinuxSchedulerPolicy::SchedFifo => 1,
            LinuxSchedulerPolicy::SchedRr => 2,
            LinuxSchedulerPolicy::SchedBatch => 3,
            LinuxSchedulerPolicy::SchedIso => 4,
            LinuxSchedulerPolicy::SchedIdle => 5,
            LinuxSchedulerPolicy::SchedDeadline => 6,
        },
        flags: asked.flags().iter().flatten().map(flag).fold(0, |flags, bit| flags | bit),
        nice,
        priority: priority as u32,
        runtime,
        deadline: until,
        period,
    }))
}

/// `process.ioPriority` as ioprio_set(2) takes it.
pub(super) fn io_priority(field: &impl Fn(&str) -> String, process: &Process) -> Result<Option<u16>> {
    let Some(asked) = process.io_priority() else { return Ok(None) };
    if !(0..=7).contains(&asked.priority()) {
        let reason = format!("{} is not within 0 and 7", asked.priority());
        return Err(invalid(&field("ioPriority.priority"), reason));
    }
    let class = match asked.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    Ok(Some((class << 13) | asked.priority() as u16))
}

/// `process.execCPUAffinity`.
pub(super) fn exec_affinity(field: &impl Fn(&str) -> String, process: &Process) -> Result<ExecAffinity> {
    let list = |name: &str, text: &Option<String>| -> Result<Option<Vec<u32>>> {
        let Some(text) = text else { return Ok(None) };
        numbers(&field(&format!("execCPUAffinity.{name}")), text).map(Some)
    };
    match process.exec_cpu_affinity() {
        Some(asked) => Ok(ExecAffinity {
            initial: list("initial", asked.initial())?,
            last: list("final", asked.cpu_affinity_final())?,
        }),
        None => Ok(ExecAffinity::default()),
    }
}

/// `linux.memoryPolicy` as set_mempolicy(2) takes it.
pub(super) fn memory_policy(asked: Option<&LinuxMemoryPolicy>) -> Result<Option<MemoryPolicy>> {
    let Some(asked) = asked else { return Ok(None) };
    let mode = match asked.mode() {
        MemoryPolicyModeType::MpolDefault => 0,
        MemoryPolicyModeType::MpolPreferred => 1,
        MemoryPolicyModeType::MpolBind => 2,
        MemoryPolicyModeType::MpolInterleave => 3,
        MemoryPolicyModeType::MpolLocal => 4,
        MemoryPolicyModeType::MpolPreferredMany => 5,
        MemoryPolicyModeType::MpolWeightedInterleave => 6,
    };
    let flag = |flag: &MemoryPolicyFlagType| match flag {
        MemoryPolicyFlagType::MpolFNumaBalancing => 1 << 13,
        MemoryPolicyFlagType::MpolFRelativeNodes => 1 << 14,
        MemoryPolicyFlagType::MpolFStaticNodes => 1 << 15,
    };
    let flags = asked.flags().iter().flatten().map(flag).fold(0, |flags, bit| flags | bit);
    let list = asked.nodes().as_deref().unwrap_or_default();
    let wrong = || {
        let reason = format!("invalid memory policy node: {} is not a list such as 0-3,5", shown(&list));
        invalid("linux.memoryPolicy.nodes", reason)
    };
    let list = number_list::parse(list).ok_or_else(wrong)?;
    if mode == 0 && !list.is_empty() {
        let reason = format!("the default mode requires 0 nodes but got {}", list.len());
        return Err(invalid("linux.memoryPolicy.nodes", reason));
    }
    let mut nodes = Vec::new();
    for node in list {
        let word = node as usize / 64;
        nodes.resize(nodes.len().max(word + 1), 0u64);
        nodes[word] |= 1 << (node % 64);
    }
    Ok(Some(MemoryPolicy { mode: mode | flags, nodes }))
}

/// `linux.personality` as personality(2) takes it. The specification has no flags yet.
pub(super) fn personality(asked: Option<&LinuxPersonality>) -> Result<Option<u32>> {
    let Some(asked) = asked else { return Ok(None) };
    if let Some(flag) = asked.flags().iter().flatten().next() {
        return Err(invalid("linux.personality.flags[0]", format!("unknown flag {flag:?}")));
    }
    Ok(Some(match asked.domain() {
        LinuxPersonalityDomain::PerLinux => 0,
        LinuxPersonalityDomain::PerLinux32 => 8,
    }))
}

fn numbers(field: &str, list: &str) -> Result<Vec<u32>> {
    let reason = || invalid(field, format!("{} is not a list such as 0-3,5", shown(&list)));
    number_list::parse(list).ok_or_else(reason)
}

fn shown(text: &impl Display) -> String {
    format!("{:?}", text.to_string().chars().take(80).collect::<String>())
}
