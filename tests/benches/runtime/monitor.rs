//! A monitor with containers: what one more process in them costs, and what it occupies itself.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use runtime::monitor::client::Client;
use runtime::monitor::protocol::{Create, CreateFlags, Exec, Exit};
use rustix::mount::OpenTreeFlags;
use serde_json::json;

use super::Runtime;
use crate::contest::{Contestant, quiet};
use crate::rollup::rollup;
use crate::table::{Amount, Row, Target};
use crate::world::World;

/// How many containers it has when its memory is looked at.
const CONTAINERS: usize = 3;
const KB: u64 = 1024;

/// A monitor of ours; it and its containers end when dropped.
pub(super) struct Monitor {
    socket: PathBuf,
    /// Ids of its running containers.
    containers: Vec<String>,
    pid: u32,
}

impl Monitor {
    /// Starts a monitor and a few containers that sleep.
    pub(super) fn start(ours: &Runtime, world: &World) -> anyhow::Result<Monitor> {
        let socket = world.path().join("monitor/monitor.sock");
        let mut start = ours.command("monitor");
        start.args(["--detach", "--id", "bench", "--socket"]).arg(&socket);
        quiet(start)?;
        let mut monitor = Monitor { socket, containers: Vec::new(), pid: 0 };
        for number in 0..CONTAINERS {
            let bundle = world.sleeping_bundle(&format!("monitored {number}"))?;
            let id = format!("{}-monitored-{number}", world.id(0));
            let pid = monitor.client()?.run(&bundle, &world.bundle().join("rootfs"), &id)?;
            monitor.containers.push(id);
            monitor.pid = parent_of(pid)?;
        }
        Ok(monitor)
    }

    fn client(&self) -> anyhow::Result<Caller> {
        let client = Client::connect(&self.socket).context("the monitor takes no callers")?;
        Ok(Caller(client))
    }

    /// A process in one of its containers, from the first word of the conversation to the last.
    pub(super) fn execs(&self) -> Contestant<'_> {
        let process = json!({
            "user": {"uid": 0, "gid": 0}, "args": ["true"], "cwd": "/", "env": ["PATH=/bin"],
        });
        let process = process.to_string();
        Contestant::work("monitor exec", move |_| self.client()?.exec(&self.containers[0], &process))
    }

    /// What it shares with nobody's file.
    pub(super) fn memory(&self) -> anyhow::Result<Row> {
        Ok(Row {
            what: "anonymous memory of a monitor".to_owned(),
            how: format!("{CONTAINERS} containers, Pss_Anon"),
            ours: Amount::Memory(rollup(self.pid, "Pss_Anon:")?),
            peer: None,
            target: Target::AtMost(Amount::Memory(250 * KB)),
        })
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        if let Err(error) = self.client().and_then(|mut client| Ok(client.0.shutdown()?)) {
            println!("the monitor at {} is left: {error:#}", self.socket.display());
        }
    }
}

struct Caller(Client);

impl Caller {
    /// Makes and starts a container; returns its first process.
    fn run(&mut self, bundle: &Path, rootfs: &Path, id: &str) -> anyhow::Result<u32> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let root =
            rustix::mount::open_tree(rustix::fs::CWD, rootfs, flags).context("cannot clone the root")?;
        let lock = File::open(bundle).with_context(|| format!("cannot open {}", bundle.display()))?;
        let create = Create {
            container: id,
            folder: bundle.to_str().context("the bundle's path is no text")?,
            log: None,
            log_size: None,
            log_files: 1,
            flags: CreateFlags::default(),
        };
        let pid = self.0.create(create, root.as_fd(), lock.as_fd())?;
        self.0.start(id)?;
        Ok(pid)
    }

    /// Executes a process and waits for its end.
    fn exec(&mut self, container: &str, process: &str) -> anyhow::Result<()> {
        let null =
            File::options().read(true).write(true).open("/dev/null").context("cannot open /dev/null")?;
        let exec = Exec { container, terminal: false, bound: false };
        self.0.exec(exec, process.as_bytes(), Some([null.as_fd(), null.as_fd(), null.as_fd()]))?;
        let exit = self.0.session_exit(None)?;
        ensure!(exit == Exit::Code(0), "true ended with {exit:?}");
        Ok(())
    }
}

fn parent_of(pid: u32) -> anyhow::Result<u32> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    parent.and_then(|parent| parent.trim().parse().ok()).with_context(|| format!("{path} names no parent"))
}
