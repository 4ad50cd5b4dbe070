//! `conformance --runtime PATH [--expected FOLDER] [--output FOLDER] [--only TEXT] [SUITE...]`: public suites of other
//! projects against any OCI runtime, so that ours is held to what runc and crun are held to.
//!
//! The suites are no part of this project: they are looked for in `$HULL_PEERS/share`, as `docs/conformance.md` says, and
//! what is missing is named as skipped. Each case runs alone, in a session and a folder of its own, with a limit of
//! time; whatever it printed is kept in the output folder. With `--expected`, a failure that is not listed in
//! `FOLDER/<suite>.txt` makes this program fail; without, the table is all.

mod bats;
mod case;
mod cgroups;
mod contest;
mod expected;
mod folders;
mod orphans;
mod runtime_tools;
mod scratch;
mod session;
mod tap;
mod world;

use std::path::{Path, PathBuf};

use ::tests::leaks::remove_unused_shared_cgroups;
use anyhow::{Context, bail};

use crate::case::Case;
use crate::expected::Expected;
use crate::world::World;

/// A public suite: how it is called, and what runs it.
struct Suite {
    name: &'static str,
    run: fn(&World, &mut dyn FnMut(Case)) -> anyhow::Result<()>,
}

const SUITES: &[Suite] = &[
    Suite { name: "runtime-tools", run: runtime_tools::run },
    Suite { name: "runc", run: bats::run },
    Suite { name: "contest", run: contest::run },
];

#[derive(Debug, Default)]
struct Options {
    runtime: Option<PathBuf>,
    expected: Option<PathBuf>,
    output: Option<PathBuf>,
    only: String,
    suites: Vec<String>,
}

fn main() -> anyhow::Result<()> {
    let options = options(std::env::args().skip(1))?;
    let runtime = options.runtime.context("which runtime? --runtime PATH")?;
    let runtime = runtime.canonicalize().with_context(|| format!("no runtime {}", runtime.display()))?;
    let peers = std::env::var_os("HULL_PEERS").context("HULL_PEERS names the folder with the suites")?;
    let output = options.output.unwrap_or_else(|| PathBuf::from("target/conformance"));
    let _alone = alone()?;
    orphans::adopt()?;
    let mut surprises = 0;
    for suite in SUITES.iter().filter(|suite| options.suites.iter().any(|name| name == suite.name)) {
        let world = World::new(&runtime, Path::new(&peers), &output.join(suite.name), &options.only)?;
        let Some(cases) = run(suite, &world)? else { continue };
        print_sums(suite.name, &world, &cases);
        if let Some(folder) = &options.expected {
            let expected = Expected::read(&folder.join(format!("{}.txt", suite.name)))?;
            surprises += compare(&expected, &cases);
        }
    }
    remove_unused_shared_cgroups();
    if surprises > 0 { bail!("{surprises} failures that nobody expected") } else { Ok(()) }
}

/// The suites name their cgroups and some of their files in /tmp, so two runs at a time would be in each other's way.
fn alone() -> anyhow::Result<std::fs::File> {
    let file = std::env::temp_dir().join("hull-conformance.lock");
    let lock = std::fs::File::create(&file).with_context(|| format!("cannot make {}", file.display()))?;
    lock.try_lock().context("another conformance run goes on")?;
    Ok(lock)
}

/// Runs a suite and shows each case as it ends; `None` where the suite is not here.
fn run(suite: &Suite, world: &World) -> anyhow::Result<Option<Vec<Case>>> {
    if !world.share(suite.name).is_dir() {
        println!("skipped: {} not found", world.share(suite.name).display());
        return Ok(None);
    }
    let mut cases = Vec::new();
    let mut show = |case: Case| {
        println!("{case}");
        cases.push(case);
    };
    (suite.run)(world, &mut show).with_context(|| format!("cannot run {}", suite.name))?;
    Ok(Some(cases))
}

fn print_sums(suite: &str, world: &World, cases: &[Case]) {
    println!("\n{suite}, {}: {}", world.runtime().display(), case::sums(cases));
    println!("what they printed: {}\n", world.output().display());
}

/// Prints where the cases are not as listed; returns how many are worse.
fn compare(expected: &Expected, cases: &[Case]) -> usize {
    let (worse, better) = expected.compare(cases);
    worse.iter().for_each(|case| println!("not expected: {case}"));
    better.iter().for_each(|name| println!("passes now, strike it from the list: {name}"));
    worse.len()
}

fn options(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<Options> {
    let mut options = Options::default();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--runtime" => options.runtime = Some(value()?.into()),
            "--expected" => options.expected = Some(value()?.into()),
            "--output" => options.output = Some(value()?.into()),
            "--only" => options.only = value()?,
            name if SUITES.iter().any(|suite| suite.name == name) => options.suites.push(argument),
            name => bail!(
                "no suite {name}: there are {}",
                SUITES.iter().map(|suite| suite.name).collect::<Vec<_>>().join(" ")
            ),
        }
    }
    if options.suites.is_empty() {
        options.suites = SUITES.iter().map(|suite| suite.name.to_owned()).collect();
    }
    Ok(options)
}
