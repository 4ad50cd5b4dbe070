//! Hooks of all six kinds through the real program: when they run, what they see, what their failure does.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod common;

use std::fs;

use common::Bundle;
use serde_json::{Value, json};

const POINTS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// A hook that runs a script with a shell.
fn shell(script: &str) -> Value {
    json!({ "path": "/bin/sh", "args": ["sh", "-c", script] })
}

/// A hook that adds its state to a file.
fn writes(file: &str) -> Value {
    shell(&format!("cat >> {file}; echo >> {file}"))
}

fn lines(path: std::path::PathBuf) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn each_runs_once_in_order_and_knows_the_container() {
    let mut bundle = Bundle::new(&["true"]);
    let seen = bundle.path().join("seen");
    let file = seen.to_str().unwrap().to_owned();
    bundle.set("/annotations", json!({ "key": "value" }));
    bundle.set(
        "/hooks",
        json!({
            "prestart": [writes(&file)], "createRuntime": [writes(&file), writes(&file)],
            "createContainer": [writes(&file)], "startContainer": [writes("/inside")],
            "poststart": [writes(&file)], "poststop": [writes(&file)]
        }),
    );
    bundle.shell("test -s /inside && echo command >> /inside; sleep 1000");
    bundle.create().succeeded();
    let pid = bundle.state()["pid"].clone();
    let told = |field: &str| lines(seen.clone()).iter().map(|state| state[field].clone()).collect::<Vec<_>>();
    assert_eq!(told("status"), ["created", "creating", "creating", "creating"]);
    // The last of them saw itself in the container's PID namespace.
    assert_eq!(told("pid"), [pid.clone(), pid.clone(), pid.clone(), json!(1)]);
    assert!(!bundle.rootfs().join("inside").exists());

    bundle.verb(&["start", &bundle.id]).succeeded();
    assert_eq!((told("status")[4].clone(), told("pid")[4].clone()), (json!("running"), pid));
    let inside = bundle.rootfs().join("inside");
    common::wait_for("the command", || fs::read_to_string(&inside).unwrap().ends_with("command\n"));
    let state: Value =
        serde_json::from_str(fs::read_to_string(&inside).unwrap().lines().next().unwrap()).unwrap();
    assert_eq!((&state["status"], &state["pid"]), (&json!("created"), &json!(1)));

    bundle.verb(&["delete", "--force", &bundle.id]).succeeded();
    assert_eq!(told("status")[5], "stopped");
    for state in lines(seen) {
        assert_eq!((&state["id"], &state["bundle"]), (&json!(bundle.id), &json!(bundle.path())));
        assert_eq!((&state["ociVersion"], &state["annotations"]["key"]), (&json!("1.2.0"), &json!("value")));
    }
    bundle.assert_nothing_left();
}

#[test]
fn the_root_is_where_it_was_said_to_be() {
    let mut bundle = Bundle::new(&["true"]);
    let given = bundle.path().join("given");
    fs::write(&given, "given\n").unwrap();
    let (given, root) = (given.display(), bundle.rootfs());
    fs::write(root.join("etc/place"), "").unwrap();
    let root = root.display();
    // What this one mounts only the container sees.
    let script = format!("test -e {root}/proc/self && mount --bind {given} {root}/etc/place");
    bundle.set("/hooks", json!({ "createContainer": [shell(&script)] }));
    bundle.shell("cat /etc/place; ls -d /*/given 2>/dev/null");
    assert_eq!(bundle.run().out, "given\n");
    assert_eq!(fs::read_to_string(bundle.rootfs().join("etc/place")).unwrap(), "");
    // One of the runtime's namespace reaches it through the process.
    let script = format!(
        "pid=$(grep -o '\"pid\":[0-9]*' | cut -d: -f2); nsenter -t $pid -m mount --bind {given} {root}/etc/place"
    );
    bundle.set("/hooks", json!({ "createRuntime": [shell(&script)] }));
    assert_eq!(bundle.run().out, "given\n");
    bundle.assert_nothing_left();
}

