//! `podman --runtime roci` of an ordinary user: podman makes a user namespace and calls the runtime as its root.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use tests::{Sandbox, busybox_archive};

use crate::engine::{Engine, packaged, runtime};

const NEEDS: &[&str] = &["root", "podman", "newuidmap"];

subjects!(
    exit_codes,
    standard_input,
    terminal,
    terminal_of_a_command,
    exec,
    kill_and_stop,
    restart,
    restart_after_failure,
    forced_removal,
    logs,
    settings_of_the_process,
    privileged,
    health_checks_by_hand,
);

/// A number that nobody of the machine has.
const USER: u32 = 61_236;

/// He has a login and lent ids in a mount namespace that only his commands see.
const AS_USER: &str =
    "for file in passwd subuid subgid; do mount --bind \"$0/$file\" /etc/$file; done; cd \"$0\"
    user=$1; shift; exec setpriv --reuid $user --regid $user --clear-groups \"$@\"";

fn start() -> Engine {
    let sandbox = Sandbox::new();
    fs::set_permissions(sandbox.path(), fs::Permissions::from_mode(0o755)).expect("ours");
    let home = sandbox.folder("home");
    for name in ["passwd", "subuid", "subgid"] {
        let there = fs::read_to_string(Path::new("/etc").join(name)).unwrap_or_default();
        let line = match name {
            "passwd" => format!("lender:x:{USER}:{USER}::{}:/bin/sh\n", home.display()),
            _ => "lender:700000:65536\n".to_owned(),
        };
        sandbox.write(&format!("home/{name}"), there + &line);
    }
    let config = sandbox.write("home/containers.conf", "[engine]\nlock_type = \"file\"\n");
    let (own, archive) = (home.join("roci"), home.join("busybox.tar"));
    fs::copy(busybox_archive(), &archive).expect("room for it");
    // By a process of its own: one that another test starts meanwhile would hold the file open for writing.
    sandbox.command("cp").args([runtime(), own.clone()]).run().succeeds();
    let run = sandbox.folder("home/run");
    for path in [&home, &run] {
        chown(path, Some(USER), Some(USER)).expect("we are root");
    }
    let mut client: Vec<_> =
        ["unshare", "--mount", "--propagation", "private", "sh", "-ec", AS_USER].map(Into::into).into();
    client.extend([
        home.clone().into_os_string(),
        USER.to_string().into(),
        packaged("podman").into_os_string(),
    ]);
    let at = |name: &str| home.join(name).into_os_string();
    client.extend([
        "--root".into(),
        at("root"),
        "--runroot".into(),
        at("runroot"),
        "--tmpdir".into(),
        at("tmp"),
    ]);
    client.extend(["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"].map(Into::into));
    client.extend(["--log-level", "error", "--events-backend", "file", "--runtime"].map(Into::into));
    client.push(own.into_os_string());
    let engine = Engine {
        client,
        environment: vec![
            ("CONTAINERS_CONF", config),
            ("HOME", home),
            ("XDG_RUNTIME_DIR", run.clone()),
            ("TMPDIR", run),
        ],
        run: ["--network", "none"].map(str::to_owned).to_vec(),
        daemon: None,
        clear,
        sandbox,
    };
    engine.command(["import"]).arg(archive).arg("busybox").run().succeeds();
    engine
}

/// Ends the process that holds podman's user namespace, too.
fn clear(engine: &Engine) {
    engine.command(["rm", "--all", "--force", "--time", "0"]).run();
    engine.command(["system", "migrate"]).run();
}
