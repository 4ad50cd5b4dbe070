//! Real cgroups below `/hull-test-<pid>`.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use oci_spec::runtime::LinuxResources;
use runtime::cgroup::{Cgroup, CgroupPath, Error, Hierarchies};
use rustix::io::Errno;
use rustix::process::Signal;

use crate::Test;
use crate::child::{self, Child};

pub const TESTS: &[Test] = &[
    ("cgroups::enter_every_hierarchy_and_remove", enter_every_hierarchy_and_remove),
    ("cgroups::a_populated_cgroup_is_not_taken", a_populated_cgroup_is_not_taken),
    ("cgroups::join_moves_a_foreign_process", join_moves_a_foreign_process),
    ("cgroups::limits_arrive", limits_arrive),
    ("cgroups::settings_of_version_2_arrive", settings_of_version_2_arrive),
    ("cgroups::refusals_name_file_group_and_value", refusals_name_file_group_and_value),
    ("cgroups::what_the_machine_lacks_is_an_error", what_the_machine_lacks_is_an_error),
    ("cgroups::memory_limit_kills", memory_limit_kills),
    ("cgroups::pids_limit_holds", pids_limit_holds),
    ("cgroups::unlisted_devices_cannot_be_opened", unlisted_devices_cannot_be_opened),
    ("cgroups::kill_reaches_everything", kill_reaches_everything),
    ("cgroups::kill_reaches_who_is_only_in_v1", kill_reaches_who_is_only_in_v1),
    ("cgroups::remove_waits_and_then_says_who_is_left", remove_waits_and_then_says_who_is_left),
    ("cgroups::remove_takes_deep_trees", remove_takes_deep_trees),
];

const PATIENCE: Duration = Duration::from_secs(60);

/// A cgroup of one test, removed with its value.
pub struct Group {
    pub cgroup: Cgroup,
    parent: String,
}