#[test]
fn a_failure_stops_what_it_can_and_leaves_nothing() {
    let mut bundle = Bundle::new(&["echo", "ran"]);
    for point in POINTS {
        let mut hooks = json!({});
        hooks[point] = json!([{ "path": "/bin/true" }, shell("echo why >&2; exit 3")]);
        bundle.set("/hooks", hooks);
        let done = bundle.run();
        let words = format!("error running {point} hook #1: exit status 3, it said: why");
        assert!(done.err.contains(&words), "{done:?}");
        match point {
            // Too late to change anything.
            "poststop" => assert_eq!((done.code, &*done.out), (0, "ran\n"), "{done:?}"),
            "poststart" => assert_ne!(done.code, 0, "{done:?}"),
            _ => assert!(done.code != 0 && done.out.is_empty(), "{done:?}"),
        }
        bundle.assert_nothing_left();
    }
    // A failed poststart ends a container that somebody else waits for, too.
    bundle.args(&["sleep", "1000"]).set("/hooks", json!({ "poststart": [{ "path": "/bin/false" }] }));
    bundle.create().succeeded();
    bundle.verb(&["start", &bundle.id]).failed(1, "error running poststart hook #0");
    bundle.wait_status("stopped");
    bundle.verb(&["delete", &bundle.id]).succeeded();
    // So has one whose hook in it failed, by the time that its start does.
    for _ in 0..5 {
        bundle.set("/hooks", json!({ "startContainer": [{ "path": "/bin/false" }] }));
        bundle.create().succeeded();
        bundle.verb(&["start", &bundle.id]).failed(1, "error running startContainer hook #0");
        bundle.verb(&["delete", &bundle.id]).succeeded();
    }
    // All of the last kind run, whatever becomes of the first.
    let last = bundle.path().join("last");
    bundle.set("/hooks", json!({ "poststop": [{ "path": "/bin/false" }, writes(last.to_str().unwrap())] }));
    bundle.start();
    let done = bundle.verb(&["delete", "--force", &bundle.id]).succeeded();
    assert!(done.err.contains("poststop hook #0") && last.exists(), "{done:?}");
}

#[test]
fn a_hook_that_hangs_is_ended() {
    let mut bundle = Bundle::new(&["true"]);
    for point in ["createRuntime", "createContainer", "startContainer"] {
        let mut hooks = json!({});
        hooks[point] = json!([{ "path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1 }]);
        bundle.set("/hooks", hooks);
        bundle.run().failed(1, "hook ran past specified timeout of 1.0s");
        bundle.assert_nothing_left();
    }
}

#[test]
fn a_start_hook_has_the_commands_surroundings_unless_it_has_its_own() {
    let mut bundle = Bundle::new(&["cat", "/seen"]);
    bundle.set("/process/env/-", json!("MINE=yes"));
    let own = json!({ "path": "/bin/sh", "args": ["sh", "-c", "echo own$MINE >> /seen"], "env": ["A=b"] });
    bundle.set(
        "/hooks",
        json!({ "startContainer": [shell("pwd > /seen; echo $MINE >> /seen; id -u >> /seen"), own] }),
    );
    bundle.set("/process/cwd", json!("/tmp"));
    assert_eq!(bundle.run().succeeded().out, "/tmp\nyes\n0\nown\n");
    // It holds no descriptor of ours.
    bundle.set("/hooks", json!({ "startContainer": [shell("ls /proc/self/fd > /seen")] }));
    assert_eq!(bundle.run().succeeded().out, "0\n1\n2\n3\n");
}

#[test]
fn a_list_without_variables_is_one() {
    let mut bundle = Bundle::new(&["true"]);
    let file = bundle.path().join("variables");
    let script = format!("tr '\\0' '\\n' < /proc/self/environ > {}", file.display());
    let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", script], "env": [] });
    bundle.set("/hooks", json!({ "createRuntime": [hook] }));
    bundle.run().succeeded();
    assert_eq!(fs::read_to_string(file).unwrap(), "");
}

#[test]
fn a_start_hook_is_under_the_filter() {
    let mut bundle = Bundle::new(&["true"]);
    bundle.set(
        "/linux/seccomp",
        json!({ "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_KILL_PROCESS" }] }),
    );
    bundle
        .set("/hooks", json!({ "startContainer": [{ "path": "/bin/mkdir", "args": ["mkdir", "/tmp/x"] }] }));
    for promised in [true, false] {
        bundle.set("/process/noNewPrivileges", json!(promised));
        bundle.run().failed(1, "startContainer hook #0: signal: bad system call");
    }
}

#[test]
fn a_start_hook_needs_nothing_of_ours_from_the_filter() {
    // What it reads and says is in memory files, which are made before the filter that forbids them.
    let mut bundle = Bundle::new(&["cat", "/seen"]);
    bundle.set(
        "/hooks",
        json!({ "startContainer": [shell("grep -o 'status\":\"[a-z]*' > /seen"), shell("exit 3")] }),
    );
    bundle.set(
        "/linux/seccomp",
        json!({ "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": ["memfd_create"], "action": "SCMP_ACT_KILL_PROCESS" }] }),
    );
    for promised in [true, false] {
        bundle.set("/process/noNewPrivileges", json!(promised));
        bundle.run().failed(1, "startContainer hook #1: exit status 3");
        assert_eq!(fs::read_to_string(bundle.rootfs().join("seen")).unwrap(), "status\":\"created\n");
    }
}

