//! What docker and podman promise alike, and podman whoever calls it.

use rustix::process::Pid;
use tests::{eventually, needs};

use crate::engine::{Engine, on_terminal, setting};

pub fn exit_codes(engine: &Engine) {
    let run = |command: &[&str]| engine.run(&["--rm"], command).run();
    run(&["sh", "-c", "exit 7"]).exits(7);
    run(&["no-such-program"]).fails(127, &["no-such-program"]);
    run(&["/etc"]).fails(126, &["/etc"]);
}

pub fn standard_input(engine: &Engine) {
    let cat = engine.run(&["--rm", "-i"], &["cat"]).stdin("input\n");
    cat.run().succeeds().stdout_is("input\n");
}

pub fn terminal(engine: &Engine) {
    on_terminal(engine, |script| engine.run(&["--rm", "-it"], &["sh", "-c", script]));
}

pub fn terminal_of_a_command(engine: &Engine) {
    engine.start("one", &[]);
    on_terminal(engine, |script| engine.command(["exec", "-it", "one", "sh", "-c", script]));
}

pub fn exec(engine: &Engine) {
    engine.start("one", &["--env", "GIVEN=here"]);
    let exec = |options: &[&str], script: &str| {
        engine.command(["exec"]).args(options).args(["one", "sh", "-c", script])
    };
    exec(&[], "echo out; echo err >&2; exit 9").run().fails(9, &["err"]).stdout_is("out\n");
    exec(&["-i"], "cat").stdin("input\n").run().succeeds().stdout_is("input\n");
    exec(&["-u", "1", "-w", "/tmp", "-e", "MORE=there"], "echo $(id -u) $PWD $GIVEN $MORE")
        .run()
        .succeeds()
        .stdout_is("1 /tmp here there\n");
    exec(&["-d"], "touch /made").run().succeeds();
    eventually("the detached command ran", || exec(&[], "test -e /made").run().code() == 0);
}

pub fn limits(engine: &Engine) {
    needs!("cgroup_v1");
    engine.start("one", &["--memory", "32m", "--pids-limit", "44", "--cpus", "0.5", "--cpu-shares", "77"]);
    let pid = engine.pid("one");
    assert_eq!(setting(&pid, "memory", "memory.limit_in_bytes"), (32 << 20).to_string());
    assert_eq!(setting(&pid, "pids", "pids.max"), "44");
    assert_eq!(setting(&pid, "cpu", "cpu.cfs_quota_us"), "50000");
    assert_eq!(setting(&pid, "cpu", "cpu.cfs_period_us"), "100000");
    assert_eq!(setting(&pid, "cpu", "cpu.shares"), "77");
}

pub fn update(engine: &Engine) {
    needs!("cgroup_v1");
    engine.start("one", &["--memory", "32m"]);
    let pid = engine.pid("one");
    let change = ["--memory", "64m", "--memory-swap", "128m", "--cpus", "0.25"];
    engine.command(["update"]).args(change).arg("one").run().succeeds();
    assert_eq!(setting(&pid, "memory", "memory.limit_in_bytes"), (64 << 20).to_string());
    assert_eq!(setting(&pid, "cpu", "cpu.cfs_quota_us"), "25000");
}

pub fn pause(engine: &Engine) {
    needs!("cgroup_v1");
    engine.start("one", &[]);
    let pid = engine.pid("one");
    engine.command(["pause", "one"]).run().succeeds();
    engine.has_status("one", "paused");
    assert_eq!(setting(&pid, "freezer", "freezer.state"), "FROZEN");
    engine.command(["unpause", "one"]).run().succeeds();
    engine.has_status("one", "running");
    assert_eq!(setting(&pid, "freezer", "freezer.state"), "THAWED");
}

pub fn kill_and_stop(engine: &Engine) {
    let trap = "trap 'exit 5' TERM; trap 'echo usr1' USR1; echo ready; while :; do sleep 0.05; done";
    engine.run(&["-d", "--name", "one"], &["sh", "-c", trap]).run().succeeds();
    let says =
        |word: &str| eventually(word, || engine.command(["logs", "one"]).run().stdout().contains(word));
    says("ready");
    engine.command(["kill", "--signal", "USR1", "one"]).run().succeeds();
    says("usr1");
    engine.command(["stop", "one"]).run().succeeds();
    assert_eq!(engine.inspect("one", "{{.State.Status}} {{.State.ExitCode}}"), "exited 5");

    engine.start("two", &[]);
    engine.command(["kill", "two"]).run().succeeds();
    engine.command(["wait", "two"]).run().succeeds().stdout_is("137\n");
    engine.start("deaf", &[]);
    engine.command(["stop", "--time", "0", "deaf"]).run().succeeds();
    assert_eq!(engine.inspect("deaf", "{{.State.Status}} {{.State.ExitCode}}"), "exited 137");
}

