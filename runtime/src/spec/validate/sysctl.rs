//! Kernel parameters: only those that belong to a namespace of the container, never the host's.

use std::path::PathBuf;

use nix::sched::CloneFlags;
use oci_spec::runtime::Linux;

use super::{invalid, text};
use crate::error::Result;
use crate::namespaces::Namespaces;
use crate::spec::plan::Sysctl;

/// Parameters of the IPC namespace outside `fs.mqueue`.
const IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

pub(super) fn sysctls(linux: &Linux, namespaces: &Namespaces) -> Result<Vec<Sysctl>> {
    let mut sysctls = Vec::new();
    for (name, value) in linux.sysctl().iter().flatten() {
        let at = format!("linux.sysctl[{name:?}]");
        text(&at, name)?;
        text(&at, value)?;
        let has = |kind| namespaces.has(kind);
        sysctls.push(sysctl(name, value, has).map_err(|reason| invalid(&at, reason))?);
    }
    // The document's map has no order; ours is the same every time.
    sysctls.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(sysctls)
}

/// Checks one parameter; `has` says whether the container has a namespace of its own. The error is the reason.
pub fn sysctl(name: &str, value: &str, has: impl Fn(CloneFlags) -> bool) -> Result<Sysctl, String> {
    // A separator in the value would be a second setting to whoever reads line by line (CVE-2022-0811).
    if value.contains(|character: char| character.is_control() && character != '\t') {
        return Err("the value holds a control character".to_owned());
    }
    let path = path(name).ok_or("this is no name of a kernel parameter")?;
    let dotted = path.to_string_lossy().replace('/', ".");
    let (needed, words) = namespace(&dotted).ok_or("it belongs to no namespace and would change the host")?;
    if !has(needed) {
        return Err(format!("it would change the host: the container has no {words} namespace"));
    }
    if dotted == "kernel.hostname" || dotted == "kernel.domainname" {
        return Err("use the field hostname or domainname".to_owned());
    }
    Ok(Sysctl { name: name.to_owned(), path, value: value.to_owned() })
}

/// The file below /proc/sys. As sysctl(8): the first separator that appears is the one of the name, so that
/// `net/ipv4/conf/eth0.1/forwarding` and `net.ipv4.conf.eth0/1.forwarding` both name the interface `eth0.1`.
fn path(name: &str) -> Option<PathBuf> {
    let slashes = name.find(['.', '/']).is_some_and(|at| name.as_bytes()[at] == b'/');
    let parts = name.split(if slashes { '/' } else { '.' });
    let mut path = PathBuf::new();
    for part in parts {
        let part = if slashes { part.to_owned() } else { part.replace('/', ".") };
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.@:".contains(&byte);
        if part.is_empty() || part.starts_with('.') || !part.bytes().all(good) {
            return None;
        }
        path.push(part);
    }
    (path.components().count() >= 2).then_some(path)
}

fn namespace(name: &str) -> Option<(CloneFlags, &'static str)> {
    if name.starts_with("net.") {
        Some((CloneFlags::CLONE_NEWNET, "network"))
    } else if name.starts_with("fs.mqueue.") || IPC.contains(&name) {
        Some((CloneFlags::CLONE_NEWIPC, "IPC"))
    } else if name == "kernel.hostname" || name == "kernel.domainname" {
        Some((CloneFlags::CLONE_NEWUTS, "UTS"))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_files_that_stay_below_proc_sys() {
        for (name, expected) in [
            ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
            ("net/ipv4/conf/eth0.1/forwarding", "net/ipv4/conf/eth0.1/forwarding"),
            ("net.ipv4.conf.eth0/1.forwarding", "net/ipv4/conf/eth0.1/forwarding"),
        ] {
            assert_eq!(path(name), Some(PathBuf::from(expected)), "{name}");
        }
        for bad in
            ["", "net", "net..x", "net./.x", "net/../kernel/x", "/net/x", "net.a b", "net.x\n", "net/x/"]
        {
            assert_eq!(path(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn only_parameters_of_namespaces_are_known() {
        for name in
            ["kernel.core_pattern", "vm.swappiness", "fs.file-max", "kernel.shm", "netx.a", "kernel.semx"]
        {
            assert_eq!(namespace(name), None, "{name}");
        }
    }
}
