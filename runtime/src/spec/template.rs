//! The config.json that `roci spec` writes: a shell in a read-only `rootfs`, with few rights.

use oci_spec::runtime::Spec;
use serde_json::{Value, json};

use crate::cgroup::Hierarchies;

/// The document. With `rootless`, the user and group that become root of a user namespace: without what an ordinary
/// user may not have (a network namespace is useless to one, resource limits are not theirs to set).
pub fn template(rootless: Option<(u32, u32)>) -> Spec {
    let mut document = root();
    if Hierarchies::discover().is_ok_and(|hierarchies| hierarchies.is_unified())
        && let Value::Array(namespaces) = &mut document["linux"]["namespaces"]
    {
        namespaces.push(json!({ "type": "cgroup" }));
    }
    if let Some((uid, gid)) = rootless {
        let linux = &mut document["linux"];
        if let Value::Array(namespaces) = &mut linux["namespaces"] {
            namespaces.retain(|namespace| namespace["type"] != "network");
            namespaces.push(json!({ "type": "user" }));
        }
        linux["uidMappings"] = json!([{ "containerID": 0, "hostID": uid, "size": 1 }]);
        linux["gidMappings"] = json!([{ "containerID": 0, "hostID": gid, "size": 1 }]);
        linux["resources"] = Value::Null;
        for mount in document["mounts"].as_array_mut().into_iter().flatten() {
            match mount["destination"].as_str() {
                // A new sysfs needs a network namespace of its own.
                Some("/sys") => {
                    mount["type"] = json!("none");
                    mount["source"] = json!("/sys");
                    mount["options"] = json!(["rbind", "nosuid", "noexec", "nodev", "ro"]);
                }
                // Group 5 is not mapped.
                Some("/dev/pts") => {
                    mount["options"] =
                        json!(["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]);
                }
                _ => {}
            }
        }
    }
    // The words above are the specification's, which a test holds; so there is nothing to fail.
    serde_json::from_value(document).unwrap_or_default()
}

fn root() -> Value {
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": "1.3.0",
        "process": {
            "terminal": true,
            "user": { "uid": 0, "gid": 0 },
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities,
                "effective": capabilities,
                "permitted": capabilities
            },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
            "noNewPrivileges": true
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "roci",
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
              "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
              "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
            { "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
              "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"] },
            { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
              "options": ["nosuid", "noexec", "nodev"] },
            { "destination": "/sys", "type": "sysfs", "source": "sysfs",
              "options": ["nosuid", "noexec", "nodev", "ro"] },
            { "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
              "options": ["nosuid", "noexec", "nodev", "relatime", "ro"] }
        ],
        "linux": {
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "namespaces": [
                { "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" },
                { "type": "mount" }
            ],
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"
            ],
            "readonlyPaths": [
                "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"
            ]
        }
    })
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn both_are_documents_that_we_take() {
        let bundle = tempfile::tempdir().unwrap();
        std::fs::create_dir(bundle.path().join("rootfs")).unwrap();
        for rootless in [None, Some((1000, 1000))] {
            let spec = template(rootless);
            assert_eq!(spec.process().as_ref().unwrap().args().as_ref().unwrap(), &["sh"]);
            let plan = crate::spec::container(&spec, bundle.path(), false).unwrap();
            assert_eq!(plan.mounts.len(), 7);
            assert_eq!(plan.uid_mappings.len(), usize::from(rootless.is_some()));
        }
    }
}
