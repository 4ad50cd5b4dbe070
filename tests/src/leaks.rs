//! What must not be left behind: processes, mounts, namespaces, cgroups, links and temporary files.
//!
//! Two scopes. [`Snapshot`] looks at the whole machine before and after a run (`leak-check`, used by `make test` and
//! `make demo`). [`of_sandbox`] finds what belongs to one test while others run beside it.
//!
//! Nothing here writes below `/sys/fs/cgroup` except [`clear`], and that only to cgroups which bear a test's own prefix.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, kill_process};

/// Our programs, as their process calls itself.
const PROGRAMS: &[&str] = &["rrun", "rbuild", "rcri", "roci", "register"];
/// Cgroups that stay: parents shared by all containers of the host.
const SHARED_CGROUPS: &[&str] = &["/hull", "/hull/monitors", "/hull/pods"];

/// Everything on this machine that a run of ours could leave, one line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot(BTreeSet<String>);

impl Snapshot {
    /// The state now.
    pub fn take() -> Snapshot {
        let mut lines = BTreeSet::new();
        for process in processes().filter(Process::is_ours) {
            lines.insert(format!("process {} {}", process.pid, process.command()));
        }
        for line in read("/proc/self/mountinfo").lines() {
            lines.insert(format!("mount {}", mount_of(line)));
        }
        lines.extend(cgroups().into_iter().map(|path| format!("cgroup {}", path.display())));
        lines.extend(names_in(Path::new("/sys/class/net")).map(|name| format!("link {name}")));
        lines.extend(firewall().into_iter().map(|rule| format!("rule {rule}")));
        for folder in ["/run/netns", "/run/hull/netns"] {
            lines
                .extend(names_in(Path::new(folder)).map(|name| format!("network namespace {folder}/{name}")));
        }
        let temporary = std::env::temp_dir();
        let ours = names_in(&temporary).filter(|name| name.starts_with("hull-"));
        lines.extend(ours.map(|name| format!("temporary {}", temporary.join(name).display())));
        Snapshot(lines)
    }

    /// Reads what [`Snapshot::to_text`] wrote.
    pub fn from_text(text: &str) -> Snapshot {
        Snapshot(text.lines().map(str::to_owned).collect())
    }

    /// One line for each thing.
    pub fn to_text(&self) -> String {
        self.0.iter().map(|line| format!("{line}\n")).collect()
    }

    /// What is here and was not there before.
    pub fn since(&self, before: &Snapshot) -> Vec<String> {
        self.0.difference(&before.0).cloned().collect()
    }
}

/// What of the sandbox at `path` is alive, mounted or connected, in words. `prefix` is how its outside names begin,
/// `bridge` the bridge of its network.
pub fn of_sandbox(path: &Path, prefix: &str, bridge: &str) -> Vec<String> {
    let path = path.to_string_lossy();
    let prefix = format!("{prefix}-");
    let mut found = Vec::new();
    for process in processes().filter(|process| process.belongs_to(&path, &prefix)) {
        found.push(format!("process {} {}", process.pid, process.command()));
    }
    for line in read("/proc/self/mountinfo").lines().filter(|line| line.contains(&*path)) {
        found.push(format!("mount {}", mount_of(line)));
    }
    for cgroup in cgroups_of(Path::new(&*path), &prefix) {
        found.push(format!("cgroup {}", cgroup.display()));
    }
    let link = Path::new("/sys/class/net").join(bridge);
    if link.exists() {
        found.extend(names_in(&link.join("brif")).map(|name| format!("link {name} on {bridge}")));
        let name = format!("{bridge}\\\"");
        found.extend(
            firewall().into_iter().filter(|rule| rule.contains(&name)).map(|rule| format!("rule {rule}")),
        );
    }
    found
}

/// The processes whose arguments, each followed by a NUL, contain `text`.
pub fn processes_with(text: &str) -> Vec<i32> {
    let mentions = |process: &Process| read(process.folder.join("cmdline")).contains(text);
    processes()
        .filter(|process| !process.is_zombie() && mentions(process))
        .map(|process| process.pid)
        .collect()
}

/// Removes the cgroups that all containers share, where nothing is in them. They stay when the last container goes, for the
/// next; a machine that was only tested is to be as it was.
pub fn remove_unused_shared_cgroups() {
    let mounts = read("/proc/self/mountinfo");
    for hierarchy in mounts.lines().filter(|line| line.contains(" - cgroup")).map(mount_point) {
        for shared in SHARED_CGROUPS.iter().rev() {
            // Refused where something is in it.
            let _ = fs::remove_dir(hierarchy.join(&shared[1..]));
        }
    }
}

