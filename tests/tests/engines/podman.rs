//! `podman --runtime roci`.

use tests::{Sandbox, busybox_archive, needs, peer, report_skipped};

use crate::engine::{Engine, cgroup_parent, packaged, runtime};
use crate::subjects;

const NEEDS: &[&str] = &["root", "podman"];

subjects!(
    exit_codes,
    standard_input,
    terminal,
    terminal_of_a_command,
    limits,
    update,
    pause,
    kill_and_stop,
    restart,
    restart_after_failure,
    forced_removal,
    stats,
    logs,
    settings_of_the_process,
    privileged,
    health_checks_by_hand,
);

/// Locks in files, because those in shared memory are one set for all podmans of a host, which a first start clears.
/// Limits below any host's own, since without `CAP_SYS_RESOURCE` podman's are out of reach.
const CONFIG: &str = "[containers]
default_ulimits = [\"nofile=1000:1000\", \"nproc=10000:10000\"]
[engine]
lock_type = \"file\"
";

fn start() -> Engine {
    let sandbox = Sandbox::new();
    let config = sandbox.write("podman/containers.conf", CONFIG);
    let at = |name: &str| sandbox.path().join("podman").join(name).into_os_string();
    let mut client = vec![packaged("podman").into_os_string()];
    client.extend(["--root".into(), at("root"), "--runroot".into(), at("run"), "--tmpdir".into(), at("tmp")]);
    client.extend(["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"].map(Into::into));
    client.extend(["--events-backend", "file", "--runtime"].map(Into::into));
    client.push(runtime().into());
    let cgroup = format!("/{}", cgroup_parent(&sandbox));
    let engine = Engine {
        client,
        environment: vec![("CONTAINERS_CONF", config)],
        run: ["--network", "none", "--cgroup-parent", &cgroup].map(str::to_owned).to_vec(),
        daemon: None,
        clear,
        sandbox,
    };
    engine.command(["import"]).arg(busybox_archive()).arg("busybox").run().succeeds();
    engine
}

fn clear(engine: &Engine) {
    engine.command(["rm", "--all", "--force", "--time", "0"]).run();
}

#[test]
fn exec() {
    needs!("root", "podman");
    let engine = start();
    subjects::exec(&engine);
    engine.command(["exec", "one", "no-such-program"]).run().fails(127, &["no-such-program"]);
    engine.command(["exec", "one", "/etc"]).run().fails(126, &["/etc"]);
}

/// The exit code alone: here podman's monitor does not call it a lack of memory, with runc neither.
#[test]
fn out_of_memory() {
    needs!("root", "podman");
    let engine = start();
    let limit = ["--rm", "--memory", "16m", "--memory-swap", "16m"];
    engine.run(&limit, &["tail", "/dev/zero"]).run().exits(137);
    engine.run(&limit, &["sh", "-c", "tail /dev/zero; echo $?"]).run().succeeds().stdout_is("137\n");
}

/// Podman's own, else docker's: what it is makes no difference to a runtime.
#[test]
fn an_init() {
    needs!("root", "podman");
    let Some(init) = ["catatonit", "docker-init"].iter().find_map(|name| peer(name)) else {
        return report_skipped("catatonit or docker-init");
    };
    let engine = start();
    let options = ["--rm", "--init", "--init-path", &init.display().to_string()];
    engine.run(&options, &["cat", "/proc/1/cmdline"]).run().succeeds().stdout_has("init");
}
