//! What the tests of `roci` share: a bundle of their own, the program, and a canary on the host.
#![allow(dead_code, reason = "each test binary uses its part")]

pub mod ordinary;

use std::fs;
use std::io::{IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use runtime::fault::Defence;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use serde_json::{Value, json};

/// The program under test.
pub const ROCI: &str = env!("CARGO_BIN_EXE_roci");

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// A bundle with busybox as its root, a state root and a cgroup of its own; all cleared away when dropped.
pub struct Bundle {
    folder: tempfile::TempDir,
    /// The config.json that the next command uses.
    pub config: Value,
    /// The container's id.
    pub id: String,
    /// What the program is to leave out, in a build that can.
    without: &'static [Defence],
}

impl Bundle {
    /// A bundle whose container runs `args`.
    pub fn new(args: &[&str]) -> Bundle {
        let folder = tempfile::Builder::new().prefix("roci-test-").tempdir().unwrap();
        let id = format!("t{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let rootfs = folder.path().join("rootfs");
        for name in ["bin", "proc", "sys", "dev", "etc", "tmp", "root"] {
            fs::create_dir_all(rootfs.join(name)).unwrap();
        }
        let busybox = rootfs.join("bin/busybox");
        fs::copy("/bin/busybox", &busybox).unwrap();
        for name in APPLETS {
            symlink("busybox", rootfs.join("bin").join(name)).unwrap();
        }
        fs::write(
            rootfs.join("etc/passwd"),
            "root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n",
        )
        .unwrap();
        let cgroup = match by_systemd() {
            true => format!("{SLICE}:{PREFIX}:{id}"),
            false => format!("/hull-test-{id}/c"),
        };
        let config = config(args, &cgroup);
        Bundle { folder, config, id, without: &[] }
    }

    /// As [`Bundle::new`], for a program that leaves these defences out.
    pub fn without(defences: &'static [Defence], args: &[&str]) -> Bundle {
        let mut bundle = Bundle::new(args);
        bundle.without = defences;
        bundle
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn rootfs(&self) -> PathBuf {
        self.path().join("rootfs")
    }

    pub fn state_root(&self) -> PathBuf {
        self.path().join("state")
    }

    /// Sets the value at a JSON pointer, which must have a parent.
    pub fn set(&mut self, pointer: &str, value: Value) -> &mut Bundle {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        match self.config.pointer_mut(parent).unwrap() {
            Value::Array(list) if key == "-" => list.push(value),
            Value::Array(list) => list[key.parse::<usize>().unwrap()] = value,
            other => other[key] = value,
        }
        self
    }

    pub fn args(&mut self, args: &[&str]) -> &mut Bundle {
        self.set("/process/args", json!(args))
    }

    pub fn shell(&mut self, script: &str) -> &mut Bundle {
        self.args(&["sh", "-c", script])
    }

    pub fn write_config(&self) {
        fs::write(self.path().join("config.json"), serde_json::to_vec(&self.config).unwrap()).unwrap();
    }

    /// `roci` with our state root, a clean environment, and nothing to read.
    pub fn roci(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(ROCI);
        command.env_clear().env("PATH", "/usr/bin:/bin").current_dir(self.path()).stdin(Stdio::null());
        for (name, value) in std::env::vars().filter(|(name, _)| name == "HULL_FAULT") {
            command.env(name, value);
        }
        if !self.without.is_empty() {
            let names: Vec<String> = self.without.iter().map(|defence| format!("{defence:?}")).collect();
            command.env("HULL_WITHOUT", names.join(","));
        }
        command.arg("--root").arg(self.state_root());
        if by_systemd() {
            command.arg("--systemd-cgroup");
        }
        command.args(arguments);
        command
    }

    /// Runs a verb to its end.
    pub fn verb(&self, arguments: &[&str]) -> Done {
        Done::from(self.roci(arguments).output().unwrap())
    }

    /// `roci run` to its end.
    pub fn run(&self) -> Done {
        self.write_config();
        self.verb(&["run", &self.id])
    }

    /// `roci create` with output thrown away, because the container would hold our pipes.
    pub fn create(&self) -> Done {
        self.write_config();
        let errors = self.path().join("create.err");
        let status = self
            .roci(&["create", &self.id])
            .stdout(Stdio::null())
            .stderr(fs::File::create(&errors).unwrap())
            .status()
            .unwrap();
        Done {
            code: status.code().unwrap_or(-1),
            out: String::new(),
            err: fs::read_to_string(errors).unwrap(),
        }
    }

    /// Creates and starts.
    pub fn start(&self) {
        self.create().succeeded();
        self.verb(&["start", &self.id]).succeeded();
    }

    pub fn exec(&self, arguments: &[&str]) -> Done {
        let mut all = vec!["exec", &self.id];
        all.extend(arguments);
        self.verb(&all)
    }

    /// The state document.
    pub fn state(&self) -> Value {
        serde_json::from_str(&self.verb(&["state", &self.id]).succeeded().out).unwrap()
    }

    pub fn status(&self) -> String {
        self.state()["status"].as_str().unwrap().to_owned()
    }

    /// Waits until the container is in this state.
    pub fn wait_status(&self, expected: &str) {
        wait_for(&format!("status {expected}"), || self.status() == expected);
    }

    /// Everything below the state root, which is empty when nothing is left.
    pub fn left(&self) -> Vec<PathBuf> {
        let mut left: Vec<PathBuf> = fs::read_dir(self.state_root())
            .map(|list| list.map(|entry| entry.unwrap().path()).collect())
            .unwrap_or_default();
        left.extend(self.cgroups());
        left
    }

    /// The container's cgroup folders that exist.
    pub fn cgroups(&self) -> Vec<PathBuf> {
        let path = match by_systemd() {
            true => format!("{SLICE}/{}", self.unit()),
            false => format!("hull-test-{}/c", self.id),
        };
        cgroup_roots().into_iter().map(|root| root.join(&path)).filter(|path| path.exists()).collect()
    }

    /// The container's unit where systemd makes its cgroup.
    pub fn unit(&self) -> String {
        format!("{PREFIX}-{}.scope", self.id)
    }

    /// Asserts that nothing of the container is left: no record, no cgroup, no process, no mount of ours.
    pub fn assert_nothing_left(&self) {
        assert_eq!(self.left(), Vec::<PathBuf>::new());
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let own = self.path().to_str().unwrap();
        assert!(!mounts.lines().any(|line| line.contains(own)), "a mount is left");
        if by_systemd() {
            assert_eq!(property(&self.unit(), "LoadState"), "not-found");
        }
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _ = Command::new(ROCI)
            .arg("--root")
            .arg(self.state_root())
            .args(["delete", "--force", &self.id])
            .stderr(Stdio::null())
            .status();
        for root in cgroup_roots() {
            let _ = fs::remove_dir(root.join(format!("hull-test-{}/c", self.id)));
            let _ = fs::remove_dir(root.join(format!("hull-test-{}", self.id)));
        }
    }
}

const APPLETS: [&str; 30] = [
    "sh", "true", "false", "ls", "cat", "id", "sleep", "mount", "umount", "ps", "echo", "hostname", "stat",
    "touch", "head", "mkdir", "mknod", "grep", "readlink", "pwd", "env", "kill", "tty", "stty", "dd", "test",
    "wc", "sort", "ln", "unshare",
];

/// Where systemd puts the containers of these tests.
pub const SLICE: &str = "hulltest.slice";
const PREFIX: &str = "hull-test";

/// Whether systemd is to make the cgroups: the machine of `make test-cgroup2` runs some tests again that way.
pub fn by_systemd() -> bool {
    std::env::var_os("ROCI_TEST_DRIVER").is_some_and(|driver| driver == "systemd")
}

/// What systemd says about a unit.
pub fn property(unit: &str, name: &str) -> String {
    let output = Command::new("systemctl").args(["show", "--value", "-p", name, unit]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Whether this machine has cgroup v2 and nothing else.
pub fn unified() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// Says that a test does without something, past the capture of its output: a skipped test must not look like a passed one.
pub fn report_skipped(missing: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "skipped: {missing} not found");
}

/// Roots of the cgroup hierarchies.
pub fn cgroup_roots() -> Vec<PathBuf> {
    let mut roots = vec![PathBuf::from("/sys/fs/cgroup")];
    roots.extend(fs::read_dir("/sys/fs/cgroup").unwrap().filter_map(|entry| Some(entry.ok()?.path())));
    roots
}

/// A config.json like the one that `runc spec` writes.
pub fn config(args: &[&str], cgroup: &str) -> Value {
    json!({
        "ociVersion": "1.2.0",
        "process": {
            "user": { "uid": 0, "gid": 0 },
            "args": args,
            "env": ["PATH=/usr/bin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {
                "bounding": ["CAP_KILL", "CAP_NET_BIND_SERVICE"],
                "effective": ["CAP_KILL", "CAP_NET_BIND_SERVICE"],
                "permitted": ["CAP_KILL", "CAP_NET_BIND_SERVICE"]
            },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 512 }],
            "noNewPrivileges": true
        },
        "root": { "path": "rootfs", "readonly": false },
        "hostname": "testhost",
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
              "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
              "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
            { "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
              "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"] },
            { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
              "options": ["nosuid", "noexec", "nodev"] },
            { "destination": "/sys", "type": "sysfs", "source": "sysfs",
              "options": ["nosuid", "noexec", "nodev", "ro"] },
            { "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
              "options": ["nosuid", "noexec", "nodev", "relatime", "ro"] }
        ],
        "linux": {
            "cgroupsPath": cgroup,
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "namespaces": [
                { "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" },
                { "type": "mount" }, { "type": "cgroup" }
            ],
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware", "/proc/absent"],
            "readonlyPaths": ["/proc/bus", "/proc/sys", "/proc/sysrq-trigger"]
        }
    })
}

