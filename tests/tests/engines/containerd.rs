//! `containerd` and its shim, driven by `ctr`, with `roci` as the shim's `runc` binary.
//!
//! Containers have a plain folder as their root: what images become is no affair of a runtime.

use std::time::Duration;

use tests::{Command, Sandbox, eventually, needs, report_skipped};

use crate::engine::{Engine, cgroup_parent, on_terminal, packaged, runtime, setting};

/// A server that keeps away from any other containerd; its namespace is also the cgroup of its containers.
fn start() -> Engine {
    let sandbox = Sandbox::new();
    let folder = sandbox.folder("containerd");
    let at = |name: &str| folder.join(name).display().to_string();
    let config = format!(
        "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
         [grpc]\naddress = {:?}\n[ttrpc]\naddress = {:?}\n\
         [plugins.\"io.containerd.internal.v1.opt\"]\npath = {:?}\n",
        at("root"),
        at("state"),
        at("sock"),
        at("ttrpc"),
        at("opt")
    );
    let config = sandbox.write("containerd/config.toml", config);
    let daemon = sandbox.command(packaged("containerd")).arg("-c").arg(config);
    let daemon = daemon.deadline(Duration::from_secs(300)).spawn();
    let mut client = vec![packaged("ctr").into_os_string(), "--address".into(), at("sock").into()];
    client.extend(["--namespace".into(), cgroup_parent(&sandbox).into()]);
    let runtime = runtime().display().to_string();
    let run = ["--runtime", "io.containerd.runc.v2", "--runc-binary", &runtime, "--env", "PATH=/bin"];
    let run = run.map(str::to_owned).to_vec();
    let engine = Engine { client, environment: Vec::new(), run, daemon: Some(daemon), clear, sandbox };
    engine.answers(&["version"]);
    engine.sandbox.busybox_root("rootfs");
    engine
}

fn clear(engine: &Engine) {
    for name in engine.command(["containers", "list", "-q"]).run().stdout().split_whitespace() {
        engine.command(["tasks", "delete", "--force", name]).run();
        engine.command(["containers", "delete", name]).run();
    }
}

fn run(engine: &Engine, options: &[&str], name: &str, command: &[&str]) -> Command {
    let root = engine.sandbox.path().join("rootfs");
    let options = engine.command(["run"]).args(&engine.run).args(options);
    options.arg("--rootfs").arg(root).arg(name).args(command)
}

/// A detached container that goes on until it is ended.
fn detached(engine: &Engine, options: &[&str]) {
    run(engine, &[&["-d"], options].concat(), "one", &["sleep", "1000"]).run().succeeds();
}

/// The number and the state of the container's first process, as `tasks ls` has them.
fn task(engine: &Engine) -> (String, String) {
    let listed = engine.command(["tasks", "ls"]).run().succeeds().stdout();
    let line = listed.lines().find(|line| line.starts_with("one "));
    let words: Vec<_> = line.unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    (words.get(1).cloned().unwrap_or_default(), words.get(2).cloned().unwrap_or_default())
}

fn has_state(engine: &Engine, state: &str) {
    eventually(state, || task(engine).1 == state);
}

#[test]
fn exit_codes() {
    needs!("root", "containerd");
    let engine = start();
    let run = |command: &[&str]| run(&engine, &["--rm"], "one", command).run();
    run(&["sh", "-c", "echo out; exit 7"]).exits(7).stdout_is("out\n");
    run(&["no-such-program"]).fails(1, &["no-such-program"]);
    run(&["/etc"]).fails(1, &["/etc"]);
}

/// Kept open until the container runs: `ctr` passes on no end of input that comes before.
#[test]
fn standard_input() {
    needs!("root", "containerd");
    let engine = start();
    let mut cat = run(&engine, &["--rm"], "one", &["cat"]).spawn_interactive();
    cat.send(b"input\n");
    cat.wait_for_stdout("input\n");
    cat.close_stdin();
    cat.wait().succeeds();
}

#[test]
fn terminal() {
    needs!("root", "containerd");
    let engine = start();
    on_terminal(&engine, |script| run(&engine, &["--rm", "--tty"], "one", &["sh", "-c", script]));
}

#[test]
fn exec() {
    needs!("root", "containerd");
    let engine = start();
    detached(&engine, &[]);
    let exec = |command: &[&str]| {
        engine.command(["tasks", "exec", "--exec-id", "second", "one"]).args(command).run()
    };
    exec(&["sh", "-c", "echo out; exit 5"]).exits(5).stdout_is("out\n");
    exec(&["no-such-program"]).fails(1, &["no-such-program"]);
    exec(&["/etc"]).fails(1, &["/etc"]);
}

#[test]
fn terminal_and_input_of_a_command() {
    needs!("root", "containerd");
    let engine = start();
    detached(&engine, &[]);
    let exec =
        |options: &[&str]| engine.command(["tasks", "exec", "--exec-id", "second"]).args(options).arg("one");
    on_terminal(&engine, |script| exec(&["--tty"]).args(["sh", "-c", script]));
    let mut cat = exec(&[]).arg("cat").spawn_interactive();
    cat.send(b"input\n");
    cat.wait_for_stdout("input\n");
    cat.close_stdin();
    cat.wait().succeeds();
    exec(&["--user", "1:2", "--cwd", "/tmp"])
        .args(["sh", "-c", "echo $(id -u) $(id -g) $PWD"])
        .run()
        .succeeds()
        .stdout_is("1 2 /tmp\n");
    exec(&["--detach"]).args(["touch", "/made"]).run().succeeds();
    let made = engine.sandbox.path().join("rootfs/made");
    eventually("the detached command ran", || made.exists());
}

#[test]
fn mounts_of_the_container() {
    needs!("root", "containerd");
    let engine = start();
    let scratch = "type=tmpfs,src=tmpfs,dst=/scratch,options=size=1m:mode=700";
    let script = "stat -c %a /scratch; grep -c ' /scratch tmpfs .*size=1024k' /proc/mounts; touch /file";
    run(&engine, &["--rm", "--read-only", "--mount", scratch], "one", &["sh", "-c", script])
        .run()
        .fails(1, &["Read-only file system"])
        .stdout_is("700\n1\n");
}

#[test]
fn logs() {
    needs!("root", "containerd");
    let engine = start();
    let log = engine.sandbox.path().join("log");
    let uri = format!("file://{}", log.display());
    let script = "echo out; echo err >&2; sleep 1000";
    run(&engine, &["-d", "--log-uri", &uri], "one", &["sh", "-c", script]).run().succeeds();
    eventually("both lines are in the log", || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        ["out\n", "err\n"].iter().all(|line| text.contains(line))
    });
}

