//! Each numbered fault point, killed and failed at: `state` tells the truth and `delete --force` leaves nothing.
//! Runs with the feature `fault-injection`, which is what puts the points into the program.
#![cfg(feature = "fault-injection")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod common;

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::Stdio;

use common::{Bundle, Pair, receive_descriptor, wait_for};
use runtime::fault;
use serde_json::{Value, json};

/// Runs a verb with a fault asked for; output is thrown away, for a container that lives on would hold our pipes.
fn faulty(bundle: &Bundle, fault: &str, arguments: &[&str]) -> Option<i32> {
    let mut command = bundle.roci(arguments);
    command.env("HULL_FAULT", fault).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().code()
}

/// Takes a container through `verbs` until one fails, for the point of the fault is in it, and then clears it away.
fn survive(bundle: &Bundle, fault: &str, verbs: &[&[&str]]) {
    bundle.write_config();
    let failed = verbs.iter().find(|verb| faulty(bundle, fault, verb) != Some(0));
    assert!(failed.is_some(), "point {fault} is never reached");
    // Who was killed may take a moment to be gone, and its child a moment to notice.
    wait_for(&format!("the truth after {fault}"), || tells_the_truth(bundle));
    bundle.verb(&["delete", "--force", &bundle.id]).succeeded();
    wait_for(&format!("nothing left after {fault}"), || bundle.left().is_empty());
    bundle.assert_nothing_left();
}

/// Is what `state` says what the kernel says of the container's cgroup and the processes in it?
fn tells_the_truth(bundle: &Bundle) -> bool {
    let told = bundle.verb(&["state", &bundle.id]);
    let list = |name: &str| {
        let files = bundle.cgroups().into_iter().map(|folder| folder.join(name));
        files.map(|file| fs::read_to_string(file).unwrap_or_default()).collect::<String>()
    };
    let processes = list("cgroup.procs");
    let first = processes.lines().next().unwrap_or_default();
    let executed =
        fs::read_link(format!("/proc/{first}/exe")).is_ok_and(|path| path.ends_with("bin/busybox"));
    let frozen = list("freezer.state").contains("FROZEN") || list("cgroup.freeze").contains('1');
    if told.code != 0 {
        // Nothing was written down yet, or all is gone.
        return processes.is_empty();
    }
    let told: Value = serde_json::from_str(&told.out).unwrap();
    match told["status"].as_str().unwrap() {
        "creating" | "created" => !executed && !frozen,
        "running" => executed && !frozen,
        "paused" => executed && frozen,
        "stopped" => processes.is_empty(),
        other => panic!("{other}"),
    }
}

/// Each point of a list, to kill and to fail at.
fn faults(points: &[u32]) -> impl Iterator<Item = String> {
    points.iter().flat_map(|point| [point.to_string(), format!("{point}:error")])
}

#[test]
fn nothing_is_left_after_a_fault_at_any_point() {
    for fault in faults(fault::ALWAYS) {
        let bundle = Bundle::new(&["sleep", "1000"]);
        let id = &*bundle.id;
        let (exec, delete) = (["exec", id, "true"], ["delete", "--force", id]);
        survive(&bundle, &fault, &[&["create", id], &["start", id], &exec, &delete]);
    }
}

#[test]
fn nor_where_hooks_are_waited_for() {
    for fault in faults(fault::WITH_HOOKS) {
        let mut bundle = Bundle::new(&["sleep", "1000"]);
        let hook = json!([{ "path": "/bin/true" }]);
        bundle.set(
            "/hooks",
            json!({
                "prestart": hook, "createRuntime": hook, "createContainer": hook, "startContainer": hook,
                "poststart": hook, "poststop": hook
            }),
        );
        let id = &*bundle.id;
        // One that was killed between its start and its command looks to `start` like one that has ended since.
        survive(&bundle, &fault, &[&["create", id], &["start", id], &["exec", id, "true"]]);
    }
}

#[test]
fn nor_where_a_listener_is_handed_over() {
    for fault in faults(fault::WITH_LISTENER) {
        for promised in [true, false] {
            let mut bundle = Bundle::new(&["sleep", "1000"]);
            let path = bundle.path().join("agent.sock");
            let agent = UnixListener::bind(&path).unwrap();
            bundle.set("/process/noNewPrivileges", json!(promised));
            bundle.set(
                "/linux/seccomp",
                json!({
                    "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path,
                    "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" }]
                }),
            );
            let id = &*bundle.id;
            survive(&bundle, &fault, &[&["create", id]]);
            // The same for a process that joins: here the first one is handed over whole.
            let created = bundle.create();
            let _first: OwnedFd = receive_descriptor_of(&agent, fault == "19" || fault == "19:error");
            created.succeeded();
            bundle.verb(&["start", id]).succeeded();
            survive(&bundle, &fault, &[&["exec", id, "true"]]);
        }
    }
}

/// The listener of the container that lives; at point 19 the one that did not has sent its own before.
fn receive_descriptor_of(agent: &UnixListener, second: bool) -> OwnedFd {
    if second {
        drop(receive_descriptor(agent));
    } else {
        // It connected and was gone before it sent anything.
        drop(agent.accept().unwrap());
    }
    receive_descriptor(agent)
}

#[test]
fn nor_where_network_devices_are_moved() {
    for fault in faults(fault::WITH_DEVICES) {
        let pair = Pair::new();
        let mut bundle = Bundle::new(&["sleep", "1000"]);
        bundle.set("/linux/netDevices", json!({ &pair.name: { "name": "uplink" } }));
        survive(&bundle, &fault, &[&["create", &bundle.id]]);
        // Before it is moved it is the host's; after that it ends with the namespace, for it is virtual.
        wait_for("the end of the namespace", || pair.exists() == fault.starts_with("60"));
    }
}

#[test]
fn nor_where_a_verb_changes_a_running_container() {
    for fault in faults(fault::OF_VERBS) {
        let bundle = Bundle::new(&["sleep", "1000"]);
        bundle.start();
        let id = &*bundle.id;
        let update = ["update", "--pids-limit", "100", id];
        survive(&bundle, &fault, &[&["pause", id], &["resume", id], &update, &["kill", id, "CONT"]]);
    }
}

#[test]
fn a_run_that_fails_at_a_point_cleans_up_by_itself() {
    for point in fault::ALWAYS.iter().filter(|point| !(20..30).contains(*point) && !(44..46).contains(*point))
    {
        let bundle = Bundle::new(&["true"]);
        bundle.write_config();
        let code = faulty(&bundle, &format!("{point}:error"), &["run", &bundle.id]);
        assert_eq!(code, Some(1), "{point}");
        bundle.assert_nothing_left();
    }
}

#[test]
fn an_exec_that_is_overtaken_by_the_containers_end_says_so() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    bundle.start();
    let mut command = bundle.roci(&["exec", &bundle.id, "true"]);
    let exec = command.env("HULL_FAULT", "22:stop").stderr(Stdio::piped()).spawn().unwrap();
    let stat = format!("/proc/{}/stat", exec.id());
    wait_for("it waits", || fs::read_to_string(&stat).unwrap().contains(") T "));
    bundle.verb(&["kill", &bundle.id, "KILL"]).succeeded();
    bundle.wait_status("stopped");
    let pid = rustix::process::Pid::from_raw(exec.id() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    let done = exec.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(255), "{words}");
    assert!(words.contains("cannot exec in a stopped container"), "{words}");
    bundle.verb(&["delete", &bundle.id]).succeeded();
    bundle.assert_nothing_left();
}
