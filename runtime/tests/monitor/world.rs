//! A bundle with a monitor, and how to talk to it.

use std::fs;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use runtime::monitor::client::{Client, ClientError};
use runtime::monitor::protocol::{Create, CreateFlags, Exec, Exit};
use runtime::monitor::status_record::StatusRecord;
use rustix::fs::{Mode, OFlags};
use rustix::mount::OpenTreeFlags;

use crate::common::Bundle;

/// How long what a monitor has to do may take.
pub const PATIENCE: Option<Duration> = Some(Duration::from_secs(60));

/// A bundle with a monitor.
pub struct World {
    pub bundle: Bundle,
    pub socket: PathBuf,
    /// Length at which the log is rotated.
    pub log_size: Option<u64>,
}

impl World {
    pub fn new(args: &[&str], options: &[&str]) -> World {
        World::of(Bundle::new(args), options)
    }

    pub fn of(bundle: Bundle, options: &[&str]) -> World {
        bundle.write_config();
        let socket = bundle.path().join("pods/p/monitor.sock");
        let world = World { bundle, socket, log_size: None };
        let mut command = world.bundle.roci(&["monitor", "--detach", "--id", "p"]);
        command.arg("--socket").arg(&world.socket).args(options);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        world
    }

    pub fn client(&self) -> Client {
        Client::connect(&self.socket).unwrap()
    }

    pub fn folder(&self) -> &str {
        self.bundle.path().to_str().unwrap()
    }

    pub fn log(&self) -> PathBuf {
        self.bundle.path().canonicalize().unwrap().join("log")
    }

    /// Creates the bundle's container.
    pub fn create(&self, client: &mut Client, flags: CreateFlags) -> u32 {
        self.try_create(client, flags).unwrap()
    }

    pub fn try_create(&self, client: &mut Client, flags: CreateFlags) -> Result<u32, ClientError> {
        let root = rustix::mount::open_tree(
            rustix::fs::CWD,
            self.bundle.rootfs(),
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
        )
        .unwrap();
        let lock = self.lock();
        let log = self.log();
        let create = Create {
            container: &self.bundle.id,
            folder: self.folder(),
            log: log.to_str(),
            log_size: self.log_size,
            log_files: 1,
            flags,
        };
        client.create(create, root.as_fd(), lock.as_fd())
    }

    pub fn lock(&self) -> OwnedFd {
        rustix::fs::open(self.bundle.path(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap()
    }

    pub fn status(&self) -> StatusRecord {
        StatusRecord::read(self.bundle.path()).unwrap().unwrap()
    }

    pub fn logged(&self) -> String {
        let text = fs::read_to_string(self.log()).unwrap();
        text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned() + "\n").collect()
    }

    /// Nothing of the container or its monitor is left but files.
    pub fn is_clear(&self) -> bool {
        !self.socket.exists() && !self.bundle.state_root().join(&self.bundle.id).exists()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // A test that failed half-way.
        if let Ok(mut client) = Client::connect(&self.socket) {
            let _ = client.shutdown();
        }
    }
}

pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn pipe() -> (OwnedFd, OwnedFd) {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap()
}

pub fn text_of(descriptor: OwnedFd) -> String {
    let mut text = String::new();
    fs::File::from(descriptor).read_to_string(&mut text).unwrap();
    text
}

/// Runs a shell script by exec with pipes; returns its output once it has ended, and how.
pub fn exec(world: &World, script: &str) -> (String, Exit) {
    let mut client = world.client();
    let (stdin, _) = pipe();
    let (out, stdout) = pipe();
    let process = process(&["sh", "-c", script], false);
    let request = Exec { container: &world.bundle.id, terminal: false, bound: false };
    client.exec(request, &process, Some([stdin.as_fd(), stdout.as_fd(), stdout.as_fd()])).unwrap();
    drop(stdout);
    let text = text_of(out);
    (text, client.session_exit(PATIENCE).unwrap())
}

pub fn process(args: &[&str], terminal: bool) -> Vec<u8> {
    let process = serde_json::json!({
        "terminal": terminal, "user": {"uid": 0, "gid": 0}, "args": args, "cwd": "/", "env": ["PATH=/bin"],
    });
    serde_json::to_vec(&process).unwrap()
}

pub fn parent_of(pid: u32) -> u32 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap();
    line.trim().parse().unwrap()
}

/// What a process shares with nobody's file, in KB.
pub fn anonymous_of(pid: u32) -> u64 {
    let memory = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = memory.lines().find_map(|line| line.strip_prefix("Pss_Anon:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
}
