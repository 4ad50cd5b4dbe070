//! Commands in a container that runs, through the real program.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod common;

use std::fs;
use std::process::Stdio;

use common::{Bundle, wait_for};
use serde_json::json;

#[test]
fn exec_runs_beside_the_command() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    bundle.start();
    let done = bundle.exec(&["sh", "-c", "echo hello; hostname; exit 5"]);
    assert_eq!((done.code, &*done.out), (5, "hello\ntesthost\n"));
    bundle.exec(&["foo"]).failed(255, "executable file not found in $PATH");
    bundle.exec(&["/etc"]).failed(255, "is a directory");
    let options = ["exec", "--cwd", "/tmp", "--env", "A=b", "--user", "1000:1001", "-g", "7", &bundle.id];
    let mut options = options.to_vec();
    options.extend(["sh", "-c", "pwd; echo $A; id -u; id -g; id -G"]);
    assert_eq!(bundle.verb(&options).succeeded().out, "/tmp\nb\n1000\n1001\n1001 7\n");
    bundle.verb(&["exec", "--env", "novalue", &bundle.id, "true"]).failed(255, "NAME=VALUE");
    bundle.verb(&["exec", "--user", "+0", &bundle.id, "true"]).failed(255, "--user");
    // It is in the container's cgroup and its PID namespace.
    let cgroup = bundle.exec(&["cat", "/proc/self/cgroup"]).succeeded().out;
    assert!(cgroup.lines().all(|line| line.ends_with(":/")), "{cgroup}");
    assert!(bundle.exec(&["ps"]).succeeded().out.contains("sleep 1000"));
}

#[test]
fn what_is_changed_in_the_bundle_later_changes_nothing() {
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    bundle.start();
    let namespaces = "readlink /proc/self/ns/net /proc/self/ns/uts /proc/self/ns/ipc; echo $LATER";
    let before = bundle.exec(&["sh", "-c", namespaces]).succeeded().out;
    bundle.set("/hostname", json!("")).set("/process/env/-", json!("LATER=yes"));
    bundle.set("/linux/namespaces", json!([{ "type": "pid" }, { "type": "mount" }]));
    bundle.write_config();
    assert_eq!(bundle.exec(&["sh", "-c", namespaces]).succeeded().out, before);
    fs::remove_file(bundle.path().join("config.json")).unwrap();
    assert_eq!(bundle.exec(&["sh", "-c", namespaces]).succeeded().out, before);
    bundle.verb(&["delete", "--force", &bundle.id]).succeeded();
    bundle.assert_nothing_left();
}

#[test]
fn an_exec_that_the_containers_end_overtakes_says_so() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    for _ in 0..20 {
        bundle.start();
        let mut killer = bundle.roci(&["kill", &bundle.id, "KILL"]).spawn().unwrap();
        // Until the end is seen.
        loop {
            let done = bundle.exec(&["true"]);
            match done.code {
                // Done before, or killed with the container.
                0 | 137 => {}
                _ => break drop(done.failed(255, "cannot exec in a stopped container")),
            }
        }
        killer.wait().unwrap();
        bundle.verb(&["delete", "--force", &bundle.id]).succeeded();
    }
    bundle.assert_nothing_left();
}

