//! What this runtime can do (runtime-spec, features.md): each list is the one that the code goes by, or is held to it by a
//! test. It says what is built in, whether or not the machine has it, but for the seccomp flags of this kernel.

use oci_spec::runtime::Features;
use rustix::thread::CapabilitySet;
use serde_json::{Value, json};

use crate::hooks::Point;
use crate::rootfs::options;
use crate::security::capabilities;
use crate::security::seccomp;

/// The oldest and the newest version of the specification whose features are understood.
pub const SPEC_VERSIONS: [&str; 2] = ["1.0.0", "1.3.0"];

/// The document.
pub fn features() -> Features {
    // The words are the specification's, which a test holds; so there is nothing to fail.
    serde_json::from_value(document()).unwrap_or_default()
}

fn document() -> Value {
    json!({
        "ociVersionMin": SPEC_VERSIONS[0],
        "ociVersionMax": SPEC_VERSIONS[1],
        "hooks": Point::ALL.map(Point::name),
        "mountOptions": options::WORDS.as_slice(),
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
            "capabilities": capabilities::names(CapabilitySet::from_bits_retain(u64::MAX)),
            "cgroup": { "v1": true, "v2": true, "systemd": true, "systemdUser": false, "rdma": true },
            "seccomp": {
                "enabled": true,
                "actions": seccomp::ACTIONS,
                "operators": seccomp::OPERATORS,
                "archs": seccomp::ARCHITECTURES,
                "knownFlags": seccomp::known_flags(),
                "supportedFlags": seccomp::supported_flags()
            },
            "apparmor": { "enabled": true },
            "selinux": { "enabled": true },
            "intelRdt": { "enabled": false },
            "memoryPolicy": {
                "modes": [
                    "MPOL_DEFAULT", "MPOL_BIND", "MPOL_INTERLEAVE", "MPOL_WEIGHTED_INTERLEAVE", "MPOL_PREFERRED",
                    "MPOL_PREFERRED_MANY", "MPOL_LOCAL"
                ],
                "flags": ["MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"]
            },
            "mountExtensions": { "idmap": { "enabled": true } },
            "netDevices": { "enabled": true }
        },
        "annotations": {
            "hull.roci.version": env!("CARGO_PKG_VERSION"),
            "hull.roci.commit": option_env!("HULL_COMMIT").unwrap_or("unknown"),
            "hull.roci.checkpoint.enabled": "false"
        },
        // Those that begin like this, for whoever passes on what others write.
        "potentiallyUnsafeConfigAnnotations": ["org.systemd.property."]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_one_and_says_what_the_code_does() {
        let features: Features = serde_json::from_value(document()).unwrap();
        assert_eq!(features.hooks().as_ref().unwrap().len(), 6);
        let linux = features.linux().as_ref().unwrap();
        assert_eq!(linux.capabilities().as_ref().unwrap().len(), 41);
        let seccomp = linux.seccomp().as_ref().unwrap();
        let supported = seccomp.supported_flags().as_ref().unwrap();
        assert!(supported.iter().all(|flag| seccomp.known_flags().as_ref().unwrap().contains(flag)));
        assert!(supported.contains(&"SECCOMP_FILTER_FLAG_TSYNC".to_owned()));
        for mode in document()["linux"]["memoryPolicy"]["modes"].as_array().unwrap() {
            let policy = json!({ "mode": mode, "nodes": "0" });
            serde_json::from_value::<oci_spec::runtime::LinuxMemoryPolicy>(policy).unwrap();
        }
    }
}
