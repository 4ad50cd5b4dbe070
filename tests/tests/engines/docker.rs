//! `dockerd` with `roci` as its default runtime.

use std::time::Duration;

use tests::{Sandbox, busybox_archive, eventually, needs};

use crate::engine::{Engine, cgroup_parent, packaged, runtime, setting};
use crate::subjects;

const NEEDS: &[&str] = &["root", "docker", "dockerd"];

subjects!(
    exit_codes,
    standard_input,
    terminal,
    terminal_of_a_command,
    limits,
    pause,
    kill_and_stop,
    restart,
    restart_after_failure,
    forced_removal,
    stats,
    logs,
    settings_of_the_process,
    privileged,
);

/// A daemon that keeps away from the host's network and from any other docker.
fn start() -> Engine {
    let sandbox = Sandbox::new();
    let config = sandbox.write("docker/daemon.json", "{}");
    let at = |name: &str| sandbox.path().join("docker").join(name).display().to_string();
    let host = format!("unix://{}", at("sock"));
    let daemon = sandbox
        .command(packaged("dockerd"))
        .arg("--config-file")
        .arg(config)
        .args([
            "--data-root",
            &at("data"),
            "--exec-root",
            &at("exec"),
            "--pidfile",
            &at("pid"),
            "--host",
            &host,
        ])
        .args(["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"])
        .args(["--storage-driver=vfs", "--oom-score-adjust=0"])
        .arg(format!("--cgroup-parent=/{}", cgroup_parent(&sandbox)))
        .arg(format!("--add-runtime=roci={}", runtime().display()))
        .arg("--default-runtime=roci")
        .deadline(Duration::from_secs(300))
        .spawn();
    let engine = Engine {
        client: vec![packaged("docker").into(), "-H".into(), host.into()],
        environment: Vec::new(),
        run: ["--network", "none"].map(str::to_owned).to_vec(),
        daemon: Some(daemon),
        clear,
        sandbox,
    };
    engine.answers(&["version"]);
    engine.command(["import"]).arg(busybox_archive()).arg("busybox").run().succeeds();
    engine
}

fn clear(engine: &Engine) {
    let listed = engine.command(["ps", "-aq"]).run().stdout();
    if !listed.is_empty() {
        engine.command(["rm", "-f"]).args(listed.split_whitespace()).run();
    }
}

/// Newer dockers tell a missing program, 127, from one that cannot be run.
#[test]
fn exec() {
    needs!("root", "docker", "dockerd");
    let engine = start();
    subjects::exec(&engine);
    let missing = engine.command(["exec", "one", "no-such-program"]).run();
    assert!([126, 127].contains(&missing.code()), "{missing:?}");
    assert!(missing.stdout().contains("no-such-program") || missing.stderr().contains("no-such-program"));
    engine.command(["exec", "one", "/etc"]).run().exits(126);
}

#[test]
fn out_of_memory() {
    needs!("root", "docker", "dockerd");
    let engine = start();
    let limit = ["--name", "one", "--memory", "16m", "--memory-swap", "16m"];
    engine.run(&limit, &["tail", "/dev/zero"]).run().exits(137);
    assert_eq!(engine.inspect("one", "{{.State.OOMKilled}} {{.State.ExitCode}}"), "true 137");
}

#[test]
fn update() {
    needs!("root", "cgroup_v1", "docker", "dockerd");
    let engine = start();
    subjects::update(&engine);
    engine.command(["update", "--pids-limit", "33", "one"]).run().succeeds();
    assert_eq!(setting(&engine.pid("one"), "pids", "pids.max"), "33");
}

#[test]
fn health_checks() {
    needs!("root", "docker", "dockerd");
    let engine = start();
    engine.start(
        "one",
        &["--health-cmd", "test -e /fine", "--health-interval", "0.1s", "--health-retries", "1"],
    );
    let is = |status: &str| {
        eventually(status, || engine.inspect("one", "{{.State.Health.Status}}") == status);
    };
    is("unhealthy");
    engine.command(["exec", "one", "touch", "/fine"]).run().succeeds();
    is("healthy");
}

#[test]
fn an_init_of_dockers_own() {
    needs!("root", "docker", "dockerd", "docker-init");
    let engine = start();
    engine.run(&["--rm", "--init"], &["cat", "/proc/1/cmdline"]).run().succeeds().stdout_has("docker-init");
}
