//! Broken config.json files through the real program: refused with the field's place, and nothing is made.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod common;

use std::fs;

use common::Bundle;
use serde_json::{Value, json};

#[test]
fn each_is_refused_before_anything_is_created() {
    let long = "a".repeat(65 << 10);
    let mut wrong = Vec::new();
    for (pointer, value, words) in [
        ("/ociVersion", json!("9.0.0"), "ociVersion"),
        ("/ociVersion", json!(7), "ociVersion"),
        ("/process", json!("x"), "process"),
        ("/process/args", json!("true"), "process.args"),
        ("/process/args", json!([1]), "process.args[0]"),
        ("/process/args", json!([]), "process.args"),
        ("/process/cwd", json!(""), "process.cwd"),
        ("/process/user/uid", json!(-1), "process.user.uid"),
        ("/process/user/gid", json!(4_294_967_296u64), "process.user.gid"),
        ("/process/capabilities/effective", json!(["CAP_CHOWN"]), "process.capabilities.effective"),
        ("/process/rlimits/0/type", json!("RLIMIT_BOGUS"), "process.rlimits[0].type"),
        ("/process/rlimits/0/soft", json!(99_999), "process.rlimits"),
        ("/process/oomScoreAdj", json!(2000), "process.oomScoreAdj"),
        (
            "/process/scheduler",
            json!({ "policy": "SCHED_IDLE", "priority": 1 }),
            "process.scheduler.priority",
        ),
        ("/process/scheduler", json!({ "policy": "SCHED_BOGUS" }), "process.scheduler.policy"),
        ("/process/ioPriority", json!({ "class": "IOPRIO_CLASS_BE", "priority": -1 }), "process.ioPriority"),
        ("/process/execCPUAffinity", json!({ "final": "a" }), "process.execCPUAffinity"),
        ("/process/env", json!(["A=1", 2]), "process.env[1]"),
        ("/process/env", json!(["A=\u{0}"]), "process.env[0]"),
        ("/process/env", json!(["A=1", "A"]), "process.env[1]: invalid environment variable: missing '='"),
        ("/process/env", json!(["=1"]), "process.env[0]: invalid environment variable: name cannot be empty"),
        ("/process/args", json!(["a\u{0}"]), "process.args[0]"),
        ("/process/args", json!([""]), "process.args[0]"),
        ("/process/cwd", json!("/a/../b"), "process.cwd"),
        ("/process/cwd", json!("relative"), "process.cwd"),
        ("/process/user/uid", json!(4_294_967_295u32), "process.user"),
        ("/process/user/umask", json!("022"), "process.user.umask"),
        ("/process/user/additionalGids", json!(["wheel"]), "process.user.additionalGids[0]"),
        (
            "/process/user/additionalGids",
            json!((1..=65_537).collect::<Vec<u32>>()),
            "process.user.additionalGids: 65537 are more",
        ),
        ("/process/terminal", json!("yes"), "process.terminal"),
        ("/process/consoleSize", json!({ "height": "tall" }), "process.consoleSize.height"),
        ("/process/noNewPrivileges", json!(1), "process.noNewPrivileges"),
        ("/process/capabilities", json!(["CAP_KILL"]), "process.capabilities"),
        ("/process/rlimits/0/hard", json!(-1), "process.rlimits[0].hard"),
        ("/process/rlimits/-", json!({ "type": "RLIMIT_NOFILE", "hard": 1, "soft": 1 }), "process.rlimits"),
        ("/process/oomScoreAdj", json!("high"), "process.oomScoreAdj"),
        ("/root", Value::Null, "root: it is missing"),
        ("/root/path", json!("missing"), "root.path"),
        ("/hostname", json!(long), "hostname"),
        ("/mounts/0/destination", json!("../relative"), "mounts[0].destination"),
        ("/mounts/0/destination", json!(""), "mounts[0].destination"),
        ("/mounts/0/destination", json!(long), "mounts[0].destination"),
        ("/mounts/1/options", json!(["size=1m", "idmap"]), "mounts[1].options"),
        (
            "/mounts/1/uidMappings",
            json!([{ "containerID": 0, "hostID": 0, "size": 1 }]),
            "mounts[1]: uidMappings and gidMappings need each other",
        ),
        (
            "/hooks",
            json!({ "createRuntime": [{ "path": "/bin/true", "timeout": -1 }] }),
            "hooks.createRuntime[0].timeout",
        ),
        ("/hooks", json!({ "prestart": [{ "path": "hook" }] }), "hooks.prestart[0].path"),
        ("/hooks", json!({ "startContainer": [{}] }), "hooks.startContainer[0]"),
        ("/hooks", json!({ "poststop": {} }), "hooks.poststop"),
        (
            "/hooks",
            json!({ "poststart": [{ "path": "/x", "args": ["a\u{0}"] }] }),
            "hooks.poststart[0].args[0]",
        ),
        (
            "/hooks",
            json!({ "createContainer": [{ "path": "/x", "env": [1] }] }),
            "hooks.createContainer[0].env[0]",
        ),
        ("/annotations", json!({ "a": 1 }), "annotations"),
        ("/domainname", json!("a".repeat(65)), "domainname"),
        ("/hostname", json!("a\u{0}"), "hostname"),
        ("/root", json!("rootfs"), "root"),
        ("/root/path", json!(""), "root.path"),
        ("/root/path", json!("config.json"), "root.path"),
        ("/root/readonly", json!("yes"), "root.readonly"),
        ("/mounts", json!({}), "mounts"),
        ("/mounts/0/destination", Value::Null, "mounts[0].destination"),
        ("/mounts/0/destination", json!("/"), "mounts[0].destination"),
        ("/mounts/0/destination", json!("/a/.."), "mounts[0].destination"),
        ("/mounts/0/type", json!("sysfs"), "mounts[0].type"),
        ("/mounts/0/type", json!(""), "mounts[0].type"),
        ("/mounts/0/options", json!("ro"), "mounts[0].options"),
        ("/mounts/0/options", json!([""]), "mounts[0].options[0]"),
        ("/mounts/0/options", json!(["a\nb"]), "mounts[0].options[0]"),
        ("/mounts/0/options", json!(["remount"]), "mounts[0].options[0]"),
        ("/mounts/0/options", json!(["tmpcopyup"]), "mounts[0].options"),
        ("/mounts/-", json!({ "destination": "/a", "type": "bind" }), "mounts[7].source"),
        (
            "/mounts/-",
            json!({ "destination": "/a", "type": "bind", "source": "missing" }),
            "mounts[7].source",
        ),
        ("/mounts/-", json!({ "destination": "/a", "type": "bind", "source": "" }), "mounts[7].source"),
        ("/mounts/6/options", json!(["nsdelegate"]), "mounts[6].options"),
        ("/mounts/6/options", json!(["rshared"]), "mounts[6].options"),
        ("/linux/namespaces", json!([]), "hostname"),
        ("/linux/namespaces/0/type", json!("bogus"), "linux.namespaces[0].type"),
        ("/linux/namespaces/-", json!({ "type": "pid" }), "linux.namespaces[6].type"),
        ("/linux/namespaces", json!("all"), "linux.namespaces"),
        ("/linux/namespaces/0/path", json!("relative"), "linux.namespaces[0].path"),
        ("/linux/namespaces/0/path", json!("/nonexistent"), "linux.namespaces[0].path"),
        ("/linux/namespaces/0/path", json!("/etc/passwd"), "linux.namespaces[0].path"),
        ("/linux/namespaces/4/path", json!("/proc/self/ns/mnt"), "linux.namespaces[4].path"),
        ("/linux/timeOffsets", json!({ "boottime": { "secs": 1 } }), "linux.timeOffsets"),
        (
            "/linux/timeOffsets",
            json!({ "boottime": { "nanosecs": -1 } }),
            "linux.timeOffsets.boottime.nanosecs",
        ),
        ("/linux/uidMappings", json!([{ "containerID": 0, "hostID": 0, "size": 1 }]), "linux.uidMappings"),
        ("/linux/devices", json!([{ "path": "/dev/x", "type": "q" }]), "linux.devices[0].type"),
        (
            "/linux/devices",
            json!([{ "path": "/dev/x", "type": "c", "major": -1, "minor": 1 }]),
            "linux.devices[0].major",
        ),
        (
            "/linux/devices",
            json!([{ "path": "x", "type": "c", "major": 1, "minor": 1 }]),
            "linux.devices[0].path",
        ),
        ("/linux/maskedPaths", json!(["../relative"]), "linux.maskedPaths[0]"),
        ("/linux/readonlyPaths", json!(["/a/../b"]), "linux.readonlyPaths[0]"),
        ("/linux/personality", json!({ "domain": "PLAN9" }), "linux.personality.domain"),
        ("/linux/memoryPolicy", json!({ "mode": "MPOL_BIND", "nodes": "many" }), "linux.memoryPolicy.nodes"),
        ("/linux/mountLabel", json!("label"), "linux.mountLabel"),
        ("/linux/resources/devices/0/access", json!("x"), "linux.resources.devices"),
        ("/linux/resources/devices/0/allow", json!("no"), "linux.resources.devices[0].allow"),
        ("/linux/resources/pids", json!({ "limit": "few" }), "linux.resources.pids.limit"),
        ("/linux/resources/cpu", json!({ "shares": -5 }), "linux.resources.cpu.shares"),
        ("/linux/resources/memory", json!({ "swappiness": 101 }), "linux.resources.memory.swappiness"),
        (
            "/linux/resources/memory",
            json!({ "limit": 1 << 30, "swap": 1 << 20 }),
            "linux.resources.memory.swap",
        ),
        ("/linux/resources/hugepageLimits", json!([{ "pageSize": "../x", "limit": 1 }]), "hugepageLimits"),
        ("/linux/resources/unified", json!({ "../x": "1" }), "linux.resources.unified"),
        ("/linux/sysctl", json!({ "net.ipv4.ip_forward": "1\n2" }), "linux.sysctl"),
        ("/linux/sysctl", json!({ "net/../kernel/panic": "1" }), "linux.sysctl"),
        ("/linux/seccomp", json!({}), "linux.seccomp"),
        (
            "/linux/seccomp",
            json!({ "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 5000 }),
            "linux.seccomp.defaultErrnoRet",
        ),
        (
            "/linux/seccomp",
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["open"], "action": "SCMP_ACT_ERRNO",
                "args": [{ "index": 6, "value": 0, "op": "SCMP_CMP_EQ" }] }] }),
            "linux.seccomp.syscalls[0].args[0].index",
        ),
        ("/linux/namespaces/-", json!({ "type": "user" }), "linux.uidMappings"),
        ("/linux/cgroupsPath", json!("/"), "linux.cgroupsPath"),
        ("/linux/cgroupsPath", json!("../up"), "linux.cgroupsPath"),
        ("/linux/cgroupsPath", json!("machine.slice:roci:x"), "linux.cgroupsPath"),
        ("/linux/sysctl", json!({ "kernel.core_pattern": "|/bin/sh" }), "linux.sysctl"),
        ("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_BOGUS" }), "linux.seccomp.defaultAction"),
        (
            "/linux/seccomp",
            json!({ "defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/s" }),
            "linux.seccomp",
        ),
        ("/linux/resources/memory", json!({ "limit": "1g" }), "linux.resources.memory.limit"),
        ("/linux/intelRdt", json!({ "closID": "x" }), "config.json: linux.intelRdt: "),
        ("/linux/rootfsPropagation", json!("sideways"), "linux.rootfsPropagation"),
    ] {
        let mut bundle = Bundle::new(&["true"]);
        bundle.set(pointer, value);
        let done = bundle.run();
        let named = done.code == 1 && done.err.contains(words) && done.err.lines().count() == 1;
        if !named || bundle.state_root().exists() || !bundle.left().is_empty() {
            wrong.push(format!("{pointer}: expected {words:?} in {done:?}, left {:?}", bundle.left()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_no_document_is_refused() {
    let bundle = Bundle::new(&["true"]);
    let file = bundle.path().join("config.json");
    bundle.verb(&["run", &bundle.id]).failed(1, "cannot read");
    for text in ["", "{", "[]", "null", "{\"ociVersion\"", "\u{feff}{}", "{}{}"] {
        fs::write(&file, text).unwrap();
        let done = bundle.verb(&["run", &bundle.id]);
        assert!(done.code == 1 && done.err.contains("config.json"), "{text:?}: {done:?}");
    }
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    bundle.verb(&["run", &bundle.id]).failed(1, "cannot read");
    fs::remove_dir(&file).unwrap();
    // Too large to be one, found without reading it.
    fs::File::create(&file).unwrap().set_len(1 << 40).unwrap();
    bundle.verb(&["run", &bundle.id]).failed(1, "cannot read");
    assert!(!bundle.state_root().exists());
}

#[test]
fn a_step_that_fails_inside_says_what_and_why_once() {
    let mut bundle = Bundle::new(&["true"]);
    bundle.set("/mounts/-", json!({ "destination": "/tmp", "type": "nosuchfs", "source": "x" }));
    let done = bundle.run().failed(1, "cannot mount nosuchfs at /tmp: ENODEV");
    assert_eq!(done.err, "roci: error: cannot mount nosuchfs at /tmp: ENODEV\n");
    bundle.assert_nothing_left();
    bundle.set("/mounts/7", json!({ "destination": "/tmp", "type": "tmpfs", "options": ["size=lots"] }));
    bundle.run().failed(1, "cannot mount tmpfs at /tmp: EINVAL");
    bundle.assert_nothing_left();
}
