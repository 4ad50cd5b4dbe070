//! The systemd driver: what systemd knows of a container, and what is refused without it. Most of this needs the machine of
//! `make test-cgroup2`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod common;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use common::{Bundle, SLICE, property, wait_for};
use serde_json::json;

/// Returns from a test that needs a systemd with cgroup v2 alone, and all of the test's containers by it.
macro_rules! needs_systemd {
    () => {
        if !common::by_systemd() {
            common::report_skipped("systemd with cgroup v2 alone");
            return;
        }
    };
}

/// A bundle whose container sleeps.
fn sleeper() -> Bundle {
    Bundle::new(&["sleep", "1000"])
}

/// `roci run` with the driver, whatever the other verbs have.
fn run_by_systemd(bundle: &Bundle) -> common::Done {
    match common::by_systemd() {
        true => bundle.verb(&["run", &bundle.id]),
        false => bundle.verb(&["--systemd-cgroup", "run", &bundle.id]),
    }
}

/// The folder of the container's cgroup.
fn folder(bundle: &Bundle) -> PathBuf {
    bundle.cgroups().pop().unwrap()
}

fn read(bundle: &Bundle, file: &str) -> String {
    fs::read_to_string(folder(bundle).join(file)).unwrap().trim().to_owned()
}

fn daemon_reload() {
    assert!(Command::new("systemctl").arg("daemon-reload").status().unwrap().success());
}

#[test]
fn a_container_is_a_delegated_scope_in_its_slice() {
    needs_systemd!();
    let bundle = sleeper();
    bundle.start();
    let unit = bundle.unit();
    for (name, expected) in [
        ("ActiveState", "active"),
        ("Slice", SLICE),
        ("Delegate", "yes"),
        ("ControlGroup", &format!("/{SLICE}/{unit}")),
        // No limit was asked for, and systemd's own for scopes is none of ours.
        ("TasksMax", "infinity"),
    ] {
        assert_eq!(property(&unit, name), expected, "{name}");
    }
    let pid = bundle.state()["pid"].to_string();
    assert_eq!(read(&bundle, "cgroup.procs"), pid);
    let own = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert_eq!(own, format!("0::/{SLICE}/{unit}\n"));

    // Whoever ends it by systemd ends the container.
    assert!(Command::new("systemctl").args(["kill", "-s", "KILL", &unit]).status().unwrap().success());
    bundle.wait_status("stopped");
    bundle.verb(&["delete", &bundle.id]).succeeded();
    bundle.assert_nothing_left();
}

#[test]
fn without_a_path_it_is_named_after_the_container() {
    needs_systemd!();
    let mut bundle = sleeper();
    bundle.set("/linux/cgroupsPath", json!(""));
    bundle.start();
    let unit = format!("hull-{}.scope", bundle.id);
    assert_eq!(property(&unit, "ControlGroup"), format!("/system.slice/{unit}"));
    bundle.verb(&["delete", "--force", &bundle.id]).succeeded();
    assert_eq!(property(&unit, "LoadState"), "not-found");
    bundle.assert_nothing_left();
}

#[test]
fn a_slice_of_several_levels_is_found() {
    needs_systemd!();
    let mut bundle = sleeper();
    bundle.set("/linux/cgroupsPath", json!(format!("hulltest-a-b.slice:p:{}", bundle.id)));
    bundle.start();
    let unit = format!("p-{}.scope", bundle.id);
    let path = format!("/hulltest.slice/hulltest-a.slice/hulltest-a-b.slice/{unit}");
    assert_eq!(property(&unit, "ControlGroup"), path);
    assert!(PathBuf::from("/sys/fs/cgroup").join(&path[1..]).exists());
    bundle.exec(&["true"]).succeeded();
    bundle.verb(&["delete", "--force", &bundle.id]).succeeded();
    assert_eq!(property(&unit, "LoadState"), "not-found");
}