impl Group {
    pub fn new() -> Group {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let parent = format!("/hull-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = CgroupPath::parse(&format!("{parent}/group")).unwrap();
        Group { cgroup: Cgroup::create(&Hierarchies::discover().unwrap(), &path).unwrap(), parent }
    }

    pub fn start(&self, work: impl FnOnce(&child::Gate) -> String) -> Child {
        let entrance = self.cgroup.entrance().unwrap();
        child::start(entrance.clone_target(), |gate| {
            entrance.enter().unwrap();
            work(gate)
        })
    }

    /// The path of another cgroup below the same parent, removed with this value too.
    pub fn beside(&self, name: &str) -> CgroupPath {
        CgroupPath::parse(&format!("{}/{name}", self.parent)).unwrap()
    }

    /// A file of the cgroup beside this one, if it is there.
    pub fn read_of(&self, name: &str, controller: &str, file: &str) -> Option<String> {
        let cgroup = Cgroup::open(&Hierarchies::discover().unwrap(), &self.beside(name));
        let folder = cgroup.folder_of(controller).or(cgroup.version2_folder())?;
        Some(std::fs::read_to_string(folder.join(file)).ok()?.trim().to_owned())
    }

    /// Whether there is a cgroup beside this one in any hierarchy.
    pub fn exists(&self, name: &str) -> bool {
        folders(self.beside(name).as_str()).iter().any(|folder| folder.exists())
    }

    fn apply(&self, resources: &str) -> Result<Vec<String>, Error> {
        let resources: LinuxResources = serde_json::from_str(resources).unwrap();
        let notices = self.cgroup.apply(Some(&resources))?;
        Ok(notices.iter().map(ToString::to_string).collect())
    }

    /// Whether the cgroup's folder of v2 has the file.
    fn has_file(&self, file: &str) -> bool {
        self.cgroup.version2_folder().is_some_and(|folder| folder.join(file).exists())
    }

    fn read(&self, controller: &str, file: &str) -> String {
        let folder = self.cgroup.folder_of(controller).or(self.cgroup.version2_folder()).unwrap();
        std::fs::read_to_string(folder.join(file)).unwrap().trim().to_owned()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let hierarchies = Hierarchies::discover().unwrap();
        let parent = Cgroup::open(&hierarchies, &CgroupPath::parse(&self.parent).unwrap());
        parent.kill().unwrap();
        parent.remove(PATIENCE).unwrap();
    }
}

/// This process's cgroups as /proc tells them.
pub fn own_cgroups() -> String {
    std::fs::read_to_string("/proc/self/cgroup").unwrap()
}

fn has_v1() -> bool {
    !Hierarchies::discover().unwrap().is_unified()
}

fn folders(path: &str) -> Vec<PathBuf> {
    let hierarchies = Hierarchies::discover().unwrap();
    hierarchies.all().iter().map(|hierarchy| hierarchy.mount().join(&path[1..])).collect()
}

fn enter_every_hierarchy_and_remove() {
    let group = Group::new();
    let path = group.cgroup.path().as_str().to_owned();
    let report = group.start(|_| own_cgroups()).finish();
    assert!(report.lines().count() > 0);
    for line in report.lines() {
        assert!(line.ends_with(&format!(":{path}")), "not moved: {line}");
    }
    group.cgroup.remove(PATIENCE).unwrap();
    for folder in folders(&path) {
        assert!(!folder.exists(), "{}", folder.display());
    }
    // Gone is gone.
    group.cgroup.remove(Duration::ZERO).unwrap();
}

fn a_populated_cgroup_is_not_taken() {
    let group = Group::new();
    let process = group.start(|gate| {
        gate.say("in");
        gate.wait();
        String::new()
    });
    let mut process = process;
    assert_eq!(process.hear(), "in");
    let again = Cgroup::create(&Hierarchies::discover().unwrap(), group.cgroup.path());
    assert!(matches!(again, Err(Error::Populated { .. })));
    process.finish();
    // Empty, it can be used again.
    Cgroup::create(&Hierarchies::discover().unwrap(), group.cgroup.path()).unwrap();
}

fn join_moves_a_foreign_process() {
    let group = Group::new();
    let process = child::start(None, |gate| {
        gate.wait();
        own_cgroups()
    });
    group.cgroup.join(process.pid).unwrap();
    assert_eq!(group.cgroup.processes().unwrap(), [process.pid]);
    let path = group.cgroup.path().as_str().to_owned();
    assert!(process.finish().lines().all(|line| line.ends_with(&path)));
}

fn limits_arrive() {
    let group = Group::new();
    let notices = group
        .apply(
            r#"{"memory": {"limit": 67108864, "swap": 134217728, "reservation": 33554432, "kernel": 1},
                "cpu": {"shares": 512, "quota": 50000, "period": 200000, "cpus": "0", "mems": "0"},
                "pids": {"limit": 77}}"#,
        )
        .unwrap();
    assert_eq!(notices.len(), 1);
    assert!(notices[0].starts_with("linux.resources.memory.kernel: left out"), "{notices:?}");
    assert_eq!(group.read("pids", "pids.max"), "77");
    assert_eq!(group.read("cpuset", "cpuset.cpus"), "0");
    if has_v1() {
        assert_eq!(group.read("memory", "memory.limit_in_bytes"), "67108864");
        assert_eq!(group.read("memory", "memory.memsw.limit_in_bytes"), "134217728");
        assert_eq!(group.read("memory", "memory.soft_limit_in_bytes"), "33554432");
        assert_eq!(group.read("cpu", "cpu.shares"), "512");
        assert_eq!(group.read("cpu", "cpu.cfs_quota_us"), "50000");
        assert_eq!(group.read("cpu", "cpu.cfs_period_us"), "200000");
        // Both directions, as the two limits constrain each other.
        group.apply(r#"{"memory": {"limit": 536870912, "swap": 536870912}}"#).unwrap();
        group.apply(r#"{"memory": {"limit": 16777216, "swap": 16777216}}"#).unwrap();
        assert_eq!(group.read("memory", "memory.memsw.limit_in_bytes"), "16777216");
        group.apply(r#"{"memory": {"limit": -1}, "pids": {"limit": -1}}"#).unwrap();
        assert_eq!(group.read("pids", "pids.max"), "max");
        for disabled in [true, false] {
            group.apply(&format!(r#"{{"memory": {{"disableOOMKiller": {disabled}}}}}"#)).unwrap();
            let expected = format!("oom_kill_disable {}", u8::from(disabled));
            assert_eq!(group.read("memory", "memory.oom_control").lines().next(), Some(&*expected));
        }
    } else {
        assert_eq!(group.read("memory", "memory.max"), "67108864");
        assert_eq!(group.read("memory", "memory.swap.max"), "67108864");
        assert_eq!(group.read("memory", "memory.low"), "33554432");
        assert_eq!(group.read("cpu", "cpu.weight"), "59");
        assert_eq!(group.read("cpu", "cpu.max"), "50000 200000");
        // Swap alone counts from the limit there is, the period alone keeps the quota, and both directions work.
        group.apply(r#"{"memory": {"swap": 100663296}, "cpu": {"period": 100000}}"#).unwrap();
        assert_eq!(group.read("memory", "memory.swap.max"), "33554432");
        assert_eq!(group.read("cpu", "cpu.max"), "50000 100000");
        group.apply(r#"{"memory": {"limit": 536870912, "swap": 536870912}}"#).unwrap();
        assert_eq!(group.read("memory", "memory.swap.max"), "0");
        group.apply(r#"{"memory": {"limit": 16777216, "swap": -1}, "cpu": {"burst": 20000}}"#).unwrap();
        assert_eq!(group.read("memory", "memory.swap.max"), "max");
        assert_eq!(group.read("cpu", "cpu.max.burst"), "20000");
        group.apply(r#"{"memory": {"limit": -1}, "pids": {"limit": -1}, "cpu": {"quota": -1}}"#).unwrap();
        assert_eq!(group.read("memory", "memory.max"), "max");
        assert_eq!(group.read("pids", "pids.max"), "max");
        assert_eq!(group.read("cpu", "cpu.max"), "max 100000");
    }
    let (quota, burst) = match has_v1() {
        true => ("cpu.cfs_quota_us", "cpu.cfs_burst_us"),
        false => ("cpu.max", "cpu.max.burst"),
    };
    // A quota is never below its burst, so both directions again.
    for (now, saved) in [(50_000, 40_000), (20_000, 10_000), (90_000, 80_000), (30_000, 0)] {
        group.apply(&format!(r#"{{"cpu": {{"quota": {now}, "burst": {saved}}}}}"#)).unwrap();
        assert_eq!(group.read("cpu", quota).split(' ').next(), Some(&*now.to_string()));
        assert_eq!(group.read("cpu", burst), saved.to_string());
    }
    // An idle group has no weight; afterwards it has one again.
    for _ in 0..2 {
        group.apply(r#"{"cpu": {"idle": 1, "shares": 2048}}"#).unwrap();
        assert_eq!(group.read("cpu", "cpu.idle"), "1");
    }
    group.apply(r#"{"cpu": {"idle": 0, "shares": 2048}}"#).unwrap();
    let (file, weight) = if has_v1() { ("cpu.shares", "2048") } else { ("cpu.weight", "174") };
    assert_eq!(group.read("cpu", file), weight);
    // What is no limit is not taken for none.
    for field in ["limit", "swap", "reservation", "kernel", "kernelTCP"] {
        let error = group.apply(&format!(r#"{{"memory": {{"{field}": -2}}}}"#)).unwrap_err().to_string();
        assert!(error.contains(&format!("memory.{field}: -2 is no number of bytes")), "{error}");
    }
}

/// What v1 calls otherwise or has not got; the rest is in `limits_arrive`.
fn settings_of_version_2_arrive() {
    if has_v1() {
        child::note("skipped: cgroup v2 alone");
        return;
    }
    let group = Group::new();
    let unified = r#"{"unified": {"memory.high": "50331648", "cpu.weight": "77", "pids.max": "55"}}"#;
    group.apply(unified).unwrap();
    assert_eq!(group.read("memory", "memory.high"), "50331648");
    assert_eq!(group.read("cpu", "cpu.weight"), "77");
    assert_eq!(group.read("pids", "pids.max"), "55");
    let error = group.apply(r#"{"unified": {"memory.nothing": "1"}}"#).unwrap_err().to_string();
    assert!(error.contains("cannot set memory.nothing of /hull-test"), "{error}");

    group
        .apply(r#"{"blockIO": {"weight": 500}, "hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]}"#)
        .unwrap();
    assert_eq!(group.read("hugetlb", "hugetlb.2MB.max"), "4194304");
    assert_eq!(group.read("hugetlb", "hugetlb.2MB.rsvd.max"), "4194304");
    // With BFQ loaded its own file has the number as it was given.
    let weights = ["io.weight", "io.bfq.weight"].map(|file| {
        std::fs::read_to_string(group.cgroup.version2_folder().unwrap().join(file)).unwrap_or_default()
    });
    assert!(weights[0].contains("4950") || weights[1].contains("500"), "{weights:?}");

    let disk = std::fs::read_to_string("/sys/block/vda/dev");
    let Some((major, minor)) = disk.as_deref().ok().and_then(|number| number.trim().split_once(':')) else {
        child::note("skipped: /sys/block/vda");
        return;
    };
    let device = |rate: u64| format!(r#"[{{"major": {major}, "minor": {minor}, "rate": {rate}}}]"#);
    let (bytes, requests, none) = (device(1 << 20), device(100), device(0));
    group
        .apply(&format!(
            r#"{{"blockIO": {{"throttleReadBpsDevice": {bytes}, "throttleWriteIOPSDevice": {requests}}}}}"#
        ))
        .unwrap();
    let limits = group.read("io", "io.max");
    assert_eq!(limits, format!("{major}:{minor} rbps=1048576 wbps=max riops=max wiops=100"));
    group.apply(&format!(r#"{{"blockIO": {{"throttleReadBpsDevice": {none}}}}}"#)).unwrap();
    assert_eq!(group.read("io", "io.max"), format!("{major}:{minor} rbps=max wbps=max riops=max wiops=100"));
}

fn refusals_name_file_group_and_value() {
    let group = Group::new();
    let path = group.cgroup.path().as_str();
    let error = group.apply(r#"{"cpu": {"quota": 1}}"#).unwrap_err().to_string();
    let file = if has_v1() { "cpu.cfs_quota_us" } else { "cpu.max" };
    assert_eq!(error, format!("cannot set {file} of {path} to 1: EINVAL: the kernel refuses the value"));
    for (resources, message) in [
        (r#"{"cpu": {"shares": 1}}"#, "linux.resources.cpu.shares: 1 is not within 2 to 262144"),
        (
            r#"{"memory": {"limit": 8388608, "swap": 4194304}}"#,
            "linux.resources.memory.swap: 4194304 is less than memory.limit, which it includes",
        ),
        (
            r#"{"devices": [{"allow": true, "type": "c", "access": "x"}]}"#,
            "linux.resources.devices[0]: access \"x\" has none of the letters r, w and m",
        ),
        (
            r#"{"devices": [{"allow": true, "type": "c", "major": 10, "access": "rwm"},
                            {"allow": false, "type": "c", "major": 10, "minor": 200, "access": "rwm"}]}"#,
            "linux.resources.devices[1]: c 10:200 rwm would make a hole in c 10:* rwm, which cgroups cannot express",
        ),
        (
            r#"{"hugepageLimits": [{"pageSize": "../x", "limit": 1}]}"#,
            "linux.resources.hugepageLimits: \"../x\" is not a page size such as 2MB",
        ),
    ] {
        assert_eq!(group.apply(resources).unwrap_err().to_string(), message);
    }
}

fn what_the_machine_lacks_is_an_error() {
    let group = Group::new();
    let error = group.apply(r#"{"rdma": {"mlx5_1": {"hcaHandles": 3}}}"#);
    match Path::new("/sys/fs/cgroup/rdma").exists() || group.has_file("rdma.max") {
        // Its device is not there.
        true => assert!(matches!(error, Err(Error::Setting { source: Errno::NODEV, .. })), "{error:?}"),
        false => assert!(matches!(error, Err(Error::Unsupported { setting: "rdma", .. })), "{error:?}"),
    }
    if has_v1() {
        let error = group.apply(r#"{"unified": {"memory.high": "1"}}"#).unwrap_err().to_string();
        assert_eq!(
            error,
            "linux.resources.unified cannot be honoured: invalid configuration: it needs a machine with cgroup v2 only"
        );
    }
}

fn memory_limit_kills() {
    let group = Group::new();
    group.apply(r#"{"memory": {"limit": 16777216, "swap": 16777216}}"#).unwrap();
    let greedy = group.start(|_| {
        let mut memory = vec![0u8; 64 << 20];
        memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
        memory.len().to_string()
    });
    let (status, report) = greedy.end();
    assert_eq!(status.terminating_signal(), Some(Signal::KILL.as_raw()), "lived: {report}");
}

fn pids_limit_holds() {
    let group = Group::new();
    group.apply(r#"{"pids": {"limit": 3}}"#).unwrap();
    let report = group
        .start(|_| {
            let sleeper = || std::process::Command::new("sleep").arg("30").spawn();
            let mut running: Vec<_> = (0..5).filter_map(|_| sleeper().ok()).collect();
            let started = running.len();
            running.iter_mut().for_each(|child| {
                child.kill().unwrap();
                child.wait().unwrap();
            });
            started.to_string()
        })
        .finish();
    assert_eq!(report, "2");
}

fn unlisted_devices_cannot_be_opened() {
    let attempts = || {
        ["null", "zero", "urandom", "kmsg"].map(|name| std::fs::File::open(format!("/dev/{name}")).is_ok())
    };
    // Nothing asked for, an empty list, and one that only allows: what is not allowed is denied all the same.
    for resources in [
        None,
        Some("[]"),
        Some(r#"[{"allow": true, "type": "c", "major": 10, "minor": 200, "access": "r"}]"#),
    ] {
        let group = Group::new();
        match resources {
            None => group.cgroup.apply(None).unwrap(),
            Some(devices) => {
                group.apply(&format!(r#"{{"devices": {devices}}}"#)).unwrap();
                Vec::new()
            }
        };
        let report = group.start(|_| format!("{:?}", attempts())).finish();
        assert_eq!(report, "[true, true, true, false]", "{resources:?}");
    }
    let group = Group::new();
    group.apply(r#"{"devices": [{"allow": true, "access": "rwm"}]}"#).unwrap();
    assert_eq!(group.start(|_| format!("{:?}", attempts())).finish(), "[true, true, true, true]");
    let group = Group::new();
    group
        .apply(
            r#"{"devices": [{"allow": true, "type": "a", "access": "rwm"},
                            {"allow": false, "type": "c", "major": 1, "minor": 11, "access": "r"}]}"#,
        )
        .unwrap();
    assert_eq!(group.start(|_| format!("{:?}", attempts())).finish(), "[true, true, true, false]");
}

/// A process with children that lead their own sessions and ignore what can be ignored.
fn stubborn_family(gate: &child::Gate) -> String {
    let script = "trap '' HUP INT TERM; for i in 1 2 3 4; do setsid sh -c 'trap \"\" TERM; while :; do sleep 5; done' & done";
    let mut shell = std::process::Command::new("sh").args(["-c", script]).spawn().unwrap();
    shell.wait().unwrap();
    gate.say("ready");
    gate.wait();
    std::thread::sleep(Duration::from_secs(60));
    String::new()
}

fn kill_reaches_everything() {
    let group = Group::new();
    let mut process = group.start(stubborn_family);
    assert_eq!(process.hear(), "ready");
    assert!(group.cgroup.processes().unwrap().len() >= 5);
    group.cgroup.kill().unwrap();
    let (status, _) = process.end();
    assert_eq!(status.terminating_signal(), Some(Signal::KILL.as_raw()));
    group.cgroup.remove(PATIENCE).unwrap();
}

/// As on a machine without v2, and as after an escape from the v2 cgroup alone.
fn kill_reaches_who_is_only_in_v1() {
    if !has_v1() {
        child::note("skipped: cgroup v1");
        return;
    }
    let group = Group::new();
    let entrance = group.cgroup.entrance().unwrap();
    let mut process = child::start(None, |gate| {
        entrance.enter().unwrap();
        stubborn_family(gate)
    });
    assert_eq!(process.hear(), "ready");
    assert!(
        !std::fs::read_to_string(format!("/proc/{}/cgroup", process.pid)).unwrap().contains("0::/hull-test")
    );
    group.cgroup.kill().unwrap();
    let (status, _) = process.end();
    assert_eq!(status.terminating_signal(), Some(Signal::KILL.as_raw()));
    group.cgroup.remove(PATIENCE).unwrap();
}

fn remove_waits_and_then_says_who_is_left() {
    let group = Group::new();
    let mut process = group.start(|gate| {
        gate.say("in");
        gate.wait();
        String::new()
    });
    assert_eq!(process.hear(), "in");
    let started = Instant::now();
    let error = group.cgroup.remove(Duration::from_millis(30)).unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(50));
    match error {
        Error::Busy { processes, .. } => assert_eq!(processes, [process.pid]),
        other => panic!("{other}"),
    }
    process.finish();
    group.cgroup.remove(PATIENCE).unwrap();
}

/// A container with a writable cgroup mount chooses names, number and depth.
fn remove_takes_deep_trees() {
    let group = Group::new();
    for folder in folders(group.cgroup.path().as_str()) {
        let mut at = folder.clone();
        // Each level doubles as a sibling, and the whole path is longer than the kernel takes in one piece.
        std::env::set_current_dir(&at).unwrap();
        for _ in 0..24 {
            let name = "d".repeat(200);
            std::fs::create_dir(&name).unwrap();
            std::fs::create_dir("sibling").unwrap();
            std::env::set_current_dir(&name).unwrap();
            at.push(&name);
        }
        std::env::set_current_dir("/").unwrap();
        assert!(at.as_os_str().len() > 4096);
    }
    group.cgroup.kill().unwrap();
    assert!(group.cgroup.processes().unwrap().is_empty());
    group.cgroup.remove(PATIENCE).unwrap();
}
