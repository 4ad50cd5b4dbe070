//! A detached monitor, through its protocol: life, ends, exec, attach, logs, pods, and what is left when it is killed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "../common/mod.rs"]
mod common;
mod many;
mod readers;
mod world;

use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::Bundle;
use runtime::monitor::channel::{Connection, Received};
use runtime::monitor::client::{Client, Event};
use runtime::monitor::protocol::{
    Attach, Create, CreateFlags, ErrorKind, Exec, Exit, MAX_MESSAGE, Pause, PauseFlags, Phase, Reply,
    Request, Streams, Subject, decode_reply, encode_request,
};
use runtime::monitor::status_record::StatusRecord;
use rustix::mount::OpenTreeFlags;
use world::{PATIENCE, World, eventually, exec, parent_of, pipe, process, text_of};

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
    for terminal in [true, false] {
        let request = Exec { terminal, ..missing };
        let (stdin, stdout) = pipe();
        let stdio = [stdin.as_fd(), stdout.as_fd(), stdout.as_fd()];
        let other = process(&["true"], !terminal);
        let refused = world.client().exec(request, &other, (!terminal).then_some(stdio)).unwrap_err();
        assert_eq!(refused.refusal(), Some(ErrorKind::Malformed), "{refused}");
    }
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
    let memory = if common::unified() { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/memory" };
    assert!(!Path::new(memory).join(&cgroup[1..]).exists());
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

fn is_zombie(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
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
    assert!(begin.elapsed() < Duration::from_secs(50));
    assert_eq!(world.status().exit_code, Some(0));
    eventually("the monitor ends with its container", || world.is_clear());
}

#[test]
fn an_executor_that_is_kept_sees_the_container_as_it_is() {
    let world = World::new(&["sleep", "100"], &["--standalone"]);
    let mut client = world.client();
    let pid = world.create(&mut client, CreateFlags::default()).to_string();
    client.start(&world.bundle.id).unwrap();
    let path = format!("/proc/{0}/task/{0}/children", parent_of(pid.parse().unwrap()));
    let executors = || -> Vec<String> {
        let children = fs::read_to_string(&path).unwrap_or_default();
        children.split_whitespace().filter(|child| *child != pid).map(str::to_owned).collect()
    };
    let works = || assert_eq!(exec(&world, "exit 5").1, Exit::Code(5));
    eventually("who made the container is gone", || executors().is_empty());
    works();
    let kept = executors();
    assert_eq!(kept.len(), 1, "{kept:?}");
    works();
    assert_eq!(executors(), kept);
    // It is no process of the container, for whoever looks at its cgroups.
    let inside = fs::read_to_string(world.bundle.cgroups()[0].join("cgroup.procs")).unwrap();
    assert_eq!(inside.trim(), pid);
    // One that was killed is replaced.
    Command::new("kill").args(["-9", &kept[0]]).status().unwrap();
    eventually("it is gone", || executors().is_empty());
    works();
    assert_eq!(executors().len(), 1);
    world.bundle.verb(&["pause", &world.bundle.id]).succeeded();
    let request = Exec { container: &world.bundle.id, terminal: true, bound: false };
    let refused = world.client().exec(request, &process(&["true"], true), None).unwrap_err();
    assert_eq!(refused.refusal(), Some(ErrorKind::WrongPhase), "{refused}");
    world.bundle.verb(&["resume", &world.bundle.id]).succeeded();
    works();
    assert!(!executors().is_empty());
    eventually("it goes when there is nothing to do", || executors().is_empty());
    works();
    client.delete(&world.bundle.id).unwrap();
    eventually("the monitor ends with its container", || world.is_clear());
}

#[test]
fn what_is_paused_can_be_ended() {
    type End = fn(&World, &mut Client) -> Option<Exit>;
    let ends: [End; 3] = [
        |world, client| client.delete(&world.bundle.id).map(|()| None).unwrap(),
        |_, client| client.shutdown().map(|()| None).unwrap(),
        |world, client| {
            client.signal(Subject::Container(&world.bundle.id), 9, false).unwrap();
            Some(client.wait(Some(&world.bundle.id), PATIENCE).unwrap())
        },
    ];
    for end in ends {
        let world = World::new(&["sleep", "100"], &["--standalone"]);
        let mut client = world.client();
        world.create(&mut client, CreateFlags::default());
        client.start(&world.bundle.id).unwrap();
        world.bundle.verb(&["pause", &world.bundle.id]).succeeded();
        let told = end(&world, &mut client);
        assert!(told.is_none_or(|exit| exit == Exit::Signal(9)), "{told:?}");
        assert_eq!(world.status().exit_code, Some(137));
        eventually("the monitor ends with its container", || world.is_clear());
    }
}

#[test]
fn an_executor_that_is_kept_follows_the_container_into_another_cgroup() {
    if !common::unified() {
        common::report_skipped("cgroup v2 alone");
        return;
    }
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    bundle.set("/mounts/6/options", serde_json::json!(["nosuid", "noexec", "nodev", "relatime", "rw"]));
    let world = World::of(bundle, &["--standalone"]);
    let mut client = world.client();
    let pid = world.create(&mut client, CreateFlags::default());
    client.start(&world.bundle.id).unwrap();
    let path = format!("/proc/{0}/task/{0}/children", parent_of(pid));
    let children = || fs::read_to_string(&path).unwrap();
    eventually("who made the container is gone", || children().trim() == pid.to_string());
    let is_in = |expected: &str| {
        // It is kept for seconds, which may have been over.
        let by_the_kept_one = || {
            assert_eq!(exec(&world, "true").1, Exit::Code(0));
            let kept = children();
            let (seen, exit) = exec(&world, "cat /proc/self/cgroup");
            assert_eq!((seen.as_str(), exit), (expected, Exit::Code(0)));
            kept.split_whitespace().count() == 2 && children() == kept
        };
        eventually("one that was kept executed it", by_the_kept_one);
    };
    is_in("0::/\n");
    // As systemd in a container does: then the container's own cgroup takes no process.
    let down = "cd /sys/fs/cgroup && mkdir init && echo 1 > init/cgroup.procs && echo $$ > init/cgroup.procs && \
                echo +pids > cgroup.subtree_control";
    assert_eq!(exec(&world, down), (String::new(), Exit::Code(0)));
    is_in("0::/init\n");
    let up = "cd /sys/fs/cgroup && echo -pids > cgroup.subtree_control && echo 1 > cgroup.procs && \
              echo $$ > cgroup.procs && exec busybox rmdir init";
    assert_eq!(exec(&world, up), (String::new(), Exit::Code(0)));
    is_in("0::/\n");
    client.delete(&world.bundle.id).unwrap();
    eventually("the monitor ends with its container", || world.is_clear());
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