#[test]
fn exec_takes_a_process_file_and_detaches() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    bundle.start();
    let file = bundle.path().join("process.json");
    let process = json!({
        "args": ["sh", "-c", "echo $V > /tmp/exec; exec sleep 1000"],
        "env": ["V=file", "PATH=/bin"],
        "cwd": "/tmp",
        "user": { "uid": 0, "gid": 0 }
    });
    fs::write(&file, process.to_string()).unwrap();
    let pid_file = bundle.path().join("pid");
    let status = bundle
        .roci(&[
            "exec",
            "-d",
            "-p",
            file.to_str().unwrap(),
            "--pid-file",
            pid_file.to_str().unwrap(),
            &bundle.id,
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let written = bundle.rootfs().join("tmp/exec");
    wait_for("the detached process", || fs::read_to_string(&written).is_ok_and(|text| text == "file\n"));
    let pid = fs::read_to_string(&pid_file).unwrap();
    assert!(fs::metadata(format!("/proc/{pid}")).is_ok());
    fs::write(&file, r#"{"args":["true"],"cwd":"/","user":{"uid":"x","gid":0}}"#).unwrap();
    bundle.verb(&["exec", "-p", file.to_str().unwrap(), &bundle.id]).failed(255, "user.uid");
    fs::write(&file, r#"{"args":["true"],"cwd":"/","user":{"uid":"x","gid":0}}"#).unwrap();
    bundle.verb(&["exec", "-p", file.to_str().unwrap(), &bundle.id]).failed(255, "process.json: user.uid");
}

#[test]
fn exec_chooses_a_cgroup_below() {
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    bundle.set("/linux/namespaces", json!([{ "type": "mount" }, { "type": "pid" }, { "type": "uts" }]));
    bundle.start();
    let id = bundle.id.clone();
    let pids: Vec<_> = bundle.cgroups().into_iter().map(|folder| folder.join("sub")).collect();
    pids.iter().for_each(|folder| fs::create_dir(folder).unwrap());
    let seen = bundle.verb(&["exec", "--cgroup", "sub", &id, "cat", "/proc/self/cgroup"]).succeeded().out;
    assert!(seen.lines().all(|line| line.ends_with("/sub")), "{seen}");
    bundle.verb(&["exec", "--cgroup", "../x", &id, "true"]).failed(1, "bad sub cgroup path");
    bundle.verb(&["exec", "--cgroup", "absent", &id, "true"]).failed(255, "adding pid to cgroup");
    bundle.verb(&["exec", "--cgroup", "nothing:sub", &id, "true"]).failed(255, "unknown controller");

    // In a paused container it waits, and runs once that goes on.
    bundle.verb(&["pause", &id]).succeeded();
    let mut waiting = bundle.roci(&["exec", "--ignore-paused", &id, "true"]).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert!(waiting.try_wait().unwrap().is_none());
    bundle.verb(&["resume", &id]).succeeded();
    assert!(waiting.wait().unwrap().success());
    bundle.verb(&["delete", "--force", &id]).succeeded();
    bundle.assert_nothing_left();
}

#[test]
fn exec_follows_a_container_into_a_cgroup_below() {
    if !common::unified() {
        common::report_skipped("cgroup v2 alone");
        return;
    }
    // As systemd in a container does: once controllers are handed down, the container's own cgroup takes no process.
    let mut bundle = Bundle::new(&["true"]);
    bundle.set("/mounts/6/options", json!(["nosuid", "noexec", "nodev", "relatime", "rw"]));
    bundle.shell(
        "cd /sys/fs/cgroup; mkdir init other; echo 1 > init/cgroup.procs; echo +pids > cgroup.subtree_control; \
         touch /tmp/ready; cd /; while :; do sleep 1; done",
    );
    bundle.start();
    wait_for("its own cgroups", || bundle.rootfs().join("tmp/ready").exists());
    let own = bundle.exec(&["cat", "/proc/self/cgroup"]).succeeded().out;
    assert_eq!(own, "0::/init\n");
    // Who chooses a cgroup gets that one, or hears that it cannot be.
    let chosen = ["exec", "--cgroup", "other", &bundle.id, "cat", "/proc/self/cgroup"];
    assert_eq!(bundle.verb(&chosen).succeeded().out, "0::/other\n");
    bundle.verb(&["exec", "--cgroup", "/", &bundle.id, "true"]).failed(255, "busy");
    bundle.verb(&["pause", &bundle.id]).succeeded();
    bundle.verb(&["delete", "--force", &bundle.id]).succeeded();
    bundle.assert_nothing_left();
}
