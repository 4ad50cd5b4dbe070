//! `kill -9` of `rrun run -d` and of monitors at any moment: what is left is found, told truly, and gone after `rm`.

use std::path::Path;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use tests::{Command, Sandbox, eventually, needs};

/// How many moments are tried.
const KILLS: u32 = 100;

/// A sandbox whose containers can be cleared away.
struct World {
    sandbox: Sandbox,
}

impl World {
    fn new() -> World {
        let sandbox = Sandbox::new();
        sandbox.import_busybox();
        World { sandbox }
    }

    fn rrun(&self, arguments: &[&str]) -> Command {
        self.sandbox.rrun(arguments)
    }

    fn containers(&self) -> Vec<String> {
        let ids = self.rrun(&["ps", "-aq", "--no-trunc"]).run();
        ids.succeeds();
        ids.stdout().lines().map(str::to_owned).collect()
    }

    /// Removes all containers; then nothing of them is left, on the host's network neither.
    fn clear(&self, moment: &str) {
        for id in self.containers() {
            self.rrun(&["rm", "-f", &id]).run().succeeds();
        }
        assert_eq!(self.containers(), Vec::<String>::new(), "after {moment}");
        eventually(&format!("nothing is left after {moment}: {:?}", self.sandbox.leaks()), || {
            self.sandbox.leaks().is_empty()
        });
        self.sandbox.nothing_remains([]);
    }
}

#[test]
fn a_detached_run_killed_at_any_moment_leaves_what_rm_removes() {
    needs!("root", "cni");
    let world = World::new();
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port").port();
    let publish = format!("{port}:80");
    let run = || world.rrun(&["run", "-d", "-p", &publish, "busybox", "sleep", "1000"]);
    let start = Instant::now();
    run().run().succeeds();
    let whole = start.elapsed();
    world.clear("the first run");
    for kill in 0..KILLS {
        let moment = whole.mul_f64(1.1 * f64::from(kill) / f64::from(KILLS));
        let running = run().spawn();
        std::thread::sleep(moment);
        running.signal(Signal::KILL);
        drop(running.wait());
        world.clear(&format!("a kill at {moment:?}"));
    }
    // And the port is free again.
    run().run().succeeds();
    world.clear("the last run");
}

#[test]
fn the_end_of_a_container_whose_monitor_was_killed_is_told_as_unknown() {
    needs!("root", "cni");
    let world = World::new();
    world.rrun(&["run", "-d", "--name", "lost", "busybox", "sleep", "1000"]).run().succeeds();
    let inspect = |field: &str| {
        let outcome = world.rrun(&["inspect", "-f", &format!("{{{{.State.{field}}}}}"), "lost"]).run();
        outcome.succeeds();
        outcome.stdout().trim().to_owned()
    };
    assert_eq!(inspect("Status"), "running");
    let first: i32 = inspect("Pid").parse().expect("a pid");
    let status = std::fs::read_to_string(format!("/proc/{first}/status")).expect("it runs");
    let monitor = status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok());
    let monitor = Pid::from_raw(monitor.expect("a parent")).expect("a pid");
    kill_process(monitor, Signal::KILL).expect("it lives");
    eventually("the container dies with its monitor", || {
        !Path::new(&format!("/proc/{first}/exe")).exists()
            || std::fs::read_link(format!("/proc/{first}/exe")).is_err()
    });
    assert_eq!((inspect("Status"), inspect("ExitCode")), ("exited".to_owned(), "255".to_owned()));
    world.rrun(&["start", "lost"]).run().succeeds();
    assert_eq!(inspect("Status"), "running");
    world.clear("a killed monitor");
}
