//! `kill -9` of `rrun run -d` and of monitors at any moment: what is left is found, told truly, and gone after `rm`.

use std::path::Path;
use std::process::Command as Host;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tests::{Command, Sandbox, eventually, leaks, needs};

/// How many moments are tried.
const KILLS: u32 = 100;

/// A sandbox with a bridge of its own, which goes with it.
struct World {
    sandbox: Sandbox,
    bridge: String,
    subnet: String,
}

impl World {
    fn new() -> World {
        let sandbox = Sandbox::new();
        sandbox.import_busybox();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = std::process::id() * 2 + COUNT.fetch_add(1, Ordering::Relaxed) % 2;
        let bridge = format!("hullk{:x}", number & 0xff_ffff);
        let subnet = format!("10.{}.{}.0/24", 192 + number / 256 % 32, number % 256);
        World { sandbox, bridge, subnet }
    }

    fn rrun(&self, arguments: &[&str]) -> Command {
        self.sandbox
            .rrun(arguments)
            .env("HULL_BRIDGE_NAME", &self.bridge)
            .env("HULL_BRIDGE_SUBNET", &self.subnet)
            .deadline(Duration::from_secs(60))
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
        let ports = Path::new("/sys/class/net").join(&self.bridge).join("brif");
        eventually(&format!("nothing is left after {moment}: {:?}", self.sandbox.leaks()), || {
            self.sandbox.leaks().is_empty()
                && leaks::names_in(&ports).next().is_none()
                && leaks::names_in(&self.sandbox.state().join("netns")).next().is_none()
        });
        let rules = Host::new("iptables-save").output().expect("iptables is installed").stdout;
        let rules = String::from_utf8_lossy(&rules);
        let subnet = self.subnet.trim_end_matches("0/24");
        let left = rules.lines().filter(|rule| rule.contains(&format!(" {subnet}")) && rule.contains("/32"));
        assert_eq!(left.collect::<Vec<_>>(), Vec::<&str>::new(), "rules after {moment}");
        let addresses = self.sandbox.root().join("cni/networks");
        for network in leaks::names_in(&addresses) {
            let folder = addresses.join(network);
            let taken = leaks::names_in(&folder).filter(|name| name.starts_with("10."));
            assert_eq!(taken.collect::<Vec<_>>(), Vec::<String>::new(), "addresses after {moment}");
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = Host::new("ip").args(["link", "delete", &self.bridge]).output();
    }
}

#[test]
fn a_detached_run_killed_at_any_moment_leaves_what_rm_removes() {
    needs!("root");
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
    world.sandbox.nothing_remains(&[]);
}

#[test]
fn the_end_of_a_container_whose_monitor_was_killed_is_told_as_unknown() {
    needs!("root");
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
    world.sandbox.nothing_remains(&[]);
}