#[test]
fn systemd_undoes_no_limit() {
    needs_systemd!();
    let mut bundle = sleeper();
    bundle.set(
        "/linux/resources",
        json!({
            "devices": [{ "allow": false, "access": "rwm" }],
            "memory": { "limit": 64 << 20, "swap": 96 << 20, "reservation": 32 << 20 },
            "cpu": { "shares": 512, "quota": 33_330, "period": 100_000, "burst": 5000, "cpus": "0" },
            "pids": { "limit": 44 },
            "blockIO": { "weight": 500 },
            "hugepageLimits": [{ "pageSize": "2MB", "limit": 4 << 20 }],
            "unified": { "memory.high": "50331648" }
        }),
    );
    bundle.start();
    let files = [
        ("memory.max", "67108864"),
        ("memory.swap.max", "33554432"),
        ("memory.low", "33554432"),
        ("memory.high", "50331648"),
        ("cpu.weight", "59"),
        ("cpu.max", "33330 100000"),
        ("cpu.max.burst", "5000"),
        ("cpuset.cpus", "0"),
        ("pids.max", "44"),
        ("io.weight", "default 4950"),
        ("hugetlb.2MB.max", "4194304"),
    ];
    let check = |files: &[(&str, &str)]| {
        files.iter().for_each(|(file, value)| assert_eq!(read(&bundle, file), *value, "{file}"));
    };
    check(&files);
    let unit = bundle.unit();
    for (name, expected) in [
        ("MemoryMax", "67108864"),
        ("MemoryHigh", "50331648"),
        ("MemoryLow", "33554432"),
        ("MemorySwapMax", "33554432"),
        ("CPUWeight", "59"),
        // Whole percents, rounded up.
        ("CPUQuotaPerSecUSec", "340ms"),
        ("AllowedCPUs", "0"),
        ("TasksMax", "44"),
        ("IOWeight", "4950"),
    ] {
        assert_eq!(property(&unit, name), expected, "{name}");
    }
    // It reads its units anew and writes what it knows; of the quota, the percents.
    daemon_reload();
    let in_percent =
        files.map(|(file, value)| (file, if file == "cpu.max" { "34000 100000" } else { value }));
    check(&in_percent);
    let device = bundle.exec(&["sh", "-c", "mknod /tmp/sda b 8 0 2>/dev/null; head -c1 /tmp/sda"]);
    device.failed(1, "");

    let id = bundle.id.clone();
    bundle
        .verb(&["update", "--memory", "96M", "--memory-swap", "96M", "--pids-limit", "55", &id])
        .succeeded();
    bundle.verb(&["update", "--cpu-quota", "20000", "--cpu-share", "1024", &id]).succeeded();
    let updated = [
        ("memory.max", "100663296"),
        ("memory.swap.max", "0"),
        ("memory.high", "50331648"),
        ("pids.max", "55"),
        ("cpu.max", "20000 100000"),
        ("cpu.weight", "100"),
    ];
    check(&updated);
    assert_eq!(
        (property(&unit, "MemoryMax"), property(&unit, "TasksMax")),
        ("100663296".into(), "55".into())
    );
    daemon_reload();
    check(&updated);
    bundle.verb(&["update", "--memory", "-1", "--pids-limit", "-1", "--cpu-quota", "-1", &id]).succeeded();
    bundle.verb(&["update", "--cpu-idle", "1", &id]).succeeded();
    daemon_reload();
    check(&[("memory.max", "max"), ("pids.max", "max"), ("cpu.max", "max 100000"), ("cpu.idle", "1")]);
    bundle.verb(&["delete", "--force", &id]).succeeded();
    bundle.assert_nothing_left();
}