pub fn restart(engine: &Engine) {
    engine.start("one", &[]);
    let before = engine.pid("one");
    engine.command(["exec", "one", "touch", "/kept"]).run().succeeds();
    engine.command(["restart", "--time", "0", "one"]).run().succeeds();
    assert_ne!(engine.pid("one"), before);
    engine.command(["exec", "one", "test", "-e", "/kept"]).run().succeeds();
}

pub fn restart_after_failure(engine: &Engine) {
    let policy = ["-d", "--name", "one", "--restart", "on-failure:2"];
    engine.run(&policy, &["sh", "-c", "echo once more; exit 3"]).run().succeeds();
    let lines = || engine.command(["logs", "one"]).run().succeeds().stdout().lines().count();
    eventually("it ran three times", || lines() == 3);
    engine.has_status("one", "exited");
    assert_eq!(engine.inspect("one", "{{.RestartCount}} {{.State.ExitCode}}"), "2 3");
}

pub fn forced_removal(engine: &Engine) {
    engine.start("one", &[]);
    let pid = Pid::from_raw(engine.pid("one").parse().expect("a number"));
    engine.command(["rm", "-f", "one"]).run().succeeds();
    engine.command(["ps", "-aq"]).run().succeeds().stdout_is("");
    let gone = rustix::process::test_kill_process(pid.expect("it was alive"));
    assert_eq!(gone, Err(rustix::io::Errno::SRCH), "the process outlives its container");
}

pub fn stats(engine: &Engine) {
    engine.start("one", &["--memory", "32m"]);
    let template = "{{.MemUsage}} with {{.PIDs}}";
    let outcome = engine.command(["stats", "--no-stream", "--format", template, "one"]).run();
    let line = outcome.succeeds().stdout();
    // One writes 32MiB, the other 33.55MB.
    assert!(line.contains("/ 32MiB") || line.contains("/ 33.55MB"), "{line}");
    assert!(!line.starts_with("0B") && line.trim_end().ends_with("with 1"), "{line}");
}

pub fn logs(engine: &Engine) {
    let script = "echo out; echo err >&2";
    engine.run(&["--name", "one"], &["sh", "-c", script]).run().succeeds().stdout_is("out\n");
    let kept = engine.command(["logs", "one"]).run();
    kept.fails(0, &["err"]).stdout_is("out\n");
    engine.command(["logs", "-f", "one"]).run().succeeds().stdout_is("out\n");
}

pub fn settings_of_the_process(engine: &Engine) {
    let options = [
        "--rm",
        "--read-only",
        "--user",
        "1:2",
        "--ulimit",
        "nofile=100:200",
        "--ulimit",
        "nproc=1000:1000",
        "--hostname",
        "named",
    ];
    let scratch = ["--tmpfs", "/scratch:size=1m,mode=700"];
    let script = "id -u; id -g; ulimit -Sn; ulimit -Hn; hostname; stat -c %a /scratch
        grep -c ' /scratch tmpfs .*size=1024k' /proc/mounts; touch /file";
    engine
        .run(&[&options[..], &scratch].concat(), &["sh", "-c", script])
        .run()
        .fails(1, &["Read-only file system"])
        .stdout_is("1\n2\n100\n200\nnamed\n700\n1\n");
    engine.run(&["--rm", "--user", "daemon"], &["touch", "/file"]).run().fails(1, &["Permission denied"]);
}

pub fn privileged(engine: &Engine) {
    let mount = "mkdir /new && mount -t tmpfs none /new && echo mounted; ls /dev | wc -l";
    let run = |options: &[&str]| engine.run(options, &["sh", "-c", mount]).run();
    let devices = |text: &str| text.lines().last().and_then(|line| line.parse::<u32>().ok());
    let plain = run(&["--rm"]);
    plain.stdout_lacks("mounted");
    let all = run(&["--rm", "--privileged"]);
    all.succeeds().stdout_has("mounted");
    assert!(devices(&all.stdout()) > devices(&plain.stdout()), "it sees the host's devices");
}

/// Podman's timers are systemd's; a check by hand needs none.
pub fn health_checks_by_hand(engine: &Engine) {
    engine.start("one", &["--health-cmd", "test -e /fine", "--health-interval", "disable"]);
    engine.command(["healthcheck", "run", "one"]).run().exits(1);
    engine.command(["exec", "one", "touch", "/fine"]).run().succeeds();
    engine.command(["healthcheck", "run", "one"]).run().succeeds();
    assert_eq!(engine.inspect("one", "{{.State.Health.Status}}"), "healthy");
}
