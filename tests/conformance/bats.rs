//! runc's integration tests (`tests/integration/*.bats`): one bats for each case, `$RUNC` in the environment, TAP out.
//!
//! One bats each costs a third of a second, and gives each case its own limit of time. They need a terminal: several read
//! what a container with `terminal: true` in its config.json prints on the terminal of its caller.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;

use crate::case::{Case, Verdict};
use crate::folders::files;
use crate::scratch::Scratch;
use crate::session::{Ended, Session};
use crate::tap;
use crate::world::World;

/// The slowest case that passes takes 40 s.
const LIMIT: Duration = Duration::from_secs(90);

/// Runs each case that is wanted.
pub fn run(world: &World, show: &mut dyn FnMut(Case)) -> anyhow::Result<()> {
    for file in files(&world.share("runc").join("tests/integration"), "bats")? {
        let text =
            std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        for title in titles(&text) {
            let name = format!("{}: {title}", file.file_name().unwrap_or_default().to_string_lossy());
            if world.wants(&name) {
                let mut scratch = Scratch::new(world.runtime())?;
                let ended = scratch.run(bats(world, &file, &title, &scratch), Session::Terminal, LIMIT)?;
                world.keep(&name, &ended.output)?;
                show(judge(name, &ended));
            }
        }
    }
    Ok(())
}

fn bats(world: &World, file: &Path, title: &str, scratch: &Scratch) -> Command {
    let mut command = Command::new("bats");
    command.args(["--tap", "--filter", &exactly(title)]).arg(file);
    command.env("PATH", world.path()).env("TMPDIR", scratch.path()).env("TERM", "xterm");
    command.env("RUNC", world.runtime());
    command
}

/// The titles of the cases of a file, without the shell's quoting.
fn titles(text: &str) -> Vec<String> {
    let quoted =
        text.lines().filter_map(|line| line.strip_prefix("@test \"")?.trim_end().strip_suffix("\" {"));
    quoted.map(unquote).collect()
}

fn unquote(text: &str) -> String {
    let mut letters = text.chars();
    let next = || match letters.next() {
        Some('\\') => letters.next(),
        letter => letter,
    };
    std::iter::from_fn(next).collect()
}

/// An extended regular expression that only `title` matches.
fn exactly(title: &str) -> String {
    let mut pattern = String::from("^");
    for letter in title.chars() {
        if "[]\\.^$*+?(){}|".contains(letter) {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern + "$"
}

fn judge(name: String, ended: &Ended) -> Case {
    let text = ended.text();
    let (verdict, reason) = match (ended.status, tap::points(&text).into_iter().next()) {
        (None, _) => (Verdict::Hang, String::new()),
        (Some(_), Some(point)) if !point.ok => (Verdict::Fail, complaint(&text)),
        (Some(_), Some(point)) => match point.skipped {
            Some(reason) => (Verdict::Skip, reason),
            None => (Verdict::Pass, String::new()),
        },
        (Some(_), None) => (Verdict::Fail, "bats printed no result".into()),
    };
    Case { name, verdict, reason }
}

/// The step that failed, and the last thing printed before the teardown, which is mostly the runtime's message.
fn complaint(text: &str) -> String {
    let lines = || text.lines().filter_map(|line| line.strip_prefix('#')).map(str::trim);
    let step = lines().find(|line| line.starts_with('`')).unwrap_or_default();
    let before = lines().take_while(|line| *line != "--- teardown ---");
    let said = before.filter(|line| !line.is_empty() && !line.starts_with('(') && !line.starts_with('`'));
    format!("{step}: {}", said.last().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_are_found_and_unquoted() {
        let text = "function setup() {\n\n@test \"runc run\" {\n\t@test \"inner\" {\n@test \"a \\\"b\\\" {c} \\$d\" {\n";
        assert_eq!(titles(text), ["runc run", "a \"b\" {c} $d"]);
    }

    #[test]
    fn a_pattern_means_one_title() {
        assert_eq!(exactly("run (--keep) [a.b]"), "^run \\(--keep\\) \\[a\\.b\\]$");
    }

    #[test]
    fn the_reason_is_the_step_and_the_last_words_before_the_teardown() {
        let text = "1..1\nnot ok 1 runc run\n# (in test file run.bats, line 16)\n#   `[ \"$status\" -eq 0 ]' failed\n\
                    # runc run a (status=1)\n# no such flag\n# --- teardown ---\n# more\n";
        assert_eq!(complaint(text), "`[ \"$status\" -eq 0 ]' failed: no such flag");
    }
}
