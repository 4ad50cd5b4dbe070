//! The process: command, environment, identity. Capabilities and limits are checked where they are planned
//! ([`crate::security`]), still before anything is created.

use std::collections::HashSet;
use std::ffi::CString;

use oci_spec::runtime::{Linux, Process};

use super::{c_string, container_path, invalid, refuse_if, scheduling, text};
use crate::error::Result;
use crate::security::labels::{Labels, has_apparmor, has_selinux};
use crate::security::user::MOST_GROUPS;
use crate::spec::plan::ProcessPlan;

/// Checks a process; `at` is its place in the document ("process", or "" for a document of its own).
pub fn process(at: &str, process: &Process) -> Result<ProcessPlan> {
    let field = |name: &str| if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
    refuse_if(process.command_line().is_some(), &field("commandLine"))?;
    let labels = labels(&field, process)?;
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
    let env = process.env().as_deref().unwrap_or_default();
    let user = process.user();
    if user.uid() == u32::MAX || user.gid() == u32::MAX {
        return Err(invalid(&field("user"), "4294967295 is no user or group".to_owned()));
    }
    let additional_gids = user.additional_gids().clone().unwrap_or_default();
    if additional_gids.len() > MOST_GROUPS {
        let reason = format!("{} are more than the kernel takes ({MOST_GROUPS})", additional_gids.len());
        return Err(invalid(&field("user.additionalGids"), reason));
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
        env: environment(variables(&field("env"), strings("env", env)?)?),
        cwd: container_path(&field("cwd"), process.cwd())?,
        uid: user.uid(),
        gid: user.gid(),
        additional_gids,
        umask: user.umask(),
        capabilities: process.capabilities().clone(),
        rlimits: process.rlimits().clone().unwrap_or_default(),
        no_new_privileges: process.no_new_privileges().unwrap_or(false),
        oom_score_adj: process.oom_score_adj(),
        scheduler: scheduling::scheduler(&field, process.scheduler().as_ref())?,
        io_priority: scheduling::io_priority(&field, process)?,
        exec_affinity: scheduling::exec_affinity(&field, process)?,
        personality: None,
        memory_policy: None,
        labels,
    })
}

/// What has no name or no value is no variable, in runc's words.
fn variables(field: &str, list: Vec<CString>) -> Result<Vec<CString>> {
    for (index, variable) in list.iter().enumerate() {
        let reason = match variable.to_bytes().iter().position(|byte| *byte == b'=') {
            None => "missing '='",
            Some(0) => "name cannot be empty",
            Some(_) => continue,
        };
        return Err(invalid(&format!("{field}[{index}]"), format!("invalid environment variable: {reason}")));
    }
    Ok(list)
}

/// Of variables that are given twice the last counts, and an empty HOME is none: shells differ in which they take.
fn environment(variables: Vec<CString>) -> Vec<CString> {
    fn name(variable: &CString) -> &[u8] {
        let bytes = variable.to_bytes();
        &bytes[..bytes.iter().position(|byte| *byte == b'=').unwrap_or(bytes.len())]
    }
    let mut seen: HashSet<&[u8]> = HashSet::with_capacity(variables.len());
    let mut keep = vec![true; variables.len()];
    for (index, variable) in variables.iter().enumerate().rev() {
        keep[index] = seen.insert(name(variable)) && variable.to_bytes() != b"HOME=";
    }
    drop(seen);
    let kept = variables.into_iter().zip(keep).filter(|(_, keep)| *keep);
    kept.map(|(variable, _)| variable).collect()
}

/// Checks a process that is to join a container: what that container's `linux` says for all its processes counts too.
pub fn further_process(at: &str, asked: &Process, linux: Option<&Linux>) -> Result<ProcessPlan> {
    let mut plan = process(at, asked)?;
    if let Some(linux) = linux {
        plan.personality = scheduling::personality(linux.personality().as_ref())?;
        plan.memory_policy = scheduling::memory_policy(linux.memory_policy().as_ref())?;
    }
    Ok(plan)
}

/// Labels mean something only to a security module: asked for where there is none, they would be a false promise.
fn labels(field: &impl Fn(&str) -> String, process: &Process) -> Result<Labels> {
    let given = |name: &str, label: &Option<String>, module: &str, is_there: fn() -> bool| {
        let Some(label) = label.as_ref().filter(|label| !label.is_empty()) else { return Ok(None) };
        text(&field(name), label)?;
        if !is_there() {
            return Err(invalid(&field(name), format!("{module} is not enabled on this machine")));
        }
        Ok(Some(label.clone()))
    };
    Ok(Labels {
        apparmor: given("apparmorProfile", process.apparmor_profile(), "AppArmor", has_apparmor)?,
        selinux: given("selinuxLabel", process.selinux_label(), "SELinux", has_selinux)?,
    })
}
