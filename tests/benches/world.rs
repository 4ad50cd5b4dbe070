//! Where the contests take place: a store of ours, storage for the peers, a bundle, all temporary.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context;
use runtime::security::seccomp::default_profile;
use runtime::spec::defaults;
use serde_json::{Value, json};
use tests::{busybox_archive, leaks, program};

use crate::contest::quiet;

/// Capabilities as engines give them by default.
const CAPABILITIES: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// The bundle with the default filter.
const FILTERED: &str = "filtered";

/// Where cgroup hierarchies are mounted.
const HIERARCHIES: &str = "/sys/fs/cgroup";
/// How long what was killed may take to be gone.
const SETTLE: Duration = Duration::from_secs(10);

/// The temporary world; what is mounted in it goes when it is dropped.
#[derive(Debug)]
pub struct World {
    folder: tempfile::TempDir,
    prefix: String,
}

impl World {
    /// Imports busybox for us, and makes a bundle of the same root file system.
    pub fn new() -> anyhow::Result<World> {
        let prefix = format!("hull-bench-{}", std::process::id());
        let folder =
            tempfile::Builder::new().prefix(&prefix).tempdir().context("cannot make a temporary folder")?;
        let world = World { folder, prefix };
        quiet(world.ours("rrun", &["import", &busybox_archive().to_string_lossy(), "busybox"]))?;

        let root = world.bundle().join("rootfs");
        std::fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
        let mut unpack = Command::new("tar");
        unpack.arg("-xf").arg(busybox_archive()).arg("-C").arg(&root);
        quiet(unpack)?;
        write_config(&world.bundle(), &bundle_config())?;
        let filter = serde_json::to_value(default_profile(&defaults::capabilities()))?;
        world.bundle_with(FILTERED, |config| config["linux"]["seccomp"] = filter)?;
        make_crun_work();
        Ok(world)
    }

    /// The folder of everything.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A bundle whose container runs `true`.
    pub fn bundle(&self) -> PathBuf {
        self.path().join("bundle")
    }

    /// As [`World::bundle`], with the filter that every container of ours has.
    pub fn filtered_bundle(&self) -> PathBuf {
        self.path().join(FILTERED)
    }

    /// A bundle whose container sleeps, with a cgroup of its own.
    pub fn sleeping_bundle(&self, name: &str) -> anyhow::Result<PathBuf> {
        self.bundle_of(name, bundle_config(), |config| {
            config["process"]["args"] = json!(["sleep", "1000000"]);
            config["linux"]["cgroupsPath"] = json!(format!("/{}-{}", self.prefix, name.replace(' ', "-")));
        })
    }

    /// As [`World::bundle`], with a change.
    pub fn bundle_with(&self, name: &str, change: impl FnOnce(&mut Value)) -> anyhow::Result<PathBuf> {
        self.bundle_of(name, bundle_config(), change)
    }

    /// A bundle with this config.json but for a change, and the root file system of all.
    pub fn bundle_of(
        &self,
        name: &str,
        mut config: Value,
        change: impl FnOnce(&mut Value),
    ) -> anyhow::Result<PathBuf> {
        let bundle = self.path().join(name.replace(' ', "-"));
        config["root"]["path"] = json!(self.bundle().join("rootfs"));
        change(&mut config);
        write_config(&bundle, &config)?;
        Ok(bundle)
    }

    /// A container id that nobody else has.
    pub fn id(&self, run: usize) -> String {
        format!("{}-{run}", self.prefix)
    }

    /// The cgroup that all pods are in, whoever runs them, as a pod of the kubelet has one that it made.
    pub fn cgroup(&self) -> String {
        format!("/{}-pods", self.prefix)
    }

    /// Removes that cgroup, which is the kubelet's to remove, unless something is left in it.
    pub fn remove_cgroup(&self) {
        for hierarchy in leaks::names_in(HIERARCHIES.as_ref()) {
            let _ = std::fs::remove_dir(format!("{HIERARCHIES}/{hierarchy}{}", self.cgroup()));
        }
    }

    /// What of this world is alive or mounted now, in words.
    pub fn left(&self) -> Vec<String> {
        leaks::of_sandbox(self.path(), &self.prefix, &self.prefix)
    }

    /// One of our programs, in this world.
    pub fn ours(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program(name));
        command.args(arguments);
        command.env("HULL_ROOT", self.path().join("root")).env("HULL_STATE", self.path().join("state"));
        command
    }

    /// podman or buildah with storage of their own in this world.
    pub fn peer(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(name);
        command.arg("--root").arg(self.path().join("peer/root"));
        command.arg("--runroot").arg(self.path().join("peer/run"));
        command.args(["--storage-driver", "overlay"]).args(arguments);
        command
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Where a contest failed in its middle, what is killed takes a moment to go and to free what it occupied.
        let ends = Instant::now() + SETTLE;
        while !self.left().is_empty() && Instant::now() < ends {
            leaks::clear(self.path(), &self.prefix);
            std::thread::sleep(Duration::from_millis(10));
        }
        // podman's parents of all its cgroups; they stay where they hold something.
        for hierarchy in std::fs::read_dir(HIERARCHIES).into_iter().flatten().flatten() {
            for left in ["libpod_parent/conmon", "libpod_parent"] {
                let _ = std::fs::remove_dir(hierarchy.path().join(left));
            }
        }
    }
}

fn write_config(bundle: &Path, config: &Value) -> anyhow::Result<()> {
    std::fs::create_dir_all(bundle).with_context(|| format!("cannot make {}", bundle.display()))?;
    let path = bundle.join("config.json");
    std::fs::write(&path, config.to_string()).with_context(|| format!("cannot write {}", path.display()))
}

/// crun 1.8 insists on a hugetlb hierarchy where the kernel has the controller and cgroups are v1.
fn make_crun_work() {
    let list = std::fs::read_to_string("/proc/cgroups").unwrap_or_default();
    let folder = Path::new("/sys/fs/cgroup/hugetlb");
    let v1 = Path::new("/sys/fs/cgroup/memory").is_dir();
    if v1 && !folder.exists() && list.contains("hugetlb") && std::fs::create_dir(folder).is_ok() {
        println!("mounting the hugetlb hierarchy, which crun does not start without");
        let mut mount = Command::new("mount");
        mount.args(["-t", "cgroup", "-o", "hugetlb", "cgroup"]).arg(folder);
        if let Err(error) = quiet(mount) {
            println!("cannot: {error:#}");
        }
    }
}

/// A config.json that runs `true` as root with usual namespaces, mounts and capabilities.
fn bundle_config() -> Value {
    let mount = |destination: &str, kind: &str, options: &[&str]| json!({"destination": destination, "type": kind, "source": kind, "options": options});
    let namespaces = ["pid", "network", "ipc", "uts", "cgroup", "mount"];
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": ["true"],
            "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
            "cwd": "/",
            "capabilities": {"bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES},
            "noNewPrivileges": true,
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "bench",
        "mounts": [
            mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
            mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
            mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
            mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
            mount("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
        ],
        "linux": {
            "namespaces": namespaces.map(|kind| json!({"type": kind})),
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}
