//! A real `rcri` in a sandbox.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};

use rustix::process::Signal;

use crate::cri::Client;
use crate::{Running, Sandbox, eventually, program};

/// A running server. It is killed when it is dropped; its pods are not.
#[derive(Debug)]
pub struct Rcri {
    running: Running,
    socket: PathBuf,
}

impl Rcri {
    /// Starts the server of a sandbox and waits until it serves.
    ///
    /// # Panics
    /// If it does not.
    pub fn start(sandbox: &Sandbox) -> Rcri {
        let socket = sandbox.path().join("rcri.sock");
        let arguments = ["--log-level", "debug"];
        let mut command = sandbox.command(program("rcri")).args(arguments);
        command = command.arg("--listen").arg(format!("unix://{}", socket.display()));
        command = command.arg("--cni-conf-dir").arg(sandbox.folder("cni"));
        let running = command.deadline(std::time::Duration::from_secs(600)).spawn();
        let server = Rcri { running, socket };
        eventually("rcri serves", || Client::connect(&server.socket).is_ok());
        server
    }

    /// Where it listens.
    pub fn socket(&self) -> &std::path::Path {
        &self.socket
    }

    /// A connection.
    ///
    /// # Panics
    /// If it does not answer.
    pub fn client(&self) -> Client {
        Client::connect(&self.socket)
            .unwrap_or_else(|error| panic!("cannot connect: {error}\n{}", self.running.stderr_so_far()))
    }

    /// What it said so far.
    pub fn messages(&self) -> String {
        self.running.stderr_so_far()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// Kills it, as a crash would.
    pub fn kill(self) {
        self.running.signal(Signal::KILL);
        self.running.wait();
    }

    /// Tells it to stop and waits until it has.
    ///
    /// # Panics
    /// If it fails.
    pub fn stop(self) {
        self.running.signal(Signal::TERM);
        self.running.wait().succeeds();
    }
}

/// Gives the sandbox a network of its own: a bridge and a range of addresses that no other test has. `plugins` are further
/// ones, as JSON with a comma in front.
pub fn write_network(sandbox: &Sandbox, plugins: &str) {
    static COUNT: AtomicU8 = AtomicU8::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let process = std::process::id();
    let (second, third) = (64 + (process >> 6) % 64, ((process & 63) << 2) + u32::from(count % 4));
    sandbox.write(
        "cni/10-test.conflist",
        format!(
            r#"{{"cniVersion":"1.0.0","name":"test","plugins":[{{"type":"bridge","bridge":"ht{process}-{count}",
            "isGateway":true,"ipMasq":false,"ipam":{{"type":"host-local","dataDir":"{}",
            "ranges":[[{{"subnet":"10.{second}.{third}.0/24"}}]],"routes":[{{"dst":"0.0.0.0/0"}}]}}}}{plugins}]}}"#,
            sandbox.path().join("addresses").display()
        ),
    );
}

/// Removes the bridge that the plugins made for [`write_network`].
pub fn remove_bridge(sandbox: &Sandbox) {
    let text = std::fs::read_to_string(sandbox.path().join("cni/10-test.conflist")).unwrap_or_default();
    let config: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    if let Some(bridge) = config["plugins"][0]["bridge"].as_str() {
        let _ = std::process::Command::new("ip").args(["link", "delete", bridge]).output();
    }
}
