//! Much of everything: a monitor is afterwards as it was before.

use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use runtime::monitor::client::Client;
use runtime::monitor::protocol::{Attach, CreateFlags, ErrorKind, Exec, Exit, Phase, Streams, Subject};
use rustix::process::{Pid, Resource, Rlimit};

use crate::common::{Bundle, wait_for};
use crate::world::{PATIENCE, World, anonymous_of, exec, parent_of, pipe, process};

/// How many execs and attachments there are in all, where `HULL_CYCLES` does not say: as many as take some seconds.
const CYCLES: usize = 2000;

fn cycles() -> usize {
    std::env::var("HULL_CYCLES").map_or(CYCLES, |text| text.parse().expect("HULL_CYCLES is a number"))
}

/// What a monitor has of what could pile up.
#[derive(Debug, PartialEq, Eq)]
struct Possessions {
    descriptors: usize,
    threads: usize,
    /// Those that have ended and were not reaped too.
    children: String,
}

impl Possessions {
    fn of(monitor: u32) -> Possessions {
        let count = |folder: &str| fs::read_dir(format!("/proc/{monitor}/{folder}")).unwrap().count();
        let children = fs::read_to_string(format!("/proc/{monitor}/task/{monitor}/children")).unwrap();
        Possessions { descriptors: count("fd"), threads: count("task"), children: children.trim().to_owned() }
    }
}

/// Runs something very often, from several callers at once, and asserts that the monitor of `client`'s container, whose first
/// process is `pid`, is then as it was before.
fn leaves_the_monitor_as_it_was(client: &mut Client, pid: u32, once: impl Fn(usize) + Sync) {
    let monitor = parent_of(pid);
    wait_for("only the container is there", || Possessions::of(monitor).children == pid.to_string());
    // Who is answered is answered after all that came before.
    assert_eq!(client.status(None).unwrap().phase, Phase::Running);
    let before = Possessions::of(monitor);
    // What the first ones take for good is no leak.
    (0..20).for_each(&once);
    returns_to(&before, monitor);
    let memory = anonymous_of(monitor);
    let next = AtomicUsize::new(0);
    let cycles = cycles();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(round) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).filter(|round| *round < cycles)
                {
                    once(round);
                }
            });
        }
    });
    returns_to(&before, monitor);
    let after = anonymous_of(monitor);
    assert!(after <= memory + 16, "{memory} kB before, {after} kB after {cycles} cycles");
    assert_eq!(client.status(None).unwrap().phase, Phase::Running);
}

