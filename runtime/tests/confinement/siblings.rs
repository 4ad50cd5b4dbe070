//! Containers that a worker makes for its parent: what the monitor does.

#[path = "../common/mod.rs"]
mod common;

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use common::Bundle;
use runtime::container::{self, Console, CreateRequest, ExecRequest, ExecTarget, Stdio};
use runtime::process::{Exit, Signal, signal, wait};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::json;

use crate::Test;
use crate::child;

pub const TESTS: &[Test] = &[
    ("siblings::containers_and_commands_are_the_parents", containers_and_commands_are_the_parents),
    ("siblings::also_with_a_user_namespace_that_is_joined", also_with_a_user_namespace_that_is_joined),
    ("siblings::they_die_with_the_parent_not_the_worker", they_die_with_the_parent_not_the_worker),
];

fn open(pid: &str) -> OwnedFd {
    pidfd_open(Pid::from_raw(pid.parse().unwrap()).unwrap(), PidfdFlags::empty()).unwrap()
}

/// Creates and starts the bundle's container; returns its pid.
fn create(bundle: &Bundle) -> String {
    let request = CreateRequest::of_a_monitor(
        bundle.id.parse().unwrap(),
        bundle.path().to_owned(),
        bundle.state_root(),
    );
    let mut created = container::create(CreateRequest { as_sibling: true, ..request }).unwrap();
    created.start().unwrap();
    created.pid.to_string()
}

fn containers_and_commands_are_the_parents() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    bundle.write_config();
    let first = open(&child::run(|| create(&bundle)));
    let second = child::run(|| {
        let id = bundle.id.parse().unwrap();
        let mut target = ExecTarget::open(&bundle.state_root(), &id).unwrap();
        let mut process = target.process().unwrap();
        process.set_args(Some(["sh", "-c", "exit 7"].map(str::to_owned).to_vec()));
        let request = ExecRequest {
            process,
            stdio: Stdio::Inherit,
            console: Console::Absent,
            preserve_descriptors: 0,
            pid_file: None,
            as_sibling: true,
            ignore_paused: false,
            pidfd_socket: None,
            cgroups: Vec::new(),
        };
        container::exec(&mut target, request).unwrap().pid.to_string()
    });
    assert_eq!(wait(open(&second)).unwrap(), Exit::Code(7));
    assert_eq!(bundle.status(), "running");
    signal(first.as_fd(), Signal::KILL).unwrap();
    assert_eq!(wait(first).unwrap(), Exit::Signal(9));
    bundle.verb(&["delete", &bundle.id]).succeeded();
}

fn also_with_a_user_namespace_that_is_joined() {
    let owner = child::start(None, |gate| {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER).unwrap();
        gate.say("made");
        gate.wait();
        String::new()
    });
    let mut owner = owner;
    owner.hear();
    for map in ["uid_map", "gid_map"] {
        std::fs::write(format!("/proc/{}/{map}", owner.pid), "0 0 65536\n").unwrap();
    }
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    bundle.set(
        "/linux/namespaces",
        json!([
            { "type": "user", "path": format!("/proc/{}/ns/user", owner.pid) },
            { "type": "pid" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" }, { "type": "network" }
        ]),
    );
    bundle.write_config();
    let first = open(&child::run(|| create(&bundle)));
    // The one that only joined is ours to reap as well.
    let joined = rustix::process::wait(rustix::process::WaitOptions::NOHANG).unwrap();
    assert!(joined.is_some_and(|(_, status)| status.exit_status() == Some(0)));
    signal(first.as_fd(), Signal::KILL).unwrap();
    assert_eq!(wait(first).unwrap(), Exit::Signal(9));
    bundle.verb(&["delete", &bundle.id]).succeeded();
    owner.finish();
}

fn they_die_with_the_parent_not_the_worker() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    bundle.write_config();
    let mut parent = child::start(None, |gate| {
        gate.say(&child::run(|| create(&bundle)));
        gate.wait();
        String::new()
    });
    let first = open(&parent.hear());
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(bundle.status(), "running");
    parent.finish();
    common::wait_for("the end of the container", || bundle.status() == "stopped");
    drop(first);
}
