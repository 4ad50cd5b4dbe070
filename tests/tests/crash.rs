//! `kill -9` at any moment: nothing lives on, the store is whole, and the next command works.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tests::{Command, Sandbox, eventually, leaks, needs};

/// How many moments are tried for each program.
const KILLS: u32 = 50;

/// How long what was killed may take to be gone.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn rbuild_killed_at_any_moment() {
    needs!("root");
    let sandbox = Sandbox::new();
    sandbox.import_busybox();
    for number in 0..200 {
        sandbox.write(&format!("context/files/{number}"), vec![b'x'; 2000]);
    }
    sandbox.write(
        "context/Dockerfile",
        "FROM busybox AS first\nRUN echo one > /one && sleep 0.02\nCOPY files /files\nWORKDIR /work\n\
         FROM first\nCOPY --from=first /one /two\nRUN cat /two /files/1 > three\nCMD [\"true\"]\n",
    );
    let build = || sandbox.rbuild(["--no-cache", "-t", "killed", "context"]);
    let mut ids = BTreeSet::new();
    kill_often(&sandbox, build, || ids.extend(leaks::names_in(&sandbox.state().join("oci"))));

    build().run().succeeds();
    sandbox
        .rrun(["run", "--rm", "--network", "none", "killed", "cat", "/work/three"])
        .run()
        .succeeds()
        .stdout_has("one");
    sandbox.nothing_remains(&ids);
}

#[test]
fn rrun_killed_at_any_moment() {
    needs!("root");
    let sandbox = Sandbox::new();
    sandbox.import_busybox();
    let run = || {
        sandbox.rrun([
            "run",
            "--rm",
            "--network",
            "none",
            "busybox",
            "sh",
            "-c",
            "echo x > /file; sleep 0.02; cat /file",
        ])
    };
    let mut ids = BTreeSet::new();
    kill_often(&sandbox, run, || ids.extend(leaks::names_in(&sandbox.root().join("containers"))));

    run().run().succeeds().stdout_is("x\n");
    sandbox.nothing_remains(&ids);
}

/// Whoever comes next releases addresses, links and rules. Of `rrun run -d` that is told in `crash_detached`.
#[test]
fn rrun_killed_with_a_network() {
    needs!("root", "cni");
    let sandbox = Sandbox::new();
    sandbox.import_busybox();
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let publish = format!("{}:80", port.expect("a free port").port());
    let script = "echo x > /file; sleep 0.02; cat /file";
    let run = || sandbox.rrun(["run", "--rm", "-p", &publish, "busybox", "sh", "-c", script]);
    let mut ids = BTreeSet::new();
    kill_often(&sandbox, run, || ids.extend(leaks::names_in(&sandbox.root().join("containers"))));
    run().run().succeeds().stdout_is("x\n");
    sandbox.nothing_remains(&ids);
}

#[test]
fn a_build_killed_together_with_its_runtime_is_freed_by_the_next() {
    needs!("root");
    let sandbox = Sandbox::new();
    sandbox.import_busybox();
    sandbox.write("context/Dockerfile", "FROM busybox\nRUN sleep 1000\n");
    sandbox.write("next/Dockerfile", "FROM busybox\nRUN true\n");
    let running = sandbox.rbuild(["-t", "killed", "context"]).spawn();
    let state = sandbox.state().join("oci");
    let (mut id, mut step) = (String::new(), 0);
    eventually("the step runs", || {
        id = leaks::names_in(&state).next().unwrap_or_default();
        step = pid_of_step(&state.join(&id));
        fs::read(format!("/proc/{step}/cmdline")).is_ok_and(|command| command.starts_with(b"sleep"))
    });
    for pid in [parent_of(step), running.pid() as i32] {
        kill_process(Pid::from_raw(pid).expect("a pid"), Signal::KILL).expect("it lives");
    }
    drop(running.wait());
    eventually("the step ended with its runtime", || {
        fs::read_to_string(format!("/proc/{step}/status"))
            .map_or(true, |status| status.contains("Z (zombie)"))
    });
    sandbox.rbuild(["-t", "next", "next"]).run().succeeds();
    sandbox.nothing_remains([&id]);
}

/// The first process of a container by its record; 0 until there is one.
fn pid_of_step(folder: &Path) -> i32 {
    let text = fs::read(folder.join("state.json")).unwrap_or_default();
    let record: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    record["pid"].as_i64().unwrap_or_default() as i32
}

fn parent_of(pid: i32) -> i32 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok());
    parent.expect("the step has a parent")
}

/// Runs the command once for its time, then again and again, killed at moments spread over that time.
fn kill_often(sandbox: &Sandbox, command: impl Fn() -> Command, mut look: impl FnMut()) {
    let start = Instant::now();
    command().run().succeeds();
    let whole = start.elapsed();
    let mut random = u64::from(std::process::id()) << 16 | 1;
    for kill in 0..KILLS {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // One moment in each fiftieth of the run, and a little beyond its end.
        let share = (f64::from(kill) + (random >> 40) as f64 / f64::from(1 << 24)) / f64::from(KILLS);
        let moment = whole.mul_f64(share * 1.1);
        let running = command().spawn();
        std::thread::sleep(moment);
        running.signal(Signal::KILL);
        look();
        drop(running.wait());
        // What a killed program left of networks is released by the next.
        let ends = Instant::now() + PATIENCE;
        while !sandbox.leaks().is_empty() {
            assert!(Instant::now() < ends, "left after a kill at {moment:?}: {:?}", sandbox.leaks());
            sandbox.rrun(["ps"]).run().succeeds();
            std::thread::sleep(Duration::from_millis(5));
        }
        sandbox.rrun(["system", "check"]).deadline(Duration::from_secs(20)).run().succeeds();
    }
}
