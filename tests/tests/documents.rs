//! The documents speak of tests that exist.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::collections::BTreeSet;
use std::path::PathBuf;

/// Everything in backticks in the table of attacks.
fn quoted() -> Vec<String> {
    let text = std::fs::read_to_string(tests::project_dir().join("docs/threats.md")).unwrap();
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The source of a file of the runtime's tests.
fn tests_of(file: &str) -> PathBuf {
    tests::project_dir().join("runtime/tests").join(file).with_extension("rs")
}

#[test]
fn every_test_in_the_table_of_attacks_is_there() {
    let named: Vec<_> = quoted().into_iter().filter(|word| word.contains("::")).collect();
    assert!(named.len() > 40, "the table is not where it was");
    for name in named {
        let (file, test) = name.split_once("::").unwrap();
        let source =
            std::fs::read_to_string(tests_of(file)).unwrap_or_else(|error| panic!("{name}: {error}"));
        // The runner of the confinement tests has its names in a list, which may be shorter than the function's.
        let there = source.contains(&format!("fn {test}()")) || source.contains(&format!("::{test}\""));
        assert!(there, "{name}");
    }
}

#[test]
fn every_defence_that_can_be_left_out_is_in_the_table_and_in_a_test() {
    let source = std::fs::read_to_string(tests::project_dir().join("runtime/src/fault.rs")).unwrap();
    let list = source.split("pub enum Defence {").nth(1).unwrap().split('}').next().unwrap();
    let defences: Vec<_> = list.lines().filter_map(|line| line.trim().strip_suffix(',')).collect();
    assert!(defences.len() > 10, "{defences:?}");
    let words: BTreeSet<String> =
        quoted().iter().flat_map(|quoted| quoted.split(" + ")).map(str::to_owned).collect();
    let attacks: String = ["attacks", "attacks_on_process", "attacks_in_motion"]
        .map(|file| std::fs::read_to_string(tests_of(file)).unwrap())
        .concat();
    for defence in defences {
        assert!(words.contains(defence) && attacks.contains(&format!("Defence::{defence}")), "{defence}");
    }
}
