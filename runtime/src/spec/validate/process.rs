//! The process: command, environment, identity. Capabilities and limits are checked where they are planned
//! ([`crate::security`]), still before anything is created.

use oci_spec::runtime::Process;

use super::{c_string, container_path, invalid, refuse_if};
use crate::error::Result;
use crate::spec::plan::ProcessPlan;

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
        capabilities: process.capabilities().clone(),
        rlimits: process.rlimits().clone().unwrap_or_default(),
        no_new_privileges: process.no_new_privileges().unwrap_or(false),
        oom_score_adj: process.oom_score_adj(),
    })
}