#[test]
fn annotations_become_properties_of_the_unit() {
    needs_systemd!();
    let mut bundle = sleeper();
    bundle.set(
        "/annotations",
        json!({
            "org.systemd.property.TimeoutStopSec": "25",
            "org.systemd.property.Description": "\"somebody's\"",
            "org.systemd.property.After": "['dbus.service', \"other.service\"]",
            "org.systemd.property.KillSignal": "10",
            "org.systemd.property.MemoryHigh": "uint64 33554432",
            "org.systemd.property.TasksMax": "uint64 77",
            "org.example.Other": "[not a value"
        }),
    );
    bundle.set("/linux/resources/pids", json!({ "limit": 55 }));
    bundle.start();
    let unit = bundle.unit();
    for (name, expected) in [
        ("TimeoutStopUSec", "25s"),
        ("Description", "somebody's"),
        ("KillSignal", "10"),
        ("MemoryHigh", "33554432"),
        // A limit of config.json counts more.
        ("TasksMax", "55"),
    ] {
        assert_eq!(property(&unit, name), expected, "{name}");
    }
    let after = property(&unit, "After");
    assert!(after.contains("dbus.service") && after.contains("other.service"), "{after}");
    assert_eq!((read(&bundle, "memory.high"), read(&bundle, "pids.max")), ("33554432".into(), "55".into()));
    daemon_reload();
    assert_eq!((read(&bundle, "memory.high"), read(&bundle, "pids.max")), ("33554432".into(), "55".into()));
    bundle.verb(&["delete", "--force", &bundle.id]).succeeded();
    bundle.assert_nothing_left();

    // One that ends it.
    bundle.set(
        "/annotations",
        json!({ "org.systemd.property.RuntimeMaxSec": "2", "org.systemd.property.TimeoutStopSec": "1" }),
    );
    bundle.start();
    bundle.wait_status("stopped");
    bundle.verb(&["delete", &bundle.id]).succeeded();
    bundle.assert_nothing_left();

    // One of a type that systemd does not take for it.
    bundle.set("/annotations", json!({ "org.systemd.property.KillMode": "7" }));
    bundle.run().failed(1, "systemd cannot start");
    bundle.assert_nothing_left();
}

#[test]
fn annotations_reach_no_other_unit_and_have_to_be_understood() {
    for (name, value, reason) in [
        ("Conflicts", "['dbus.service']", "Conflicts is no property that an annotation may set"),
        ("PIDs", "[uint32 1]", "PIDs is no property that an annotation may set"),
        ("Slice", "'system.slice'", "Slice is no property that an annotation may set"),
        ("FailureAction", "'reboot-force'", "FailureAction is no property that an annotation may set"),
        ("TimeoutStopUSec", "uint64 -1", "\"-1\" is no value of this type, at byte 0"),
        ("TimeoutStopSec", "'5'", "TimeoutStopSec is a number of seconds"),
        ("CollectMode", "inactive", "a text needs quotes"),
        ("After", "['a'", "an array goes on without a comma"),
    ] {
        let mut bundle = sleeper();
        bundle.set("/linux/cgroupsPath", json!(""));
        let key = format!("org.systemd.property.{name}");
        bundle.set("/annotations", json!({ key.clone(): value }));
        bundle.write_config();
        let done = run_by_systemd(&bundle).failed(1, reason);
        assert!(done.err.contains(&format!("config.json: annotations[{key:?}]: ")), "{done:?}");
        assert!(!bundle.state_root().exists(), "{name}");
    }
}

#[test]
fn a_unit_that_was_taken_over_is_not_stopped() {
    needs_systemd!();
    let mut first = Bundle::new(&["true"]);
    // Without a PID namespace its verbs reach for what it left in its cgroup.
    first.config["linux"]["namespaces"].as_array_mut().unwrap().remove(0);
    first.start();
    first.wait_status("stopped");
    wait_for("the end of the unit", || property(&first.unit(), "LoadState") == "not-found");
    let mut second = sleeper();
    second.set("/linux/cgroupsPath", first.config["linux"]["cgroupsPath"].clone());
    second.start();
    first.verb(&["kill", &first.id, "KILL"]).failed(1, "container not running");
    first.verb(&["delete", &first.id]).succeeded();
    assert_eq!(
        (second.status(), property(&first.unit(), "ActiveState")),
        ("running".into(), "active".into())
    );
    second.verb(&["delete", "--force", &second.id]).succeeded();
    first.assert_nothing_left();
}