#[test]
fn a_new_task_of_the_same_container() {
    needs!("root", "containerd");
    let engine = start();
    detached(&engine, &[]);
    let (before, _) = task(&engine);
    engine.command(["tasks", "kill", "--signal", "KILL", "one"]).run().succeeds();
    has_state(&engine, "STOPPED");
    engine.command(["tasks", "delete", "one"]).run().succeeds();
    engine.command(["tasks", "start", "--detach", "one"]).run().succeeds();
    has_state(&engine, "RUNNING");
    assert_ne!(task(&engine).0, before);
}

#[test]
fn want_of_memory_is_an_event() {
    needs!("root", "containerd");
    // `ctr` has no limit for it.
    if std::fs::read_to_string("/proc/swaps").is_ok_and(|list| list.lines().count() > 1) {
        return report_skipped("a machine without swap");
    }
    let engine = start();
    let mut events = engine.command(["events"]).spawn();
    // It says nothing before something happens.
    detached(&engine, &["--memory-limit", &(16 << 20).to_string()]);
    eventually("events come", || {
        engine.command(["containers", "label", "one", "seen=yes"]).run().succeeds();
        events.stdout_so_far().contains("/containers/update")
    });
    let exec = ["tasks", "exec", "--exec-id", "second", "one", "tail", "/dev/zero"];
    engine.command(exec).run().exits(137);
    events.wait_for_stdout("/tasks/oom");
}

#[test]
fn limits_and_metrics() {
    needs!("root", "cgroup_v1", "containerd");
    let engine = start();
    let limit = (32 << 20).to_string();
    detached(&engine, &["--memory-limit", &limit, "--cpu-quota", "25000", "--cpu-period", "100000"]);
    let (pid, _) = task(&engine);
    assert_eq!(setting(&pid, "memory", "memory.limit_in_bytes"), limit);
    assert_eq!(setting(&pid, "cpu", "cpu.cfs_quota_us"), "25000");
    let metrics = engine.command(["tasks", "metrics", "one"]).run();
    metrics.succeeds().stdout_has("memory.usage_in_bytes").stdout_has(&limit);
}

#[test]
fn pause() {
    needs!("root", "containerd");
    let engine = start();
    detached(&engine, &[]);
    engine.command(["tasks", "pause", "one"]).run().succeeds();
    has_state(&engine, "PAUSED");
    engine.command(["tasks", "resume", "one"]).run().succeeds();
    has_state(&engine, "RUNNING");
}

#[test]
fn processes_kill_and_delete() {
    needs!("root", "containerd");
    let engine = start();
    detached(&engine, &[]);
    let (pid, _) = task(&engine);
    engine.command(["tasks", "ps", "one"]).run().succeeds().stdout_has(&pid);
    engine.command(["tasks", "kill", "--signal", "KILL", "one"]).run().succeeds();
    has_state(&engine, "STOPPED");
    engine.command(["tasks", "delete", "one"]).run().succeeds().stderr_has("137");
    engine.command(["containers", "delete", "one"]).run().succeeds();
    engine.command(["containers", "list", "-q"]).run().succeeds().stdout_is("");
}
