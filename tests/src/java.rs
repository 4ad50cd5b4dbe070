//! The Java service of the tests: its base image and its program, as the scripts in `fixtures/register-java` make them.
//!
//! Both are kept in Hull's cache, since the base takes a minute from the packages' mirror; the scripts see to it that one
//! of many makes them. Tests ask for the needs `root`, `debootstrap` and `javac`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::project_dir;

/// The root file system of the image `java:8` as a tar archive: not to be written to, it is the cache's own.
///
/// # Panics
/// If the script fails, as it does with a clear message where `debootstrap` or the mirror is missing.
pub fn java_base() -> PathBuf {
    static BASE: OnceLock<PathBuf> = OnceLock::new();
    BASE.get_or_init(|| make("base.sh", "java-base", "tar")).clone()
}

/// The service, packed as `register.jar`.
///
/// # Panics
/// If the script fails, as it does with a clear message where `javac` is missing or the sources do not compile.
pub fn register_jar() -> PathBuf {
    static JAR: OnceLock<PathBuf> = OnceLock::new();
    JAR.get_or_init(|| make("jar.sh", "register", "jar")).clone()
}

fn make(script: &str, stem: &str, ending: &str) -> PathBuf {
    let folder = project_dir().join("target/tmp");
    std::fs::create_dir_all(&folder)
        .unwrap_or_else(|error| panic!("cannot make {}: {error}", folder.display()));
    let made = folder.join(format!("{stem}.{ending}"));
    // Under a name by process and then renamed, so that nobody finds it half made.
    let fresh = folder.join(format!("{stem}-{}.{ending}", std::process::id()));
    run(&project_dir().join("fixtures/register-java").join(script), &fresh);
    std::fs::rename(&fresh, &made).unwrap_or_else(|error| panic!("cannot place {}: {error}", made.display()));
    // Two links to one file stay two links when one is renamed to the other.
    let _ = std::fs::remove_file(&fresh);
    made
}

fn run(script: &Path, output: &Path) {
    let outcome = Command::new(script).arg(output).output();
    let outcome = outcome.unwrap_or_else(|error| panic!("cannot run {}: {error}", script.display()));
    assert!(outcome.status.success(), "{}: {}", script.display(), String::from_utf8_lossy(&outcome.stderr));
}
