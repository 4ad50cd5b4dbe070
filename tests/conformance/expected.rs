//! Which failures are expected: a line each, `name | why`; empty lines and those with `#` in front are skipped.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context;

use crate::case::{Case, Verdict};

/// The names of the cases that may fail.
#[derive(Debug)]
pub struct Expected(BTreeSet<String>);

impl Expected {
    /// Reads a list; one that does not exist is empty.
    pub fn read(file: &Path) -> anyhow::Result<Expected> {
        match std::fs::read_to_string(file) {
            Ok(text) => Ok(Expected::parse(&text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Expected::parse("")),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
        }
    }

    fn parse(text: &str) -> Expected {
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
        Expected(lines.map(|line| name(line).to_owned()).collect())
    }

    /// The cases that failed without being listed, and the listed names that passed.
    pub fn compare<'a>(&self, cases: &'a [Case]) -> (Vec<&'a Case>, Vec<&'a str>) {
        let listed = |case: &Case| self.0.contains(&case.name);
        let worse = cases.iter().filter(|case| case.failed() && !listed(case)).collect();
        let better = cases.iter().filter(|case| case.verdict == Verdict::Pass && listed(case));
        (worse, better.map(|case| case.name.as_str()).collect())
    }
}

fn name(line: &str) -> &str {
    line.split_once(" | ").map_or(line, |(name, _)| name).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(name: &str, verdict: Verdict) -> Case {
        Case { name: name.into(), verdict, reason: String::new() }
    }

    #[test]
    fn what_is_worse_and_what_is_better_than_the_list() {
        let expected = Expected::parse("# why each\n\na.bats: one | no such kernel\ntwo | flaky\nthree\n");
        let cases = [
            case("a.bats: one", Verdict::Hang),
            case("two", Verdict::Pass),
            case("three", Verdict::Skip),
            case("four", Verdict::Fail),
        ];
        let (worse, better) = expected.compare(&cases);
        assert_eq!(worse, [&cases[3]]);
        assert_eq!(better, ["two"]);
    }
}
