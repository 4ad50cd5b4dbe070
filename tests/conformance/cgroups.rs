//! The cgroups of one case: those that its processes were seen in, and those that the suites name in their bundles. What was
//! there before the case began is nobody's to remove.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use rustix::process::Pid;

use crate::folders::folders;

/// Where the hierarchies are mounted.
const HIERARCHIES: &str = "/sys/fs/cgroup";
/// What the suites make below the root of each hierarchy, some of it without ever putting a process there.
const NAMES: [&str; 4] = ["cgrouptest", "runc-cgroups-integration-test", "runtime-test", "testdir"];

/// What was there before a case, and what was seen of it since.
#[derive(Debug)]
pub struct Cgroups {
    before: BTreeSet<PathBuf>,
    seen: BTreeSet<PathBuf>,
}

impl Cgroups {
    /// Remembers all that are there now.
    pub fn before_a_case() -> Cgroups {
        let all = hierarchies().into_iter().flat_map(with_all_below);
        Cgroups { before: all.collect(), seen: BTreeSet::new() }
    }

    /// Remembers where a process of the case is. One that is over is still known to be somewhere in version 2, and its other
    /// cgroups bear the same name.
    pub fn note(&mut self, process: Pid) {
        let file = format!("/proc/{}/cgroup", process.as_raw_nonzero());
        let list = std::fs::read_to_string(file).unwrap_or_default();
        for path in paths(&list) {
            // The topmost may be one that all containers of a runtime share: that goes only if a process was right in it.
            let above = path.ancestors().skip(1).filter(|path| path.components().count() > 1);
            let own: Vec<&Path> = std::iter::once(path).chain(above).collect();
            for hierarchy in hierarchies() {
                let found =
                    own.iter().map(|path| hierarchy.join(path)).filter(|cgroup| is_new(&self.before, cgroup));
                self.seen.extend(found);
            }
        }
    }

    /// Lets what is frozen in them go on, for it does not die else, and removes those that are empty. Returns the others.
    pub fn remove(&self) -> Vec<PathBuf> {
        let named = hierarchies().into_iter().flat_map(|root| NAMES.map(|name| root.join(name)));
        let mut all: BTreeSet<PathBuf> =
            self.seen.iter().cloned().chain(named).flat_map(with_all_below).collect();
        all.retain(|cgroup| is_new(&self.before, cgroup));
        all.iter().for_each(|cgroup| thaw(cgroup));
        // Innermost first.
        all.into_iter().rev().filter(|cgroup| std::fs::remove_dir(cgroup).is_err()).collect()
    }
}

fn is_new(before: &BTreeSet<PathBuf>, cgroup: &Path) -> bool {
    cgroup.is_dir() && !before.contains(cgroup)
}

/// The roots: one where there is version 2 alone.
fn hierarchies() -> Vec<PathBuf> {
    let all = Path::new(HIERARCHIES);
    if all.join("cgroup.procs").exists() { vec![all.to_owned()] } else { folders(all) }
}

/// The paths below the roots, as `/proc/PID/cgroup` lists them.
fn paths(list: &str) -> impl Iterator<Item = &Path> {
    let paths = list.lines().filter_map(|line| line.splitn(3, ':').nth(2)?.strip_prefix('/'));
    paths.map(|path| Path::new(path.trim_end_matches(" (deleted)"))).filter(|path| *path != Path::new(""))
}

/// Only one hierarchy of version 1 has this file, and it must not be made elsewhere: a suite that expects a hierarchy which is
/// not mounted gets a plain folder. In version 2 a frozen process dies.
fn thaw(cgroup: &Path) {
    let freezer = std::fs::File::options().write(true).open(cgroup.join("freezer.state"));
    let _ = freezer.and_then(|mut file| file.write_all(b"THAWED"));
}

/// A folder after all that is below it.
fn with_all_below(folder: PathBuf) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = folders(&folder).into_iter().flat_map(with_all_below).collect();
    all.push(folder);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_without_what_the_kernel_adds() {
        let list = "9:name=systemd:/\n4:memory:/a:b/c\n0::/hull/id (deleted)\n";
        assert_eq!(paths(list).collect::<Vec<_>>(), [Path::new("a:b/c"), Path::new("hull/id")]);
    }

    #[test]
    fn what_was_there_before_is_not_the_cases() {
        let mut cgroups = Cgroups::before_a_case();
        cgroups.note(rustix::process::getpid());
        assert_eq!(cgroups.seen, BTreeSet::new());
    }
}
