//! A case of a suite and how it ended.

use std::fmt;

/// How a case ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// As the suite wants it.
    Pass,
    /// Not so.
    Fail,
    /// It was ended by us when its time was over.
    Hang,
    /// The suite says that it cannot be judged on this machine.
    Skip,
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Verdict::Pass => "pass",
            Verdict::Fail => "fail",
            Verdict::Hang => "hang",
            Verdict::Skip => "skip",
        })
    }
}

/// One case, under the name that it has in lists and tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// What the suite calls it; a case of a file or group has that in front: `run.bats: runc run`.
    pub name: String,
    /// How it ended.
    pub verdict: Verdict,
    /// Why it failed or was skipped, in one line; else empty.
    pub reason: String,
}

impl Case {
    /// Whether the runtime is at fault.
    pub fn failed(&self) -> bool {
        matches!(self.verdict, Verdict::Fail | Verdict::Hang)
    }
}

impl fmt::Display for Case {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.verdict, self.name)?;
        if self.reason.is_empty() { Ok(()) } else { write!(out, " | {}", self.reason) }
    }
}

/// How many cases ended in which way.
pub fn sums(cases: &[Case]) -> String {
    let count = |verdict| cases.iter().filter(|case| case.verdict == verdict).count();
    let sums = [Verdict::Pass, Verdict::Fail, Verdict::Hang, Verdict::Skip];
    let sums = sums.map(|verdict| format!("{} {verdict}", count(verdict))).join(", ");
    format!("{} cases: {sums}", cases.len())
}
