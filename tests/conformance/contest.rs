//! youki's `contest`: one run of it for each group of cases, the runtime as an argument, its own format out.
//!
//! `RUNTIME_KIND=runc` tells it that this is not youki, whose gaps it would otherwise skip.

use std::process::Command;
use std::time::Duration;

use crate::case::{Case, Verdict};
use crate::scratch::Scratch;
use crate::session::{self, Session};
use crate::world::World;

/// For a group; the slowest takes 60 s.
const LIMIT: Duration = Duration::from_secs(150);

/// Runs each group that is wanted.
pub fn run(world: &World, show: &mut dyn FnMut(Case)) -> anyhow::Result<()> {
    let list = session::run(contest(world, "list"), Session::Plain, LIMIT)?.text();
    for group in list.split_whitespace().filter(|group| world.wants(group)) {
        let scratch = Scratch::new(world.runtime())?;
        let mut command = contest(world, "run");
        command.arg("--runtime").arg(world.runtime());
        command.arg("--runtimetest").arg(world.share("contest").join("runtimetest"));
        command.args(["--tests", group]).env("TMPDIR", scratch.path()).env("RUNTIME_KIND", "runc");
        let ended = session::run(command, Session::Plain, LIMIT)?;
        world.keep(group, &ended.output)?;
        let cases = cases(&ended.text());
        if cases.is_empty() {
            let verdict = if ended.status.is_none() { Verdict::Hang } else { Verdict::Fail };
            show(Case { name: format!("{group}: all"), verdict, reason: panic(&ended.text()) });
        }
        cases.into_iter().for_each(&mut *show);
    }
    Ok(())
}

fn contest(world: &World, verb: &str) -> Command {
    let folder = world.share("contest");
    let mut command = Command::new(folder.join("contest"));
    // The reason of a panic is one line; where it came from is not ours.
    command.arg(verb).current_dir(&folder).env("PATH", world.path()).env("RUST_BACKTRACE", "0");
    command
}

/// Why a group ended without results: what the first thread said that panicked.
fn panic(text: &str) -> String {
    let said = text.lines().skip_while(|line| !line.contains(" panicked at ")).nth(1);
    said.unwrap_or("contest printed no result").to_owned()
}

/// Lines are `# Start group NAME`, then for each case `N / M : NAME : RESULT` with the reason indented below it.
fn cases(text: &str) -> Vec<Case> {
    let mut group = "";
    let mut cases: Vec<Case> = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("# Start group ") {
            group = name.trim();
        } else if let Some(case) = case(group, line) {
            cases.push(case);
        } else if let (Some(reason), Some(case)) = (line.strip_prefix('\t'), cases.last_mut())
            && case.verdict != Verdict::Pass
            && case.reason.is_empty()
        {
            case.reason = reason.trim().to_owned();
        }
    }
    cases
}

fn case(group: &str, line: &str) -> Option<Case> {
    let (number, rest) = line.split_once(" : ")?;
    let (name, result) = rest.rsplit_once(" : ")?;
    let (at, of) = number.split_once(" / ")?;
    if ![at, of].iter().all(|number| number.parse::<u32>().is_ok()) {
        return None;
    }
    let verdict = match result.trim() {
        "ok" => Verdict::Pass,
        "not ok" => Verdict::Fail,
        "skipped" => Verdict::Skip,
        _ => return None,
    };
    Some(Case { name: format!("{group}: {name}"), verdict, reason: String::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_and_reasons_are_read() {
        let text = "noise\n# Start group exec\n1 / 3 : caps : ok\n2 / 3 : a : b : not ok\n\tlost\n\tmore\n\
                    3 / 3 : c : skipped\n\tno criu\n# End group exec\n\n# Start group kill\n1 / 1 : c : ok\n";
        let told: Vec<String> = cases(text).iter().map(Case::to_string).collect();
        assert_eq!(
            told,
            ["pass exec: caps", "fail exec: a : b | lost", "skip exec: c | no criu", "pass kill: c"]
        );
    }

    #[test]
    fn a_panic_is_the_reason() {
        let text = "\nthread 'a' panicked at a.rs:1:1:\nlost\n\nthread 'b' panicked at b.rs:1:1:\nErr\n";
        assert_eq!(panic(text), "lost");
        assert_eq!(panic(""), "contest printed no result");
    }
}
