//! Attacks that meet the program while it works: what is swapped between check and use, and who looks at a process on
//! its way into a container. As in `attacks`, with a canary on the host.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Bundle, Canary, ROCI, repelled, wait_for};
use runtime::fault::Defence;
use rustix::fs::{CWD, RenameFlags};
use serde_json::json;

/// Exchanges two entries without pause while `work` is done.
fn while_swapping<T>(one: &Path, other: &Path, work: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                rustix::fs::renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).unwrap();
            }
        });
        let result = work();
        stop.store(true, Ordering::Relaxed);
        result
    })
}

/// Places of mounts in a volume in which `place` is now a folder, now a link to the host.
fn swapped_destinations_lead_outside(destination: impl Fn(usize) -> String + Copy) {
    const ROUNDS: usize = 10_000;
    const AT_ONCE: usize = 200;
    repelled(&[Defence::InRoot], |without| {
        let canary = Canary::new();
        let shared = tempfile::tempdir().unwrap();
        let (place, swap) = (shared.path().join("place"), shared.path().join("swap"));
        fs::create_dir_all(place.join("target")).unwrap();
        symlink(canary.path(), &swap).unwrap();
        let (mut rounds, mut runs) = (0, 0);
        while_swapping(&place, &swap, || {
            while rounds < ROUNDS && !canary.is_touched() {
                runs += 1;
                assert!(runs < ROUNDS, "only {rounds} mounts in {runs} runs");
                let mut bundle = Bundle::without(without, &["true"]);
                let volume =
                    json!({ "destination": "/shared", "source": shared.path(), "options": ["rbind"] });
                bundle.set("/mounts/-", volume);
                for round in rounds..rounds + AT_ONCE {
                    let place =
                        json!({ "destination": destination(round), "type": "tmpfs", "source": "tmpfs" });
                    bundle.set("/mounts/-", place);
                }
                let done = bundle.run();
                assert!(done.code == 0 || done.code == 1, "{done:?}");
                // One that failed on the way is tried again: that counts what was done and no more.
                rounds += if done.code == 0 { AT_ONCE } else { 0 };
                bundle.assert_nothing_left();
            }
        });
        canary.is_touched()
    });
}

#[test]
fn a_swapped_mount_destination_never_leads_outside() {
    // CVE-2021-30465. What is mounted on cannot be seen from here, but the folder that is made in it can.
    swapped_destinations_lead_outside(|round| match round % 2 {
        0 => "/shared/place/target".to_owned(),
        _ => "/shared/place/target/inside".to_owned(),
    });
}

#[test]
fn a_mount_point_is_never_made_outside() {
    // CVE-2024-45310
    swapped_destinations_lead_outside(|round| format!("/shared/place/made-{round}/deep"));
}

/// A command for the container that is this very program: it waits in there until somebody reads from /tmp/fifo.
const ITSELF: [&str; 5] = ["/bin/itself", "--log", "/tmp/fifo", "state", "x"];

/// A bundle in which the program itself can be executed, with the right to mount and to trace.
fn hospitable(without: &'static [Defence], args: &[&str]) -> Bundle {
    let mut bundle = Bundle::without(without, args);
    symlink("/proc/self/exe", bundle.rootfs().join("bin/itself")).unwrap();
    rustix::fs::mkfifoat(CWD, bundle.rootfs().join("tmp/fifo"), rustix::fs::Mode::from_raw_mode(0o600))
        .unwrap();
    // A debug build has libraries.
    for folder in ["/lib", "/lib64", "/usr/lib"] {
        if Path::new(folder).exists() {
            bundle.set(
                "/mounts/-",
                json!({ "destination": folder, "source": folder, "options": ["rbind", "ro"] }),
            );
        }
    }
    for set in ["bounding", "effective", "permitted"] {
        let all = ["CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_KILL"];
        bundle.set(&format!("/process/capabilities/{set}"), json!(all));
    }
    bundle
}

/// Finds the program in the container's /proc, keeps its image, makes mount and file writable, and writes as soon as
/// nobody executes it any more.
const OVERWRITE: &str = "
    while true; do for p in /proc/[0-9]*; do
        if grep -q -a /tmp/fifo $p/cmdline 2>/dev/null && ! grep -q -a cmdline $p/cmdline; then
            exec 9< $p/exe; mount -o remount,bind,rw none $p/exe 2>/dev/null; echo > /tmp/held; break 2
        fi
    done; done
    for i in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19; do
        (echo owned > /proc/self/fd/9) 2>/dev/null && break; sleep 0.05
    done";

