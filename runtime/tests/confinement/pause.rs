//! The process that holds a pod's namespaces.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use nix::sched::CloneFlags;
use runtime::error::{Error, Kind};
use runtime::namespaces::ChildrenIn;
use runtime::pause::{self, PauseRequest, Paused};
use runtime::process::{Exit, Signal, signal, wait};
use runtime::sys::clone::{Cloned, clone3};
use runtime::sys::fd::{Range, close_range};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::Test;
use crate::cgroups::Group;
use crate::child;

pub const TESTS: &[Test] = &[
    ("pause::it_has_what_was_asked_for_and_nothing_else", it_has_what_was_asked_for_and_nothing_else),
    ("pause::namespaces_left_out_are_the_hosts", namespaces_left_out_are_the_hosts),
    ("pause::it_reaps_the_orphans_of_the_pod", it_reaps_the_orphans_of_the_pod),
    ("pause::it_ends_when_told_to_and_only_then", it_ends_when_told_to_and_only_then),
    ("pause::it_dies_with_its_parent", it_dies_with_its_parent),
    ("pause::a_worker_makes_it_its_parents_child", a_worker_makes_it_its_parents_child),
    ("pause::what_fails_leaves_nothing", what_fails_leaves_nothing),
    ("pause::it_takes_little_memory", it_takes_little_memory),
];

const ALL: CloneFlags =
    CloneFlags::CLONE_NEWPID.union(CloneFlags::CLONE_NEWIPC).union(CloneFlags::CLONE_NEWUTS);

pub fn request(group: &Group) -> PauseRequest {
    PauseRequest {
        namespaces: ALL,
        network: None,
        hostname: None,
        sysctls: Vec::new(),
        cgroup: group.beside("pause"),
        as_sibling: false,
    }
}

/// A pause process of this one, killed and reaped with its value.
pub struct Running(Paused);

impl Running {
    pub fn start(request: PauseRequest) -> Running {
        Running(pause::create(request).unwrap())
    }

    pub fn pid(&self) -> i32 {
        self.0.pid
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{name}", self.0.pid)).unwrap()
    }

    /// A field of its status.
    fn status(&self, field: &str) -> String {
        let status = self.file("status");
        let value = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        value.unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn namespace(&self, name: &str) -> u64 {
        fs::metadata(format!("/proc/{}/ns/{name}", self.0.pid)).unwrap().ino()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = signal(self.0.pidfd.as_fd(), Signal::KILL);
        let _ = wait(&self.0.pidfd);
    }
}

fn own_namespace(name: &str) -> u64 {
    fs::metadata(format!("/proc/self/ns/{name}")).unwrap().ino()
}

/// Whether the process has ended, waiting for that if need be.
fn ends(pidfd: &OwnedFd, patience: Duration) -> bool {
    let time = Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: i64::from(patience.subsec_nanos()) };
    poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&time)).unwrap() == 1
}

/// Its name is set by the program itself, a moment after it was executed.
fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn it_has_what_was_asked_for_and_nothing_else() {
    let group = Group::new();
    let network = child::start(None, |gate| {
        nix::sched::unshare(CloneFlags::CLONE_NEWNET).unwrap();
        gate.say("made");
        gate.wait();
        String::new()
    });
    let mut network = network;
    network.hear();
    let path = format!("/proc/{}/ns/net", network.pid);
    let running = Running::start(PauseRequest {
        network: Some(path.clone().into()),
        hostname: Some("pod".to_owned()),
        sysctls: vec![
            ("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned()),
            ("kernel.msgmax".to_owned(), "4321".to_owned()),
        ],
        ..request(&group)
    });
    for name in ["pid", "ipc", "uts", "mnt", "net"] {
        assert_ne!(running.namespace(name), own_namespace(name), "{name}");
    }
    assert_eq!(running.namespace("net"), fs::metadata(&path).unwrap().ino());
    assert_eq!(running.namespace("user"), own_namespace("user"));
    wait_for("the name", || running.file("comm") == "pause\n");
    assert_eq!((running.file("cmdline").as_str(), running.file("environ").as_str()), ("/pause\0", ""));
    assert_eq!(running.status("NSpid").split(' ').next_back(), Some("1"));

    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(running.status(set), "0000000000000000", "{set}");
    }
    assert_eq!((running.status("NoNewPrivs"), running.status("Groups")), ("1".to_owned(), String::new()));
    assert_eq!(running.status("Uid"), "65535 65535 65535 65535");
    assert_eq!(running.status("Gid"), "65535 65535 65535 65535");
    assert_eq!(running.status("Threads"), "1");
    // Lowering it takes a right that this machine may not have.
    match running.0.clamped.as_slice() {
        [] => assert_eq!(running.file("oom_score_adj"), "-998\n"),
        clamped => assert_eq!(clamped, ["process.oomScoreAdj: the machine does not allow -998"]),
    }
    let fd = format!("/proc/{}/fd", running.0.pid);
    assert_eq!(fs::read_dir(fd).unwrap().map(|entry| entry.unwrap().file_name()).next(), None);
    let root = format!("/proc/{}/root", running.0.pid);
    assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
    fs::write(format!("{root}/x"), "").unwrap_err();
    assert_eq!(running.file("mountinfo").lines().count(), 1, "{}", running.file("mountinfo"));
    let shares = ["cpu.shares", "cpu.weight"].map(|file| group.read_of("pause", "cpu", file));
    assert!(shares == [Some("2".to_owned()), None] || shares == [None, Some("1".to_owned())], "{shares:?}");

    let inside = child::run(|| {
        nix::sched::setns(&running.0.pidfd, CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWIPC).unwrap();
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        format!("{name} {}", fs::read_to_string("/proc/sys/kernel/msgmax").unwrap().trim())
    });
    assert_eq!(inside, "pod 4321");
    drop(running);
    network.finish();
}

