//! Verbs of docker and podman that do not exist here yet: refused by name, not as a spelling mistake.

use clap::error::{ContextKind, ContextValue, ErrorKind};

const VERBS: &[&str] = &[
    "attach",
    "build",
    "commit",
    "container",
    "cp",
    "create",
    "diff",
    "events",
    "exec",
    "export",
    "image",
    "info",
    "kill",
    "login",
    "logout",
    "logs",
    "network",
    "pause",
    "pod",
    "port",
    "prune",
    "ps",
    "pull",
    "push",
    "rename",
    "restart",
    "search",
    "start",
    "stats",
    "stop",
    "top",
    "unpause",
    "update",
    "version",
    "volume",
    "wait",
];

/// Options of docker's and podman's `run` that do not exist here yet, or never will.
const RUN_OPTIONS: &[&str] = &[
    "-a",
    "-c",
    "-d",
    "-l",
    "-p",
    "-P",
    "--add-host",
    "--annotation",
    "--attach",
    "--blkio-weight",
    "--cap-add",
    "--cap-drop",
    "--cgroup-parent",
    "--cgroupns",
    "--cidfile",
    "--cpu-period",
    "--cpu-quota",
    "--cpu-shares",
    "--cpuset-cpus",
    "--cpuset-mems",
    "--detach",
    "--detach-keys",
    "--device",
    "--device-cgroup-rule",
    "--dns",
    "--dns-option",
    "--dns-search",
    "--domainname",
    "--expose",
    "--gpus",
    "--group-add",
    "--health-cmd",
    "--init",
    "--ip",
    "--ip6",
    "--ipc",
    "--isolation",
    "--kernel-memory",
    "--label",
    "--label-file",
    "--link",
    "--log-driver",
    "--log-opt",
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
    "--publish",
    "--publish-all",
    "--pull",
    "--quiet",
    "--read-only",
    "--restart",
    "--runtime",
    "--secret",
    "--security-opt",
    "--shm-size",
    "--sig-proxy",
    "--stop-signal",
    "--stop-timeout",
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
