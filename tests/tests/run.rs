//! `rrun run` in the foreground: streams, terminals, signals, exit codes, and what stays afterwards.

use std::fs::File;
use std::io::Read;
use std::process::Stdio;
use std::time::Duration;

use runtime::monitor::client::{Client, ClientError};
use runtime::monitor::protocol::{ErrorKind, Phase, Subject};
use runtime::process::Exit;
use rustix::process::Signal;
use tests::{Canary, Command, OnTerminal, Sandbox, eventually, leaks, needs};

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.import_busybox();
    sandbox
}

/// `rrun run --rm busybox sh -c script`, without network unless the options say otherwise.
fn shell(sandbox: &Sandbox, options: &[&str], script: &str) -> Command {
    let network: &[&str] = if options.contains(&"--network") { &[] } else { &["--network", "none"] };
    sandbox.rrun(["run", "--rm"]).args(network).args(options).args(["busybox", "sh", "-c", script])
}

#[test]
fn exit_codes_are_dockers() {
    needs!("root");
    let sandbox = sandbox();
    shell(&sandbox, &[], "exit 7").run().exits(7);
    shell(&sandbox, &[], "sh -c 'kill -9 $$'; exit $?").run().exits(137);
    sandbox
        .rrun(["run", "--rm", "--network", "none", "busybox", "no-such-program"])
        .run()
        .fails(127, &["no-such-program"]);
    sandbox.rrun(["run", "--rm", "--network", "none", "busybox", "/etc"]).run().fails(126, &["/etc"]);
    sandbox
        .rrun(["run", "--rm", "--network", "none", "-u", "nobody-here", "busybox", "id"])
        .run()
        .fails(125, &["nobody-here"]);
    sandbox
        .rrun(["run", "--rm", "--network", "none", "-w", "relative", "busybox", "id"])
        .run()
        .fails(125, &["--workdir"]);
    sandbox.rrun(["run", "--rm", "--network", "none", "busybox"]).run().fails(125, &["no command"]);
    sandbox
        .rrun(["run", "--rm", "--network", "none", "--privileged", "busybox", "id"])
        .run()
        .fails(125, &["--privileged"]);
    sandbox
        .rrun(["run", "--rm", "--network", "none", "busybo", "id"])
        .run()
        .fails(125, &["busybo:latest", "busybox:latest"]);
    sandbox.nothing_remains([]);
}

#[test]
fn much_data_goes_both_ways_unchanged() {
    needs!("root");
    let sandbox = sandbox();
    let data: Vec<u8> =
        (0..8u32 << 20).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let outcome =
        sandbox.rrun(["run", "--rm", "--network", "none", "-i", "busybox", "cat"]).stdin(data.clone()).run();
    assert_eq!(outcome.succeeds().stdout_bytes(), data);

    // Files on both sides, the output one opened for appending, which takes no splice.
    let input = File::open(sandbox.write("input", &data)).expect("just written");
    let output = sandbox.write("output", "before ");
    let appending = File::options().append(true).open(&output).expect("just written");
    let mut command = sandbox.rrun(["run", "--rm", "--network", "none", "-i", "busybox", "cat"]);
    let status = command.inner().stdin(input).stdout(appending).status().expect("rrun is there");
    assert!(status.success());
    let written = std::fs::read(&output).expect("just written");
    assert_eq!(written.strip_prefix(b"before ".as_slice()), Some(data.as_slice()));
}

#[test]
fn standard_input_is_passed_on_only_when_asked_for_and_its_end_too() {
    needs!("root");
    let sandbox = sandbox();
    shell(&sandbox, &[], "cat; echo end").stdin("unseen").run().succeeds().stdout_is("end\n");
    shell(&sandbox, &["-i"], "cat; echo end").stdin("seen ").run().succeeds().stdout_is("seen end\n");
    // What ends without having read everything ends all the same.
    let mut running = shell(&sandbox, &["-i"], "read line; echo got $line").spawn_interactive();
    running.send(b"one\n");
    running.wait().succeeds().stdout_is("got one\n");
    // The end of the input alone, while output goes on.
    let mut running = shell(&sandbox, &["-i"], "cat; echo after").spawn_interactive();
    running.send(b"text ");
    running.wait_for_stdout("text");
    running.close_stdin();
    running.wait().succeeds().stdout_is("text after\n");
}

