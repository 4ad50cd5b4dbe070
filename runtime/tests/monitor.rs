//! A detached monitor, through its protocol: life, ends, exec, attach, logs, pods, and what is left when it is killed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod common;

use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::Bundle;
use runtime::monitor::channel::{Connection, Received};
use runtime::monitor::client::{Client, ClientError, Event};
use runtime::monitor::protocol::{
    Attach, Create, CreateFlags, ErrorKind, Exec, Exit, MAX_MESSAGE, Pause, PauseFlags, Phase, Reply,
    Request, Streams, Subject, decode_reply, encode_request,
};
use runtime::monitor::status_record::StatusRecord;
use rustix::fs::{Mode, OFlags};
use rustix::mount::OpenTreeFlags;

const PATIENCE: Option<Duration> = Some(Duration::from_secs(20));

/// A bundle with a monitor.
struct World {
    bundle: Bundle,
    socket: PathBuf,
}

impl World {
    fn new(args: &[&str], options: &[&str]) -> World {
        World::of(Bundle::new(args), options)
    }

    fn of(bundle: Bundle, options: &[&str]) -> World {
        bundle.write_config();
        let socket = bundle.path().join("pods/p/monitor.sock");
        let world = World { bundle, socket };
        let mut command = world.bundle.roci(&["monitor", "--detach", "--id", "p"]);
        command.arg("--socket").arg(&world.socket).args(options);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        world
    }

    fn client(&self) -> Client {
        Client::connect(&self.socket).unwrap()
    }

    fn folder(&self) -> &str {
        self.bundle.path().to_str().unwrap()
    }

    fn log(&self) -> PathBuf {
        self.bundle.path().canonicalize().unwrap().join("log")
    }

    /// Creates the bundle's container.
    fn create(&self, client: &mut Client, flags: CreateFlags) -> u32 {
        self.try_create(client, flags).unwrap()
    }

    fn try_create(&self, client: &mut Client, flags: CreateFlags) -> Result<u32, ClientError> {
        let root = rustix::mount::open_tree(
            rustix::fs::CWD,
            self.bundle.rootfs(),
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
        )
        .unwrap();
        let lock = self.lock();
        let log = self.log();
        let create = Create {
            container: &self.bundle.id,
            folder: self.folder(),
            log: log.to_str(),
            log_size: None,
            log_files: 1,
            flags,
        };
        client.create(create, root.as_fd(), lock.as_fd())
    }

