//! How long `true` takes in a container with the whole engine.

use std::process::Command;

use tests::busybox_archive;

use crate::contest::{Contestant, compare, quiet};
use crate::table::Row;
use crate::world::World;

/// `rrun run` of an image: at most an eighth of podman, at most twice crun on the same root file system.
pub fn whole_program(world: &World, rounds: usize) -> anyhow::Result<Vec<Row>> {
    let ours = Contestant::command("rrun run", |_| {
        world.ours("rrun", &["run", "--rm", "--network", "none", "busybox", "true"])
    });
    let contestants =
        [Some((ours, 1.0)), podman(world).map(|peer| (peer, 0.125)), crun(world).map(|peer| (peer, 2.0))];
    let (contestants, targets): (Vec<_>, Vec<_>) = contestants.into_iter().flatten().unzip();
    compare("rrun run --rm --network none busybox true", contestants, &targets[1..], rounds)
}

/// With limits that the machine grants: podman's defaults ask for more than some containers and machines allow.
fn podman(world: &World) -> Option<Contestant<'_>> {
    let common = ["--cgroup-manager", "cgroupfs", "--events-backend", "none"];
    let command = move |arguments: &[&str]| world.peer("podman", &[&common[..], arguments].concat());
    if let Err(error) = quiet(command(&["import", &busybox_archive().to_string_lossy(), "busybox"])) {
        println!("skipped: podman: {error:#}");
        return None;
    }
    let limits = ["--ulimit", "nofile=20000:20000", "--ulimit", "nproc=20000:20000"];
    let run = move |_| {
        command(&[&["run", "--rm", "--network", "none"], &limits[..], &["busybox", "true"]].concat())
    };
    Contestant::command("podman run", run).take_part()
}

fn crun(world: &World) -> Option<Contestant<'_>> {
    let run = |run| {
        let mut command = Command::new("crun");
        command.arg("--root").arg(world.path().join("crun"));
        command.arg("run").arg("--bundle").arg(world.bundle()).arg(world.id(run));
        command
    };
    Contestant::command("crun run", run).take_part()
}
