//! Filters that hand calls over to an agent (SCMP_ACT_NOTIFY), with an agent of ours.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod common;

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;

use common::{Bundle, receive_with};
use libseccomp::{ScmpNotifReq, ScmpNotifResp, ScmpNotifRespFlags};
use rustix::event::{PollFd, PollFlags};
use serde_json::{Value, json};

/// A bundle whose filter hands `calls` over.
fn listened(calls: &[&str]) -> (Bundle, UnixListener) {
    let mut bundle = Bundle::new(&["true"]);
    let path = bundle.path().join("agent.sock");
    let listener = UnixListener::bind(&path).unwrap();
    bundle.set(
        "/linux/seccomp",
        json!({
            "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path, "listenerMetadata": "of ours",
            "syscalls": [{ "names": calls, "action": "SCMP_ACT_NOTIFY" }]
        }),
    );
    (bundle, listener)
}

/// Answers every call with an error, until nobody is left who could make one.
fn refuse_all(descriptor: OwnedFd, errno: i32) {
    // Kernels before 6.11 leave who receives waiting when nobody can call any more; a poll they have always woken.
    let waits = || {
        let mut polled = [PollFd::new(&descriptor, PollFlags::IN)];
        rustix::event::poll(&mut polled, None).unwrap();
        polled[0].revents().contains(PollFlags::IN)
    };
    while waits() {
        let Ok(request) = ScmpNotifReq::receive(descriptor.as_raw_fd()) else { continue };
        let answer = ScmpNotifResp::new_error(request.id, -errno, ScmpNotifRespFlags::empty());
        // Who asked may have been killed meanwhile.
        let _ = answer.respond(descriptor.as_raw_fd());
    }
}

#[test]
fn the_agent_answers_the_commands_calls() {
    for promised in [true, false] {
        let (mut bundle, listener) = listened(&["mkdir", "mkdirat"]);
        bundle.set("/process/noNewPrivileges", json!(promised));
        bundle.shell("mkdir /tmp/made; test -e /tmp/made || echo not made");
        let agent = std::thread::spawn(move || {
            let (descriptor, told) = receive_with(&listener);
            refuse_all(descriptor, libc::ENOMEDIUM);
            serde_json::from_slice::<Value>(&told).unwrap()
        });
        let done = bundle.run().succeeded();
        assert!(done.err.contains("No medium found") && done.out == "not made\n", "{done:?}");
        let told = agent.join().unwrap();
        assert_eq!((&told["fds"], &told["metadata"]), (&json!(["seccompFd"]), &json!("of ours")));
        assert_eq!((&told["state"]["id"], &told["state"]["status"]), (&json!(bundle.id), &json!("creating")));
        assert!(told["pid"].as_i64().unwrap() > 1, "{told}");
        bundle.assert_nothing_left();
    }
}

#[test]
fn who_joins_has_the_filter_too() {
    let (mut bundle, listener) = listened(&["mkdir"]);
    bundle.args(&["sleep", "1000"]);
    let agent = std::thread::spawn(move || {
        let (first, _) = receive_with(&listener);
        let (second, told) = receive_with(&listener);
        refuse_all(second, libc::ENOMEDIUM);
        drop(first);
        serde_json::from_slice::<Value>(&told).unwrap()
    });
    bundle.start();
    bundle.exec(&["mkdir", "/tmp/made"]).failed(1, "No medium found");
    let told = agent.join().unwrap();
    assert_eq!(told["state"]["status"], "running");
    assert_ne!(told["pid"], told["state"]["pid"]);
}

#[test]
fn without_an_agent_there_is_no_container() {
    let (bundle, listener) = listened(&["mkdir"]);
    drop(listener);
    bundle.run().failed(1, "failed to connect with seccomp agent");
    bundle.assert_nothing_left();
    assert!(!bundle.state_root().exists());
    let (bundle, _listener) = listened(&["read", "write"]);
    bundle.run().failed(1, "SCMP_ACT_NOTIFY cannot be used for the write syscall");
    // A profile that hands nothing over needs none.
    let (mut bundle, listener) = listened(&["mkdir"]);
    drop(listener);
    bundle.set("/linux/seccomp/syscalls/0/action", json!("SCMP_ACT_ALLOW"));
    bundle.set("/linux/seccomp/flags", json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]));
    bundle.run().succeeded();
}
