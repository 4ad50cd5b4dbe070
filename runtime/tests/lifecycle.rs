//! The life of a container through the real program: states, exit codes, and the words engines match on.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod common;

use std::fs;
use std::os::unix::net::UnixListener;
use std::process::Stdio;

use common::{Bundle, ROCI, read_until, receive_descriptor, wait_for};
use serde_json::{Value, json};

#[test]
fn run_passes_output_and_exit_code_on_and_leaves_nothing() {
    let mut bundle = Bundle::new(&["true"]);
    bundle.shell("echo out; echo err >&2; exit 7");
    let done = bundle.run();
    assert_eq!((done.code, &*done.out, &*done.err), (7, "out\n", "err\n"));
    bundle.assert_nothing_left();
}

#[test]
fn a_signal_that_kills_is_128_and_its_number() {
    let mut bundle = Bundle::new(&["true"]);
    bundle.shell("kill -KILL $$; sleep 5");
    // The first process of a PID namespace ignores signals from inside, so a child tells.
    bundle.shell("sh -c 'kill -TERM $$'; exit $?");
    assert_eq!(bundle.run().code, 143);
}

#[test]
fn a_command_that_is_not_there_is_127_and_one_that_cannot_run_is_126() {
    let mut bundle = Bundle::new(&["true"]);
    fs::write(bundle.rootfs().join("etc/plain"), "text").unwrap();
    for (command, code, words) in [
        ("foo", 127, r#"exec: "foo": executable file not found in $PATH"#),
        ("/bin/foo", 127, "no such file or directory"),
        ("/etc/plain", 126, r#"exec: "/etc/plain": permission denied"#),
        ("/etc", 126, r#"exec: "/etc": is a directory"#),
    ] {
        bundle.args(&[command]);
        bundle.run().failed(code, words);
        bundle.create().failed(1, words);
        bundle.assert_nothing_left();
    }
    common_executable(&bundle, "etc/plain");
    bundle.args(&["/etc/plain"]);
    bundle.run().failed(126, "exec format error");
    bundle.assert_nothing_left();
}

fn common_executable(bundle: &Bundle, name: &str) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(bundle.rootfs().join(name), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn every_state_is_seen_and_allows_what_it_should() {
    let mut bundle = Bundle::new(&["true"]);
    bundle.shell("echo started > /tmp/started; exec sleep 1000");
    let id = bundle.id.clone();
    bundle.verb(&["state", &id]).failed(1, "does not exist");
    bundle.create().succeeded();
    let state = bundle.state();
    assert_eq!(state["status"], "created");
    assert_eq!(state["ociVersion"], "1.2.0");
    assert_eq!(state["bundle"], bundle.path().to_str().unwrap());
    assert!(state["pid"].as_i64().unwrap() > 1);
    assert!(!bundle.rootfs().join("tmp/started").exists());
    bundle.create().failed(1, "already exists");
    bundle.verb(&["delete", &id]).failed(1, "is not stopped: created");

    bundle.verb(&["start", &id]).succeeded();
    assert_eq!(bundle.status(), "running");
    wait_for("the command", || bundle.rootfs().join("tmp/started").exists());
    bundle.verb(&["start", &id]).failed(1, "cannot start an already running container");
    bundle.verb(&["delete", &id]).failed(1, "is not stopped: running");

    bundle.verb(&["kill", &id, "KILL"]).succeeded();
    bundle.wait_status("stopped");
    assert_eq!(bundle.state()["pid"], 0);
    bundle.verb(&["kill", &id, "KILL"]).failed(1, "container not running");
    bundle.verb(&["start", &id]).failed(1, "cannot start a container that has stopped");
    bundle.exec(&["true"]).failed(255, "cannot exec in a stopped container");
    bundle.verb(&["delete", &id]).succeeded();
    bundle.verb(&["delete", &id]).failed(1, "does not exist");
    bundle.verb(&["delete", "--force", &id]).succeeded();
    bundle.assert_nothing_left();
}

#[test]
fn force_deletes_in_every_state() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    bundle.create().succeeded();
    bundle.verb(&["delete", "-f", &bundle.id]).succeeded();
    bundle.assert_nothing_left();
    bundle.start();
    bundle.verb(&["delete", "-f", &bundle.id]).succeeded();
    bundle.assert_nothing_left();
}

#[test]
fn what_is_frozen_in_the_middle_of_its_creation_can_be_cleared() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    bundle.start();
    bundle.verb(&["pause", &bundle.id]).succeeded();
    // As a creator leaves it that is killed before it has written down its child.
    let file = bundle.state_root().join(&bundle.id).join("state.json");
    let mut record: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    (record["pid"], record["startTime"]) = (json!(0), json!(0));
    fs::write(&file, record.to_string()).unwrap();
    bundle.verb(&["delete", "--force", &bundle.id]).succeeded();
    bundle.assert_nothing_left();
}

#[test]
fn signals_go_by_name_and_number() {
    let mut bundle = Bundle::new(&["true"]);
    bundle.shell("trap 'echo usr1 > /tmp/got' USR1; echo > /tmp/up; while true; do sleep 0.05; done");
    bundle.start();
    wait_for("the shell", || bundle.rootfs().join("tmp/up").exists());
    for signal in ["SIGUSR1", "USR1", "10"] {
        bundle.verb(&["kill", &bundle.id, signal]).succeeded();
        let got = bundle.rootfs().join("tmp/got");
        wait_for(signal, || got.exists());
        fs::remove_file(got).unwrap();
    }
    bundle.verb(&["kill", &bundle.id, "NOPE"]).failed(1, "unknown signal");
    bundle.verb(&["kill", "--all", &bundle.id, "9"]).succeeded();
    bundle.wait_status("stopped");
}

#[test]
fn run_passes_signals_on() {
    let mut bundle = Bundle::new(&["true"]);
    // A real-time one too, as systemd in a container has for its shutdown.
    let real_time = libc::SIGRTMIN() + 3;
    let script = format!(
        "trap 'echo real' {real_time}; trap 'exit 42' TERM; echo up; while true; do sleep 0.05; done"
    );
    bundle.shell(&script);
    bundle.write_config();
    let mut child = bundle.roci(&["run", &bundle.id]).stdout(Stdio::piped()).spawn().unwrap();
    read_until(&mut child, "up");
    let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    let send = |number: i32| {
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
        runtime::sys::process::pidfd_send_signal(std::os::fd::AsFd::as_fd(&pidfd), number).unwrap();
    };
    send(real_time);
    read_until(&mut child, "real");
    send(libc::SIGTERM);
    assert_eq!(child.wait().unwrap().code(), Some(42));
    bundle.assert_nothing_left();
}

#[test]
fn detached_and_kept_containers_stay() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    bundle.write_config();
    let pid_file = bundle.path().join("pid");
    let status = bundle
        .roci(&["run", "--detach", "--pid-file", pid_file.to_str().unwrap(), &bundle.id])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(bundle.status(), "running");
    assert_eq!(fs::read_to_string(&pid_file).unwrap(), bundle.state()["pid"].to_string());
    bundle.verb(&["delete", "-f", &bundle.id]).succeeded();

    let kept = Bundle::new(&["true"]);
    kept.write_config();
    kept.verb(&["run", "--keep", &kept.id]).succeeded();
    assert_eq!(kept.status(), "stopped");
    kept.verb(&["delete", &kept.id]).succeeded();
    kept.assert_nothing_left();
}

#[test]
fn a_terminal_goes_to_the_console_socket() {
    let mut bundle = Bundle::new(&["true"]);
    bundle.set("/process/terminal", json!(true));
    bundle.set("/process/consoleSize", json!({ "height": 11, "width": 22 }));
    bundle.shell("tty; stty size; test -t 0 && test -t 1 && test -t 2 && echo all; stat -c %t:%T /dev/console; sleep 1000");
    bundle.write_config();
    bundle.verb(&["create", &bundle.id]).failed(1, "console socket");
    bundle.assert_nothing_left();
    let socket = bundle.path().join("console.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let status = bundle
        .roci(&["create", "--console-socket", socket.to_str().unwrap(), &bundle.id])
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let master = receive_descriptor(&listener);
    bundle.verb(&["start", &bundle.id]).succeeded();
    let mut text = String::new();
    wait_for("the terminal's output", || {
        let mut buffer = [0; 512];
        if let Ok(length) = rustix::io::read(&master, &mut buffer) {
            text.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
        text.contains("88:")
    });
    assert!(text.contains("/dev/console") || text.contains("/dev/pts/0"), "{text}");
    assert!(text.contains("11 22") && text.contains("all"), "{text}");
}

#[test]
fn a_console_socket_that_nobody_accepts_at_is_not_waited_for() {
    let mut bundle = Bundle::new(&["true"]);
    bundle.set("/process/terminal", json!(true));
    bundle.write_config();
    let path = bundle.path().join("console");
    let (kind, flags) = (rustix::net::SocketType::STREAM, rustix::net::SocketFlags::NONBLOCK);
    let unix = rustix::net::AddressFamily::UNIX;
    let address = rustix::net::SocketAddrUnix::new(&path).unwrap();
    let listener = rustix::net::socket_with(unix, kind, flags, None).unwrap();
    rustix::net::bind(&listener, &address).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let mut waiting = Vec::new();
    loop {
        let caller = rustix::net::socket_with(unix, kind, flags, None).unwrap();
        match rustix::net::connect(&caller, &address) {
            Ok(()) => waiting.push(caller),
            Err(errno) => break assert_eq!(errno, rustix::io::Errno::AGAIN),
        }
    }
    let words = ["create", "--console-socket", path.to_str().unwrap(), &bundle.id];
    bundle.verb(&words).failed(1, "cannot connect to");
    bundle.assert_nothing_left();
}

#[test]
fn errors_are_logged_as_engines_read_them() {
    let bundle = Bundle::new(&["foo"]);
    bundle.write_config();
    let log = bundle.path().join("log.json");
    let log = log.to_str().unwrap();
    bundle.verb(&["--log", log, "--log-format", "json", "run", &bundle.id]).failed(127, "not found");
    let text = fs::read_to_string(log).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let error = lines.iter().find(|line| line["level"] == "error").unwrap();
    assert!(error["msg"].as_str().unwrap().contains("executable file not found in $PATH"));
    assert!(error["time"].as_str().unwrap().starts_with("20"));
}

#[test]
fn debugging_tells_the_steps_of_both_sides() {
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    bundle.set("/process/execCPUAffinity", json!({ "initial": "0" }));
    bundle.write_config();
    let id = bundle.id.clone();
    let log = bundle.path().join("log.json");
    let to_file = ["--debug", "--log", log.to_str().unwrap(), "--log-format", "json"];
    let mut create = bundle.roci(&to_file);
    create.args(["create", &id]).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(create.status().unwrap().success());
    bundle.verb(&["--debug", "start", &id]).succeeded();
    let done = bundle.verb(&["--debug", "exec", &id, "true"]).succeeded();
    for step in [
        "level=debug",
        "nsexec container setup",
        "nsexec: affinity: 0x1\"",
        "child process in init()",
        "setns_init: about to exec /bin/true",
    ] {
        assert!(done.err.contains(step), "{step:?} in {}", done.err);
    }
    let quiet = [&to_file[..], &["exec", &id, "true"]].concat();
    assert_eq!(bundle.verb(&quiet).succeeded().err, "");
    assert_eq!(bundle.verb(&["exec", &id, "true"]).succeeded().err, "");
    let text = fs::read_to_string(&log).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().all(|line| line["level"] == "debug"), "{text}");
    for step in ["using /proc/self/exe clone", "made cgroup", "mounting proc at /proc", "is ready"] {
        assert!(text.contains(step), "{step:?} in {text}");
    }
    bundle.verb(&["delete", "--force", &id]).succeeded();
    bundle.args(&["true"]).write_config();
    let done = bundle.verb(&["--debug", "run", &id]).succeeded();
    assert!(done.err.contains("init: closing the pipe to signal completion"), "{}", done.err);
    // What was left out is told with the failure that may come from it.
    bundle.set("/process/capabilities/bounding", json!(["CAP_OF_TOMORROW"]));
    bundle.set("/process/capabilities/inheritable", json!(["CAP_KILL"]));
    bundle.run().failed(1, "EPERM").failed(1, "[CAP_OF_TOMORROW]");
    bundle.assert_nothing_left();
}

#[test]
fn what_is_not_done_is_refused_by_name() {
    let bundle = Bundle::new(&["true"]);
    bundle.write_config();
    for verb in ["checkpoint", "restore"] {
        bundle.verb(&[verb, "x"]).failed(1, &format!("{verb} is not supported"));
    }
    bundle.verb(&["frobnicate"]).failed(1, "unknown command");
    bundle.verb(&["frobnicate", "-h"]).failed(1, "No help topic for 'frobnicate'");
    bundle.verb(&["state", "../x"]).failed(1, "invalid container id");
    let version = bundle.verb(&["--version"]).succeeded().out;
    assert!(version.lines().any(|line| line.starts_with("commit: ")), "{version}");
    assert!(version.lines().any(|line| line.starts_with("spec: 1.")), "{version}");
}

#[test]
fn preserved_descriptors_arrive_and_no_others() {
    let mut bundle = Bundle::new(&["true"]);
    bundle.shell("ls /proc/self/fd; cat <&3");
    bundle.write_config();
    fs::write(bundle.path().join("passed"), "passed on\n").unwrap();
    let driver = if common::by_systemd() { "--systemd-cgroup" } else { "" };
    let script = format!(
        "exec 3<passed 4<passed 9<passed; exec {ROCI} {driver} --root {} run --preserve-fds 1 {}",
        bundle.state_root().display(),
        bundle.id
    );
    let output =
        std::process::Command::new("sh").arg("-c").arg(script).current_dir(bundle.path()).output().unwrap();
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    // 4 is the folder that ls itself reads.
    assert_eq!(out, "0\n1\n2\n3\n4\npassed on\n", "{output:?}");
    bundle.verb(&["run", "--preserve-fds", "1", &bundle.id]).failed(1, "descriptor 3 is not open");
}

#[test]
fn a_foreground_terminal_is_copied_both_ways() {
    let mut bundle = Bundle::new(&["true"]);
    bundle.set("/process/terminal", json!(true));
    bundle.shell("test -t 0 && tty; read line; echo got $line; exit 9");
    bundle.write_config();
    let mut child =
        bundle.roci(&["run", &bundle.id]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let seen = read_until(&mut child, "/dev/");
    assert!(seen.contains("/dev/"), "{seen}");
    use std::io::Write;
    child.stdin.as_mut().unwrap().write_all(b"hello\n").unwrap();
    let seen = read_until(&mut child, "got hello");
    assert!(seen.contains("got hello"), "{seen}");
    assert_eq!(child.wait().unwrap().code(), Some(9));
    bundle.assert_nothing_left();

    bundle.set("/process/terminal", json!(false));
    bundle.args(&["sleep", "1000"]);
    bundle.start();
    let done = bundle.exec(&["-t", "sh", "-c", "x"]);
    // Options come before the id; after it everything is the command.
    assert_eq!(done.code, 127, "{done:?}");
    let done = bundle.verb(&["exec", "-t", &bundle.id, "sh", "-c", "test -t 1 && tty; exit 4"]);
    assert!(done.code == 4 && done.out.contains("/dev/pts/"), "{done:?}");
}

#[test]
fn containers_and_processes_are_listed() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    bundle.verb(&["list"]).failed(1, "no such file or directory");
    fs::create_dir(bundle.state_root()).unwrap();
    assert_eq!(bundle.verb(&["list", "-q"]).succeeded().out, "");
    assert_eq!(bundle.verb(&["list", "-f", "json"]).succeeded().out, "[]\n");
    bundle.start();
    assert_eq!(bundle.verb(&["list", "--quiet"]).succeeded().out, format!("{}\n", bundle.id));
    let table = bundle.verb(&["list"]).succeeded().out;
    let words: Vec<_> = table.lines().nth(1).unwrap().split_ascii_whitespace().collect();
    let pid = bundle.state()["pid"].to_string();
    assert_eq!(words[..4], [&*bundle.id, &*pid, "running", bundle.path().to_str().unwrap()]);
    assert_eq!(words[5], "root");
    let json: Value =
        serde_json::from_str(&bundle.verb(&["list", "--format", "json"]).succeeded().out).unwrap();
    assert_eq!((&json[0]["id"], &json[0]["owner"]), (&json!(bundle.id), &json!("root")));
    // One that was half made is told of and hides no other.
    fs::create_dir(bundle.state_root().join("half")).unwrap();
    let done = bundle.verb(&["list"]).succeeded();
    assert!(done.out.contains(&bundle.id) && done.err.contains("half"), "{done:?}");
    fs::remove_dir(bundle.state_root().join("half")).unwrap();

    assert_eq!(bundle.verb(&["ps", "--format", "json", &bundle.id]).succeeded().out, format!("[{pid}]\n"));
    let table = bundle.verb(&["ps", &bundle.id]).succeeded().out;
    assert_eq!(table.lines().count(), 2, "{table}");
    assert!(table.lines().nth(1).unwrap().ends_with("sleep 1000"), "{table}");
    let table = bundle.verb(&["ps", &bundle.id, "-e", "-o", "comm,pid"]).succeeded().out;
    assert!(table.lines().nth(1).unwrap().ends_with(&pid), "{table}");
    bundle.verb(&["ps", &bundle.id, "-e", "-o", "comm"]).failed(1, "no column PID");
    bundle.verb(&["kill", &bundle.id, "KILL"]).succeeded();
    bundle.wait_status("stopped");
    assert_eq!(bundle.verb(&["ps", "-f", "json", &bundle.id]).succeeded().out, "[]\n");
}

#[test]
fn a_specification_is_written_once_and_runs() {
    let mut bundle = Bundle::new(&["true"]);
    let cgroup = bundle.config["linux"]["cgroupsPath"].clone();
    bundle.verb(&["spec"]).succeeded();
    bundle.verb(&["spec"]).failed(1, "config.json: File exists");
    bundle.config = serde_json::from_slice(&fs::read(bundle.path().join("config.json")).unwrap()).unwrap();
    bundle.set("/process/terminal", json!(false));
    bundle.set("/linux/cgroupsPath", cgroup);
    bundle.shell("hostname; id -u");
    assert_eq!(bundle.run().succeeded().out, "roci\n0\n");
    fs::remove_file(bundle.path().join("config.json")).unwrap();
    bundle.verb(&["spec", "--rootless", "-b", bundle.path().to_str().unwrap()]).succeeded();
    let text = fs::read_to_string(bundle.path().join("config.json")).unwrap();
    assert!(text.contains("uidMappings"), "{text}");
}

#[test]
fn a_socket_receives_the_process() {
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    let path = bundle.path().join("pidfd.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let socket = path.to_str().unwrap();
    bundle.write_config();
    bundle
        .verb(&["run", "--detach", "--pidfd-socket", "/nonexistent", &bundle.id])
        .failed(1, "cannot connect to");
    let detached = ["run", "--detach", "--pidfd-socket", socket, &bundle.id];
    assert!(bundle.roci(&detached).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    let pidfd = receive_descriptor(&listener);
    rustix::process::pidfd_send_signal(pidfd, rustix::process::Signal::KILL).unwrap();
    bundle.wait_status("stopped");
    bundle.shell("true");
    bundle.verb(&["delete", &bundle.id]).succeeded();
    bundle.assert_nothing_left();
}

#[test]
fn variables_count_once_and_unknown_capabilities_are_left_out() {
    let mut bundle = Bundle::new(&["env"]);
    bundle.set("/process/env", json!(["A=1", "PATH=/bin", "HOME=", "A=2"]));
    bundle.set("/process/capabilities/bounding/-", json!("CAP_OF_TOMORROW"));
    let log = bundle.path().join("log");
    bundle.write_config();
    let done = bundle.verb(&["--log", log.to_str().unwrap(), "run", &bundle.id]).succeeded();
    assert_eq!(done.out, "PATH=/bin\nA=2\nHOME=/root\n");
    let words = "ignoring unknown or unavailable capabilities: [CAP_OF_TOMORROW]";
    let text = fs::read_to_string(log).unwrap();
    assert!(text.contains("level=warning") && text.contains(words), "{text}");
    // Standard error may be the container's: with a log it has none of it.
    assert_eq!(done.err, "");
    assert!(bundle.verb(&["run", &bundle.id]).succeeded().err.contains(words));
}

#[test]
fn what_it_can_do_is_told() {
    let bundle = Bundle::new(&["true"]);
    let text = bundle.verb(&["features"]).succeeded().out;
    let features: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(features["ociVersionMax"], "1.3.0");
    assert_eq!(features["linux"]["mountExtensions"]["idmap"]["enabled"], true);
    assert_eq!(features["linux"]["cgroup"]["systemd"], true);
    let flags = features["linux"]["seccomp"]["supportedFlags"].as_array().unwrap();
    assert!(flags.contains(&json!("SECCOMP_FILTER_FLAG_LOG")), "{flags:?}");
}

#[test]
fn killing_reaches_all_where_the_first_is_nobody_special() {
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    let namespaces =
        json!([{ "type": "mount" }, { "type": "uts" }, { "type": "ipc" }, { "type": "network" }]);
    bundle.set("/linux/namespaces", namespaces);
    for first_gone in [false, true] {
        bundle.start();
        let detached = ["exec", "--detach", &bundle.id, "sleep", "1000"];
        assert!(
            bundle.roci(&detached).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
        );
        let processes = || -> Vec<i32> {
            serde_json::from_str(&bundle.verb(&["ps", "-f", "json", &bundle.id]).succeeded().out).unwrap()
        };
        assert_eq!(processes().len(), 2);
        if first_gone {
            let first = bundle.state()["pid"].as_i64().unwrap() as i32;
            let first = rustix::process::Pid::from_raw(first).unwrap();
            rustix::process::kill_process(first, rustix::process::Signal::KILL).unwrap();
            bundle.wait_status("stopped");
        }
        bundle.verb(&["kill", &bundle.id, "KILL"]).succeeded();
        wait_for("the end of all", || processes().is_empty());
        bundle.verb(&["kill", &bundle.id, "KILL"]).failed(1, "container not running");
        bundle.verb(&["delete", &bundle.id]).succeeded();
    }
    bundle.assert_nothing_left();
}
