//! The validation programs of opencontainers/runtime-tools: one process each, `$RUNTIME` in the environment, TAP out.
//!
//! A program passes if it exits with 0 and no point of it is `not ok`. Some print no point at all where all is well, and
//! some not even where they print that something is wrong: those count as passed here as in the project's own runner.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::case::{Case, Verdict};
use crate::folders::files;
use crate::scratch::Scratch;
use crate::session::{Ended, Session};
use crate::tap;
use crate::world::World;

/// The slowest program that passes takes 15 s.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs each program that is wanted.
pub fn run(world: &World, show: &mut dyn FnMut(Case)) -> anyhow::Result<()> {
    let folder = world.share("runtime-tools");
    for program in files(&folder.join("validation"), "t")? {
        let name = program.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if world.wants(&name) {
            let mut scratch = Scratch::new(world.runtime())?;
            let mut command = Command::new(&program);
            command.current_dir(&folder).env("PATH", world.path()).env("TMPDIR", scratch.path());
            command.env("RUNTIME", with_own_root(world, &scratch)?);
            let ended = scratch.run(command, Session::Plain, LIMIT)?;
            world.keep(&name, &ended.output)?;
            show(judge(name, &ended));
        }
    }
    Ok(())
}

/// The programs do not pass `--root`: a script does it for them, so that their containers are nobody else's.
fn with_own_root(world: &World, scratch: &Scratch) -> anyhow::Result<PathBuf> {
    let (runtime, state) = (world.runtime().display(), scratch.path().join("state"));
    let text = format!("#!/bin/sh\nexec '{runtime}' --root '{}' \"$@\"\n", state.display());
    scratch.script("with-own-root", &text)
}

fn judge(name: String, ended: &Ended) -> Case {
    let text = ended.text();
    let failed = tap::points(&text).into_iter().find(|point| !point.ok);
    let verdict = match ended.status {
        None => Verdict::Hang,
        Some(status) if failed.is_none() && status.success() => Verdict::Pass,
        Some(_) => Verdict::Fail,
    };
    let said = || refusal(&text).or(failed.map(|point| point.name)).unwrap_or_default();
    Case { name, verdict, reason: if verdict == Verdict::Fail { said() } else { String::new() } }
}

/// The runtime's own words, where it refused to make a container.
fn refusal(text: &str) -> Option<String> {
    text.lines().skip_while(|line| *line != "failed to create the container").nth(1).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(code: i32, output: &str) -> Ended {
        use std::os::unix::process::ExitStatusExt;
        Ended { status: Some(ExitStatusExt::from_raw(code << 8)), output: output.into() }
    }

    #[test]
    fn points_and_exit_code_both_count() {
        let verdict = |code, output| judge("a".into(), &ended(code, output)).verdict;
        assert_eq!(verdict(0, "TAP version 13\nok 1 - a\n1..1\n"), Verdict::Pass);
        assert_eq!(verdict(0, "TAP version 13\n1..0\n"), Verdict::Pass);
        assert_eq!(verdict(0, "ok 1 - a\nnot ok 2 - b\n1..2\n"), Verdict::Fail);
        assert_eq!(verdict(1, ""), Verdict::Fail);
        assert_eq!(judge("a".into(), &Ended { status: None, output: Vec::new() }).verdict, Verdict::Hang);
    }

    #[test]
    fn the_reason_is_what_the_runtime_said() {
        let output =
            "failed to create the container\nroci: linux.mountLabel is not supported\nexit status 1\n";
        assert_eq!(judge("a".into(), &ended(1, output)).reason, "roci: linux.mountLabel is not supported");
    }
}
