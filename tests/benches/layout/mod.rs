//! `bench functions-of PROGRAM`: the functions that `roci` calls on its measured ways, in the order of their first call.
//!
//! It goes the ways that `bench runtime` measures, with a program that has its symbols, and prints the list that
//! `runtime/layout/ordered-cc.sh` puts side by side. Three programs take part: this one, which goes the ways; this one again
//! in the place of the runtime ([`hook`]), which starts it under a tracer; and the tracer, this one again, which lives as
//! long as the runtime's descendants do.

mod tracer;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::runtime;
use crate::world::World;

/// `bench in-place-of PROGRAM LIST ARGUMENT...` is what is called in the runtime's place.
const IN_PLACE_OF: &str = "in-place-of";
/// `bench trace PID PROGRAM LIST` is the tracer.
const TRACE: &str = "trace";
/// How long the tracers may take to be gone once nothing runs any more.
const SETTLE: Duration = Duration::from_secs(10);

/// What this program does in another's place; `None` when a person called it.
pub fn hook(words: &[OsString]) -> Option<anyhow::Result<()>> {
    match words {
        [word, program, list, arguments @ ..] if word == IN_PLACE_OF => {
            Some(in_place_of(Path::new(program), list, arguments))
        }
        [word, pid, program, list] if word == TRACE => Some(trace(pid, Path::new(program), Path::new(list))),
        _ => None,
    }
}

/// Goes the ways and prints the names.
pub fn functions_of(program: &Path) -> anyhow::Result<()> {
    let program = fs::canonicalize(program).with_context(|| format!("cannot find {}", program.display()))?;
    tracer::examine(&program)?;
    let world = World::new()?;
    let list = world.path().join("called");
    fs::write(&list, "").with_context(|| format!("cannot write {}", list.display()))?;
    let stand_in = stand_in(&world, &program, &list)?;
    runtime::every_way(&world, stand_in)?;
    tests::leaks::remove_unused_shared_cgroups();
    wait_for_tracers(&list)?;

    let called = fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
    let mut seen = std::collections::HashSet::new();
    for name in called.lines().filter(|name| seen.insert(*name)) {
        println!("{name}");
    }
    Ok(())
}

/// A program for the runtime's place: what is started there gets no arguments of ours.
fn stand_in(world: &World, program: &Path, list: &Path) -> anyhow::Result<PathBuf> {
    let path = world.path().join("stand-in");
    let own = std::env::current_exe().context("cannot find the own program")?;
    let [own, program, list] = [own.as_path(), program, list].map(|path| format!("'{}'", path.display()));
    let text = format!("#!/bin/sh\nexec {own} {IN_PLACE_OF} {program} {list} \"$@\"\n");
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    let executable = fs::Permissions::from_mode(0o700);
    fs::set_permissions(&path, executable)
        .with_context(|| format!("cannot make {} executable", path.display()))?;
    Ok(path)
}

/// Starts the program stopped, has it traced, and ends as it ends.
fn in_place_of(program: &Path, list: &OsStr, arguments: &[OsString]) -> anyhow::Result<()> {
    let mut gate = Command::new("/bin/sh");
    gate.args(["-c", "kill -STOP $$; exec \"$0\" \"$@\""]).arg(program).args(arguments);
    let mut child = gate.spawn().context("cannot start /bin/sh")?;
    let pid = Pid::from_child(&child);
    waitpid(Some(pid), WaitOptions::UNTRACED).context("cannot wait for /bin/sh to stop")?;
    let own = std::env::current_exe().context("cannot find the own program")?;
    let mut tracer = Command::new(own);
    tracer.arg(TRACE).arg(pid.to_string()).arg(program).arg(list);
    tracer.stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
    // Its own messages go to a file beside the list: a pipe of the caller's would stay open for as long as it lives.
    let log = Path::new(list).with_extension("log");
    let log = fs::File::options()
        .append(true)
        .create(true)
        .open(&log)
        .with_context(|| format!("cannot open {}", log.display()))?;
    tracer.stderr(log).spawn().context("cannot start the tracer")?;
    let status = child.wait().context("cannot wait for the traced program")?;
    std::process::exit(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
}

fn trace(pid: &OsStr, program: &Path, list: &Path) -> anyhow::Result<()> {
    let pid = pid.to_str().and_then(|pid| pid.parse().ok()).context("the process id is no number")?;
    let traced = tracer::trace(pid, program, list);
    if traced.is_err() {
        // Or who started it would wait for ever.
        let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, Signal::KILL));
    }
    traced
}

/// Each tracer has the list locked.
fn wait_for_tracers(list: &Path) -> anyhow::Result<()> {
    let file = fs::File::open(list).with_context(|| format!("cannot open {}", list.display()))?;
    let ends = Instant::now() + SETTLE;
    while file.try_lock().is_err() {
        ensure!(Instant::now() < ends, "what was traced does not end");
        std::thread::sleep(Duration::from_millis(10));
    }
    let log = fs::read_to_string(list.with_extension("log")).unwrap_or_default();
    if !log.is_empty() {
        bail!("a tracer failed: {}", log.trim());
    }
    Ok(())
}