/// A command that ended.
#[derive(Debug)]
pub struct Done {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl From<Output> for Done {
    fn from(output: Output) -> Done {
        Done {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Done {
    #[track_caller]
    pub fn succeeded(self) -> Done {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }

    #[track_caller]
    pub fn failed(self, code: i32, words: &str) -> Done {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.err.contains(words), "expected {words:?} in {self:?}");
        self
    }
}

/// Waits for a condition, with a deadline instead of a guess.
#[track_caller]
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(60), "timed out: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Two virtual network devices that are joined; both go when this does.
pub struct Pair {
    /// The name of the one.
    pub name: String,
}

impl Pair {
    pub fn new() -> Pair {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("hull{}.{number:02}", std::process::id() % 100_000);
        let other = format!("{name}p");
        let made =
            Command::new("ip").args(["link", "add", &name, "type", "veth", "peer", "name", &other]).status();
        assert!(made.unwrap().success());
        Pair { name }
    }

    /// Is the one still in this network namespace?
    pub fn exists(&self) -> bool {
        Path::new("/sys/class/net").join(&self.name).exists()
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        // The other one goes with it, also where it was moved.
        let _ = Command::new("ip")
            .args(["link", "del", &format!("{}p", self.name)])
            .stderr(Stdio::null())
            .status();
    }
}

/// Carries out an attack, which says whether it got through: it must not. In a build for it the same attack is made
/// without these defences, and then has to get through, for one that never does proves nothing.
#[track_caller]
pub fn repelled(defences: &'static [Defence], attack: impl Fn(&'static [Defence]) -> bool) {
    assert!(!attack(&[]), "the attack got through");
    if cfg!(feature = "fault-injection") {
        assert!(attack(defences), "the attack is harmless even without {defences:?}");
    }
}

/// A tree on the host that no container may change, and host settings likewise.
pub struct Canary {
    folder: tempfile::TempDir,
    before: Vec<String>,
}

impl Canary {
    pub fn new() -> Canary {
        let folder = tempfile::Builder::new().prefix("roci-canary-").tempdir().unwrap();
        fs::write(folder.path().join("secret"), "canary secret").unwrap();
        fs::set_permissions(folder.path().join("secret"), fs::Permissions::from_mode(0o604)).unwrap();
        fs::create_dir(folder.path().join("folder")).unwrap();
        symlink("secret", folder.path().join("link")).unwrap();
        let before = Canary::snapshot(folder.path());
        Canary { folder, before }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    #[track_caller]
    pub fn assert_untouched(&self) {
        assert_eq!(Canary::snapshot(self.path()), self.before);
    }

    pub fn is_touched(&self) -> bool {
        Canary::snapshot(self.path()) != self.before
    }

    fn snapshot(root: &Path) -> Vec<String> {
        let mut lines = Vec::new();
        let mut paths = vec![root.to_owned()];
        while let Some(path) = paths.pop() {
            let meta = fs::symlink_metadata(&path).unwrap();
            let content = if meta.is_file() { fs::read_to_string(&path).unwrap() } else { String::new() };
            let mut attributes = [0; 512];
            let length = rustix::fs::llistxattr(&path, &mut attributes).unwrap();
            lines.push(format!(
                "{} {:o} {} {} {}.{} {:?} {content}",
                path.display(),
                meta.mode(),
                meta.uid(),
                meta.gid(),
                meta.mtime(),
                meta.mtime_nsec(),
                String::from_utf8_lossy(&attributes[..length]),
            ));
            if meta.is_dir() {
                paths.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
        }
        lines.sort();
        for name in ["kernel/hostname", "kernel/core_pattern", "kernel/panic", "kernel/randomize_va_space"] {
            lines.push(fs::read_to_string(Path::new("/proc/sys").join(name)).unwrap());
        }
        lines
    }
}

/// Reads what a child has written until it contains `words`.
pub fn read_until(child: &mut Child, words: &str) -> String {
    let mut text = Vec::new();
    let mut byte = [0];
    let out = child.stdout.as_mut().unwrap();
    while !text.ends_with(words.as_bytes()) {
        match out.read(&mut byte) {
            Ok(1) => text.push(byte[0]),
            _ => break,
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Accepts a caller of `listener` and takes the descriptor that it sends, and what comes with it.
pub fn receive_with(listener: &UnixListener) -> (OwnedFd, Vec<u8>) {
    let (stream, _) = listener.accept().unwrap();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut text = vec![0; 16 << 10];
    let received =
        rustix::net::recvmsg(&stream, &mut [IoSliceMut::new(&mut text)], &mut control, RecvFlags::empty())
            .unwrap();
    text.truncate(received.bytes);
    let descriptor = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    (descriptor.expect("a descriptor"), text)
}

/// As [`receive_with`], the descriptor alone.
pub fn receive_descriptor(listener: &UnixListener) -> OwnedFd {
    receive_with(listener).0
}