    fn lock(&self) -> OwnedFd {
        rustix::fs::open(self.bundle.path(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap()
    }

    fn status(&self) -> StatusRecord {
        StatusRecord::read(self.bundle.path()).unwrap().unwrap()
    }

    fn logged(&self) -> String {
        let text = fs::read_to_string(self.log()).unwrap();
        text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned() + "\n").collect()
    }

    /// Nothing of the container or its monitor is left but files.
    fn is_clear(&self) -> bool {
        !self.socket.exists() && !self.bundle.state_root().join(&self.bundle.id).exists()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // A test that failed half-way.
        if let Ok(mut client) = Client::connect(&self.socket) {
            let _ = client.shutdown();
        }
    }
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn pipe() -> (OwnedFd, OwnedFd) {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap()
}

fn text_of(descriptor: OwnedFd) -> String {
    let mut text = String::new();
    fs::File::from(descriptor).read_to_string(&mut text).unwrap();
    text
}

/// Runs a shell script by exec with pipes; returns its output once it has ended, and how.
fn exec(world: &World, script: &str) -> (String, Exit) {
    let mut client = world.client();
    let (stdin, _) = pipe();
    let (out, stdout) = pipe();
    let process = process(&["sh", "-c", script], false);
    let request = Exec { container: &world.bundle.id, terminal: false, bound: false };
    client.exec(request, &process, Some([stdin.as_fd(), stdout.as_fd(), stdout.as_fd()])).unwrap();
    drop(stdout);
    let text = text_of(out);
    (text, client.session_exit(PATIENCE).unwrap())
}

fn process(args: &[&str], terminal: bool) -> Vec<u8> {
    let process = serde_json::json!({
        "terminal": terminal, "user": {"uid": 0, "gid": 0}, "args": args, "cwd": "/", "env": ["PATH=/bin"],
    });
    serde_json::to_vec(&process).unwrap()
}

#[test]
fn a_container_lives_and_ends_on_disk_before_it_is_told() {
    let world = World::new(&["sh", "-c", "echo out; echo err >&2; exit 7"], &["--standalone"]);
    let mut client = world.client();
    let pid = world.create(&mut client, CreateFlags::default());
    let status = client.status(None).unwrap();
    assert_eq!((status.phase, status.pid), (Phase::Created, pid));
    let mut waiting = world.client();
    client.start(&world.bundle.id).unwrap();
    // One that ended already is not there any more, and its end is.
    match waiting.wait(Some(&world.bundle.id), PATIENCE) {
        Ok(exit) => assert_eq!(exit, Exit::Code(7)),
        Err(error) => assert!(error.is_gone() || error.refusal() == Some(ErrorKind::NotFound), "{error}"),
    }
    let status = world.status();
    assert_eq!((status.exit_code, status.oom_killed, status.pid), (Some(7), false, 0));
    assert!(status.started > 0 && status.finished >= status.started);
    assert_eq!(world.logged(), "stdout F out\nstderr F err\n");
    eventually("the monitor ends with its container", || world.is_clear());
}

#[test]
fn a_command_that_cannot_run_is_told_with_its_exit_code() {
    for (command, kind, code) in
        [("/nowhere", ErrorKind::CommandNotFound, 127), ("/etc/passwd", ErrorKind::NotExecutable, 126)]
    {
        let world = World::new(&[command], &["--standalone"]);
        let mut client = world.client();
        let log = world.log();
        let root = rustix::mount::open_tree(
            rustix::fs::CWD,
            world.bundle.rootfs(),
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
        )
        .unwrap();
        let create = Create {
            container: &world.bundle.id,
            folder: world.folder(),
            log: log.to_str(),
            log_size: None,
            log_files: 1,
            flags: CreateFlags { bound: true, ..CreateFlags::default() },
        };
        // The command is looked for when the container is made.
        let error = client.create(create, root.as_fd(), world.lock().as_fd()).unwrap_err();
        assert_eq!((error.refusal(), error.exit_code()), (Some(kind), code), "{error}");
        drop(client);
        eventually("nothing is left", || world.is_clear());
    }
}

#[test]
fn execs_run_beside_the_command_and_end_by_themselves() {
    let world = World::new(&["sleep", "100"], &["--standalone"]);
    let mut client = world.client();
    world.create(&mut client, CreateFlags::default());
    client.start(&world.bundle.id).unwrap();
    for round in 0..20 {
        let (text, exit) = exec(&world, &format!("echo {round}; exit {round}"));
        assert_eq!((text.trim(), exit), (round.to_string().as_str(), Exit::Code(round)));
    }
    let mut second = world.client();
    let missing = Exec { container: &world.bundle.id, terminal: true, bound: false };
    let error = second.exec(missing, &process(&["nowhere"], true), None).unwrap_err();
    assert_eq!(error.exit_code(), 127, "{error}");
    // With a terminal the master comes to the caller.
    let mut third = world.client();
    let executed = third.exec(missing, &process(&["sh", "-c", "tty; exit 3"], true), None).unwrap();
    let mut master = fs::File::from(executed.terminal.unwrap());
    assert_eq!(third.session_exit(PATIENCE).unwrap(), Exit::Code(3));
    let mut buffer = [0; 100];
    let length = master.read(&mut buffer).unwrap();
    assert!(String::from_utf8_lossy(&buffer[..length]).contains("/dev/pts/"));
    // One that is bound dies with its conversation.
    let mut fourth = world.client();
    let (stdin, _) = pipe();
    let (out, stdout) = pipe();
    let bound = Exec { container: &world.bundle.id, terminal: false, bound: true };
    let stdio = [stdin.as_fd(), stdout.as_fd(), stdout.as_fd()];
    fourth.exec(bound, &process(&["sh", "-c", "echo on; sleep 100"], false), Some(stdio)).unwrap();
    drop((fourth, stdout));
    assert!(text_of(out).len() <= 3);
    client.signal(Subject::Container(&world.bundle.id), 9, false).unwrap();
    assert_eq!(client.wait(None, PATIENCE).unwrap(), Exit::Signal(9));
    assert_eq!(world.status().exit_code, Some(137));
    eventually("the monitor ends with its container", || world.is_clear());
}

#[test]
fn attached_callers_see_what_is_written_and_write_what_is_read() {
    let world = World::new(&["cat"], &["--standalone"]);
    let mut client = world.client();
    world.create(&mut client, CreateFlags { stdin: true, stdin_once: true, ..CreateFlags::default() });
    client.start(&world.bundle.id).unwrap();
    let mut attached = world.client();
    let (stdin, input) = pipe();
    let (output, stdout) = pipe();
    let streams = Streams { stdin: true, stdout: true, stderr: false };
    let attach = Attach { container: &world.bundle.id, streams };
    attached.attach(attach, &[stdin.as_fd(), stdout.as_fd()]).unwrap();
    drop((stdin, stdout));
    let mut input = fs::File::from(input);
    input.write_all(b"hello\n").unwrap();
    let mut output = fs::File::from(output);
    let mut bytes = [0; 6];
    output.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"hello\n");
    // Its input ends with the caller's, and so does cat.
    drop(input);
    assert_eq!(attached.session_exit(PATIENCE).unwrap(), Exit::Code(0));
    assert_eq!(world.logged(), "stdout F hello\n");
}

#[test]
fn a_log_that_was_renamed_is_opened_anew() {
    let world = World::new(&["sh", "-c", "while read line; do echo $line; done"], &["--standalone"]);
    let mut client = world.client();
    world.create(&mut client, CreateFlags { stdin: true, ..CreateFlags::default() });
    client.start(&world.bundle.id).unwrap();
    let mut attached = world.client();
    let (stdin, input) = pipe();
    let streams = Streams { stdin: true, ..Streams::default() };
    attached.attach(Attach { container: &world.bundle.id, streams }, &[stdin.as_fd()]).unwrap();
    let mut input = fs::File::from(input);
    input.write_all(b"one\n").unwrap();
    eventually("the first line arrives", || world.logged() == "stdout F one\n");
    fs::rename(world.log(), world.bundle.path().join("log.old")).unwrap();
    client.reopen_log(&world.bundle.id).unwrap();
    assert!(world.log().exists());
    input.write_all(b"two\n").unwrap();
    eventually("the second line arrives", || world.logged() == "stdout F two\n");
    client.delete(&world.bundle.id).unwrap();
    eventually("the monitor ends with its container", || world.is_clear());
}

#[test]
fn a_pod_outlives_its_containers_and_ends_when_told() {
    let world = World::new(&["sh", "-c", "exit 4"], &[]);
    let pod_folder = world.bundle.path().join("pod");
    fs::create_dir(&pod_folder).unwrap();
    let mut client = world.client();
    let cgroup = format!("/hull-test-{}/p", world.bundle.id);
    let pause = Pause {
        pod: "p",
        folder: pod_folder.to_str().unwrap(),
        network_namespace: None,
        hostname: Some("pod-host"),
        cgroup: &cgroup,
        sysctls: Some("kernel.shm_rmid_forced=1"),
        flags: PauseFlags { pid: true, ipc: true },
    };
    let pid = client.pause(pause, world.lock().as_fd()).unwrap();
    let of = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap();
    // Told ready before it executes the program.
    eventually("the program runs", || of("comm") == "pause\n");
    assert!(of("status").contains("CapBnd:\t0000000000000000"));
    assert_eq!(fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count(), 0);
    assert!(
        fs::read_link(format!("/proc/{pid}/ns/ipc")).unwrap() != fs::read_link("/proc/self/ns/ipc").unwrap()
    );
    assert_eq!(client.status(Some("p")).unwrap().pid, pid);
    let memory = of("smaps_rollup");
    let kilobytes = |name: &str| -> u64 {
        let line = memory.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    assert!(kilobytes("Pss:") <= 20, "{memory}");

    // It sleeps until something happens, and has nothing open but what it needs.
    let monitor = parent_of(pid);
    let ticks = || -> u64 {
        let stat = fs::read_to_string(format!("/proc/{monitor}/stat")).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let before = ticks();
    std::thread::sleep(Duration::from_millis(300));
    assert!(ticks() - before <= 2, "an idle monitor works");
    for descriptor in fs::read_dir(format!("/proc/{monitor}/fd")).unwrap().flatten() {
        let target = fs::read_link(descriptor.path()).unwrap_or_default();
        assert!(!target.to_string_lossy().starts_with("pipe:"), "{target:?}");
    }

    let mut watcher = world.client().watch().unwrap();
    assert_eq!(watcher.next_event().unwrap(), Event::Nothing);
    world.create(&mut client, CreateFlags::default());
    client.start(&world.bundle.id).unwrap();
    let mut seen = Event::Nothing;
    eventually("the watcher hears of the end", || {
        seen = watcher.next_event().unwrap();
        seen != Event::Nothing
    });
    assert_eq!(seen, Event::Ended { container: world.bundle.id.clone(), exit: Exit::Code(4) });
    assert_eq!(world.status().exit_code, Some(4));
    // The pause reaps what was left to it, ends when asked, and takes nothing of the monitor along.
    client.signal(Subject::Container("p"), 15, false).unwrap();
    match client.wait(Some("p"), PATIENCE) {
        Ok(exit) => assert_eq!(exit, Exit::Code(0)),
        // It has ended and is forgotten already.
        Err(error) => assert_eq!(error.refusal(), Some(ErrorKind::NotFound), "{error}"),
    }
    assert_eq!(StatusRecord::read(&pod_folder).unwrap().unwrap().exit_code, Some(0));
    assert!(!Path::new("/sys/fs/cgroup/memory").join(&cgroup[1..]).exists());
    client.shutdown().unwrap();
    eventually("the monitor ends when told", || world.is_clear());
    assert_eq!(
        watcher.next_event().unwrap(),
        Event::Ended { container: "p".to_owned(), exit: Exit::Code(0) }
    );
    eventually("the conversation ends", || watcher.next_event().unwrap() == Event::Gone);
}

#[test]
fn what_a_killed_monitor_leaves_dies_with_it() {
    let world = World::new(&["sleep", "100"], &["--standalone"]);
    let mut client = world.client();
    let pid = world.create(&mut client, CreateFlags::default());
    client.start(&world.bundle.id).unwrap();
    let monitor = parent_of(pid);
    let home = fs::read_to_string(format!("/proc/{monitor}/cgroup")).unwrap();
    assert!(home.lines().all(|line| line.ends_with(":/hull/monitors")), "{home}");
    Command::new("kill").args(["-9", &monitor.to_string()]).stdout(Stdio::null()).status().unwrap();
    eventually("the container dies", || !Path::new(&format!("/proc/{pid}/root")).exists() || is_zombie(pid));
    assert!(client.wait(None, PATIENCE).unwrap_err().is_gone());
    assert!(world.bundle.verb(&["delete", "--force", &world.bundle.id]).code == 0);
    assert!(world.status().exit_code.is_none(), "nobody saw its end");
    fs::remove_file(&world.socket).unwrap();
}

#[test]
fn an_unstarted_container_goes_with_the_caller_that_it_is_bound_to() {
    let world = World::new(&["sleep", "100"], &["--standalone"]);
    let mut client = world.client();
    world.create(&mut client, CreateFlags { bound: true, ..CreateFlags::default() });
    drop(client);
    eventually("the monitor ends", || world.is_clear());
    assert_eq!(StatusRecord::read(world.bundle.path()).unwrap(), None);
}

fn parent_of(pid: u32) -> u32 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap();
    line.trim().parse().unwrap()
}

fn is_zombie(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
}

#[test]
fn many_execs_leave_the_monitor_as_it_was() {
    let world = World::new(&["sleep", "100"], &["--standalone"]);
    let mut client = world.client();
    let pid = world.create(&mut client, CreateFlags::default());
    client.start(&world.bundle.id).unwrap();
    let monitor = parent_of(pid);
    let anonymous = || -> u64 {
        let memory = fs::read_to_string(format!("/proc/{monitor}/smaps_rollup")).unwrap();
        let line = memory.lines().find_map(|line| line.strip_prefix("Pss_Anon:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    let descriptors = || fs::read_dir(format!("/proc/{monitor}/fd")).unwrap().count();
    let children = || fs::read_to_string(format!("/proc/{monitor}/task/{monitor}/children")).unwrap();
    exec(&world, "true");
    eventually("the worker is gone", || children().trim() == pid.to_string());
    let before = (anonymous(), descriptors(), children());
    for round in 0..300 {
        // Some leave an orphan, some are cut off by their caller.
        let script = if round % 3 == 0 { "(sleep 0.01 &) >/dev/null; exit 1" } else { "exit 1" };
        if round % 5 == 0 {
            let mut caller = world.client();
            let (stdin, _) = pipe();
            let (_, stdout) = pipe();
            let request = Exec { container: &world.bundle.id, terminal: false, bound: true };
            let stdio = [stdin.as_fd(), stdout.as_fd(), stdout.as_fd()];
            caller.exec(request, &process(&["sleep", "9"], false), Some(stdio)).unwrap();
        } else {
            assert_eq!(exec(&world, script).1, Exit::Code(1));
        }
    }
    eventually("all are gone", || descriptors() <= before.1 && children() == before.2);
    assert!(anonymous() <= before.0 + 16, "{} kB before, {} kB after", before.0, anonymous());
    client.delete(&world.bundle.id).unwrap();
}

#[test]
fn a_reader_that_takes_nothing_is_cut_off_and_stops_nobody() {
    let world = World::new(&["sh", "-c", "while :; do echo line; done"], &["--standalone"]);
    let mut client = world.client();
    world.create(&mut client, CreateFlags::default());
    client.start(&world.bundle.id).unwrap();
    let mut attached = world.client();
    let (_unread, stdout) = pipe();
    let streams = Streams { stdout: true, ..Streams::default() };
    attached.attach(Attach { container: &world.bundle.id, streams }, &[stdout.as_fd()]).unwrap();
    let length = || fs::metadata(world.log()).unwrap().len();
    // Long enough for the pipe to be full, and longer than its reader is waited for.
    std::thread::sleep(Duration::from_secs(2));
    let stuck = length();
    std::thread::sleep(Duration::from_secs(11));
    assert!(length() > stuck, "the container is stopped by its reader");
    client.delete(&world.bundle.id).unwrap();
    eventually("the monitor ends with its container", || world.is_clear());
}

#[test]
fn what_is_bound_ends_with_a_caller_that_left_before_its_answer() {
    let world = World::new(&["sleep", "100"], &["--standalone"]);
    let mut client = world.client();
    let pid = world.create(&mut client, CreateFlags::default());
    client.start(&world.bundle.id).unwrap();
    let monitor = parent_of(pid);
    let path = format!("/proc/{monitor}/task/{monitor}/children");
    let children = || fs::read_to_string(&path).unwrap().trim().to_owned();
    for _ in 0..5 {
        let mut caller = world.client();
        let (stdin, _) = pipe();
        let (_, stdout) = pipe();
        let request = Exec { container: &world.bundle.id, terminal: false, bound: true };
        let stdio = [stdin.as_fd(), stdout.as_fd(), stdout.as_fd()];
        let executed = caller.exec(request, &process(&["sleep", "4242"], false), Some(stdio)).unwrap();
        assert!(children().contains(&executed.pid.to_string()));
        // Its answer meets a closed socket.
        let status = encode_request(&Request::Status { container: None }, 99);
        rustix::net::send(&caller, status.as_bytes(), rustix::net::SendFlags::empty()).unwrap();
        drop(caller);
        eventually("the exec ends with its caller", || children() == pid.to_string());
    }
    client.delete(&world.bundle.id).unwrap();
}

#[test]
fn callers_without_number_keep_nobody_from_ending_a_container() {
    let world = World::new(&["sleep", "100"], &["--standalone"]);
    let mut client = world.client();
    world.create(&mut client, CreateFlags::default());
    client.start(&world.bundle.id).unwrap();
    let _others: Vec<Client> = (0..63).map(|_| world.client()).collect();
    let mut late = world.client();
    assert_eq!(late.status(None).unwrap().phase, Phase::Running);
    let request = Exec { container: &world.bundle.id, terminal: true, bound: false };
    let refused = late.exec(request, &process(&["true"], true), None).unwrap_err();
    assert_eq!(refused.refusal(), Some(ErrorKind::Busy), "{refused}");
    late.signal(Subject::Container(&world.bundle.id), 28, false).unwrap();
    let more: Vec<Client> = std::iter::from_fn(|| Client::connect(&world.socket).ok()).collect();
    assert_eq!(more.len(), 15);
    assert_eq!(Client::connect(&world.socket).unwrap_err().refusal(), Some(ErrorKind::Busy));
    late.delete(&world.bundle.id).unwrap();
    eventually("the monitor ends with its container", || world.is_clear());
}

#[test]
fn a_standalone_monitor_makes_one_container() {
    let world = World::new(&["sleep", "100"], &["--standalone"]);
    let mut client = world.client();
    let others: Vec<_> = (0..8).map(|_| world.client()).collect();
    let created = std::thread::scope(|scope| {
        let make = |mut client: Client| {
            let world = &world;
            scope.spawn(move || world.try_create(&mut client, CreateFlags::default()))
        };
        let makers: Vec<_> = others.into_iter().map(make).collect();
        makers.into_iter().map(|maker| maker.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(created.iter().filter(|result| result.is_ok()).count(), 1, "{created:?}");
    for refused in created.into_iter().filter_map(Result::err) {
        assert_eq!(refused.refusal(), Some(ErrorKind::WrongPhase), "{refused}");
    }
    client.delete(&world.bundle.id).unwrap();
    eventually("the monitor ends with its container", || world.is_clear());
}

#[test]
fn what_outlives_the_first_process_keeps_nothing() {
    let mut bundle = Bundle::new(&["sh", "-c", "busybox dd if=/dev/zero bs=64k & exec sleep 0.05"]);
    let namespaces = bundle.config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| namespace["type"] != "pid");
    let world = World::of(bundle, &["--standalone"]);
    let mut client = world.client();
    world.create(&mut client, CreateFlags::default());
    let mut waiting = world.client();
    client.start(&world.bundle.id).unwrap();
    let begin = Instant::now();
    match waiting.wait(Some(&world.bundle.id), PATIENCE) {
        Ok(exit) => assert_eq!(exit, Exit::Code(0)),
        Err(error) => assert!(error.is_gone() || error.refusal() == Some(ErrorKind::NotFound), "{error}"),
    }
    assert!(begin.elapsed() < Duration::from_secs(10));
    assert_eq!(world.status().exit_code, Some(0));
    eventually("the monitor ends with its container", || world.is_clear());
}

#[test]
fn who_looks_on_and_takes_nothing_delays_no_removal() {
    let world = World::new(&["busybox", "yes"], &["--standalone"]);
    let mut client = world.client();
    world.create(&mut client, CreateFlags::default());
    client.start(&world.bundle.id).unwrap();
    let mut attached = world.client();
    let (_unread, stdout) = pipe();
    let streams = Streams { stdout: true, ..Streams::default() };
    attached.attach(Attach { container: &world.bundle.id, streams }, &[stdout.as_fd()]).unwrap();
    eventually("its pipe is full", || rustix::io::ioctl_fionread(&_unread).unwrap() >= 65536);
    let begin = Instant::now();
    client.delete(&world.bundle.id).unwrap();
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    eventually("the monitor ends with its container", || world.is_clear());
}

#[test]
fn an_attachment_is_whole_or_none_and_one_of_a_conversation() {
    let mut bundle = Bundle::new(&["sleep", "100"]);
    bundle.set("/process/terminal", true.into());
    let world = World::of(bundle, &["--standalone"]);
    let mut client = world.client();
    world.create(&mut client, CreateFlags { terminal: true, ..CreateFlags::default() });
    client.start(&world.bundle.id).unwrap();
    let mut attached = world.client();
    let (output, stdout) = pipe();
    // Both streams of a terminal are one.
    let both = Streams { stdin: false, stdout: true, stderr: true };
    let attach = Attach { container: &world.bundle.id, streams: both };
    let refused = attached.attach(attach, &[stdout.as_fd(), stdout.as_fd()]).unwrap_err();
    assert!(refused.to_string().contains("no such stream"), "{refused}");
    drop(stdout);
    assert_eq!(text_of(output), "", "nobody has the other stream");
    let one = Streams { stdout: true, ..Streams::default() };
    let attach = Attach { container: &world.bundle.id, streams: one };
    let (_output, stdout) = pipe();
    attached.attach(attach, &[stdout.as_fd()]).unwrap();
    let again = attached.attach(attach, &[stdout.as_fd()]).unwrap_err();
    assert_eq!(again.refusal(), Some(ErrorKind::Busy), "{again}");
    let mut others: Vec<Client> = (0..8).map(|_| world.client()).collect();
    let full = others.iter_mut().find_map(|other| other.attach(attach, &[stdout.as_fd()]).err()).unwrap();
    assert!(full.to_string().contains("8 readers"), "{full}");
    client.delete(&world.bundle.id).unwrap();
    assert_eq!(attached.session_exit(PATIENCE).unwrap(), Exit::Signal(9));
}

#[test]
fn a_process_that_may_change_is_not_executed() {
    let world = World::new(&["sleep", "100"], &["--standalone"]);
    let mut client = world.client();
    world.create(&mut client, CreateFlags::default());
    client.start(&world.bundle.id).unwrap();
    let connection = Connection::connect(&world.socket).unwrap();
    let file = rustix::fs::memfd_create("process", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::io::write(&file, &process(&["true"], false)).unwrap();
    let (stdin, stdout) = pipe();
    let request = Request::Exec(Exec { container: &world.bundle.id, terminal: false, bound: false });
    let descriptors = [file.as_fd(), stdin.as_fd(), stdout.as_fd(), stdout.as_fd()];
    connection.send(encode_request(&request, 1).as_bytes(), &descriptors).unwrap();
    let mut buffer = [0; MAX_MESSAGE];
    let Received::Packet(length, _) = connection.receive(&mut buffer).unwrap() else { panic!("no answer") };
    let (_, Reply::Error { kind, text }) = decode_reply(&buffer[..length]).unwrap() else {
        panic!("executed")
    };
    assert_eq!((kind, text), (ErrorKind::Malformed, "the process is no sealed memory file"));
    client.delete(&world.bundle.id).unwrap();
}

#[test]
fn a_removal_that_fails_is_no_success() {
    let network = tempfile::NamedTempFile::new().unwrap();
    fs::write(network.path(), "damaged").unwrap();
    let file = network.path().to_str().unwrap();
    let world = World::new(&["sleep", "100"], &["--standalone", "--network", file]);
    let mut client = world.client();
    world.create(&mut client, CreateFlags::default());
    client.start(&world.bundle.id).unwrap();
    let failed = client.delete(&world.bundle.id).unwrap_err();
    assert_eq!(failed.refusal(), Some(ErrorKind::Failed), "{failed}");
    assert!(failed.to_string().contains(file), "{failed}");
    assert_eq!(world.status().exit_code, Some(137));
    eventually("the monitor ends with its container", || world.is_clear());
}

#[test]
fn an_end_that_cannot_be_written_is_told_and_tried_again() {
    let world = World::new(&["sleep", "100"], &["--standalone"]);
    let mut client = world.client();
    world.create(&mut client, CreateFlags::default());
    client.start(&world.bundle.id).unwrap();
    let in_the_way = world.bundle.path().join("status.json.new");
    fs::create_dir(&in_the_way).unwrap();
    client.signal(Subject::Container(&world.bundle.id), 9, false).unwrap();
    for _ in 0..2 {
        assert_eq!(world.client().wait(Some(&world.bundle.id), PATIENCE).unwrap(), Exit::Signal(9));
        assert_eq!(world.status().exit_code, None);
    }
    fs::remove_dir(&in_the_way).unwrap();
    eventually("the monitor ends with its container", || world.is_clear());
    assert_eq!(world.status().exit_code, Some(137));
}