#[test]
fn one_process_is_enough_of_a_limit() {
    needs_systemd!();
    let mut bundle = Bundle::new(&["cat", "/sys/fs/cgroup/pids.max"]);
    bundle.set("/linux/resources/pids", json!({ "limit": 1 }));
    assert_eq!(bundle.run().succeeded().out, "1\n");
    bundle.assert_nothing_left();
}

#[test]
fn a_killed_creator_leaves_nothing_that_delete_does_not_find() {
    needs_systemd!();
    // At moments of every kind, the conversation with systemd among them, however fast the machine is.
    for milliseconds in [1, 3, 6, 10, 15, 20, 30, 40, 60, 80, 110, 150, 200, 300] {
        let bundle = sleeper();
        bundle.write_config();
        let mut creator =
            bundle.roci(&["create", &bundle.id]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(milliseconds));
        creator.kill().unwrap();
        creator.wait().unwrap();
        bundle.verb(&["delete", "--force", &bundle.id]).succeeded();
        // What was asked for already is done and then undone by systemd itself.
        wait_for("the end of the unit", || property(&bundle.unit(), "LoadState") == "not-found");
        wait_for("the end of the cgroup", || bundle.left().is_empty());
    }
}

#[test]
fn an_end_by_want_of_memory_leaves_no_failed_unit() {
    needs_systemd!();
    let mut bundle = Bundle::new(&["true"]);
    bundle.set("/linux/resources/memory", json!({ "limit": 8 << 20, "swap": 8 << 20 }));
    bundle.shell("dd if=/dev/zero of=/dev/null bs=64M count=1; exit 9");
    for _ in 0..2 {
        assert_ne!(bundle.run().code, 0);
        bundle.assert_nothing_left();
    }
    bundle.start();
    bundle.wait_status("stopped");
    bundle.verb(&["delete", &bundle.id]).succeeded();
    bundle.assert_nothing_left();
}

#[test]
fn without_systemd_the_missing_part_is_named() {
    if PathBuf::from("/run/systemd/system").exists() {
        common::report_skipped("a machine without systemd");
        return;
    }
    let mut bundle = sleeper();
    bundle.set("/linux/cgroupsPath", json!("system.slice:p:n"));
    bundle.write_config();
    let missing = if common::unified() { "systemd is not the init of this machine" } else { "cgroup v1" };
    let done = run_by_systemd(&bundle).failed(1, missing);
    assert!(done.err.contains("cgroups cannot be made by systemd"), "{done:?}");
    assert!(!bundle.state_root().exists());
    // The driver of cgroupfs takes no slices.
    bundle.run().failed(1, "which needs --systemd-cgroup");
    assert!(!bundle.state_root().exists());
}

#[test]
fn what_systemd_would_not_take_is_refused_before_anything_exists() {
    for (path, reason) in [
        ("/a/b", "slice:prefix:name"),
        ("a:b", "slice:prefix:name"),
        ("machine:p:n", "does not end in .slice"),
        ("a--b.slice:p:n", "a level between its dashes is empty"),
        ("machine.slice:p:", "names no unit"),
        ("machine.slice:p:a b", "letters, digits"),
        ("machine.slice:p:n.slice", "only scopes"),
    ] {
        let mut bundle = sleeper();
        bundle.set("/linux/cgroupsPath", json!(path));
        bundle.write_config();
        let done = run_by_systemd(&bundle).failed(1, reason);
        assert!(done.err.contains("config.json: linux.cgroupsPath: "), "{done:?}");
        assert!(!bundle.state_root().exists(), "{path}");
    }
}