#[test]
fn what_creation_left_undone_is_told_to_the_last_hooks() {
    let mut bundle = Bundle::new(&["true"]);
    let told = bundle.path().join("told");
    bundle.set(
        "/hooks",
        json!({ "createRuntime": [{ "path": "/bin/false" }], "poststop": [writes(told.to_str().unwrap())] }),
    );
    bundle.create().failed(1, "createRuntime hook #0");
    assert_eq!(lines(told)[0]["status"], "stopped");
    bundle.assert_nothing_left();
}

#[test]
fn a_creation_that_hangs_in_a_hook_can_be_cleared() {
    for point in ["createRuntime", "createContainer"] {
        let mut bundle = Bundle::new(&["true"]);
        let mut hooks = json!({});
        hooks[point] = json!([shell("echo > up; exec sleep 1000")]);
        bundle.set("/hooks", hooks);
        bundle.write_config();
        let mut creator = bundle
            .roci(&["create", &bundle.id])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let up = || bundle.path().join("up").exists() || bundle.rootfs().join("up").exists();
        common::wait_for("the hook", up);
        assert_eq!(bundle.status(), "creating");
        bundle.verb(&["start", &bundle.id]).failed(1, "creating");
        creator.kill().unwrap();
        creator.wait().unwrap();
        bundle.verb(&["delete", "--force", &bundle.id]).succeeded();
        bundle.assert_nothing_left();
        // A hook of the runtime's namespace is nobody's once its runtime was killed.
        let hook = fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let path = entry.ok()?.path();
            let cwd = fs::read_link(path.join("cwd")).ok()?;
            (cwd == bundle.path()).then(|| path.file_name().unwrap().to_str().unwrap().parse::<i32>().ok())?
        });
        for pid in hook.collect::<Vec<_>>() {
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

#[test]
fn a_start_that_hangs_in_a_hook_is_ended_by_force() {
    let mut bundle = Bundle::new(&["true"]);
    bundle.set("/hooks", json!({ "startContainer": [shell("echo > /up; exec sleep 1000")] }));
    bundle.create().succeeded();
    let mut starter =
        bundle.roci(&["start", &bundle.id]).stderr(std::process::Stdio::null()).spawn().unwrap();
    common::wait_for("the hook", || bundle.rootfs().join("up").exists());
    bundle.verb(&["delete", "--force", &bundle.id]).succeeded();
    // To it this looks like a command that was executed and ended.
    starter.wait().unwrap();
    bundle.assert_nothing_left();
}

#[test]
fn a_root_behind_a_link_is_found() {
    let mut bundle = Bundle::new(&["echo", "ran"]);
    std::os::unix::fs::symlink("rootfs", bundle.path().join("link")).unwrap();
    bundle.set("/root/path", json!("link"));
    bundle.set("/hooks", json!({ "createContainer": [{ "path": "/bin/true" }] }));
    assert_eq!(bundle.run().succeeded().out, "ran\n");
}
