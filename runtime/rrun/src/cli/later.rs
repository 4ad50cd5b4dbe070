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
    "volume",
    "wait",
];

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
