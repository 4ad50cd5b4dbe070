//! The cgroups that the suites name in their bundles: what is in them when a case ended is that case's.
//!
//! Only these names are touched, since nobody else uses them; containers without a path of their own are in a cgroup that
//! the runtime removes with the container.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::folders::folders;

/// Below the root of each hierarchy.
const NAMES: [&str; 4] = ["cgrouptest", "runc-cgroups-integration-test", "runtime-test", "testdir"];
/// What was killed takes its moment to leave.
const PATIENCE: Duration = Duration::from_secs(2);

/// Kills what is in the suites' cgroups, and removes them.
pub fn clear() {
    let roots = folders(Path::new("/sys/fs/cgroup"));
    let own = roots.iter().flat_map(|root| NAMES.map(|name| root.join(name)));
    remove(own.filter(|folder| folder.is_dir()).flat_map(with_all_below).collect());
}

/// The cgroups in which roci puts a container without a path of its own, of the container that a process is in.
pub fn of_container(process: i32) -> Vec<PathBuf> {
    let list = std::fs::read_to_string(format!("/proc/{process}/cgroup")).unwrap_or_default();
    let paths = list.lines().filter_map(|line| line.splitn(3, ':').nth(2)?.strip_prefix("/hull/"));
    let Some(path) = paths.into_iter().next() else { return Vec::new() };
    let own = |root: PathBuf| root.join("hull").join(path);
    folders(Path::new("/sys/fs/cgroup")).into_iter().map(own).filter(|folder| folder.is_dir()).collect()
}

/// Kills what is in these cgroups, and removes them.
pub fn remove(mut cgroups: Vec<PathBuf>) {
    let until = Instant::now() + PATIENCE;
    while !cgroups.is_empty() && Instant::now() < until {
        cgroups.iter().for_each(|cgroup| kill(cgroup));
        // Innermost first, in one go where nothing was running.
        cgroups.retain(|cgroup| std::fs::remove_dir(cgroup).is_err());
        std::thread::sleep(Duration::from_millis(if cgroups.is_empty() { 0 } else { 10 }));
    }
    cgroups.iter().for_each(|cgroup| eprintln!("{} cannot be removed", cgroup.display()));
}

fn kill(cgroup: &Path) {
    // A frozen process does not die. Only one hierarchy has this file, and it must not be made elsewhere: a suite that
    // expects a hierarchy which is not mounted gets a plain folder.
    let freezer = std::fs::File::options().write(true).open(cgroup.join("freezer.state"));
    let _ = freezer.and_then(|mut file| file.write_all(b"THAWED"));
    let processes = std::fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    for process in processes.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)) {
        let _ = kill_process(process, Signal::KILL);
    }
}

/// A folder after all that is below it.
fn with_all_below(folder: PathBuf) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = folders(&folder).into_iter().flat_map(with_all_below).collect();
    all.push(folder);
    all
}
