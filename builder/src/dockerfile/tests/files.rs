//! Files under `fixtures/dockerfiles`: what each one says, or what is said about it, word for word.
//!
//! `HULL_BLESS=1 cargo test -p builder` writes the expected texts anew; read them before committing.

use std::path::{Path, PathBuf};

use crate::dockerfile::{Dockerfile, Style, lint};

#[test]
fn files_say_what_is_expected() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/dockerfiles");
    let mut cases: Vec<PathBuf> =
        std::fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|case| case.join("expected.txt").exists());
    cases.sort();
    assert!(cases.len() > 30, "the cases are gone");
    for case in cases {
        let bytes = std::fs::read(case.join("Dockerfile")).unwrap();
        let expected = std::fs::read_to_string(case.join("expected.txt")).unwrap();
        let found = report(&bytes);
        if std::env::var_os("HULL_BLESS").is_some() {
            std::fs::write(case.join("expected.txt"), found).unwrap();
            continue;
        }
        assert_eq!(found, expected, "{}", case.display());
    }
}

/// All errors, or all instructions and then all warnings.
fn report(bytes: &[u8]) -> String {
    let plain = |list: Vec<crate::dockerfile::Diagnostic>| -> String {
        list.iter().map(|found| found.render(Style::Plain)).collect::<Vec<_>>().join("\n")
    };
    let file = match Dockerfile::parse_bytes(bytes, "Dockerfile") {
        Ok(file) => file,
        Err(errors) => return plain(errors),
    };
    let mut out = String::new();
    for instruction in &file.global_args {
        out += &format!("{}\n", super::command(&instruction.command));
    }
    for stage in &file.stages {
        let name = stage.name.as_ref().map_or(String::new(), |name| format!(" AS {}", name.text));
        let platform = stage.from.platform.as_ref().map_or(String::new(), |word| format!(" {}", word.text));
        out += &format!("stage {}:{platform} {}{name}\n", stage.index, stage.from.image.text);
        for instruction in &stage.instructions {
            out += &format!("  {}\n", super::command(&instruction.command));
        }
    }
    let warnings = lint::check_alone(&file);
    if !warnings.is_empty() {
        out.push('\n');
        out += &plain(warnings);
    }
    out
}
