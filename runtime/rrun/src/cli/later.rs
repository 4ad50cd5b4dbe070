//! Verbs of docker and podman that do not exist here yet: refused by name, not as a spelling mistake.

use clap::error::{ContextKind, ContextValue, ErrorKind};

const VERBS: &[&str] = &[
    "build",
    "commit",
    "container",
    "cp",
    "create",
    "diff",
    "events",
    "export",
    "image",
    "info",
    "login",
    "logout",
    "network",
    "pause",
    "pod",
    "prune",
    "pull",
    "push",
    "rename",
    "search",
    "stats",
    "top",
    "unpause",
    "update",
    "version",
    "volume",
];

/// Options of docker's and podman's `run` that do not exist here yet, or never will.
const RUN_OPTIONS: &[&str] = &[
    "-a",
    "-c",
    "--annotation",
    "--attach",
    "--blkio-weight",
    "--cap-add",
    "--cap-drop",
    "--cgroup-parent",
    "--cgroupns",
    "--cpu-period",
    "--cpu-quota",
    "--cpu-shares",
    "--cpuset-cpus",
    "--cpuset-mems",
    "--detach-keys",
    "--device",
    "--device-cgroup-rule",
    "--dns-option",
    "--dns-search",
    "--domainname",
    "--gpus",
    "--group-add",
    "--health-cmd",
    "--init",
    "--ip",
    "--ip6",
    "--ipc",
    "--isolation",
    "--kernel-memory",
    "--label-file",
    "--link",
    "--log-driver",
    "--mac-address",
    "--memory-reservation",
    "--memory-swap",
    "--memory-swappiness",
    "--mount",
    "--network-alias",
    "--no-healthcheck",
    "--oom-kill-disable",
    "--oom-score-adj",
    "--pid",
    "--pids-limit",
    "--platform",
    "--pod",
    "--privileged",
    "--pull",
    "--quiet",
    "--read-only",
    "--restart",
    "--runtime",
    "--secret",
    "--security-opt",
    "--shm-size",
    "--sig-proxy",
    "--storage-opt",
    "--sysctl",
    "--tmpfs",
    "--ulimit",
    "--userns",
    "--uts",
    "--volume-driver",
    "--volumes-from",
];

/// The option of a later version that was given to `run`, if that is what is wrong.
pub fn run_option_in(error: &clap::Error) -> Option<&'static str> {
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let is_run = match error.get(ContextKind::Usage)? {
        ContextValue::StyledStr(usage) => usage.to_string().contains("rrun run"),
        _ => false,
    };
    match error.get(ContextKind::InvalidArg)? {
        ContextValue::String(asked) if is_run => RUN_OPTIONS.iter().copied().find(|option| option == asked),
        _ => None,
    }
}

/// The verb of a later version that was asked for, if that is what is wrong.
pub fn named_in(error: &clap::Error) -> Option<&'static str> {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return None;
    }
    match error.get(ContextKind::InvalidSubcommand)? {
        ContextValue::String(asked) => VERBS.iter().copied().find(|verb| verb == asked),
        _ => None,
    }
}
