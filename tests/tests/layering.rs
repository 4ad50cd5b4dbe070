//! What a crate must not know, as the dependency graph has it.

use std::process::Command;

/// Packages that `package` needs at run time, itself left out.
fn dependencies(package: &str) -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--locked",
            "-e",
            "normal",
            "--prefix",
            "none",
            "-f",
            "{lib}",
            "-p",
            package,
        ])
        .current_dir(tests::project_dir())
        .output()
        .expect("cargo runs this test");
    assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("cargo prints text");
    text.lines().skip(1).map(|line| line.trim_end_matches(" (*)").to_owned()).collect()
}

fn assert_unknown(package: &str, unknown: &[&str]) {
    let found = dependencies(package);
    assert!(found.iter().any(|name| name == "serde"), "the list of dependencies is not one: {found:?}");
    for name in unknown {
        assert!(!found.iter().any(|found| found == name), "{package} must not depend on {name}");
    }
}

/// The runtime is the parent of containers: no images, no HTTP, no async runtime, none of the programs above it.
#[test]
fn the_runtime_knows_no_images_http_or_tokio() {
    assert_unknown(
        "runtime",
        &[
            "image", "engine", "builder", "rrun", "cri", "tokio", "hyper", "http", "reqwest", "rustls",
            "tonic", "axum", "tar", "flate2",
        ],
    );
}

#[test]
fn the_store_knows_no_containers() {
    assert_unknown("image", &["runtime", "engine", "builder", "rrun", "cri", "libseccomp", "caps"]);
}

#[test]
fn the_builder_is_not_the_engine() {
    assert_unknown("builder", &["engine", "rrun", "cri"]);
}

#[test]
fn the_engine_has_no_front_and_waits_by_itself() {
    assert_unknown("engine", &["builder", "rrun", "cri", "tokio"]);
}
