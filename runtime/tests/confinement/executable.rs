//! CVE-2019-5736: a process in a container finds the runtime in /proc and writes to its executable.

use std::collections::HashMap;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use runtime::security::own_executable::{protection, seal_or_reexec};
use runtime::sys::mount::{MountAttributes, mount_setattr};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, move_mount, open_tree, unmount,
};

use crate::Test;

pub const TESTS: &[Test] = &[
    ("executable::overlay_cannot_be_written", overlay_cannot_be_written),
    ("executable::an_overlay_needs_no_folder_of_the_host", an_overlay_needs_no_folder_of_the_host),
    ("executable::sealed_copy_cannot_be_written", sealed_copy_cannot_be_written),
    ("executable::without_the_defence_the_attack_succeeds", without_the_defence_the_attack_succeeds),
    ("executable::a_read_only_bind_is_no_defence", a_read_only_bind_is_no_defence),
    ("executable::a_read_only_overlay_of_others_is_not_taken_for_ours", foreign_overlay_is_not_ours),
    ("executable::environment_arguments_and_descriptors_survive", everything_survives),
    ("executable::a_replaced_binary_goes_on_as_itself", a_replaced_binary_goes_on_as_itself),
];

/// What this program does when it is the victim: it says how it is protected and waits.
pub fn child(mode: &str) {
    match mode {
        "protected" | "environment" => {
            seal_or_reexec().unwrap();
        }
        "sealed" => {
            drop_mount_rights();
            seal_or_reexec().unwrap();
        }
        "covered" => {
            cover_sys();
            seal_or_reexec().unwrap();
        }
        _ => {}
    }
    println!("{:?}", protection().unwrap());
    if mode.ends_with("environment") {
        let environment = std::fs::read("/proc/self/environ").unwrap();
        println!("{}", String::from_utf8_lossy(&environment).replace('\0', "|"));
        println!("{:?}", std::env::args_os().collect::<Vec<_>>());
        println!("{}", std::fs::read_to_string("/proc/self/comm").unwrap().trim());
        println!("{:?}", std::fs::read_link("/proc/self/fd/0").unwrap().as_os_str().as_bytes().len());
        let open = std::fs::read_dir("/proc/self/fd").unwrap().count();
        println!("{open}");
    }
    std::io::stdout().flush().unwrap();
    let _ = std::io::stdin().read_line(&mut String::new());
}

/// A victim that runs a copy of this program.
struct Victim {
    process: Child,
    stdin: Option<ChildStdin>,
    /// What it said of its protection.
    report: String,
    /// The file that the attack must not change.
    file: PathBuf,
}

