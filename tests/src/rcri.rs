//! A real `rcri` in a sandbox.

use std::path::PathBuf;

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

/// Gives `rcri` a network configuration: the sandbox's own bridge and range of addresses. `plugins` are further ones, as
/// JSON with a comma in front.
pub fn write_network(sandbox: &Sandbox, plugins: &str) {
    sandbox.write(
        "cni/10-test.conflist",
        format!(
            r#"{{"cniVersion":"1.0.0","name":"{bridge}","plugins":[{{"type":"bridge","bridge":"{bridge}",
            "isGateway":true,"ipMasq":false,"ipam":{{"type":"host-local","dataDir":"{addresses}",
            "ranges":[[{{"subnet":"{subnet}"}}]],"routes":[{{"dst":"0.0.0.0/0"}}]}}}}{plugins}]}}"#,
            bridge = sandbox.bridge(),
            subnet = sandbox.subnet(),
            addresses = sandbox.path().join("addresses").display(),
        ),
    );
}

/// The addresses that the network of [`write_network`] has given away and not got back.
pub fn addresses_in_use(sandbox: &Sandbox) -> Vec<String> {
    let folder = sandbox.path().join("addresses").join(sandbox.bridge());
    let names = crate::leaks::names_in(&folder);
    names.filter(|name| name.parse::<std::net::IpAddr>().is_ok()).collect()
}
