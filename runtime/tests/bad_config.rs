//! Broken config.json files through the real program: refused with the field's place, and nothing is made.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod common;

use std::fs;

use common::Bundle;
use serde_json::{Value, json};

#[test]
fn each_is_refused_before_anything_is_created() {
    let long = "a".repeat(65 << 10);
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
        (
            "/process/capabilities/bounding",
            json!(["CAP_NET_RAW", "CAP_BOGUS"]),
            "process.capabilities.bounding[1]",
        ),
        ("/process/capabilities/effective", json!(["CAP_CHOWN"]), "process.capabilities.effective"),
        ("/process/rlimits/0/type", json!("RLIMIT_BOGUS"), "process.rlimits[0].type"),
        ("/process/rlimits/0/soft", json!(99_999), "process.rlimits"),
        ("/process/oomScoreAdj", json!(2000), "process.oomScoreAdj"),
        ("/process/scheduler", json!({ "policy": "SCHED_IDLE" }), "process.scheduler is not supported"),
        ("/root", Value::Null, "root: it is missing"),
        ("/root/path", json!("missing"), "root.path"),
        ("/hostname", json!(long), "hostname"),
        ("/mounts/0/destination", json!("relative"), "mounts[0].destination"),
        ("/mounts/0/destination", json!(long), "mounts[0].destination"),
        ("/mounts/1/options", json!(["size=1m", "idmap"]), "mounts[1].options[1]"),
        (
            "/mounts/1/uidMappings",
            json!([{ "containerID": 0, "hostID": 0, "size": 1 }]),
            "mounts[1].uidMappings",
        ),
        (
            "/hooks",
            json!({ "createRuntime": [{ "path": "/bin/true" }] }),
            "hooks.createRuntime is not supported",
        ),
        ("/linux/namespaces", json!([]), "linux.namespaces"),
        ("/linux/namespaces/0/type", json!("bogus"), "linux.namespaces[0].type"),
        ("/linux/namespaces/-", json!({ "type": "pid" }), "linux.namespaces[6].type"),
        ("/linux/namespaces/-", json!({ "type": "time" }), "time namespace is not supported"),
        ("/linux/namespaces/-", json!({ "type": "user" }), "linux.uidMappings"),
        ("/linux/cgroupsPath", json!("/"), "linux.cgroupsPath"),
        ("/linux/cgroupsPath", json!("../up"), "linux.cgroupsPath"),
        ("/linux/cgroupsPath", json!("machine.slice:roci:x"), "linux.cgroupsPath"),
        ("/linux/sysctl", json!({ "kernel.core_pattern": "|/bin/sh" }), "linux.sysctl"),
        ("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_BOGUS" }), "linux.seccomp.defaultAction"),
        (
            "/linux/seccomp",
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/s" }),
            "linux.seccomp",
        ),
        ("/linux/resources/memory", json!({ "limit": "1g" }), "linux.resources.memory.limit"),
        ("/linux/intelRdt", json!({ "closID": "x" }), "linux.intelRdt is not supported"),
        ("/linux/rootfsPropagation", json!("sideways"), "linux.rootfsPropagation"),
    ] {
        let mut bundle = Bundle::new(&["true"]);
        bundle.set(pointer, value);
        let done = bundle.run();
        assert_eq!(done.code, 1, "{pointer}: {done:?}");
        assert!(done.err.contains(words), "{pointer}: expected {words:?} in {done:?}");
        assert_eq!(done.err.lines().count(), 1, "said once: {done:?}");
        assert!(!bundle.state_root().exists(), "{pointer}");
        assert_eq!(bundle.left(), Vec::<std::path::PathBuf>::new(), "{pointer}");
    }
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
    assert_eq!(done.err, "roci: cannot mount nosuchfs at /tmp: ENODEV\n");
    bundle.assert_nothing_left();
    bundle.set("/mounts/7", json!({ "destination": "/tmp", "type": "tmpfs", "options": ["size=lots"] }));
    bundle.run().failed(1, "cannot mount tmpfs at /tmp: EINVAL");
    bundle.assert_nothing_left();
}