fn namespaces_left_out_are_the_hosts() {
    let group = Group::new();
    let running = Running::start(PauseRequest { namespaces: CloneFlags::empty(), ..request(&group) });
    for name in ["pid", "ipc", "uts", "net", "user"] {
        assert_eq!(running.namespace(name), own_namespace(name), "{name}");
    }
    assert_ne!(running.namespace("mnt"), own_namespace("mnt"));
    // No PID 1 that the kernel protects, and as quick to end.
    signal(running.0.pidfd.as_fd(), Signal::TERM).unwrap();
    assert_eq!(wait(&running.0.pidfd).unwrap(), Exit::Code(0));
}

/// The children of a process that are in a PID namespace with it.
fn children(pid: i32) -> Vec<i32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    list.split_whitespace().map(|number| number.parse().unwrap()).collect()
}

fn it_reaps_the_orphans_of_the_pod() {
    let group = Group::new();
    let running = Running::start(request(&group));
    let visit = ChildrenIn::pid_namespace(running.0.pidfd.as_fd()).unwrap();
    // Ten orphans: signals of the same number are one while they wait.
    let parent = child::start(None, |_| {
        for _ in 0..10 {
            if let Cloned::Child = clone3(0, None).unwrap() {
                close_range(3, i32::MAX, Range::Close).unwrap();
                loop {
                    std::thread::sleep(Duration::from_secs(60));
                }
            }
        }
        "made".to_owned()
    });
    drop(visit);
    assert_eq!(parent.finish(), "made");
    let orphans = children(running.0.pid);
    assert_eq!(orphans.len(), 10);
    for &orphan in &orphans[1..] {
        rustix::process::kill_process(Pid::from_raw(orphan).unwrap(), rustix::process::Signal::KILL).unwrap();
    }
    wait_for("reaped orphans", || children(running.0.pid) == orphans[..1]);
    for orphan in &orphans[1..] {
        assert!(!fs::exists(format!("/proc/{orphan}")).unwrap());
    }
    // The namespace ends with its first process.
    let last = pidfd_open(Pid::from_raw(orphans[0]).unwrap(), PidfdFlags::empty()).unwrap();
    signal(running.0.pidfd.as_fd(), Signal::TERM).unwrap();
    assert_eq!(wait(&running.0.pidfd).unwrap(), Exit::Code(0));
    assert!(ends(&last, Duration::ZERO));
}

fn it_ends_when_told_to_and_only_then() {
    let group = Group::new();
    let running = Running::start(request(&group));
    for ignored in [libc::SIGHUP, libc::SIGUSR1, libc::SIGPIPE, libc::SIGCHLD, libc::SIGALRM, 40] {
        signal(running.0.pidfd.as_fd(), Signal(ignored)).unwrap();
    }
    signal(running.0.pidfd.as_fd(), Signal(libc::SIGSTOP)).unwrap();
    signal(running.0.pidfd.as_fd(), Signal(libc::SIGCONT)).unwrap();
    assert!(!ends(&running.0.pidfd, Duration::from_millis(50)));
    assert!(running.file("stat").contains(") S "));
    signal(running.0.pidfd.as_fd(), Signal(libc::SIGINT)).unwrap();
    assert_eq!(wait(&running.0.pidfd).unwrap(), Exit::Code(0));
    drop(running);
    // At once after it was made, before its first instruction.
    for _ in 0..20 {
        let group = Group::new();
        let running = Running::start(request(&group));
        signal(running.0.pidfd.as_fd(), Signal::TERM).unwrap();
        assert!(ends(&running.0.pidfd, Duration::from_secs(60)), "a signal was lost");
        assert_eq!(wait(&running.0.pidfd).unwrap(), Exit::Code(0));
    }
}

