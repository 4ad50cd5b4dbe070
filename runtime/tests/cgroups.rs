//! The cgroup of a container through the real program: whose it is, what it limits, and what is frozen.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod common;

use std::fs;
use std::process::Stdio;

use common::{Bundle, read_until, wait_for};
use serde_json::json;

#[test]
fn a_cgroup_in_use_is_nobody_elses() {
    let first = Bundle::new(&["sleep", "1000"]);
    first.start();
    let mut second = Bundle::new(&["true"]);
    second.set("/linux/cgroupsPath", first.config["linux"]["cgroupsPath"].clone());
    // systemd knows it by its unit.
    let reason = if common::by_systemd() { "was already loaded" } else { "already contains processes" };
    second.run().failed(1, reason);
    assert_eq!(fs::read_dir(second.state_root()).unwrap().count(), 0);
    assert_eq!(first.status(), "running");
}

/// How a container came to the cgroup path of one that has ended.
#[derive(Clone, Copy, PartialEq)]
enum Takeover {
    SameFolder,
    NewFolder,
    /// By somebody who leaves no mark.
    Stranger,
}

#[test]
fn a_cgroup_that_was_taken_over_is_neither_killed_nor_removed() {
    if common::by_systemd() {
        // It takes the folder away itself: tests/systemd.rs has what then may happen.
        return;
    }
    for how in [Takeover::SameFolder, Takeover::NewFolder, Takeover::Stranger] {
        // Without a PID namespace its verbs reach for what it left in its cgroup.
        let mut first = Bundle::new(&["true"]);
        first.config["linux"]["namespaces"].as_array_mut().unwrap().remove(0);
        first.start();
        first.wait_status("stopped");
        if how != Takeover::SameFolder {
            first.cgroups().into_iter().for_each(|folder| fs::remove_dir(folder).unwrap());
        }
        let mut second = Bundle::new(&["sleep", "1000"]);
        let mut stranger = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        if how == Takeover::Stranger {
            let path = first.config["linux"]["cgroupsPath"].as_str().unwrap();
            for root in common::cgroup_roots().iter().filter(|root| root.join("cgroup.procs").exists()) {
                // A cpuset takes nobody before it has its processors.
                if !root.ends_with("cpuset") {
                    fs::create_dir_all(root.join(&path[1..])).unwrap();
                    let members = root.join(&path[1..]).join("cgroup.procs");
                    fs::write(members, stranger.id().to_string()).unwrap();
                }
            }
        } else {
            second.set("/linux/cgroupsPath", first.config["linux"]["cgroupsPath"].clone());
            second.start();
        }
        let id = &first.id;
        first.verb(&["kill", id, "KILL"]).failed(1, "container not running");
        first.verb(&["kill", "--all", id, "TERM"]).failed(1, "container not running");
        assert_eq!(first.verb(&["ps", "--format", "json", id]).succeeded().out.trim(), "[]");
        let folders = first.cgroups();
        first.verb(&["delete", id]).succeeded();
        assert_eq!(first.cgroups(), folders);
        assert!(stranger.try_wait().unwrap().is_none());
        stranger.kill().unwrap();
        stranger.wait().unwrap();
        if how != Takeover::Stranger {
            assert_eq!(second.status(), "running");
            second.verb(&["delete", "--force", &second.id]).succeeded();
            first.assert_nothing_left();
        }
    }
}

#[test]
fn a_paused_container_stands_still_and_goes_on() {
    let mut bundle = Bundle::new(&["true"]);
    bundle
        .shell("trap 'exit 3' TERM; i=0; while true; do i=$((i+1)); echo $i > /tmp/count; sleep 0.01; done");
    bundle.start();
    let id = bundle.id.clone();
    let count = bundle.rootfs().join("tmp/count");
    wait_for("the shell", || count.exists());
    bundle.verb(&["resume", &id]).failed(1, "container not paused");
    bundle.verb(&["pause", &id]).succeeded();
    assert_eq!(bundle.status(), "paused");
    let seen = fs::read_to_string(&count).unwrap();
    bundle.verb(&["pause", &id]).failed(1, "container not running");
    bundle.exec(&["true"]).failed(255, "cannot exec in a paused container (use --ignore-paused to override)");
    bundle.verb(&["delete", &id]).failed(1, "is not stopped: paused");
    // A signal waits; the container is still paused after it.
    bundle.verb(&["kill", "--all", &id, "USR1"]).succeeded();
    bundle.verb(&["kill", &id, "URG"]).succeeded();
    assert_eq!((bundle.status(), fs::read_to_string(&count).unwrap()), ("paused".to_owned(), seen.clone()));
    bundle.verb(&["resume", &id]).succeeded();
    assert_eq!(bundle.status(), "running");
    wait_for("the shell", || fs::read_to_string(&count).unwrap() != seen);

    // Killing does not wait for resume, whichever way.
    bundle.verb(&["pause", &id]).succeeded();
    bundle.verb(&["kill", &id, "KILL"]).succeeded();
    bundle.wait_status("stopped");
    bundle.verb(&["delete", &id]).succeeded();
    for verb in [&["kill", "--all"][..], &["delete", "--force"]] {
        bundle.start();
        bundle.verb(&["pause", &id]).succeeded();
        let mut words = verb.to_vec();
        words.push(&id);
        words.extend((verb[0] == "kill").then_some("KILL"));
        bundle.verb(&words).succeeded();
        bundle.verb(&["delete", "--force", &id]).succeeded();
    }
    bundle.assert_nothing_left();
}

