//! The runtime alone beside crun, with the same config.json: a whole run, its verbs one by one, exec by itself and by a monitor,
//! and what that costs in memory and system calls.

mod limited;
mod memory;
mod monitor;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::json;
use tests::program;

pub use self::memory::hook;
use self::monitor::Monitor;
use crate::contest::{Contestant, compare, compare_each, quiet, quiet_and_leave};
use crate::table::{Amount, Row, Target};
use crate::world::World;

/// All of it.
pub fn all(world: &World, rounds: usize) -> anyhow::Result<Vec<Row>> {
    let ours = Runtime { program: program("roci"), root: world.path().join("state/oci") };
    let crun = Runtime { program: "crun".into(), root: world.path().join("crun") };
    let mut rows = Vec::new();
    for (what, bundle) in [
        ("roci run of true", world.bundle()),
        ("roci run of true, with the default filter", world.filtered_bundle()),
    ] {
        let runs = |name: &str, runtime: &Runtime| runtime.runs(name, world, bundle.clone());
        let peers = runs("crun run", &crun).take_part();
        let contestants = std::iter::once(runs("roci run", &ours)).chain(peers).collect();
        rows.extend(compare(what, contestants, &[0.6], rounds)?);
    }
    let lives =
        [ours.lives("roci", world)].into_iter().chain(crun.lives("crun", world).take_part()).collect();
    let whats = ["roci create, start, delete", "  create", "  start", "  delete"];
    rows.extend(compare_each(&whats, lives, 0.6, rounds)?);
    rows.extend(execs(&ours, &crun, world, rounds)?);
    rows.extend(memory::rows(&ours, &crun, world, rounds)?);
    rows.extend(limited::rows(&ours, world)?);
    rows.extend(calls(&ours, &crun, world)?);
    Ok(rows)
}

/// Each way that is measured, once, without peers, and then those of a config.json as `roci spec` writes it and of one with
/// a hook: for who watches the program.
pub fn every_way(world: &World, program: PathBuf) -> anyhow::Result<()> {
    let runtime = Runtime { program, root: world.path().join("state/oci") };
    for bundle in [world.bundle(), world.filtered_bundle()] {
        runtime.runs("roci run", world, bundle).take_part().context("cannot run")?;
    }
    let mut here = runtime.command("run");
    here.current_dir(specified(&runtime, world)?).arg(world.id(0));
    quiet(here)?;
    let hooked = world.bundle_with("with a hook", |config| {
        config["hooks"] = json!({"createRuntime": [{"path": "/bin/true"}]});
    })?;
    runtime.runs("roci run", world, hooked).take_part().context("cannot run a hook")?;
    runtime.lives("roci", world).take_part().context("cannot create, start and delete")?;
    let sleeper = runtime.sleeper("roci exec", world)?;
    sleeper.execs().take_part().context("cannot exec")?;
    let monitor = Monitor::start(&runtime, world)?;
    monitor.execs().take_part().context("the monitor cannot exec")?;
    Ok(())
}

/// A bundle with what `spec` writes, but for the command.
fn specified(runtime: &Runtime, world: &World) -> anyhow::Result<PathBuf> {
    let empty = world.path().join("specified");
    std::fs::create_dir(&empty).with_context(|| format!("cannot make {}", empty.display()))?;
    let mut spec = runtime.command("spec");
    spec.arg("--bundle").arg(&empty);
    quiet(spec)?;
    let file = empty.join("config.json");
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let config =
        serde_json::from_str(&text).with_context(|| format!("cannot understand {}", file.display()))?;
    world.bundle_of("specified", config, |config| {
        config["process"]["args"] = json!(["true"]);
        config["process"]["terminal"] = json!(false);
    })
}

/// A runtime and the folder of its state.
struct Runtime {
    program: PathBuf,
    root: PathBuf,
}