/// Waits until a monitor has no more than it had; what it still has too much is told.
fn returns_to(before: &Possessions, monitor: u32) {
    let started = Instant::now();
    while Possessions::of(monitor) != *before && started.elapsed() < PATIENCE.unwrap() {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(Possessions::of(monitor), *before);
}

#[test]
fn many_execs_leave_the_monitor_as_it_was() {
    let world = World::new(&["sleep", "1000"], &["--standalone"]);
    let mut client = world.client();
    let pid = world.create(&mut client, CreateFlags::default());
    client.start(&world.bundle.id).unwrap();
    leaves_the_monitor_as_it_was(&mut client, pid, |round| match round % 20 {
        // One that is cut off by its caller, and ends with it.
        0 => {
            let (stdin, _) = pipe();
            let (_, stdout) = pipe();
            let request = Exec { container: &world.bundle.id, terminal: false, bound: true };
            let stdio = [stdin.as_fd(), stdout.as_fd(), stdout.as_fd()];
            world.client().exec(request, &process(&["sleep", "900"], false), Some(stdio)).unwrap();
        }
        // One that leaves an orphan behind, which the container's first process or the monitor gets.
        1 => assert_eq!(exec(&world, "(sleep 0.05 &) >/dev/null 2>&1; exit 1").1, Exit::Code(1)),
        // One with a terminal, whose size is its caller's business.
        2 => {
            let mut caller = world.client();
            let request = Exec { container: &world.bundle.id, terminal: true, bound: false };
            let executed = caller.exec(request, &process(&["true"], true), None).unwrap();
            let size = rustix::termios::Winsize { ws_row: 20, ws_col: 70, ws_xpixel: 0, ws_ypixel: 0 };
            let terminal = executed.terminal.unwrap();
            rustix::termios::tcsetwinsize(&terminal, size).unwrap();
            assert_eq!(caller.session_exit(PATIENCE).unwrap(), Exit::Code(0));
        }
        // One that cannot be executed.
        3 => {
            let request = Exec { container: &world.bundle.id, terminal: true, bound: false };
            let refused = world.client().exec(request, &process(&["nowhere"], true), None).unwrap_err();
            assert_eq!(refused.exit_code(), 127, "{refused}");
        }
        _ => {
            let mut caller = world.client();
            let (stdin, stdout) = pipe();
            let request = Exec { container: &world.bundle.id, terminal: false, bound: false };
            let stdio = [stdin.as_fd(), stdout.as_fd(), stdout.as_fd()];
            caller.exec(request, &process(&["true"], false), Some(stdio)).unwrap();
            assert_eq!(caller.session_exit(PATIENCE).unwrap(), Exit::Code(0));
        }
    });
    client.delete(&world.bundle.id).unwrap();
}

#[test]
fn many_attachments_and_sizes_leave_the_monitor_as_it_was() {
    let mut bundle = Bundle::new(&["sh", "-c", "while :; do echo line; sleep 0.01; done"]);
    bundle.set("/process/terminal", true.into());
    let mut world = World::of(bundle, &["--standalone"]);
    world.log_size = Some(1 << 20);
    let mut client = world.client();
    let pid = world.create(&mut client, CreateFlags { terminal: true, ..CreateFlags::default() });
    client.start(&world.bundle.id).unwrap();
    let container = &world.bundle.id;
    leaves_the_monitor_as_it_was(&mut client, pid, |round| {
        let mut caller = world.client();
        let (stdin, _input) = pipe();
        let (output, stdout) = pipe();
        // Only one can have the input.
        let streams = Streams { stdin: round % 4 == 0, stdout: true, stderr: false };
        let descriptors = [stdin.as_fd(), stdout.as_fd()];
        let descriptors = if streams.stdin { &descriptors[..] } else { &descriptors[1..] };
        let attached = caller.attach(Attach { container, streams }, descriptors);
        if let Err(error) = attached {
            assert_eq!(error.refusal(), Some(ErrorKind::Busy), "{error}");
            return;
        }
        drop(stdout);
        caller.resize(Subject::Container(container), 10 + (round % 50) as u16, 80).unwrap();
        if round % 3 != 0 {
            fs::File::from(output).read_exact(&mut [0; 4]).unwrap();
        }
        // The others leave without a word, in the middle of a line.
    });
    client.delete(&world.bundle.id).unwrap();
}

#[test]
fn what_was_executed_without_number_refuses_only_more_of_it() {
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    bundle.set("/process/terminal", true.into());
    let world = World::of(bundle, &["--standalone"]);
    let mut client = world.client();
    world.create(&mut client, CreateFlags { terminal: true, ..CreateFlags::default() });
    client.start(&world.bundle.id).unwrap();
    let container = &world.bundle.id;
    let execute = || {
        let (stdin, stdout) = pipe();
        let request = Exec { container, terminal: false, bound: false };
        let stdio = [stdin.as_fd(), stdout.as_fd(), stdout.as_fd()];
        world.client().exec(request, &process(&["sleep", "900"], false), Some(stdio)).map(drop)
    };
    let mut count = 0;
    let refused = loop {
        match execute() {
            Ok(()) => count += 1,
            Err(refused) => break refused,
        }
    };
    assert_eq!((refused.refusal(), count), (Some(ErrorKind::Busy), 256), "{refused}");
    // A log that cannot be opened anew would grow for ever.
    client.reopen_log(container).unwrap();
    client.resize(Subject::Container(container), 10, 80).unwrap();
    let (_output, stdout) = pipe();
    let streams = Streams { stdout: true, ..Streams::default() };
    client.attach(Attach { container, streams }, &[stdout.as_fd()]).unwrap();
    client.delete(container).unwrap();
}

#[test]
fn who_comes_when_no_descriptor_is_left_is_told_so() {
    let world = World::new(&["sleep", "1000"], &["--standalone"]);
    let mut client = world.client();
    let pid = world.create(&mut client, CreateFlags::default());
    client.start(&world.bundle.id).unwrap();
    wait_for("only the container is there", || Possessions::of(parent_of(pid)).children == pid.to_string());
    // Who ended last was reaped, and what the monitor had of it is closed once it answers.
    client.status(None).unwrap();
    let monitor = parent_of(pid);
    let free = (0..).find(|number| !Path::new(&format!("/proc/{monitor}/fd/{number}")).exists()).unwrap();
    let limit = |most: Option<u64>| {
        let limit = Rlimit { current: most, maximum: rustix::process::getrlimit(Resource::Nofile).maximum };
        rustix::process::prlimit(Pid::from_raw(monitor as i32), Resource::Nofile, limit).unwrap().current
    };
    let before = limit(Some(free));
    for _ in 0..3 {
        let refused = Client::connect(&world.socket).unwrap_err();
        assert_eq!(refused.refusal(), Some(ErrorKind::Busy), "{refused}");
        assert!(refused.to_string().contains("descriptor"), "{refused}");
    }
    assert_eq!(client.status(None).unwrap().phase, Phase::Running);
    limit(before);
    assert_eq!(world.client().status(None).unwrap().phase, Phase::Running);
    client.delete(&world.bundle.id).unwrap();
}