fn it_dies_with_its_parent() {
    let group = Group::new();
    let mut parent = child::start(None, |gate| {
        gate.say(&pause::create(request(&group)).unwrap().pid.to_string());
        gate.wait();
        String::new()
    });
    let pid = parent.hear().parse().unwrap();
    let pidfd = pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()).unwrap();
    assert!(!ends(&pidfd, Duration::from_millis(20)));
    parent.finish();
    assert!(ends(&pidfd, Duration::from_secs(60)));
}

fn a_worker_makes_it_its_parents_child() {
    let group = Group::new();
    let worker = child::start(None, |_| {
        let made = pause::create(PauseRequest { as_sibling: true, ..request(&group) }).unwrap();
        made.pid.to_string()
    });
    let pid: i32 = worker.finish().parse().unwrap();
    let pidfd = pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()).unwrap();
    // The worker has ended, and was not what it is bound to.
    assert!(!ends(&pidfd, Duration::from_millis(20)));
    signal(pidfd.as_fd(), Signal::TERM).unwrap();
    assert_eq!(wait(&pidfd).unwrap(), Exit::Code(0));
    // One that fails is no burden to either: killed by the worker, and reaped by us.
    let group = Group::new();
    let worker = child::start(None, |_| {
        let sysctls = vec![("kernel.msgmax".to_owned(), "no number".to_owned())];
        let failing = PauseRequest { as_sibling: true, sysctls, ..request(&group) };
        pause::create(failing).unwrap_err().to_string()
    });
    assert_eq!(worker.finish(), "cannot write the sysctl kernel.msgmax = no number: EINVAL");
    let status = rustix::process::wait(rustix::process::WaitOptions::empty()).unwrap();
    assert!(status.is_some());
}

fn what_fails_leaves_nothing() {
    let group = Group::new();
    let refused = |request: PauseRequest| -> Error {
        let error = pause::create(request).unwrap_err();
        assert!(!group.exists("pause"), "{error}");
        // No child, living or dead.
        let none = rustix::process::wait(rustix::process::WaitOptions::NOHANG);
        assert_eq!(none.unwrap_err(), rustix::io::Errno::CHILD, "{error}");
        error
    };
    let sysctl = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
    let made = |namespaces| PauseRequest { namespaces, ..request(&group) };
    let no_ipc = ALL - CloneFlags::CLONE_NEWIPC;
    for (wrong, words) in [
        (made(ALL | CloneFlags::CLONE_NEWUSER), "namespaces: a pod sandbox makes"),
        (
            PauseRequest { hostname: Some("x".to_owned()), ..made(ALL - CloneFlags::CLONE_NEWUTS) },
            "hostname: it would change the host",
        ),
        (PauseRequest { network: Some("/absent".into()), ..made(ALL) }, "net namespace: cannot open /absent"),
        (PauseRequest { network: Some("/etc/passwd".into()), ..made(ALL) }, "is no namespace"),
        (
            PauseRequest { sysctls: sysctl("kernel.msgmax", "1"), ..made(no_ipc) },
            "sysctl \"kernel.msgmax\": it would change the host",
        ),
        (
            PauseRequest { sysctls: sysctl("net.core.somaxconn", "1"), ..made(ALL) },
            "sysctl \"net.core.somaxconn\": it would change the host",
        ),
        (
            PauseRequest {
                network: Some("/proc/self/ns/net".into()),
                sysctls: sysctl("net.core.somaxconn", "1"),
                ..made(ALL)
            },
            "it would change the host",
        ),
    ] {
        let error = refused(wrong);
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(error.kind(), Kind::InvalidSpec, "{error}");
    }
    for (wrong, words) in [
        (
            PauseRequest { sysctls: sysctl("kernel.msgmax", "many"), ..made(ALL) },
            "cannot write the sysctl kernel.msgmax = many: EINVAL",
        ),
        (PauseRequest { hostname: Some("x".repeat(65)), ..made(ALL) }, "cannot set the hostname to"),
    ] {
        let error = refused(wrong);
        assert!(error.to_string().contains(words), "{error}");
    }
}

/// Its memory by /proc: all of it, and what is its alone.
pub fn memory(pid: i32) -> (u64, u64) {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let field = |name: &str| -> u64 {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    (field("Pss:"), field("Pss_Anon:"))
}

fn it_takes_little_memory() {
    let group = Group::new();
    let running = Running::start(request(&group));
    wait_for("the name", || running.file("comm") == "pause\n");
    let (all, anonymous) = memory(running.0.pid);
    assert!(all <= 20, "{all} KiB, {anonymous} of them anonymous");
}
