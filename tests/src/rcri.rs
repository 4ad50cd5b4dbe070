//! A real `rcri` in a sandbox, and a world around it.

use std::path::PathBuf;

use k8s_cri::v1::{ContainerState, ContainerStatus, PodSandboxConfig};
use rustix::process::Signal;

use crate::cri::{Client, pod};
use crate::{Running, Sandbox, eventually, leaks, program};

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
        Rcri::start_with(sandbox, &[])
    }

    /// As [`Rcri::start`], with more options.
    ///
    /// # Panics
    /// If it does not serve.
    pub fn start_with(sandbox: &Sandbox, options: &[&str]) -> Rcri {
        let socket = sandbox.path().join("rcri.sock");
        let arguments = ["--log-level", "debug"];
        let mut command = sandbox.command(program("rcri")).args(arguments);
        command = command.arg("--listen").arg(format!("unix://{}", socket.display()));
        command = command.arg("--cni-conf-dir").arg(sandbox.folder("cni")).args(options);
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

/// A sandbox with a server, a connection to it, and the image `busybox`.
#[derive(Debug)]
pub struct World {
    /// Its sandbox.
    pub sandbox: Sandbox,
    /// The server.
    pub server: Rcri,
    /// The connection.
    pub client: Client,
}

impl Default for World {
    fn default() -> World {
        World::new()
    }
}

impl World {
    /// Starts it.
    ///
    /// # Panics
    /// If the server does not start.
    pub fn new() -> World {
        let sandbox = Sandbox::new();
        sandbox.import_busybox();
        let server = Rcri::start(&sandbox);
        let client = server.client();
        World { sandbox, server, client }
    }

    /// The configuration of a pod, with a folder for its logs.
    pub fn pod(&self, name: &str, host_network: bool) -> PodSandboxConfig {
        let folder = self.sandbox.folder(format!("logs/{name}"));
        PodSandboxConfig { log_directory: folder.display().to_string(), ..pod(name, host_network) }
    }

    /// What is in the log of a container of that pod.
    pub fn log(&self, pod: &str, name: &str) -> String {
        let path = self.sandbox.path().join(format!("logs/{pod}/{name}/0.log"));
        std::fs::read_to_string(path).unwrap_or_default()
    }

    /// Starts another server in the place of this one, which is killed.
    ///
    /// # Panics
    /// If that does not start.
    pub fn restart(self) -> World {
        let World { sandbox, server, client } = self;
        drop(client);
        server.kill();
        let server = Rcri::start(&sandbox);
        let client = server.client();
        World { sandbox, server, client }
    }

    /// Waits until a container has ended; returns how it is then.
    ///
    /// # Panics
    /// If it does not end.
    #[track_caller]
    pub fn ended(&self, id: &str) -> ContainerStatus {
        let status = || self.client.status(id).expect("the container is known");
        eventually("the container ends", || status().state() == ContainerState::ContainerExited);
        status()
    }

    /// Ends the pod, and the server; nothing may be left.
    ///
    /// # Panics
    /// If anything is.
    #[track_caller]
    pub fn end(self, pod: &str) {
        self.client.stop_pod(pod).expect("a pod can be stopped");
        self.client.remove_pod(pod).expect("a pod can be removed");
        self.end_empty();
    }

    /// Ends the server, which has no pods; nothing may be left.
    ///
    /// # Panics
    /// If anything is.
    #[track_caller]
    pub fn end_empty(self) {
        assert_eq!(self.client.list_pods().expect("a list is given"), []);
        assert_eq!(self.client.list_containers().expect("a list is given"), []);
        drop(self.client);
        self.server.stop();
        for folder in ["pods", "containers"] {
            let left: Vec<_> = leaks::names_in(&self.sandbox.root().join(folder)).collect();
            assert!(left.is_empty(), "left in {folder}: {left:?}");
        }
        for folder in ["pods", "netns", "oci"] {
            let left: Vec<_> = leaks::names_in(&self.sandbox.state().join(folder)).collect();
            assert!(left.is_empty(), "left in {folder}: {left:?}");
        }
        assert!(addresses_in_use(&self.sandbox).is_empty());
        self.sandbox.nothing_remains([]);
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
    let names = leaks::names_in(&folder);
    names.filter(|name| name.parse::<std::net::IpAddr>().is_ok()).collect()
}