impl Victim {
    fn start(folder: &Path, run: &Path, mode: &str) -> Victim {
        let mut process = Command::new(run)
            .args(["child", mode])
            .env_clear()
            .env("HULL_PROTECTED", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut report = String::new();
        let mut output = std::io::BufReader::new(process.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut output, &mut report).unwrap();
        let stdin = process.stdin.take();
        Victim { process, stdin, report: report.trim().to_owned(), file: folder.join("victim") }
    }

    /// Everything that CAP_SYS_ADMIN can try, as root of the host itself. True if a write succeeded.
    fn attack(mut self) -> bool {
        let before = std::fs::read(&self.file).unwrap();
        let path = format!("/proc/{}/exe", self.process.id());
        let handle = rustix::fs::open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let writable =
            MountAttributes { clear: MountAttrFlags::MOUNT_ATTR_RDONLY.bits().into(), ..Default::default() };
        let mut written = write_through(&handle);
        let _ = mount_setattr(handle.as_fd(), &writable, false);
        written |= write_through(&handle);
        let flags =
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
        let clone = open_tree(&handle, "", flags).ok();
        if let Some(clone) = &clone {
            let _ = mount_setattr(clone.as_fd(), &writable, false);
            written |= write_through(clone);
        }
        let remount = format!("/proc/self/fd/{}", handle.as_raw_fd());
        let _ = rustix::mount::mount_remount(&remount, rustix::mount::MountFlags::BIND, "");
        written |= write_through(&handle);
        // The text is busy only while it runs; the handle lives longer.
        drop(self.stdin.take());
        self.process.wait().unwrap();
        written |= write_through(&handle) || clone.as_ref().is_some_and(write_through);
        let changed = std::fs::read(&self.file).unwrap() != before;
        assert!(written || !changed);
        changed
    }
}

fn write_through(handle: &OwnedFd) -> bool {
    let path = format!("/proc/self/fd/{}", handle.as_raw_fd());
    [OFlags::WRONLY, OFlags::RDWR].into_iter().any(|access| {
        let Ok(file) = rustix::fs::open(&path, access | OFlags::CLOEXEC, Mode::empty()) else { return false };
        rustix::io::pwrite(&file, b"#!owned", 0).is_ok()
    })
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("victim");
    std::fs::copy("/proc/self/exe", &file).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

fn overlay_cannot_be_written() {
    let folder = folder();
    let victim = Victim::start(folder.path(), &folder.path().join("victim"), "protected");
    assert_eq!(victim.report, "Overlay");
    assert!(!victim.attack());
}

fn an_overlay_needs_no_folder_of_the_host() {
    let folder = folder();
    let victim = Victim::start(folder.path(), &folder.path().join("victim"), "covered");
    assert_eq!(victim.report, "Overlay");
    assert!(!victim.attack());
}

fn sealed_copy_cannot_be_written() {
    let folder = folder();
    let victim = Victim::start(folder.path(), &folder.path().join("victim"), "sealed");
    assert_eq!(victim.report, "SealedCopy");
    let changed = victim.attack();
    assert!(!changed);
}

fn without_the_defence_the_attack_succeeds() {
    let folder = folder();
    let victim = Victim::start(folder.path(), &folder.path().join("victim"), "bare");
    // Said although the environment claims otherwise.
    assert_eq!(victim.report, "None");
    assert!(victim.attack(), "the attack has no teeth, so the other tests prove nothing");
}

fn a_read_only_bind_is_no_defence() {
    let folder = folder();
    let place = tempfile::tempdir().unwrap();
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, folder.path(), flags).unwrap();
    let read_only =
        MountAttributes { set: MountAttrFlags::MOUNT_ATTR_RDONLY.bits().into(), ..Default::default() };
    mount_setattr(tree.as_fd(), &read_only, false).unwrap();
    let _mounted = Mounted::at(&tree, place.path());
    let victim = Victim::start(folder.path(), &place.path().join("victim"), "bare");
    assert_eq!(victim.report, "None");
    assert!(victim.attack());
}

/// An engine's own container root: an overlay with an upper layer behind a read-only mount.
fn foreign_overlay_is_not_ours() {
    let folder = folder();
    let place = tempfile::tempdir().unwrap();
    for name in ["lower", "upper", "work", "root"] {
        std::fs::create_dir(place.path().join(name)).unwrap();
    }
    let overlay = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
    let set = |key: &str, path: &Path| fsconfig_set_string(&overlay, key, path).unwrap();
    set("lowerdir", folder.path());
    set("upperdir", &place.path().join("upper"));
    set("workdir", &place.path().join("work"));
    fsconfig_create(&overlay).unwrap();
    let mount = fsmount(&overlay, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_RDONLY).unwrap();
    let root = place.path().join("root");
    let _mounted = Mounted::at(&mount, &root);
    // It protects itself there all the same.
    let victim = Victim::start(folder.path(), &root.join("victim"), "protected");
    assert_ne!(victim.report, "None");
    assert!(!victim.attack());
    let victim = Victim::start(folder.path(), &root.join("victim"), "bare");
    assert_eq!(victim.report, "None");
    // The attack writes to the upper layer, so the engine's container is what would suffer.
    victim.attack();
    assert!(place.path().join("upper/victim").exists());
}

fn everything_survives() {
    let folder = folder();
    let run = folder.path().join("victim");
    let report = |mode: &str| -> Vec<String> {
        let output = Command::new(&run)
            .args(["child", mode, "", "-x"])
            .arg(std::ffi::OsStr::from_bytes(b"\xff odd"))
            .env_clear()
            .envs(HashMap::from([("A", ""), ("_", "x=y")]))
            .stdin(std::fs::File::open("/dev/null").unwrap())
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
    };
    let (bare, protected) = (report("bare-environment"), report("environment"));
    assert_eq!((bare[0].as_str(), protected[0].as_str()), ("None", "Overlay"));
    assert!(protected[1].contains("A=|") && protected[1].contains("_=x=y|"));
    assert!(protected[2].ends_with(", \"\", \"-x\", \"\\xFF odd\"]"), "{}", protected[2]);
    // Arguments but for the mode, environment, command name, standard input, and no more descriptors than before.
    assert_eq!(bare[1], protected[1]);
    assert_eq!(bare[2].replace("bare-", ""), protected[2]);
    assert_eq!(bare[3..], protected[3..]);
}

fn a_replaced_binary_goes_on_as_itself() {
    let folder = folder();
    let run = folder.path().join("victim");
    let handle = std::fs::File::open(&run).unwrap();
    std::fs::remove_file(&run).unwrap();
    std::fs::write(&run, "#!/bin/false\n").unwrap();
    // Executed by descriptor, as its name now stands for another file.
    let victim = Victim::start(
        folder.path(),
        Path::new(&format!("/proc/{}/fd/{}", std::process::id(), handle.as_raw_fd())),
        "protected",
    );
    assert_eq!(victim.report, "SealedCopy");
    victim.attack();
}

/// A mount that goes with its value.
struct Mounted(PathBuf);

impl Mounted {
    fn at(mount: &OwnedFd, place: &Path) -> Mounted {
        move_mount(mount, "", CWD, place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).unwrap();
        Mounted(place.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

/// Makes /sys an empty folder for this process.
fn cover_sys() {
    use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
    mount("none", "/sys", "tmpfs", MountFlags::empty(), None).unwrap();
}

/// Without CAP_SYS_ADMIN, now and after exec: overlay is refused then.
fn drop_mount_rights() {
    use rustix::thread::CapabilitySet;
    let mut sets = rustix::thread::capabilities(None).unwrap();
    if sets.permitted.contains(CapabilitySet::SYS_ADMIN) {
        rustix::thread::remove_capability_from_bounding_set(CapabilitySet::SYS_ADMIN).unwrap();
        sets.permitted.remove(CapabilitySet::SYS_ADMIN);
        sets.effective.remove(CapabilitySet::SYS_ADMIN);
        rustix::thread::set_capabilities(None, sets).unwrap();
    }
}