#[test]
fn limits_change_while_it_runs() {
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    bundle.set("/linux/resources/memory", json!({ "limit": 64 << 20 }));
    bundle.set("/linux/resources/pids", json!({ "limit": 20 }));
    bundle.start();
    let id = bundle.id.clone();
    let stats = || {
        let out = bundle.verb(&["events", "--stats", &id]).succeeded().out;
        let event: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!((&event["type"], &event["id"]), (&json!("stats"), &json!(id)));
        event["data"].clone()
    };
    let before = stats();
    assert_eq!(before["memory"]["usage"]["limit"], 64 << 20);
    assert_eq!((&before["pids"]["limit"], &before["pids"]["current"]), (&json!(20), &json!(1)));
    assert!(before["cpu"]["usage"]["total"].as_u64().unwrap() > 0);

    let device = || bundle.exec(&["sh", "-c", "mknod /tmp/sda b 8 0 2>/dev/null; head -c1 /tmp/sda"]);
    device().failed(1, "");
    bundle.verb(&["update", "--memory", "96M", "--pids-limit", "30", &id]).succeeded();
    let after = stats();
    assert_eq!((&after["memory"]["usage"]["limit"], &after["pids"]["limit"]), (&json!(96 << 20), &json!(30)));
    device().failed(1, "");

    let file = bundle.path().join("resources.json");
    fs::write(&file, json!({ "memory": { "limit": 32 << 20 } }).to_string()).unwrap();
    bundle.verb(&["update", "-r", file.to_str().unwrap(), &id]).succeeded();
    assert_eq!(stats()["memory"]["usage"]["limit"], 32 << 20);
    // What is not named stays.
    assert_eq!(stats()["pids"]["limit"], 30);

    bundle.verb(&["update", "-r", file.to_str().unwrap(), "--memory", "1G", &id]).failed(1, "--resources");
    bundle.verb(&["update", "-r", "/nonexistent", &id]).failed(1, "cannot read --resources /nonexistent");
    fs::write(&file, r#"{ "memory": { "limit": "much" } }"#).unwrap();
    bundle.verb(&["update", "-r", file.to_str().unwrap(), &id]).failed(1, "invalid type");
    bundle.verb(&["update", "--memory", "lots", &id]).failed(1, "64M");
    bundle.verb(&["update", "--memory-swap", "1M", "--memory", "2M", &id]).failed(1, "memory.swap");
    bundle.verb(&["update", "--memory", "1M", "nobody"]).failed(1, "does not exist");
    bundle.verb(&["update", "--l3-cache-schema", "L3:0=f", &id]).failed(1, "--l3-cache-schema: ");
    bundle.verb(&["update", "--mem-bw-schema", "MB:0=20", &id]).failed(1, "resctrl");
}

#[test]
fn events_end_with_their_reader() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    bundle.start();
    let mut command = bundle.roci(&["events", "--interval", "10ms", &bundle.id]);
    let mut events = command.stdout(Stdio::piped()).spawn().unwrap();
    read_until(&mut events, "\n");
    drop(events.stdout.take());
    wait_for("it has ended", || events.try_wait().unwrap().is_some_and(|status| status.success()));
}

#[test]
fn want_of_memory_is_an_event() {
    let mut bundle = Bundle::new(&["true"]);
    bundle.set("/linux/resources/memory", json!({ "limit": 8 << 20 }));
    bundle.shell("while [ ! -e /tmp/go ]; do sleep 0.01; done; dd if=/dev/zero of=/dev/null bs=64M count=1");
    bundle.start();
    let mut events =
        bundle.roci(&["events", "--interval", "20ms", &bundle.id]).stdout(Stdio::piped()).spawn().unwrap();
    read_until(&mut events, "\n");
    fs::write(bundle.rootfs().join("tmp/go"), "").unwrap();
    let seen = read_until(&mut events, r#""type":"oom""#);
    assert!(seen.contains(r#""type":"oom""#), "{seen}");
    // It ends with the container.
    assert!(events.wait().unwrap().success());
}

#[test]
fn a_frozen_cgroup_takes_no_container() {
    if common::by_systemd() {
        // It makes a new one for each.
        return;
    }
    let bundle = Bundle::new(&["true"]);
    let (root, file, frozen, thawed) = match common::unified() {
        true => ("/sys/fs/cgroup", "cgroup.freeze", "1", "0"),
        false => ("/sys/fs/cgroup/freezer", "freezer.state", "FROZEN", "THAWED"),
    };
    let folder = std::path::Path::new(root).join(format!("hull-test-{}/c", bundle.id));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(file), frozen).unwrap();
    bundle.run().failed(1, "container's cgroup unexpectedly frozen");
    fs::write(folder.join(file), thawed).unwrap();
    bundle.run().succeeded();
    bundle.assert_nothing_left();
}
