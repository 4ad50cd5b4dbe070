//! What confines a container, on the real kernel: own executable, cgroups, capabilities, users, filters.
//!
//! The tests clone and confine their own process, which must then have a single thread; so this is its own runner.
//! Arguments are substrings of the names of the tests to run; `--timings` prints costs instead.
//! Needs root; without it everything is reported as skipped.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod cgroups;
mod child;
mod executable;
mod filters;
mod pause;
mod privileges;
mod siblings;
mod timings;

use std::panic::{AssertUnwindSafe, catch_unwind};

/// A test and its name.
type Test = (&'static str, fn());

const SUITES: &[&[Test]] =
    &[executable::TESTS, cgroups::TESTS, privileges::TESTS, filters::TESTS, pause::TESTS, siblings::TESTS];

fn main() {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect();
    if let [role, mode, ..] = arguments.as_slice()
        && role == "child"
    {
        return executable::child(mode);
    }
    if !rustix::process::geteuid().is_root() {
        println!("skipped: root");
        return;
    }
    if arguments.iter().any(|argument| argument == "--timings") {
        return timings::print();
    }
    let wanted: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let before = cgroups::own_cgroups();
    let mut failed = Vec::new();
    for (name, test) in SUITES.iter().copied().flatten() {
        if !wanted.is_empty() && !wanted.iter().any(|part| name.contains(part.as_str())) {
            continue;
        }
        let passed = catch_unwind(AssertUnwindSafe(test)).is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        if !passed {
            failed.push(name);
        }
    }
    assert_eq!(before, cgroups::own_cgroups(), "the tests' own process changed its cgroup");
    if !failed.is_empty() {
        println!("failed: {failed:?}");
        std::process::exit(101);
    }
}