/// Removes a link of a test, if it is there.
pub fn remove_link(name: &str) {
    if Path::new("/sys/class/net").join(name).exists() {
        let _ = std::process::Command::new("ip").args(["link", "delete", name]).output();
    }
}

/// The rules that network plugins made for single containers. Chains and rules that all of them share stay, as those of
/// docker do.
fn firewall() -> Vec<String> {
    let saved = |program: &str| {
        let output = std::process::Command::new(program).output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
    };
    let text = saved("iptables-save") + &saved("ip6tables-save");
    text.lines().filter(|line| of_one_container(line)).map(str::to_owned).collect()
}

/// Chains of one container have a hash in their name; a shared chain names a container by its comment or address.
fn of_one_container(line: &str) -> bool {
    if let Some(chain) = line.strip_prefix(":CNI-") {
        let name = chain.split(' ').next().unwrap_or_default();
        return name
            .rsplit('-')
            .next()
            .is_some_and(|hash| hash.len() >= 20 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
    line.contains("CNI-")
        && (line.contains("name: ") || line.contains("-A CNI-FORWARD -"))
        && !line.contains("CNI firewall plugin")
}

/// Kills, unmounts and removes what [`of_sandbox`] finds, as far as that goes.
pub fn clear(path: &Path, prefix: &str) {
    let text = path.to_string_lossy();
    let prefix = format!("{prefix}-");
    for process in processes().filter(|process| process.belongs_to(&text, &prefix)) {
        if let Some(pid) = Pid::from_raw(process.pid) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    for mount in mounts_below(path) {
        let _ = unmount(mount, UnmountFlags::DETACH);
    }
    // What was killed takes its moment to leave; innermost first.
    let ends = Instant::now() + Duration::from_secs(2);
    loop {
        let left = cgroups_of(path, &prefix);
        let removed = left.iter().rev().filter(|cgroup| fs::remove_dir(cgroup).is_ok()).count();
        if removed == left.len() || Instant::now() > ends {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The mount points in `path`, the latest first: in this order they can be unmounted.
pub fn mounts_below(path: &Path) -> Vec<PathBuf> {
    let mounts = read("/proc/self/mountinfo");
    mounts.lines().rev().map(mount_point).filter(|point| point.starts_with(path)).collect()
}

/// The cgroups that bear a sandbox's prefix, or the id of one of its containers or pods.
fn cgroups_of(path: &Path, prefix: &str) -> Vec<PathBuf> {
    let mut names = vec![prefix.to_owned()];
    for folder in ["root/containers", "root/pods"] {
        // Ids are 64 digits: a short name would be found in places that are none of ours.
        names.extend(names_in(&path.join(folder)).filter(|name| name.len() == 64));
    }
    let is_ours = |cgroup: &PathBuf| {
        let text = cgroup.to_string_lossy();
        names.iter().any(|name| text.contains(name.as_str()))
    };
    cgroups().into_iter().filter(is_ours).collect()
}

/// A process as `/proc` shows it; every question may find it gone, which counts as no.
struct Process {
    pid: i32,
    folder: PathBuf,
}

impl Process {
    /// Whether it runs one of our programs, or is in a cgroup of ours.
    fn is_ours(&self) -> bool {
        let name = read(self.folder.join("comm"));
        let in_cgroup = read(self.folder.join("cgroup")).lines().any(|line| line.contains(":/hull"));
        !self.is_zombie() && (in_cgroup || PROGRAMS.contains(&name.trim_end()))
    }

    /// Whether it mentions the sandbox: in its environment, arguments or folder, or by what it has mounted.
    fn belongs_to(&self, path: &str, prefix: &str) -> bool {
        if self.pid == std::process::id().cast_signed() || self.is_zombie() {
            return false;
        }
        let mentions = |file: &str| {
            let text = read(self.folder.join(file));
            text.contains(path) || text.contains(prefix)
        };
        // Whoever made a mount namespace meanwhile has copies of all mounts in it, and still the root that we have.
        let root =
            |process: &Path| fs::metadata(process.join("root/.")).map(|root| (root.dev(), root.ino())).ok();
        let other_root =
            || root(&self.folder).is_some_and(|theirs| Some(theirs) != root(Path::new("/proc/self")));
        let private_mounts = || other_root() && mentions("mountinfo");
        let working = fs::read_link(self.folder.join("cwd"));
        mentions("cmdline")
            || mentions("environ")
            || mentions("cgroup")
            || working.is_ok_and(|folder| folder.to_string_lossy().starts_with(path))
            || private_mounts()
    }

    /// Whether it is over and only waits for its parent, which may be an init that is in no hurry.
    fn is_zombie(&self) -> bool {
        read(self.folder.join("stat")).rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z'))
    }

    fn command(&self) -> String {
        let arguments = read(self.folder.join("cmdline")).replace('\0', " ");
        if arguments.is_empty() { read(self.folder.join("comm")).trim_end().to_owned() } else { arguments }
    }
}

fn processes() -> impl Iterator<Item = Process> {
    names_in(Path::new("/proc")).filter_map(|name| {
        let pid = name.parse().ok()?;
        Some(Process { pid, folder: Path::new("/proc").join(name) })
    })
}

/// All cgroups at or below a top-level `hull*` in every hierarchy, parents first.
fn cgroups() -> Vec<PathBuf> {
    let mounts = read("/proc/self/mountinfo");
    let hierarchies = mounts.lines().filter(|line| line.contains(" - cgroup"));
    let mut found = Vec::new();
    for hierarchy in hierarchies.map(mount_point) {
        for name in names_in(&hierarchy).filter(|name| name.starts_with("hull")) {
            descend(&hierarchy, &hierarchy.join(name), &mut found);
        }
    }
    found
}

fn descend(hierarchy: &Path, folder: &Path, found: &mut Vec<PathBuf>) {
    if !folder.is_dir() {
        return;
    }
    let within = folder.strip_prefix(hierarchy).unwrap_or(folder).to_string_lossy();
    if !SHARED_CGROUPS.iter().any(|shared| shared[1..] == *within) {
        found.push(folder.to_owned());
    }
    for name in names_in(folder) {
        descend(hierarchy, &folder.join(name), found);
    }
}

/// The names in a folder; none if it is not there.
pub fn names_in(folder: &Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned())
}

/// The fourth field: where it is mounted (escapes of spaces do not occur in our names).
fn mount_point(line: &str) -> PathBuf {
    PathBuf::from(line.split(' ').nth(4).unwrap_or_default())
}

/// Mount point, type and source; the ids in front differ from run to run.
fn mount_of(line: &str) -> String {
    let what = line.split(" - ").nth(1).unwrap_or_default();
    let kind_and_source = what.split(' ').take(2).collect::<Vec<_>>().join(" ");
    format!("{} {kind_and_source}", mount_point(line).display())
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_survives_its_text_form() {
        let snapshot = Snapshot::take();
        assert_eq!(Snapshot::from_text(&snapshot.to_text()), snapshot);
    }

    #[test]
    fn rules_of_one_container_are_told_from_shared_ones() {
        for (line, expected) in [
            (":CNI-FORWARD - [0:0]", false),
            (":CNI-HOSTPORT-DNAT - [0:0]", false),
            (":CNI-DN-0a1b2c3d4e5f60718293a - [0:0]", true),
            (":CNI-0a1b2c3d4e5f607182930a1b - [0:0]", true),
            ("-A FORWARD -m comment --comment \"CNI firewall plugin rules\" -j CNI-FORWARD", false),
            (
                "-A CNI-FORWARD -m comment --comment \"CNI firewall plugin admin overrides\" -j CNI-ADMIN",
                false,
            ),
            ("-A CNI-FORWARD -s 10.1.0.2/32 -j ACCEPT", true),
            (
                "-A POSTROUTING -s 10.1.0.2/32 -m comment --comment \"name: \\\"hull0\\\" id: \\\"ab\\\"\" -j CNI-0a",
                true,
            ),
            ("-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE", false),
        ] {
            assert_eq!(of_one_container(line), expected, "{line}");
        }
    }

    #[test]
    fn only_what_is_new_is_a_leak() {
        let before = Snapshot::from_text("link lo\nmount /a tmpfs none\n");
        let after = Snapshot::from_text("link lo\nlink veth0\n");
        assert_eq!(after.since(&before), ["link veth0"]);
    }

    #[test]
    fn copies_of_mounts_in_another_namespace_are_nobodys() {
        crate::needs!("root");
        let folder = tempfile::tempdir().expect("room for it");
        let none = rustix::mount::MountFlags::empty();
        rustix::mount::mount("none", folder.path(), "tmpfs", none, None).expect("we are root");
        let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/mnt")).ok();
        let mut other = std::process::Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sleep", "1000"])
            .spawn()
            .expect("there is an unshare");
        let pid = other.id().to_string();
        crate::eventually("it has its own mounts", || {
            namespace(&pid).is_some_and(|theirs| Some(theirs) != namespace("self"))
        });
        unmount(folder.path(), UnmountFlags::DETACH).expect("it was mounted");
        let path = folder.path().to_string_lossy();
        let has_copy = read(format!("/proc/{pid}/mountinfo")).contains(&*path);
        let found = of_sandbox(folder.path(), "no-prefix", "no-bridge");
        other.kill().and_then(|()| other.wait()).expect("it lives");
        assert!(has_copy);
        assert_eq!(found, Vec::<String>::new());
    }
}
