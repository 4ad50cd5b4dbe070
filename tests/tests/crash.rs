//! `kill -9` at any moment: nothing lives on, the store is whole, and the next command works.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tests::{Command, Sandbox, eventually, leaks, needs};

/// How many moments are tried for each program.
const KILLS: u32 = 50;

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
    sandbox.rrun(["run", "--rm", "killed", "cat", "/work/three"]).run().succeeds().stdout_has("one");
    sandbox.nothing_remains(&ids);
}

#[test]
fn rrun_killed_at_any_moment() {
    needs!("root");
    let sandbox = Sandbox::new();
    sandbox.import_busybox();
    let run =
        || sandbox.rrun(["run", "--rm", "busybox", "sh", "-c", "echo x > /file; sleep 0.02; cat /file"]);
    let mut ids = BTreeSet::new();
    kill_often(&sandbox, run, || ids.extend(leaks::names_in(&sandbox.root().join("containers"))));

    run().run().succeeds().stdout_is("x\n");
    sandbox.nothing_remains(&ids);
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
        eventually(&format!("all processes ended after a kill at {moment:?}: {:?}", sandbox.leaks()), || {
            sandbox.leaks().is_empty()
        });
        sandbox.rrun(["system", "check"]).deadline(Duration::from_secs(20)).run().succeeds();
    }
}
