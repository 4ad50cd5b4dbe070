//! What a container gets when nobody asks for anything else: Docker's documented defaults, as plain values.
//!
//! Invariants: nothing here depends on the host or on an image, so the same settings always give the same spec.
//! Widening any of these lists weakens every container; each entry is there because Docker has it too.

use std::path::PathBuf;

use oci_spec::runtime::{
    Capabilities, Capability, LinuxDeviceCgroup, LinuxDeviceType, LinuxNamespace, LinuxNamespaceType, Mount,
};

/// `PATH` of a container whose image sets none.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// `TERM` of a container with a terminal whose image sets none.
pub const TERM: &str = "xterm";

/// Size of `/dev/shm` in bytes.
pub const SHM_BYTES: u64 = 64 << 20;

/// The period of the CPU bandwidth controller, in microseconds; `--cpus` scales the quota against it.
pub const CPU_PERIOD_MICROSECONDS: u64 = 100_000;

/// The fourteen capabilities of an unprivileged container.
pub fn capabilities() -> Capabilities {
    use Capability::{
        AuditWrite, Chown, DacOverride, Fowner, Fsetid, Kill, Mknod, NetBindService, NetRaw, Setfcap, Setgid,
        Setpcap, Setuid, SysChroot,
    };
    [
        AuditWrite,
        Chown,
        DacOverride,
        Fowner,
        Fsetid,
        Kill,
        Mknod,
        NetBindService,
        NetRaw,
        Setfcap,
        Setgid,
        Setpcap,
        Setuid,
        SysChroot,
    ]
    .into()
}

/// The file systems every container has, in the order they are mounted.
pub fn mounts() -> Vec<Mount> {
    let shm_size = format!("size={SHM_BYTES}");
    vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "ro"]),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", &shm_size]),
    ]
}

/// The namespaces every container has of its own; the network's is the caller's choice.
pub fn namespaces() -> Vec<LinuxNamespace> {
    use LinuxNamespaceType::{Cgroup, Ipc, Mount, Pid, Uts};
    [Mount, Pid, Ipc, Uts, Cgroup].into_iter().map(namespace).collect()
}

/// A namespace of `kind` made for the container.
pub(super) fn namespace(kind: LinuxNamespaceType) -> LinuxNamespace {
    let mut namespace = LinuxNamespace::default();
    namespace.set_typ(kind);
    namespace
}

/// Device rules: nothing may be opened but the harmless devices and the container's own terminals; any node may
/// be made (the capability decides that), since a node that cannot be opened is only a name.
pub fn device_rules() -> Vec<LinuxDeviceCgroup> {
    use LinuxDeviceType::{A, B, C};
    vec![
        device_rule(false, A, None, None, "rwm"),
        device_rule(true, C, None, None, "m"),
        device_rule(true, B, None, None, "m"),
        device_rule(true, C, Some(1), Some(3), "rwm"),
        device_rule(true, C, Some(1), Some(5), "rwm"),
        device_rule(true, C, Some(1), Some(7), "rwm"),
        device_rule(true, C, Some(1), Some(8), "rwm"),
        device_rule(true, C, Some(1), Some(9), "rwm"),
        device_rule(true, C, Some(5), Some(0), "rwm"),
        device_rule(true, C, Some(5), Some(2), "rwm"),
        device_rule(true, C, Some(136), None, "rwm"),
    ]
}

/// One mount entry of a spec.
pub(super) fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_destination(PathBuf::from(destination))
        .set_typ(Some(kind.to_owned()))
        .set_source(Some(PathBuf::from(source)))
        .set_options(Some(options.iter().map(|option| (*option).to_owned()).collect()));
    mount
}

fn device_rule(
    allow: bool,
    kind: LinuxDeviceType,
    major: Option<i64>,
    minor: Option<i64>,
    access: &str,
) -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(allow)
        .set_typ(Some(kind))
        .set_major(major)
        .set_minor(minor)
        .set_access(Some(access.to_owned()));
    rule
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_fourteen_capabilities_and_none_administers_the_system() {
        let set = capabilities();
        assert_eq!(set.len(), 14);
        assert!(!set.contains(&Capability::SysAdmin));
    }

    #[test]
    fn devices_are_denied_before_any_is_allowed() {
        let rules = device_rules();
        assert!(!rules[0].allow());
        assert!(rules[1..].iter().all(|rule| rule.allow()));
    }
}
