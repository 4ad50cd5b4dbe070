//! A table of documents that are each wrong in one place.

use serde_json::{Value, json};

use super::*;

fn good() -> Value {
    json!({
        "ociVersion": "1.2.0",
        "process": { "args": ["true"], "cwd": "/", "user": { "uid": 0, "gid": 0 } },
        "root": { "path": "/" },
        "linux": { "namespaces": [
            { "type": "mount" }, { "type": "pid" }, { "type": "uts" }, { "type": "network" }, { "type": "ipc" }
        ] }
    })
}

/// Sets the value at a JSON pointer, making objects on the way.
fn with(mut document: Value, pointer: &str, value: Value) -> Value {
    let mut at = &mut document;
    for part in pointer.split('/').skip(1) {
        at = match part.parse::<usize>() {
            Ok(index) => &mut at[index],
            Err(_) => &mut at[part],
        };
    }
    *at = value;
    document
}

fn check(document: &Value) -> Result<Plan> {
    container(&serde_json::from_value(document.clone()).unwrap(), Path::new("/"), false)
}

#[test]
fn the_good_document_is_good() {
    check(&good()).unwrap();
}

#[test]
fn each_wrong_field_is_named() {
    let long = "a".repeat(65 << 10);
    let mount = |mount: Value| json!([mount]);
    for (pointer, value, expected) in [
        ("/ociVersion", json!("2.0.0"), "ociVersion: version 2.0.0"),
        ("/ociVersion", json!("1"), "ociVersion"),
        ("/ociVersion", json!(""), "ociVersion"),
        ("/process", json!(null), "process: it is missing"),
        ("/process/args", json!([]), "process.args"),
        ("/process/args", json!([""]), "process.args[0]"),
        ("/process/args", json!(["a", "b\0c"]), "process.args[1]"),
        ("/process/args", json!(["a", "b".repeat(128 << 10)]), "process.args[1]"),
        ("/process/env", json!(["A=1", "B=\0"]), "process.env[1]"),
        ("/process/cwd", json!("relative"), "process.cwd"),
        ("/process/cwd", json!("/a/../b"), "process.cwd"),
        ("/process/user/uid", json!(4294967295u32), "process.user"),
        ("/process/oomScoreAdj", json!(1001), "process.oomScoreAdj"),
        ("/root", json!(null), "root: it is missing"),
        ("/root/path", json!(""), "root.path"),
        ("/root/path", json!("/nonexistent"), "root.path: /nonexistent is not a directory"),
        ("/root/path", json!("/etc/passwd"), "root.path"),
        ("/hostname", json!("a".repeat(65)), "hostname"),
        ("/hostname", json!(long), "hostname"),
        ("/hooks", json!({"prestart": [{"path": "x"}]}), "hooks.prestart[0].path: x is not absolute"),
        ("/hooks", json!({"poststop": [{"path": "/x", "timeout": 0}]}), "hooks.poststop[0].timeout"),
        ("/hooks", json!({"poststart": [{"path": "/x", "args": ["\0"]}]}), "hooks.poststart[0].args[0]"),
        ("/vm", json!({"kernel": {"path": "/x"}}), "vm is not supported"),
        ("/mounts", mount(json!({"destination": "a/../b", "type": "tmpfs"})), "mounts[0].destination"),
        ("/mounts", mount(json!({"destination": "/", "type": "tmpfs"})), "mounts[0].destination"),
        ("/mounts", mount(json!({"destination": "/a/../b", "type": "tmpfs"})), "mounts[0].destination"),
        ("/mounts", mount(json!({"destination": long, "type": "tmpfs"})), "mounts[0].destination"),
        ("/mounts", mount(json!({"destination": "/a"})), "mounts[0].type"),
        ("/mounts", mount(json!({"destination": "/a", "type": "bind"})), "mounts[0].source"),
        ("/mounts", mount(json!({"destination": "/proc", "type": "sysfs"})), "mounts[0].type"),
        (
            "/mounts",
            mount(json!({"destination": "/a", "type": "tmpfs", "options": ["ro", "remount"]})),
            "mounts[0].options[1]",
        ),
        (
            "/mounts",
            mount(json!({"destination": "/c", "type": "cgroup", "options": ["ro", "nsdelegate"]})),
            "mounts[0].options: \"nsdelegate\"",
        ),
        (
            "/mounts",
            mount(json!({"destination": "/c", "type": "cgroup2", "options": ["rshared"]})),
            "mounts[0].options: a cgroup mount cannot be shared",
        ),
        ("/linux", json!(null), "linux: it is missing"),
        (
            "/linux/namespaces",
            json!([{"type": "mount"}, {"type": "mount", "path": "/x"}]),
            "linux.namespaces[1].type",
        ),
        (
            "/linux/namespaces",
            json!([{"type": "mount"}, {"type": "pid", "path": "x"}]),
            "linux.namespaces[1].path",
        ),
        (
            "/linux/namespaces",
            json!([{"type": "mount"}, {"type": "user"}]),
            "linux.uidMappings: it is missing",
        ),
        (
            "/linux/uidMappings",
            json!([{"containerID": 0, "hostID": 0, "size": 1}]),
            "linux.uidMappings: there are id mappings but no user namespace",
        ),
        ("/linux/cgroupsPath", json!("/"), "linux.cgroupsPath"),
        ("/linux/cgroupsPath", json!("/a/../.."), "linux.cgroupsPath"),
        ("/linux/rootfsPropagation", json!("maybe"), "linux.rootfsPropagation"),
        ("/linux/maskedPaths", json!(["../relative"]), "linux.maskedPaths[0]"),
        ("/linux/readonlyPaths", json!(["/a", "/b/.."]), "linux.readonlyPaths[1]"),
        (
            "/linux/devices",
            json!([{"path": "/dev/x", "type": "c", "major": -1, "minor": 0}]),
            "linux.devices[0].major",
        ),
        ("/linux/devices", json!([{"path": "x", "type": "c"}]), "linux.devices[0].path"),
        ("/linux/sysctl", json!({"kernel.core_pattern": "|/x"}), "linux.sysctl[\"kernel.core_pattern\"]"),
        ("/linux/sysctl", json!({"net.ipv4.ip_forward": "1\n2"}), "linux.sysctl"),
        ("/linux/sysctl", json!({"net/../kernel/panic": "1"}), "linux.sysctl"),
        ("/linux/sysctl", json!({"kernel.hostname": "x"}), "linux.sysctl"),
        ("/linux/intelRdt", json!({"closID": "x"}), "linux.intelRdt: "),
        ("/linux/personality", json!({"domain": "LINUX32", "flags": ["x"]}), "linux.personality.flags[0]"),
        ("/linux/timeOffsets", json!({"realtime": {"secs": 1}}), "linux.timeOffsets[\"realtime\"]"),
        ("/linux/timeOffsets", json!({"boottime": {"secs": 1}}), "it needs a new time namespace"),
        ("/linux/mountLabel", json!("x"), "linux.mountLabel is not supported"),
    ] {
        let document = with(good(), pointer, value);
        let message = check(&document).err().map(|error| error.to_string());
        assert!(
            message.as_deref().is_some_and(|message| message.contains(expected)),
            "{pointer}: expected {expected:?}, got {message:?}"
        );
    }
}