/// Makes a victim of a copy of the program, and says whether the copy was changed.
fn overwrites(
    victim: impl Fn(&Path, &Bundle) -> (Child, Option<Bundle>),
    without: &'static [Defence],
) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("roci");
    fs::copy(ROCI, &copy).unwrap();
    let before = fs::read(&copy).unwrap();
    let bundle = hospitable(without, &["sleep", "1000"]);
    bundle.start();
    let (mut program, second) = victim(&copy, &bundle);
    let mut attacker = bundle.roci(&["exec", &bundle.id, "sh", "-c", OVERWRITE]).spawn().unwrap();
    wait_for("the image is held", || bundle.rootfs().join("tmp/held").exists());
    let fifo = second.as_ref().unwrap_or(&bundle).rootfs().join("tmp/fifo");
    fs::read(fifo).unwrap();
    program.wait().unwrap();
    attacker.wait().unwrap();
    fs::read(&copy).unwrap() != before
}

/// The command of a bundle, executed by another copy of the program.
fn by(copy: &Path, command: &Command) -> Child {
    let mut other = Command::new(copy);
    other.args(command.get_args()).current_dir(command.get_current_dir().unwrap()).env_clear();
    other.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    other.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn the_program_cannot_be_written_by_who_finds_it_in_proc() {
    // CVE-2019-5736, for exec and for run; the program waits in the container, and does nothing to hide.
    repelled(&[Defence::ProtectedImage], |without| {
        overwrites(
            |copy, bundle| {
                let exec = [&["exec", &*bundle.id][..], &ITSELF].concat();
                (by(copy, &bundle.roci(&exec)), None)
            },
            without,
        )
    });
    repelled(&[Defence::ProtectedImage], |without| {
        overwrites(
            |copy, bundle| {
                let mut second = hospitable(without, &ITSELF);
                let pids = format!("/proc/{}/ns/pid", bundle.state()["pid"]);
                second.config["linux"]["namespaces"][0]["path"] = json!(pids);
                second.write_config();
                (by(copy, &second.roci(&["run", &second.id])), Some(second))
            },
            without,
        )
    });
}

#[test]
fn a_joining_process_cannot_be_looked_into() {
    // CVE-2016-9962: root of the container tries every process that appears.
    let mut bundle = Bundle::new(&["true"]);
    bundle.shell(
        "echo > /tmp/up; while true; do for p in /proc/[0-9]*; do \
         case $p in /proc/1|/proc/$$) continue;; esac; \
         ls -l $p/fd $p/cwd $p/root $p/exe 2>/dev/null | grep -- '->' | grep -v -e /dev/null -e pipe: -e busybox -e ' /$' \
         >> /tmp/seen; done; done",
    );
    bundle.start();
    wait_for("the watcher", || bundle.rootfs().join("tmp/up").exists());
    for _ in 0..60 {
        bundle.exec(&["true"]).succeeded();
    }
    let seen = fs::read_to_string(bundle.rootfs().join("tmp/seen")).unwrap_or_default();
    assert!(!shows_the_host(&seen, &bundle), "{seen}");
}

/// The same without haste: the process is stopped when it has the container's rights and nothing but its command is left to
/// do.
#[cfg(feature = "fault-injection")]
#[test]
fn a_joining_process_that_stands_still_shows_nothing() {
    repelled(&[Defence::NotDumpable], |without| {
        let bundle = Bundle::without(without, &["sleep", "1000"]);
        bundle.start();
        let mut joining = bundle.roci(&["exec", &bundle.id, "true"]);
        let mut joining = joining.env("HULL_FAULT", "42:stop").spawn().unwrap();
        let first = bundle.state()["pid"].to_string();
        let stopped = || {
            let list =
                bundle.cgroups().into_iter().map(|folder| fs::read_to_string(folder.join("cgroup.procs")));
            let list: String = list.map(Result::unwrap).collect();
            list.lines().find(|pid| *pid != first && is_stopped(pid)).map(str::to_owned)
        };
        wait_for("the stop", || stopped().is_some());
        let script = "for p in /proc/[0-9]*; do case $p in /proc/1|/proc/$$) continue;; esac; \
            ls -l $p/fd $p/cwd $p/root $p/exe 2>/dev/null; done; true";
        let seen = bundle.exec(&["sh", "-c", script]).succeeded().out;
        let pid = rustix::process::Pid::from_raw(stopped().unwrap().parse().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
        assert!(joining.wait().unwrap().success());
        shows_the_host(&seen, &bundle)
    });
}

#[cfg(feature = "fault-injection")]
fn is_stopped(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") T "))
}

/// Does a listing have links to the program or to anything else of the host's?
fn shows_the_host(listing: &str, bundle: &Bundle) -> bool {
    let own = bundle.path().to_str().unwrap();
    listing.lines().any(|line| line.contains("roci") || line.contains(own) || line.contains("socket:"))
}
