//! youki's `contest`: one run of it for each group of cases, the runtime as an argument, its own format out.
//!
//! A group prints its results when all its cases are over, and none if one of them panics. Then each case of the group runs
//! again, alone. contest lists groups and not cases: their names are what it prints for a runtime that refuses everything.
//!
//! `RUNTIME_KIND=runc` tells it that this is not youki, whose gaps it would otherwise skip.

use std::process::Command;
use std::time::Duration;

use crate::case::{self, Case, Verdict};
use crate::scratch::Scratch;
use crate::session::{self, Ended, Session};
use crate::world::World;

/// For a group; the slowest takes 60 s.
const LIMIT: Duration = Duration::from_secs(150);
/// The runtime that refuses everything.
const REFUSES: &str = include_str!("refuses.sh");

/// Runs each group that is wanted.
pub fn run(world: &World, show: &mut dyn FnMut(Case)) -> anyhow::Result<()> {
    let list = session::run(contest(world, "list"), Session::Plain, LIMIT, &mut |_| ())?.text();
    let mut printed = Vec::new();
    for group in list.split_whitespace().filter(|group| world.wants(group)) {
        let ended = run_selected(world, group, None)?;
        world.keep(group, &ended.output)?;
        let cases = cases(&ended.text());
        if cases.is_empty() {
            let lost = without_result(format!("{group}: all"), &ended);
            run_alone(world, group, &lost, show)?;
            printed.push(lost);
        } else {
            printed.extend(cases.iter().cloned());
            cases.into_iter().for_each(&mut *show);
        }
    }
    println!("\nas contest prints it, a group without results as one case: {}", case::sums(&printed));
    Ok(())
}

/// Runs each case of a group alone. Where not even the names are known, `lost` is what there is to show.
fn run_alone(world: &World, group: &str, lost: &Case, show: &mut dyn FnMut(Case)) -> anyhow::Result<()> {
    let named = cases(&run_selected(world, group, Some(REFUSES))?.text());
    if named.is_empty() {
        show(lost.clone());
        return Ok(());
    }
    println!("{group} has no results ({}): each of its {} cases alone", lost.reason, named.len());
    for Case { name, .. } in named {
        let only = name.replacen(": ", "::", 1);
        let ended = run_selected(world, &only, None)?;
        world.keep(&name, &ended.output)?;
        let case = cases(&ended.text()).into_iter().find(|case| case.name == name);
        show(case.unwrap_or_else(|| without_result(name, &ended)));
    }
    Ok(())
}

/// Runs a group, or `GROUP::CASE`, with the runtime under test or with one that a script is.
fn run_selected(world: &World, selected: &str, script: Option<&str>) -> anyhow::Result<Ended> {
    let mut scratch = Scratch::new(world.runtime())?;
    let script = script.map(|text| scratch.script("runtime", text)).transpose()?;
    let mut command = contest(world, "run");
    command.arg("--runtime").arg(script.as_deref().unwrap_or(world.runtime()));
    command.arg("--runtimetest").arg(world.share("contest").join("runtimetest"));
    command.args(["--tests", selected]).env("TMPDIR", scratch.path()).env("RUNTIME_KIND", "runc");
    scratch.run(command, Session::Plain, LIMIT)
}

fn contest(world: &World, verb: &str) -> Command {
    let folder = world.share("contest");
    let mut command = Command::new(folder.join("contest"));
    // The reason of a panic is one line; where it came from is not ours.
    command.arg(verb).current_dir(&folder).env("PATH", world.path()).env("RUST_BACKTRACE", "0");
    command
}

/// A group or case of which contest said nothing.
fn without_result(name: String, ended: &Ended) -> Case {
    let verdict = if ended.status.is_none() { Verdict::Hang } else { Verdict::Fail };
    Case { name, verdict, reason: panic(&ended.text()) }
}

/// Why there is no result: what the first thread said that panicked.
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
