//! Containers that outlive the command that started them, and the verbs for them.

use std::fs;
use std::time::{Duration, Instant};

use engine::{Containers, CriContainer, PodRecord, Pods, Record};
use image::store::Store;
use runtime::monitor::client::Client;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tests::{OnTerminal, Sandbox, SmallDisk, eventually, leaks, needs};

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.import_busybox();
    sandbox
}

/// Leaves a container running that has no network; returns its id.
fn start(sandbox: &Sandbox, options: &[&str], script: &str) -> String {
    let run = sandbox.rrun(["run", "-d", "--network", "none"]).args(options);
    let outcome = run.args(["busybox", "sh", "-c", script]).run();
    outcome.succeeds();
    let id = outcome.stdout().trim_end().to_owned();
    assert!(id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id:?}");
    id
}

/// A loop that ends at once when it is asked to.
const OBEDIENT: &str = "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.02; done";

fn inspect(sandbox: &Sandbox, name: &str) -> Value {
    let outcome = sandbox.rrun(["inspect", "--type", "container", name]).run();
    outcome.succeeds();
    let all: Value = serde_json::from_str(&outcome.stdout()).expect("inspect prints JSON");
    all[0].clone()
}

fn wait_for_log(sandbox: &Sandbox, name: &str, text: &str) {
    eventually(&format!("{text:?} is in the log of {name}"), || {
        sandbox.rrun(["logs", name]).run().stdout().contains(text)
    });
}

#[test]
fn a_container_is_listed_read_entered_stopped_and_removed() {
    needs!("root");
    let sandbox = sandbox();
    let id = start(&sandbox, &["--name", "web", "-l", "tier=front"], OBEDIENT);
    let ps = sandbox.rrun(["ps"]).run();
    let head = "CONTAINER ID   IMAGE     COMMAND                  CREATED";
    ps.succeeds()
        .stdout_has(head)
        .stdout_has(&id[..12])
        .stdout_has("\"sh -c 'trap 'echo b…\"")
        .stdout_has("Up ");
    sandbox.rrun(["ps", "-q", "--no-trunc"]).run().stdout_is(&format!("{id}\n"));
    let filters =
        ["-f", "label=tier=front", "-f", "name=^web$", "-f", "status=running", "-f", "ancestor=busybox"];
    sandbox.rrun(["ps", "--format", "{{.Names}} {{.State}}"]).args(filters).run().stdout_is("web running\n");
    sandbox.rrun(["ps", "-q", "-f", "label=tier=back"]).run().stdout_is("");
    sandbox.rrun(["ps", "-f", "colour=red"]).run().fails(1, &["colour", "ancestor"]);

    wait_for_log(&sandbox, "web", "up");
    sandbox
        .rrun(["exec", "web", "sh", "-c", "echo $HOSTNAME; exit 7"])
        .run()
        .exits(7)
        .stdout_is(&format!("{}\n", &id[..12]));
    sandbox.rrun(["rm", "web"]).run().fails(1, &["web", "running", "--force"]);
    sandbox.rrun(["stop", "web"]).run().succeeds().stdout_is("web\n");
    sandbox.rrun(["stop", "web"]).run().succeeds().stdout_is("web\n");
    sandbox.rrun(["wait", "web"]).run().succeeds().stdout_is("3\n");
    sandbox.rrun(["logs", "web"]).run().stdout_is("up\nbye\n");
    sandbox.rrun(["ps"]).run().stdout_lacks("web");
    sandbox.rrun(["ps", "-a"]).run().stdout_has("Exited (3) ");
    sandbox.rrun(["ps", "-q", "-f", "exited=3"]).run().stdout_is(&format!("{}\n", &id[..12]));
    for verb in [&["exec", "web", "true"][..], &["kill", "web"], &["attach", "web"]] {
        sandbox.rrun(verb).run().fails(1, &["not running"]);
    }
    sandbox.rrun(["rm", "web"]).run().succeeds().stdout_is("web\n");
    sandbox.rrun(["rm", "web"]).run().fails(1, &["no such container"]);
    sandbox.nothing_remains([&id]);
}