#[test]
fn output_and_errors_stay_apart_and_a_reader_that_leaves_ends_the_writer() {
    needs!("root");
    let sandbox = sandbox();
    let outcome = shell(&sandbox, &[], "echo out; echo err >&2").run();
    outcome.succeeds().stdout_is("out\n").stderr_has("err");

    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let mut command = sandbox.rrun(["run", "--rm", "--network", "none", "busybox", "yes"]);
    let mut child =
        command.inner().stdin(Stdio::null()).stdout(writer).stderr(Stdio::null()).spawn().expect("rrun");
    drop(command);
    let mut bytes = [0; 4];
    reader.read_exact(&mut bytes).expect("yes says so");
    assert_eq!(&bytes, b"y\ny\n");
    drop(reader);
    eventually("yes got SIGPIPE", || child.try_wait().expect("our child").is_some());
}

#[test]
fn a_slow_reader_gets_everything_and_is_waited_for() {
    needs!("root");
    let sandbox = sandbox();
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let mut command = sandbox.rrun(["run", "--rm", "--network", "none", "busybox", "seq", "100000"]);
    let mut child = command.inner().stdin(Stdio::null()).stdout(writer).spawn().expect("rrun");
    drop(command);
    let mut seen = Vec::new();
    let mut chunk = [0; 3000];
    while let Ok(count @ 1..) = reader.read(&mut chunk) {
        seen.extend_from_slice(&chunk[..count]);
        if seen.len() < 60_000 {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    assert!(child.wait().expect("our child").success());
    let expected: String = (1..=100_000).map(|number| format!("{number}\n")).collect();
    assert!(seen == expected.as_bytes(), "{} of {} bytes", seen.len(), expected.len());
}

#[test]
fn signals_are_passed_on() {
    needs!("root");
    let sandbox = sandbox();
    let script = "trap 'echo usr; exit 4' USR1; trap 'exit 5' TERM; trap 'exit 6' INT; echo up; while :; do sleep 0.02; done";
    for (signal, code) in [(Signal::USR1, 4), (Signal::TERM, 5), (Signal::INT, 6)] {
        let mut running = shell(&sandbox, &[], script).spawn();
        running.wait_for_stdout("up");
        running.signal(signal);
        running.wait().exits(code);
    }
    sandbox.nothing_remains([]);
}

#[test]
fn the_users_descriptors_stay_outside() {
    needs!("root");
    let sandbox = sandbox();
    let secret = sandbox.write("log", "kept\n");
    let log = File::options().append(true).open(&secret).expect("just written");
    let input = File::open("/dev/zero").expect("a device");
    let mut command =
        shell(&sandbox, &["-i"], "for n in 0 1 2; do readlink /proc/self/fd/$n; done; : > /proc/self/fd/1");
    let status = command.inner().stdin(input).stdout(log).stderr(Stdio::null()).status().expect("rrun");
    assert!(status.success());
    let text = std::fs::read_to_string(&secret).expect("just written");
    assert!(text.starts_with("kept\npipe:"), "{text}");
    assert_eq!(text.matches("pipe:").count(), 3, "{text}");
}

#[test]
fn options_reach_the_container() {
    needs!("root");
    let sandbox = sandbox();
    let data = sandbox.folder("data");
    std::fs::write(data.join("file"), "from the host\n").expect("our folder");
    let bind = format!("{}:/data", data.display());
    let read_only = format!("{}:/data:ro", data.display());
    let missing = format!("{}:/made", sandbox.path().join("not/yet").display());
    let run = |options: &[&str], script: &str| shell(&sandbox, options, script).run();

    run(&["-v", &bind], "cat /data/file; echo back > /data/new").succeeds().stdout_is("from the host\n");
    assert_eq!(std::fs::read_to_string(data.join("new")).expect("written inside"), "back\n");
    run(&["-v", &read_only], "echo x > /data/file 2>/dev/null || echo refused").stdout_is("refused\n");
    run(&["-v", &missing], "ls -d /made").succeeds().stdout_is("/made\n");
    run(&["-e", "A=1", "-e", "B", "-e", "A=2", "-e", "PATH"], "echo $A-$B; env | grep -c ^PATH=")
        .stdout_is("2-\n1\n");
    run(&["-w", "/new/folder"], "pwd").succeeds().stdout_is("/new/folder\n");
    run(&["-u", "65534:100"], "id -u; id -g; grep CapEff /proc/self/status")
        .stdout_is("65534\n100\nCapEff:\t0000000000000000\n");
    run(&["-h", "box"], "hostname; cat /etc/hostname; echo $HOSTNAME").stdout_is("box\nbox\nbox\n");
    run(&["--network", "none"], "ls /sys/class/net").stdout_is("lo\n");
    let host = leaks::names_in(std::path::Path::new("/sys/class/net")).count();
    run(&["--network", "host"], "ls /sys/class/net | wc -l").stdout_is(&format!("{host}\n"));
    sandbox
        .rrun(["run", "--rm", "--network", "none", "--entrypoint", "echo", "busybox", "-n", "x"])
        .run()
        .stdout_is("x");
    run(&["--memory", "32m", "--cpus", "0.5"], "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max")
        .succeeds()
        .stdout_has("33554432")
        .stdout_has("50000");
    sandbox
        .rrun(["run", "--rm", "--network", "none", "-v", &bind, "-v", &read_only, "busybox", "id"])
        .run()
        .fails(125, &["duplicate", "/data"]);
}

#[test]
fn a_read_only_volume_is_so_with_all_that_is_mounted_in_it() {
    needs!("root");
    let sandbox = Sandbox::new();
    sandbox.import_busybox();
    let inner = sandbox.path().join("tree/inner");
    std::fs::create_dir_all(&inner).expect("a folder in the sandbox");
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("tmpfs", &inner, "tmpfs", flags, None).expect("a mount in the sandbox");
    let volume = format!("{}:/tree:ro", sandbox.path().join("tree").display());
    let script =
        "(echo x > /tree/file) 2>/dev/null || (echo x > /tree/inner/file) 2>/dev/null || echo refused";
    let outcome = sandbox
        .rrun(["run", "--rm", "--network", "none", "-v", &volume, "busybox", "sh", "-c", script])
        .run();
    rustix::mount::unmount(&inner, rustix::mount::UnmountFlags::DETACH).expect("no longer needed");
    outcome.succeeds().stdout_is("refused\n");
}

#[test]
fn what_an_image_says_stays_inside_it() {
    needs!("root");
    let sandbox = sandbox();
    let canary = Canary::new();
    let outside = canary.path().display();
    let dockerfile = format!(
        "FROM busybox\n\
         RUN mkdir -p {outside} && ln -s {outside} /volume && ln -s {outside} /work \\\n\
          && echo app:x:1000:1000::/home/app:/bin/sh >> /etc/passwd \\\n\
          && printf 'app:x:1000:\\nextra:x:55:app\\n' >> /etc/group\n\
         VOLUME /volume/made /data\nWORKDIR /work/deep\nENV A=\"x y\"\nUSER app\n\
         ENTRYPOINT [\"sh\", \"-c\"]\nCMD [\"id; pwd; ls -d /data /volume/made; echo $A $HOME\"]\n"
    );
    sandbox.write("context/Dockerfile", dockerfile);
    sandbox.rbuild(["-q", "-t", "linked", "context"]).run().succeeds();
    sandbox.rrun(["run", "--rm", "--network", "none", "linked"]).run().succeeds().stdout_is(&format!(
        "uid=1000(app) gid=1000(app) groups=55(extra),1000(app)\n{outside}/deep\n/data\n/volume/made\nx y /home/app\n"
    ));
    // A given entry point discards the image's command; words replace it.
    sandbox
        .rrun(["run", "--rm", "--network", "none", "--entrypoint", "id", "linked", "-u"])
        .run()
        .succeeds()
        .stdout_is("1000\n");
    sandbox
        .rrun(["run", "--rm", "--network", "none", "-u", "0", "linked", "id -u"])
        .run()
        .succeeds()
        .stdout_is("0\n");
    canary.is_untouched();
}

#[test]
fn a_container_that_is_kept_can_be_removed_by_name_and_id() {
    needs!("root");
    let sandbox = sandbox();
    sandbox.rrun(["run", "--network", "none", "--name", "kept", "busybox", "true"]).run().succeeds();
    sandbox
        .rrun(["run", "--network", "none", "--name", "kept", "busybox", "true"])
        .run()
        .fails(125, &["\"kept\"", "in use"]);
    sandbox.rrun(["rmi", "busybox"]).run().exits(1);
    sandbox.rrun(["rm", "kept"]).run().succeeds().stdout_is("kept\n");
    sandbox.rrun(["rm", "kept"]).run().fails(1, &["no such container", "kept"]);

    let mut running =
        shell(&sandbox, &["--name", "alive"], "trap 'exit 0' TERM; echo up; while :; do sleep 0.02; done")
            .spawn();
    running.wait_for_stdout("up");
    sandbox.rrun(["rm", "alive"]).run().fails(1, &["alive", "running"]);
    running.signal(Signal::TERM);
    running.wait().succeeds();
    sandbox.rrun(["rmi", "busybox"]).run().succeeds();
    sandbox.nothing_remains([]);
}

#[test]
fn a_killed_monitor_takes_its_container_along() {
    needs!("root");
    let sandbox = sandbox();
    let mut running = shell(&sandbox, &[], "echo up; while :; do sleep 1; done").spawn();
    running.wait_for_stdout("up");
    let ids: Vec<String> = leaks::names_in(&sandbox.root().join("containers")).collect();
    assert_eq!(ids.len(), 1);
    running.signal(Signal::KILL);
    running.wait().exits(137);
    let is_process = |leak: &String| leak.starts_with("process");
    eventually("the container is gone", || !sandbox.leaks().iter().any(is_process));
    // The rest is freed by the next command.
    sandbox.rrun(["run", "--rm", "--network", "none", "busybox", "true"]).run().succeeds();
    sandbox.nothing_remains(&ids);
}

#[test]
fn callers_reach_the_monitor() {
    needs!("root");
    let sandbox = sandbox();
    let mut running =
        shell(&sandbox, &[], "trap 'exit 9' USR1; echo up; while :; do sleep 0.02; done").spawn();
    running.wait_for_stdout("up");
    let ids: Vec<String> = leaks::names_in(&sandbox.root().join("containers")).collect();
    let socket = sandbox.state().join("pods").join(&ids[0]).join("monitor.sock");
    let mut client = Client::connect(&socket).expect("the monitor listens");
    let mut waiter = Client::connect(&socket).expect("the monitor listens");
    let status = client.status(None).expect("an answer");
    assert_eq!((status.phase, status.exit), (Phase::Running, None));
    let resized = client.resize(Subject::First, 10, 10);
    assert!(matches!(resized, Err(ClientError::Refused { kind: ErrorKind::WrongPhase, .. })), "{resized:?}");
    let waiting = std::thread::spawn(move || waiter.wait(None, Some(Duration::from_secs(20))));
    // By then the wait is most likely under way; either order has the same answer.
    client.signal(Subject::First, 10, false).expect("an answer");
    assert_eq!(waiting.join().expect("no panic").expect("an answer"), Exit::Code(9));
    running.wait().exits(9);
    assert!(Client::connect(&socket).is_err());
}

#[test]
fn a_terminal_is_raw_has_a_size_and_comes_back() {
    needs!("root");
    let sandbox = sandbox();
    let script = "tty; stty size; echo term=$TERM; read line; echo \"got $line\"; \
                  until stty size | grep '44 111'; do sleep 0.02; done; \
                  trap 'exit 5' INT; echo waiting; while :; do sleep 0.02; done";
    let mut on = OnTerminal::start(
        &sandbox,
        &["run", "--rm", "--network", "none", "-it", "busybox", "sh", "-c", script],
    );
    on.expect("/dev/pts/0");
    on.expect("33 99");
    on.expect("term=xterm");
    assert!(on.is_raw());
    on.send(b"typed\r");
    on.expect("got typed");
    on.resize(44, 111);
    on.expect("44 111");
    on.expect("waiting");
    on.send(b"\x03");
    assert_eq!(on.ends(), 5);
    sandbox.nothing_remains([]);
}

#[test]
fn a_terminal_comes_back_after_failures_and_signals() {
    needs!("root");
    let sandbox = sandbox();
    assert_eq!(
        OnTerminal::start(&sandbox, &["run", "--rm", "--network", "none", "-it", "busybox", "no-such"])
            .ends(),
        127
    );
    assert_eq!(
        OnTerminal::start(&sandbox, &["run", "--rm", "--network", "none", "-t", "busybox", "true"]).ends(),
        0
    );
    let script = "trap 'exit 6' TERM; echo up; while :; do sleep 0.02; done";
    let mut on = OnTerminal::start(
        &sandbox,
        &["run", "--rm", "--network", "none", "-it", "busybox", "sh", "-c", script],
    );
    on.expect("up");
    let ids: Vec<String> = leaks::names_in(&sandbox.root().join("containers")).collect();
    let socket = sandbox.state().join("pods").join(&ids[0]).join("monitor.sock");
    Client::connect(&socket)
        .and_then(|mut client| client.signal(Subject::First, 15, false))
        .expect("the monitor listens");
    assert_eq!(on.ends(), 6);
    let refused = sandbox.rrun(["run", "--rm", "--network", "none", "-it", "busybox", "true"]).run();
    refused.fails(125, &["TTY"]);
    sandbox.nothing_remains(&ids);
}