#[test]
fn parameters_need_their_namespace() {
    let document = with(good(), "/linux/sysctl", json!({"net.ipv4.ip_forward": "1"}));
    assert_eq!(check(&document).unwrap().sysctls.len(), 1);
    let document = with(document, "/linux/namespaces", json!([{"type": "mount"}]));
    assert!(check(&document).unwrap_err().to_string().contains("no network namespace"));
}

#[test]
fn mappings_are_whole_and_apart() {
    let namespaces = json!([{"type": "mount"}, {"type": "user"}]);
    let mapping = |list: Value| {
        let document = with(good(), "/linux/namespaces", namespaces.clone());
        let document = with(document, "/linux/uidMappings", list.clone());
        check(&with(document, "/linux/gidMappings", list)).map(drop)
    };
    let one = |container: u32, host: u32, size: u32| json!({"containerID": container, "hostID": host, "size": size});
    mapping(json!([one(0, 1000, 10), one(10, 2000, 10)])).unwrap();
    for bad in [
        json!([one(0, 1000, 0)]),
        json!([one(1, 1000, 5)]),
        json!([one(0, 1000, 10), one(5, 3000, 10)]),
        json!([one(0, 1000, 10), one(20, 1005, 10)]),
        json!([one(0, u32::MAX, 2)]),
    ] {
        assert!(mapping(bad.clone()).is_err(), "{bad}");
    }
}