impl Runtime {
    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(&self.root).arg(verb);
        command
    }

    fn run(&self, bundle: &Path, id: &str) -> Command {
        let mut command = self.command("run");
        command.arg("--bundle").arg(bundle).arg(id);
        command
    }

    fn runs<'a>(&self, name: &str, world: &'a World, bundle: PathBuf) -> Contestant<'a> {
        let runtime = Runtime { program: self.program.clone(), root: self.root.clone() };
        Contestant::command(name, move |run| runtime.run(&bundle, &world.id(run)))
    }

    /// A container from create to delete, in all and verb by verb. Its command's end is waited for and not counted.
    fn lives<'a>(&'a self, name: &str, world: &'a World) -> Contestant<'a> {
        Contestant::timed(name, move |run| {
            let id = world.id(run);
            let bundle = world.bundle();
            let timed = |command: Command| -> anyhow::Result<Duration> {
                let start = Instant::now();
                quiet_and_leave(command)?;
                Ok(start.elapsed())
            };
            let mut create = self.command("create");
            create.arg("--bundle").arg(&bundle).arg(&id);
            let create = timed(create)?;
            let mut start = self.command("start");
            start.arg(&id);
            let start = timed(start)?;
            self.wait_stopped(&id)?;
            let mut delete = self.command("delete");
            delete.arg(&id);
            let delete = timed(delete)?;
            Ok(vec![create + start + delete, create, start, delete])
        })
    }

    fn wait_stopped(&self, id: &str) -> anyhow::Result<()> {
        let ends = Instant::now() + Duration::from_secs(10);
        loop {
            let mut state = self.command("state");
            let output = state.arg(id).output().context("cannot ask for the state")?;
            if String::from_utf8_lossy(&output.stdout).contains("stopped") {
                return Ok(());
            }
            if Instant::now() > ends {
                bail!("{id} does not end: {}", String::from_utf8_lossy(&output.stderr));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn sleeper<'a>(&'a self, name: &str, world: &World) -> anyhow::Result<Sleeper<'a>> {
        let sleeper = Sleeper { runtime: self, name: name.to_owned(), id: format!("{}-exec", world.id(0)) };
        let mut run = self.command("run");
        run.arg("--detach").arg("--bundle").arg(world.sleeping_bundle(name)?).arg(&sleeper.id);
        quiet_and_leave(run)?;
        Ok(sleeper)
    }

    fn delete(&self, id: &str) {
        let mut delete = self.command("delete");
        // Not there where it could not be made.
        let _ = quiet({
            delete.args(["--force", id]);
            delete
        });
    }
}

/// `true` in a container that sleeps: by `exec`, and by a monitor that has the container.
fn execs(ours: &Runtime, crun: &Runtime, world: &World, rounds: usize) -> anyhow::Result<Vec<Row>> {
    let own = ours.sleeper("roci exec", world)?;
    let peer = match crun.sleeper("crun exec", world) {
        Ok(sleeper) => Some(sleeper),
        Err(error) => {
            println!("skipped: crun exec: {error:#}");
            None
        }
    };
    let beside_peer = |own| std::iter::once(own).chain(peer.iter().map(Sleeper::execs)).collect();
    let mut rows = compare("roci exec of true", beside_peer(own.execs()), &[0.5], rounds)?;
    let monitor = Monitor::start(ours, world)?;
    rows.extend(compare("monitor exec of true", beside_peer(monitor.execs()), &[0.25], rounds)?);
    rows.push(monitor.memory()?);
    Ok(rows)
}

/// A container that sleeps until this is dropped.
struct Sleeper<'a> {
    runtime: &'a Runtime,
    name: String,
    id: String,
}

impl Sleeper<'_> {
    fn execs(&self) -> Contestant<'_> {
        Contestant::command(&self.name, |_| {
            let mut exec = self.runtime.command("exec");
            exec.arg(&self.id).arg("true");
            exec
        })
    }
}

impl Drop for Sleeper<'_> {
    fn drop(&mut self) {
        self.runtime.delete(&self.id);
    }
}

/// System calls of a whole run, the command's own included.
fn calls(ours: &Runtime, crun: &Runtime, world: &World) -> anyhow::Result<Vec<Row>> {
    let count = |runtime: &Runtime| -> anyhow::Result<u64> {
        let file = world.path().join("calls");
        let run = runtime.run(&world.bundle(), &world.id(0));
        let mut traced = Command::new("strace");
        traced.args(["-f", "-qq", "-o"]).arg(&file).arg(run.get_program()).args(run.get_args());
        quiet(traced)?;
        let text = std::fs::read_to_string(&file).context("cannot read what strace wrote")?;
        // A call that another process's interrupts has two lines.
        Ok(text.lines().filter(|line| line.contains('(') && !line.contains(" resumed>")).count() as u64)
    };
    let ours = match count(ours) {
        Ok(ours) => ours,
        Err(error) => {
            println!("skipped: counting system calls: {error:#}");
            return Ok(Vec::new());
        }
    };
    let peer = count(crun).ok().map(|peer| ("crun run".to_owned(), Amount::Count(peer)));
    Ok(vec![Row {
        what: "system calls of roci run of true".to_owned(),
        how: "strace -f".to_owned(),
        ours: Amount::Count(ours),
        peer,
        target: Target::AtMost(Amount::Count(500)),
    }])
}