#[test]
fn a_failed_start_has_dockers_code_and_stays_unless_asked_not_to() {
    needs!("root");
    let sandbox = sandbox();
    let run = |options: &[&str], command: &str| {
        sandbox.rrun(["run", "-d", "--network", "none"]).args(options).args(["busybox", command]).run()
    };
    run(&["--name", "gone", "--rm"], "no-such").fails(127, &["no-such"]);
    run(&["--name", "kept"], "/etc").fails(126, &["/etc"]);
    run(&["--name", "kept"], "true").fails(125, &["in use"]);
    run(&["-w", "relative"], "true").fails(125, &["--workdir"]);
    sandbox.rrun(["ps", "-a", "--format", "{{.Names}} {{.Status}}"]).run().stdout_is("kept Created\n");
    let state = inspect(&sandbox, "kept")["State"].clone();
    assert_eq!((state["ExitCode"].as_i64(), state["Running"].as_bool()), (Some(126), Some(false)));
    assert!(state["Error"].as_str().is_some_and(|error| error.contains("/etc")), "{state}");
    sandbox.rrun(["start", "kept"]).run().fails(1, &["/etc"]);
    sandbox.rrun(["rm", "kept"]).run().succeeds();
    sandbox.nothing_remains([]);
}

#[test]
fn a_container_of_its_own_life_goes_when_it_ends() {
    needs!("root");
    let sandbox = sandbox();
    let id = start(&sandbox, &["--rm"], "sleep 0.3");
    sandbox.rrun(["wait", &id[..12]]).run().succeeds().stdout_is("0\n");
    eventually("its folder is gone", || leaks::names_in(&sandbox.root().join("containers")).next().is_none());
    let killed = start(&sandbox, &["--rm", "--name", "killed"], "sleep 100");
    sandbox.rrun(["rm", "-f", "killed"]).run().succeeds();
    sandbox.nothing_remains([&id, &killed]);
}

#[test]
fn output_is_split_counted_dated_and_followed() {
    needs!("root");
    let sandbox = sandbox();
    let script = "echo two >&2; sleep 0.2; echo one; echo three; echo -n half; until [ -e /go ]; do sleep 0.02; done; echo; echo end";
    let id = start(&sandbox, &["--name", "talks"], script);
    wait_for_log(&sandbox, "talks", "three");
    let logs = |arguments: &[&str]| sandbox.rrun(["logs"]).args(arguments).arg("talks").run();
    let all = logs(&[]);
    assert_eq!((all.stdout().as_str(), all.stderr()), ("one\nthree\n", "two\n"));
    logs(&["--tail", "1"]).stdout_is("three\n");
    logs(&["-n", "0"]).stdout_is("");
    logs(&["--since", "1h", "--until", "10m"]).stdout_is("");
    logs(&["--since", "1h"]).stdout_is("one\nthree\n");
    let dated = logs(&["-t"]).stdout();
    let first = dated.lines().next().expect("a line");
    assert!(first.ends_with("Z one") && first.starts_with("20") && first.len() > 30, "{first}");
    logs(&["--since", "yesterday"]).fails(125, &["--since"]);
    logs(&["--tail", "few"]).fails(125, &["--tail"]);

    let mut following = sandbox.rrun(["logs", "-f", "--tail", "1", "talks"]).spawn();
    following.wait_for_stdout("three");
    sandbox.rrun(["exec", "talks", "touch", "/go"]).run().succeeds();
    // It ends with the container, and not before all was said.
    following.wait().succeeds().stdout_is("three\nhalf\nend\n");
    sandbox.rrun(["rm", "talks"]).run().succeeds();
    sandbox.nothing_remains([&id]);
}

