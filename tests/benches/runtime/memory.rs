//! What the runtime itself occupies while it makes a container: the peak of its largest process, and what of it is its own.
//!
//! Both need somebody in between: `peak-of`, as the kernel tells a parent the peak of its children only as the largest of all,
//! and this program again as a hook ([`hook`]), which is the way to look at a runtime in its middle.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use rustix::fs::Advice;
use serde_json::json;

use super::Runtime;
use crate::contest::{median, quiet};
use crate::interrupt;
use crate::rollup::rollup;
use crate::table::{Amount, Row, Target};
use crate::world::World;

/// `bench anonymous-of-parent FILE` is a hook: see [`anonymous_of_parent`].
const ANONYMOUS_OF_PARENT: &str = "anonymous-of-parent";

const KB: u64 = 1024;

/// What this program does when a runtime has called it; `None` when a person did.
pub fn hook(words: &[OsString]) -> Option<anyhow::Result<()>> {
    match words {
        [word, file] if word == ANONYMOUS_OF_PARENT => Some(anonymous_of_parent(Path::new(file))),
        _ => None,
    }
}

/// Both rows.
pub(super) fn rows(ours: &Runtime, crun: &Runtime, world: &World, rounds: usize) -> anyhow::Result<Vec<Row>> {
    let both = [("roci run", ours), ("crun run", crun)];
    let mut rows = Vec::new();
    let peaks = both.map(|(name, runtime)| told(name, peaks(runtime, world, rounds)));
    rows.extend(row(
        "peak RSS of roci run of true",
        "largest process (ru_maxrss)",
        Target::Ratio(0.8),
        peaks,
    ));
    let anonymous = both.map(|(name, runtime)| told(name, anonymous(runtime, world)));
    let most = Target::AtMost(Amount::Memory(400 * KB));
    rows.extend(row(
        "anonymous memory of roci run, no filter",
        "creator and child in createRuntime",
        most,
        anonymous,
    ));
    Ok(rows)
}

fn told(name: &str, amount: anyhow::Result<u64>) -> Option<(String, Amount)> {
    match amount {
        Ok(bytes) => Some((name.to_owned(), Amount::Memory(bytes))),
        Err(error) => {
            println!("skipped: {name}: {error:#}");
            None
        }
    }
}

fn row(what: &str, how: &str, target: Target, [ours, peer]: [Option<(String, Amount)>; 2]) -> Option<Row> {
    let (_, ours) = ours?;
    Some(Row { what: what.to_owned(), how: how.to_owned(), ours, peer, target })
}

/// The median peak of whole runs, in bytes.
fn peaks(runtime: &Runtime, world: &World, rounds: usize) -> anyhow::Result<u64> {
    let program = own_program()?.with_file_name("peak-of");
    forget(&runtime.program)?;
    let mut peaks = Vec::with_capacity(rounds);
    for round in 0..rounds {
        interrupt::check()?;
        let run = runtime.run(&world.bundle(), &world.id(round));
        let mut measured = Command::new(&program);
        measured.arg(run.get_program()).args(run.get_args()).stdin(Stdio::null());
        let output = measured.output().with_context(|| format!("cannot start {}", program.display()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let peak = text.trim().parse::<u64>().ok().filter(|_| output.status.success());
        let peak = peak.with_context(|| String::from_utf8_lossy(&output.stderr).trim().to_owned())?;
        peaks.push(peak * KB);
    }
    Ok(median(peaks))
}

/// Has the kernel forget what it has of a program's file. A file that was just written lies in larger pieces in its cache than
/// one that was read, and whole pieces are mapped: what was built a minute ago would occupy more than what was installed.
fn forget(program: &Path) -> anyhow::Result<()> {
    let path =
        tests::peer(&program.to_string_lossy()).with_context(|| format!("no {}", program.display()))?;
    let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
    // What is not on the disk yet is not forgotten.
    file.sync_all().with_context(|| format!("cannot sync {}", path.display()))?;
    rustix::fs::fadvise(&file, 0, None, Advice::DontNeed)
        .with_context(|| format!("cannot have {} forgotten", path.display()))
}

/// What creator and child share with nobody's file when all is read and planned and the child waits for its root.
fn anonymous(runtime: &Runtime, world: &World) -> anyhow::Result<u64> {
    let file = world.path().join("anonymous");
    let program = own_program()?;
    let hook = json!({"path": program, "args": [program, ANONYMOUS_OF_PARENT, file]});
    let bundle = world.bundle_with("hooked", |config| {
        config["hooks"] = json!({"createRuntime": [hook]});
    })?;
    quiet(runtime.run(&bundle, &world.id(0)))?;
    let text = fs::read_to_string(&file).with_context(|| format!("no hook wrote {}", file.display()))?;
    text.trim().parse().with_context(|| format!("cannot understand {text:?}"))
}

/// Writes what the parent, whose hook we are, and its other children have.
fn anonymous_of_parent(file: &Path) -> anyhow::Result<()> {
    // The state of the container: who does not read it may be killed for that.
    let mut state = String::new();
    std::io::stdin().read_to_string(&mut state).context("cannot read the state")?;
    let parent = std::os::unix::process::parent_id();
    let list = format!("/proc/{parent}/task/{parent}/children");
    let children = fs::read_to_string(&list).with_context(|| format!("cannot read {list}"))?;
    let children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
    let mut sum = rollup(parent, "Pss_Anon:")?;
    let mut count = 0;
    for child in children.filter(|child| *child != std::process::id()) {
        sum += rollup(child, "Pss_Anon:")?;
        count += 1;
    }
    if count == 0 {
        bail!("the runtime has no child while it runs this hook");
    }
    fs::write(file, sum.to_string()).with_context(|| format!("cannot write {}", file.display()))
}

fn own_program() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("cannot find this program")
}
