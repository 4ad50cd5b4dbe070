//! `fuzz [--seconds N] [--seed N] [TARGET...]`: every parser of foreign bytes, against mutations of what it is made for.
//!
//! Each target runs in a process of its own, so that an abort, a stack overflow or a limit of memory ends only that
//! one. The input under test is in `target/fuzz/TARGET/current` before the parser sees it; after a failure it is kept as
//! `failure-N`, and `fuzz --replay FILE TARGET` runs just that. The stable toolchain has no coverage to guide it: what is
//! here are dictionaries and seeds from each target's own corpus.

mod mutate;
mod targets;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::mutate::Mutator;
use crate::targets::{TARGETS, Target};

/// Address space of a target: an input may not make its parser take more.
const MEMORY: u64 = 2 << 30;
/// One input may take this long at most.
const HANG: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Options {
    seconds: u64,
    seed: u64,
    child: bool,
    replay: Option<PathBuf>,
    targets: Vec<&'static Target>,
}

fn main() -> anyhow::Result<()> {
    let options = options(std::env::args().skip(1))?;
    match (&options.replay, options.child) {
        (Some(file), _) => {
            let input = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
            options.targets.iter().for_each(|target| (target.run)(&input));
            Ok(())
        }
        (None, true) => options.targets.iter().try_for_each(|target| fuzz(target, &options)),
        (None, false) => supervise(&options),
    }
}

fn options(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<Options> {
    let clock = std::time::UNIX_EPOCH.elapsed().map_or(1, |time| time.as_secs());
    let mut options = Options { seconds: 10, seed: clock, child: false, replay: None, targets: Vec::new() };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--seconds" => options.seconds = value()?.parse().context("cannot read --seconds")?,
            "--seed" => options.seed = value()?.parse().context("cannot read --seed")?,
            "--replay" => options.replay = Some(value()?.into()),
            "--child" => options.child = true,
            name => match TARGETS.iter().find(|target| target.name == name) {
                Some(target) => options.targets.push(target),
                None => {
                    let known = TARGETS.iter().map(|target| target.name).collect::<Vec<_>>();
                    bail!("no target {name}: there are {}", known.join(" "))
                }
            },
        }
    }
    if options.targets.is_empty() {
        options.targets = TARGETS.iter().collect();
    }
    Ok(options)
}

/// Runs each target in a child and reports all that failed.
fn supervise(options: &Options) -> anyhow::Result<()> {
    let mut failed = Vec::new();
    for target in &options.targets {
        let mut child = Command::new(std::env::current_exe().context("cannot find this program")?)
            .args(["--child", "--seconds", &options.seconds.to_string(), "--seed", &options.seed.to_string()])
            .arg(target.name)
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", target.name))?;
        let status = wait(&mut child, target)?;
        if let Some(problem) = status {
            let kept = keep(target)?;
            eprintln!("{}: {problem}; input kept as {}", target.name, kept.display());
            failed.push(target.name);
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("failed (seed {}): {}", options.seed, failed.join(" ")) }
}

/// What went wrong with a child, if anything. It counts as hung when its input stays the same.
fn wait(child: &mut std::process::Child, target: &Target) -> anyhow::Result<Option<String>> {
    let current = folder(target).join("current");
    let written = || fs::metadata(&current).and_then(|metadata| metadata.modified()).ok();
    let (mut last, mut since) = (written(), Instant::now());
    loop {
        if let Some(status) = child.try_wait().context("cannot wait")? {
            return Ok((!status.success()).then(|| status.to_string()));
        }
        let now = written();
        if now != last {
            (last, since) = (now, Instant::now());
        }
        if since.elapsed() > HANG {
            child.kill().context("cannot end a hung target")?;
            child.wait().context("cannot wait")?;
            return Ok(Some("hangs".to_owned()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn fuzz(target: &Target, options: &Options) -> anyhow::Result<()> {
    setrlimit(Resource::As, Rlimit { current: Some(MEMORY), maximum: Some(MEMORY) })
        .context("cannot limit the address space")?;
    let folder = folder(target);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let current =
        File::create(folder.join("current")).context("cannot make the file of the current input")?;

    let seeds = (target.seeds)();
    let mut mutator = Mutator::new(options.seed, &seeds, target.words);
    let ends = Instant::now() + Duration::from_secs(options.seconds);
    let mut count = 0_u64;
    for seed in &seeds {
        attempt(target, &current, seed)?;
    }
    while Instant::now() < ends {
        attempt(target, &current, mutator.next())?;
        count += 1;
    }
    println!("{}: {count} inputs from {} seeds", target.name, seeds.len());
    Ok(())
}

fn attempt(target: &Target, current: &File, input: &[u8]) -> anyhow::Result<()> {
    current.write_all_at(input, 0).context("cannot write the current input")?;
    current.set_len(input.len() as u64).context("cannot write the current input")?;
    (target.run)(input);
    Ok(())
}

fn keep(target: &Target) -> anyhow::Result<PathBuf> {
    let folder = folder(target);
    let free = (0..).map(|number| folder.join(format!("failure-{number}"))).find(|path| !path.exists());
    let kept = free.context("no free name")?;
    fs::copy(folder.join("current"), &kept).with_context(|| format!("cannot keep {}", kept.display()))?;
    Ok(kept)
}

fn folder(target: &Target) -> PathBuf {
    Path::new(tests::project_dir()).join("target/fuzz").join(target.name)
}
