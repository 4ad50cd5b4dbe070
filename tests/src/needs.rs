//! What a test needs, as words.
//!
//! A missing need skips the test with a line that names it; a word that nobody defined fails, so that a misspelt need
//! cannot skip a test for ever.

use std::io::Write;
use std::path::{Path, PathBuf};

/// Programs of other projects that a test may ask for by name.
const PEERS: &[&str] = &[
    "bsdtar",
    "buildah",
    "catatonit",
    "containerd",
    "crun",
    "debootstrap",
    "docker",
    "docker-init",
    "dockerd",
    "gcc",
    "javac",
    "kubelet",
    "newuidmap",
    "podman",
    "runc",
    "skopeo",
    "strace",
    "tar",
    "umoci",
];

/// Returns from the test with `skipped: <need> not found` unless this machine has everything named.
///
/// Words: `root`, `cgroup_v1`, `cgroup_v2`, `overlay`, `cni`, `fault_injection`, and the names of peers such as `crun` or `podman`.
#[macro_export]
macro_rules! needs {
    ($($word:expr),+ $(,)?) => {
        if let Some(missing) = $crate::missing_need(&[$($word),+]) {
            $crate::report_skipped(missing);
            return;
        }
    };
}

/// The first of `words` that this machine lacks.
///
/// # Panics
/// On a word that is not defined here.
pub fn missing_need<'a>(words: &[&'a str]) -> Option<&'a str> {
    words.iter().copied().find(|word| !present(word))
}

/// Says that the calling test is skipped, past the capture of test output: a skipped test must not look like a passed
/// one.
pub fn report_skipped(missing: &str) {
    let test = std::thread::current();
    let name = test.name().unwrap_or("a test");
    // Nothing is lost but this line where standard error is closed.
    let _ = writeln!(std::io::stderr(), "skipped: {missing} not found ({name})");
}

fn present(word: &str) -> bool {
    match word {
        "root" => rustix::process::geteuid().is_root(),
        "cgroup_v1" => Path::new("/sys/fs/cgroup/memory/cgroup.procs").exists(),
        "cgroup_v2" => Path::new("/sys/fs/cgroup/cgroup.controllers").exists(),
        "cni" => on_path("iptables") && on_path("ip") && cni_folder().is_some(),
        "fault_injection" => crate::fault_roci().exists(),
        "overlay" => {
            std::fs::read_to_string("/proc/filesystems").is_ok_and(|list| list.contains("\toverlay\n"))
        }
        peer if PEERS.contains(&peer) => on_path(peer),
        unknown => panic!("unknown need {unknown:?}: define it in tests/src/needs.rs"),
    }
}

/// Where the plugins of the CNI project are.
pub fn cni_folder() -> Option<&'static Path> {
    let folders = ["/opt/cni/bin", "/usr/libexec/cni", "/usr/lib/cni"].map(Path::new);
    folders.into_iter().find(|folder| folder.join("bridge").is_file() && folder.join("portmap").is_file())
}

fn on_path(program: &str) -> bool {
    peer(program).is_some()
}

/// Where a program of another project is: on PATH, else in `$HULL_PEERS/bin`.
pub fn peer(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = std::env::var_os("HULL_PEERS").map(|folder| PathBuf::from(folder).join("bin"));
    let mut folders = std::env::split_paths(&path).chain(own);
    folders.find_map(|folder| Some(folder.join(program)).filter(|program| program.is_file()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_need_is_answered() {
        assert_eq!(missing_need(&["overlay", "docker-that-is-not-listed"].as_slice()[..1]), None);
    }

    #[test]
    #[should_panic(expected = "unknown need \"rooot\"")]
    fn an_unknown_word_fails() {
        missing_need(&["rooot"]);
    }
}
