//! Where the programs under test are, and where the project is.
//!
//! `make test` names the folder in `HULL_BIN_DIR`. Without it the collected build of `make build` is taken, else the
//! plain debug build, so that `cargo build && cargo test -p tests` is a short loop.

use std::path::{Path, PathBuf};

/// The project's top folder.
pub fn project_dir() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The folder that holds `rrun`, `rbuild` and `roci`.
pub fn bin_dir() -> PathBuf {
    if let Some(folder) = std::env::var_os("HULL_BIN_DIR") {
        return PathBuf::from(folder);
    }
    let collected = target_dir().join("hull/bin");
    if collected.join("roci").exists() { collected } else { target_dir().join("debug") }
}

fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => project_dir().join("target"),
    }
}

/// The path of one of our programs.
///
/// # Panics
/// If it was not built: a test of a program that is not there must not pass.
pub fn program(name: &str) -> PathBuf {
    let path = bin_dir().join(name);
    assert!(
        path.exists(),
        "{} is not built: run `make build`, or `cargo build`, or set HULL_BIN_DIR",
        path.display()
    );
    path
}

/// A `roci` with fault points, for `HULL_ROCI`: `HULL_FAULT_ROCI`, else where `make test` puts it. The need
/// `fault_injection` says whether there is one.
pub fn fault_roci() -> PathBuf {
    match std::env::var_os("HULL_FAULT_ROCI") {
        Some(path) => PathBuf::from(path),
        None => target_dir().join("hull/fault/roci"),
    }
}