#[test]
fn a_log_is_rotated_and_read_as_one() {
    needs!("root");
    let sandbox = sandbox();
    let options = ["--name", "much", "--log-opt", "max-size=20k", "--log-opt", "max-file=3"];
    let id = start(&sandbox, &options, "seq 100000 109999");
    sandbox.rrun(["wait", "much"]).run().stdout_is("0\n");
    let folder = sandbox.root().join("containers").join(&id);
    let sizes: Vec<u64> = ["log", "log.1", "log.2"]
        .map(|name| fs::metadata(folder.join(name)).map_or(0, |file| file.len()))
        .to_vec();
    assert!(sizes.iter().all(|size| *size > 0 && *size < 30 << 10), "{sizes:?}");
    assert!(!folder.join("log.3").exists());
    let all = sandbox.rrun(["logs", "much"]).run().stdout();
    let lines: Vec<u32> = all.lines().map(|line| line.parse().expect("a number")).collect();
    assert!(lines.len() > 500 && lines.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{}", lines.len());
    assert_eq!(lines.last(), Some(&109_999));
    sandbox.rrun(["logs", "--tail", "600", "much"]).run().stdout_has("109400\n").stdout_lacks("109399\n");
    sandbox.rrun(["run", "-d", "--log-opt", "max-file=0", "busybox", "true"]).run().fails(125, &["max-file"]);
    sandbox.rrun(["rm", "much"]).run().succeeds();
    sandbox.nothing_remains([&id]);
}

#[test]
fn a_foreground_container_has_a_log_state_and_name_too() {
    needs!("root");
    let sandbox = sandbox();
    let run = sandbox
        .rrun(["run", "--network", "none", "busybox", "sh", "-c", "echo out; echo err >&2; exit 4"])
        .run();
    run.exits(4).stdout_is("out\n");
    let names = sandbox.rrun(["ps", "-a", "--format", "{{.Names}}"]).run().stdout();
    let name = names.trim_end();
    assert!(name.contains('_'), "a generated name: {name:?}");
    let logs = sandbox.rrun(["logs", name]).run();
    assert_eq!((logs.stdout().as_str(), logs.stderr()), ("out\n", "err\n"));
    assert_eq!(inspect(&sandbox, name)["State"]["ExitCode"], 4);
    sandbox.rrun(["rm", name]).run().succeeds();
    sandbox.nothing_remains([]);
}

#[test]
fn exec_passes_streams_users_variables_and_folders() {
    needs!("root");
    let sandbox = sandbox();
    let id = start(&sandbox, &["--name", "box", "-e", "A=1", "-u", "1000"], "mkdir -p /tmp/x; sleep 1000");
    let exec = |options: &[&str], script: &str| {
        sandbox.rrun(["exec"]).args(options).args(["box", "sh", "-c", script]).run()
    };
    exec(&[], "id -u; echo $A").succeeds().stdout_is("1000\n1\n");
    exec(&["-e", "A=2", "-e", "B=3"], "echo $A$B").stdout_is("23\n");
    exec(&["-w", "/etc"], "pwd").stdout_is("/etc\n");
    exec(&["-u", "0"], "id -u; echo $HOME; grep CapEff /proc/self/status")
        .stdout_has("0\n/root\nCapEff:\t00000000a80425fb");
    exec(&["-u", "root:7"], "id -u; id -g").stdout_is("0\n7\n");
    exec(&["-u", "nobody-here"], "id").fails(1, &["nobody-here"]);
    let split = exec(&[], "echo out; echo err >&2; exit 9");
    assert_eq!((split.exits(9).stdout().as_str(), split.stderr()), ("out\n", "err\n"));
    exec(&[], "kill -KILL $$").exits(137);
    sandbox.rrun(["exec", "box", "no-such"]).run().fails(127, &["no-such"]);
    sandbox.rrun(["exec", "box", "/etc"]).run().fails(126, &["/etc"]);
    sandbox.rrun(["exec", "box"]).run().fails(125, &["command"]);
    sandbox.rrun(["exec", "nobody", "true"]).run().fails(1, &["no such container"]);
    sandbox.rrun(["exec", "-it", "box", "true"]).run().fails(1, &["TTY"]);

    let data: Vec<u8> = (0..300_000u32).map(|number| number as u8).collect();
    let copied = sandbox.rrun(["exec", "-i", "box", "cat"]).stdin(data.clone()).run();
    assert!(copied.succeeds().stdout_bytes() == data, "{} bytes came back", copied.stdout_bytes().len());
    // Without -i there is no input to wait for.
    sandbox.rrun(["exec", "box", "cat"]).stdin("unread").run().succeeds().stdout_is("");

    exec(&["-d", "-u", "0"], "echo detached > /here; sleep 1000").succeeds().stdout_is("");
    eventually("the detached process has written", || exec(&[], "cat /here").stdout() == "detached\n");
    sandbox.rrun(["rm", "-f", "box"]).run().succeeds();
    sandbox.nothing_remains([&id]);
}

#[test]
fn an_exec_ends_with_its_caller() {
    needs!("root");
    let sandbox = sandbox();
    let id = start(&sandbox, &["--name", "box"], "sleep 1000");
    let mut exec = sandbox.rrun(["exec", "box", "sh", "-c", "echo in; exec sleep 999"]).spawn();
    exec.wait_for_stdout("in");
    exec.signal(Signal::KILL);
    drop(exec.wait());
    eventually("the process is gone", || {
        !sandbox.rrun(["exec", "box", "ps"]).run().stdout().contains("sleep 999")
    });
    sandbox.rrun(["rm", "-f", "box"]).run().succeeds();
    sandbox.nothing_remains([&id]);
}

#[test]
fn exec_on_a_terminal_is_raw_has_a_size_and_gives_it_back() {
    needs!("root");
    let sandbox = sandbox();
    let id = start(&sandbox, &["--name", "box"], "sleep 1000");
    let script = "tty; stty size; echo term=$TERM; read line; echo \"got $line\"; \
                  until stty size | grep '44 111'; do sleep 0.02; done; \
                  trap 'exit 5' INT; echo waiting; while :; do sleep 0.02; done";
    let mut on = OnTerminal::start(&sandbox, &["exec", "-it", "box", "sh", "-c", script]);
    on.expect("/dev/pts/");
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
    assert_eq!(OnTerminal::start(&sandbox, &["exec", "-it", "box", "no-such"]).ends(), 127);
    sandbox.rrun(["rm", "-f", "box"]).run().succeeds();
    sandbox.nothing_remains([&id]);
}

#[test]
fn a_user_comes_leaves_and_comes_back() {
    needs!("root");
    let sandbox = sandbox();
    let id =
        start(&sandbox, &["-it", "--name", "shell"], "while read line; do echo \"got $line\"; done; exit 6");
    let mut on = OnTerminal::start(&sandbox, &["attach", "shell"]);
    eventually("the terminal is raw", || on.is_raw());
    on.send(b"one\r");
    on.expect("got one");
    on.send(b"\x10\x11");
    on.expect("left the container running");
    assert_eq!(on.ends(), 0);
    let mut again = OnTerminal::start(&sandbox, &["attach", "shell"]);
    eventually("the terminal is raw", || again.is_raw());
    again.send(b"two\r");
    again.expect("got two");
    again.send(b"\x04");
    assert_eq!(again.ends(), 6);
    sandbox.rrun(["logs", "shell"]).run().stdout_has("got one\r\n").stdout_has("got two\r\n");
    sandbox.rrun(["rm", "shell"]).run().succeeds();
    sandbox.nothing_remains([&id]);
}

#[test]
fn who_ignores_the_signal_is_killed_in_time() {
    needs!("root");
    let sandbox = sandbox();
    let deaf = start(&sandbox, &["--name", "deaf"], "trap '' TERM; echo up; while :; do sleep 0.1; done");
    wait_for_log(&sandbox, "deaf", "up");
    let begin = Instant::now();
    sandbox.rrun(["stop", "-t", "1", "deaf"]).run().succeeds();
    assert!((1..8).contains(&begin.elapsed().as_secs()), "{:?}", begin.elapsed());
    sandbox.rrun(["wait", "deaf"]).run().stdout_is("137\n");

    let picky = start(
        &sandbox,
        &["--name", "picky", "--stop-signal", "USR1", "--stop-timeout", "60"],
        "trap 'exit 8' USR1; echo up; while :; do sleep 0.02; done",
    );
    wait_for_log(&sandbox, "picky", "up");
    sandbox.rrun(["stop", "picky"]).run().succeeds();
    sandbox.rrun(["wait", "picky"]).run().stdout_is("8\n");
    sandbox.rrun(["kill", "-s", "NOPE", "picky"]).run().fails(125, &["NOPE"]);
    sandbox.rrun(["rm", "deaf", "picky"]).run().succeeds();
    sandbox.nothing_remains([&deaf, &picky]);
}

#[test]
fn several_are_handled_and_one_failure_is_told() {
    needs!("root");
    let sandbox = sandbox();
    let ids = [start(&sandbox, &["--name", "aa"], OBEDIENT), start(&sandbox, &["--name", "bb"], OBEDIENT)];
    sandbox.rrun(["kill", "aa", "cc", "bb"]).run().fails(1, &["cc"]).stdout_is("aa\nbb\n");
    sandbox.rrun(["wait", "aa", "bb"]).run().stdout_is("137\n137\n");
    sandbox.rrun(["rm", "bb", "dd", "aa"]).run().fails(1, &["dd"]).stdout_is("bb\naa\n");
    sandbox.nothing_remains(&ids);
}

#[test]
fn a_container_lives_again_with_what_it_changed() {
    needs!("root");
    let sandbox = sandbox();
    let script = "cat /kept 2>/dev/null; echo kept >> /kept; echo up; sleep 0.2; exit 5";
    let id = start(&sandbox, &["--name", "again"], script);
    sandbox.rrun(["wait", "again"]).run().stdout_is("5\n");
    sandbox.rrun(["start", "again"]).run().succeeds().stdout_is("again\n");
    sandbox.rrun(["wait", "again"]).run().stdout_is("5\n");
    sandbox.rrun(["logs", "again"]).run().stdout_is("up\nkept\nup\n");
    sandbox.rrun(["start", "-a", "again"]).run().exits(5).stdout_is("kept\nkept\nup\n");
    sandbox.rrun(["restart", "again"]).run().succeeds();
    sandbox.rrun(["restart", "-t", "0", "again"]).run().succeeds();
    sandbox.rrun(["rm", "-f", "again"]).run().succeeds();
    let once = start(&sandbox, &["--rm", "--name", "once"], "sleep 1000");
    sandbox.rrun(["restart", "once"]).run().fails(1, &["once", "--rm"]);
    sandbox.rrun(["start", "once"]).run().succeeds();
    sandbox.rrun(["rm", "-f", "once"]).run().succeeds();
    sandbox.nothing_remains([&id, &once]);
}

#[test]
fn a_killed_monitor_is_noticed_by_the_next_caller() {
    needs!("root");
    let sandbox = sandbox();
    let kept = start(&sandbox, &["--name", "kept"], "sleep 1000 & sleep 1000");
    let gone = start(&sandbox, &["--name", "gone", "--rm"], "sleep 1000");
    for id in [&kept, &gone] {
        let monitor = leaks::processes_with(&format!("--id\0{id}"));
        assert_eq!(monitor.len(), 1, "one monitor for {id}");
        kill_process(Pid::from_raw(monitor[0]).expect("a pid"), Signal::KILL).expect("it lives");
        eventually("it is gone", || leaks::processes_with(&format!("--id\0{id}")).is_empty());
    }
    sandbox
        .rrun(["ps", "-a", "--format", "{{.Names}} {{.Status}}"])
        .run()
        .stdout_has("kept Exited (255) ")
        .stdout_lacks("gone");
    sandbox.rrun(["wait", "kept"]).run().stdout_is("255\n");
    sandbox.rrun(["start", "kept"]).run().succeeds();
    sandbox.rrun(["ps", "--format", "{{.Names}}"]).run().stdout_is("kept\n");
    sandbox.rrun(["rm", "-f", "kept"]).run().succeeds();
    sandbox.nothing_remains([&kept, &gone]);
}

#[test]
fn inspect_says_what_dockers_does() {
    needs!("root");
    let sandbox = sandbox();
    let data = sandbox.folder("data");
    let bind = format!("{}:/d:ro", data.display());
    let options = ["--name", "shown", "-e", "A=1", "-v", &bind, "--memory", "64m", "-h", "host-1"];
    let id = start(&sandbox, &options, "sleep 1000");
    let shown = inspect(&sandbox, "shown");
    for (pointer, expected) in [
        ("/Id", Value::from(id.clone())),
        ("/Name", "/shown".into()),
        ("/Path", "sh".into()),
        ("/Args/0", "-c".into()),
        ("/State/Status", "running".into()),
        ("/State/Running", true.into()),
        ("/State/ExitCode", 0.into()),
        ("/HostConfig/NetworkMode", "none".into()),
        ("/HostConfig/Memory", (64 << 20).into()),
        ("/HostConfig/Binds/0", bind.clone().into()),
        ("/Mounts/0/Destination", "/d".into()),
        ("/Mounts/0/RW", false.into()),
        ("/Config/Hostname", "host-1".into()),
        ("/Config/Image", "busybox".into()),
        ("/NetworkSettings/IPAddress", "".into()),
    ] {
        assert_eq!(shown.pointer(pointer), Some(&expected), "{pointer} of {shown}");
    }
    let pid = shown["State"]["Pid"].as_i64().expect("a pid");
    assert!(fs::read(format!("/proc/{pid}/cmdline")).expect("it lives").starts_with(b"sleep\0"));
    sandbox.rrun(["inspect", "-f", "{{.State.Pid}}", "shown"]).run().stdout_is(&format!("{pid}\n"));
    // Images are found by the same verb.
    sandbox.rrun(["inspect", "-f", "{{.Os}}", "busybox"]).run().stdout_is("linux\n");
    sandbox.rrun(["inspect", "nothing"]).run().fails(1, &["nothing"]);
    sandbox.rrun(["rmi", "busybox"]).run().fails(1, &["busybox"]);
    sandbox.rrun(["rm", "-f", "shown"]).run().succeeds();
    sandbox.nothing_remains([&id]);
}

#[test]
fn what_kubernetes_owns_is_shown_and_not_touched() {
    needs!("root");
    let sandbox = sandbox();
    let store = Store::open(sandbox.root()).expect("the store");
    let containers = Containers::new(&store, &sandbox.state());
    let image = store.find("busybox").expect("it was imported");
    let mut record = Record::new(&"c".repeat(64), image.manifest, "busybox", &["sleep".into(), "9".into()]);
    record.cri = Some(CriContainer {
        sandbox_id: "d".repeat(64),
        name: "main".into(),
        pod_name: "shop".into(),
        pod_namespace: "default".into(),
        pod_uid: "uid-1".into(),
        ..CriContainer::default()
    });
    drop(containers.create(&record).expect("a container"));
    let pods = Pods::new(&store).expect("pods");
    let pod = PodRecord::new(&"d".repeat(64), "shop", "default", "uid-1", 0);
    let held = pods.create(&pod).expect("a pod");

    let ps = sandbox.rrun(["ps", "-a", "--format", "{{.Names}} {{.Image}} {{.Command}}"]).run();
    ps.stdout_has("k8s_main_shop_default_uid-1_0 busybox \"sleep 9\"\n");
    ps.stdout_has("k8s_POD_shop_default_uid-1_0 pause (built in) \"/pause\"\n");
    sandbox.rrun(["rm", "-f", "k8s_main_shop_default_uid-1_0"]).run().fails(1, &["default/shop", "--cri"]);
    sandbox.rrun(["rm", "--cri", "cccc"]).run().succeeds();
    drop(held);
    pods.remove(pods.hold(&pod.id).expect("nobody has it")).expect("it goes");
    sandbox.nothing_remains([]);
}

#[test]
fn names_belong_to_one_and_files_get_ids() {
    needs!("root");
    let sandbox = sandbox();
    let file = sandbox.path().join("id");
    let file = file.to_str().expect("a plain path");
    let id = start(&sandbox, &["--name", "web", "--cidfile", file], "sleep 1000");
    assert_eq!(fs::read_to_string(file).expect("it was written"), id);
    let again = ["run", "-d", "--network", "none"];
    sandbox
        .rrun(again)
        .args(["--cidfile", file, "busybox", "true"])
        .run()
        .fails(125, &["--cidfile", "exists"]);
    sandbox.rrun(again).args(["--name", "web", "busybox", "true"]).run().fails(125, &["\"web\"", "in use"]);
    // Nothing else of it was done.
    sandbox.rrun(["ps", "-aq"]).run().stdout_is(&format!("{}\n", &id[..12]));
    sandbox.rrun(["rm", "-f", &id[..4]]).run().succeeds();
    sandbox.nothing_remains([&id]);
}

#[test]
fn a_flood_of_output_fills_no_disk_and_stops_nobody() {
    needs!("root");
    let sandbox = sandbox();
    let id = start(&sandbox, &["--name", "flood", "--log-opt", "max-size=1m"], "yes");
    let folder = sandbox.root().join("containers").join(&id);
    eventually("the log was rotated", || folder.join("log.1").exists());
    std::thread::sleep(Duration::from_millis(300));
    let size = |name: &str| fs::metadata(folder.join(name)).map_or(0, |file| file.len());
    assert!(size("log") + size("log.1") < 3 << 20, "{} {}", size("log"), size("log.1"));
    sandbox.rrun(["exec", "flood", "true"]).run().succeeds();
    sandbox.rrun(["stop", "-t", "0", "flood"]).run().succeeds();
    sandbox.rrun(["logs", "--tail", "1", "flood"]).run().stdout_is("y\n");
    sandbox.rrun(["rm", "flood"]).run().succeeds();
    sandbox.nothing_remains([&id]);
}

#[test]
fn a_container_that_others_start_again_is_stopped_restarted_and_removed() {
    needs!("root");
    let sandbox = sandbox();
    let id = start(&sandbox, &["--name", "busy"], "sleep 1000");
    let begin = Instant::now();
    for _ in 0..5 {
        let verbs = [&["stop", "-t", "0", "busy"][..], &["start", "busy"], &["restart", "-t", "0", "busy"]];
        let running: Vec<_> = verbs.into_iter().map(|verb| sandbox.rrun(verb).spawn()).collect();
        for verb in running {
            verb.wait().succeeds();
        }
    }
    let restart = sandbox.rrun(["restart", "-t", "0", "busy"]).spawn();
    sandbox.rrun(["rm", "-f", "busy"]).run().succeeds();
    // It may have come too late.
    drop(restart.wait());
    assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", begin.elapsed());
    sandbox.nothing_remains([&id]);
}

/// The monitor of a container.
fn monitor_of(id: &str) -> Pid {
    let monitor = leaks::processes_with(&format!("--id\0{id}"));
    assert_eq!(monitor.len(), 1, "one monitor for {id}");
    Pid::from_raw(monitor[0]).expect("a pid")
}

#[test]
fn a_container_goes_whatever_its_monitor_does() {
    needs!("root");
    let sandbox = sandbox();
    let stopped = start(&sandbox, &["--name", "stopped"], "sleep 1000");
    kill_process(monitor_of(&stopped), Signal::STOP).expect("it lives");
    sandbox.rrun(["rm", "-f", "stopped"]).run().succeeds().stdout_is("stopped\n");

    let busy = start(&sandbox, &["--name", "busy"], "sleep 1000");
    let socket = sandbox.state().join("pods").join(&busy).join("monitor.sock");
    let callers: Vec<_> = std::iter::from_fn(|| Client::connect(&socket).ok()).collect();
    assert!(callers.len() > 64);
    sandbox.rrun(["rm", "-f", "busy"]).run().succeeds().stdout_is("busy\n");
    sandbox.nothing_remains([&stopped, &busy]);
}

#[test]
fn a_full_disk_loses_no_exit_code() {
    needs!("root");
    let mut sandbox = Sandbox::new();
    let disk = SmallDisk::new(&sandbox, 16 << 20);
    sandbox.set_root(disk.path().join("root"));
    sandbox.import_busybox();
    let id = start(&sandbox, &["--name", "full"], "sleep 1000");
    let ballast = disk.fill(0);
    sandbox.rrun(["kill", "full"]).run().succeeds();
    sandbox.rrun(["wait", "full"]).run().stdout_is("137\n");
    eventually("its monitor is gone", || leaks::processes_with(&format!("--id\0{id}")).is_empty());
    sandbox.rrun(["wait", "full"]).run().stdout_is("137\n");
    // What cannot be done for want of room is said, once.
    let refused = sandbox.rrun(["run", "-d", "--network", "none", "busybox", "true"]).run();
    refused.fails(125, &["No space left on device"]);
    assert_eq!(refused.stderr().matches("No space left").count(), 1, "{}", refused.stderr());
    fs::remove_file(ballast).expect("it is there");
    sandbox.rrun(["rm", "full"]).run().succeeds();
    sandbox.nothing_remains([&id]);
}

#[test]
fn lines_that_were_rotated_away_are_told_and_others_are_not_lost() {
    needs!("root");
    let sandbox = sandbox();
    let script = "i=0; while [ $i -lt 30000 ]; do echo $i; i=$((i+1)); done; sleep 0.5";
    let kept = ["--name", "kept", "--log-opt", "max-size=32k", "--log-opt", "max-file=90"];
    let id = start(&sandbox, &kept, script);
    let all = sandbox.rrun(["logs", "-f", "kept"]).run();
    let lines: Vec<u32> = all.stdout().lines().map(|line| line.parse().expect("a number")).collect();
    assert_eq!((lines.len(), lines.windows(2).all(|pair| pair[0] + 1 == pair[1])), (30000, true));
    all.stderr_lacks("lost");

    let go = "until [ -e /go ]; do sleep 0.02; done; ";
    let lossy = ["--name", "lossy", "--log-opt", "max-size=16k", "--log-opt", "max-file=1"];
    let other = start(&sandbox, &lossy, &format!("echo first; {go}{script}"));
    wait_for_log(&sandbox, "lossy", "first");
    let mut follow = sandbox.rrun(["logs", "-f", "lossy"]).spawn();
    follow.wait_for_stdout("first");
    follow.signal(Signal::STOP);
    sandbox.rrun(["exec", "lossy", "touch", "/go"]).run().succeeds();
    sandbox.rrun(["wait", "lossy"]).run().succeeds();
    follow.signal(Signal::CONT);
    follow.wait().succeeds().stderr_has("lines were lost").stdout_has("29999\n");
    sandbox.rrun(["rm", "kept", "lossy"]).run().succeeds();
    sandbox.nothing_remains([&id, &other]);
}

#[test]
fn a_terminal_without_input_shows_each_line_end_once() {
    needs!("root");
    let sandbox = sandbox();
    let id = start(&sandbox, &["--name", "box"], "sleep 1000");
    for arguments in [
        &["exec", "-t", "box", "sh", "-c", "echo one; echo two"][..],
        &["run", "--rm", "-t", "--network", "none", "busybox", "sh", "-c", "echo one; echo two"],
    ] {
        let mut on = OnTerminal::start(&sandbox, arguments);
        on.expect("one\r\ntwo\r\n");
        assert_eq!(on.ends(), 0);
    }
    sandbox.rrun(["rm", "-f", "box"]).run().succeeds();
    sandbox.nothing_remains([&id]);
}
