//! `cri-client`: a small client of the Container Runtime Interface, for the demo and for looking around by hand.
//!
//! Pods and containers are described by short JSON documents; what is not said has the default.
//!
//! ```sh
//! cri-client --socket /run/hull/rcri.sock run-pod '{"name": "web", "hostname": "web"}'
//! cri-client create POD '{"name": "web", "image": "register:0.0.1"}'
//! cri-client start CONTAINER
//! ```

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow};
use clap::{Parser, Subcommand};
use k8s_cri::v1::{ContainerConfig, KeyValue, Mount, PodSandboxConfig, PodSandboxState, PortMapping};
use serde::Deserialize;
use tests::cri::{self, Client};

/// Talk to a CRI server.
#[derive(Debug, Parser)]
#[command(name = "cri-client")]
struct Arguments {
    /// Socket of the server
    #[arg(long, default_value = "/run/hull/rcri.sock")]
    socket: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a pod, and print its id
    RunPod {
        /// name, namespace, hostname, host_network, log_directory, cgroup_parent, labels, ports [{host, container}]
        pod: String,
    },
    /// Make a container, and print its id
    Create {
        /// Id of the pod
        pod: String,
        /// name, image, command, args, env, mounts [{host, container, readonly}], log_path, labels
        container: String,
    },
    /// Start a container
    Start {
        /// Its id
        container: String,
    },
    /// Run a command in a container; its exit code is ours
    ExecSync {
        /// Seconds it may take; 0 is for ever
        #[arg(long, default_value_t = 10)]
        timeout: i64,
        /// Id of the container
        container: String,
        /// Command and arguments
        #[arg(required = true, trailing_var_arg = true)]
        command: Vec<String>,
    },
    /// Stop a container
    Stop {
        /// Seconds until it is killed
        #[arg(long, default_value_t = 10)]
        timeout: i64,
        /// Its id
        container: String,
    },
    /// Remove a container
    Remove {
        /// Its id
        container: String,
    },
    /// Stop a pod
    StopPod {
        /// Its id
        pod: String,
    },
    /// Remove a pod
    RemovePod {
        /// Its id
        pod: String,
    },
    /// Print the address of a pod
    PodIp {
        /// Its id
        pod: String,
    },
    /// List pods
    Pods,
    /// List containers with their states
    Containers,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pod {
    name: String,
    #[serde(default = "default_namespace")]
    namespace: String,
    #[serde(default)]
    hostname: String,
    #[serde(default)]
    host_network: bool,
    #[serde(default)]
    log_directory: String,
    #[serde(default)]
    cgroup_parent: String,
    #[serde(default)]
    labels: std::collections::HashMap<String, String>,
    #[serde(default)]
    ports: Vec<Port>,
}

fn default_namespace() -> String {
    "default".to_owned()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Port {
    host: i32,
    container: i32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Container {
    name: String,
    image: String,
    #[serde(default)]
    command: Vec<String>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    mounts: Vec<Bind>,
    #[serde(default)]
    log_path: String,
    #[serde(default)]
    labels: std::collections::HashMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bind {
    host: String,
    container: String,
    #[serde(default)]
    readonly: bool,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("cri-client: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<u8> {
    let client = Client::connect(&arguments.socket)
        .with_context(|| format!("cannot connect to {}", arguments.socket.display()))?;
    let answered = match arguments.verb {
        Verb::RunPod { pod } => client.run_pod(&pod_of(&pod)?).map(|id| println!("{id}")),
        Verb::Create { pod, container } => {
            let config = container_of(&container)?;
            client.create(&pod, &config, &PodSandboxConfig::default()).map(|id| println!("{id}"))
        }
        Verb::Start { container } => client.start(&container),
        Verb::ExecSync { timeout, container, command } => {
            let words: Vec<&str> = command.iter().map(String::as_str).collect();
            let reply = client
                .exec(&container, &words, timeout)
                .map_err(|status| anyhow!(status.message().to_owned()))?;
            std::io::stdout().write_all(&reply.stdout)?;
            std::io::stderr().write_all(&reply.stderr)?;
            return Ok(u8::try_from(reply.exit_code).unwrap_or(1));
        }
        Verb::Stop { timeout, container } => client.stop(&container, timeout),
        Verb::Remove { container } => client.remove(&container),
        Verb::StopPod { pod } => client.stop_pod(&pod),
        Verb::RemovePod { pod } => client.remove_pod(&pod),
        Verb::PodIp { pod } => {
            client.pod_status(&pod).map(|status| println!("{}", status.network.unwrap_or_default().ip))
        }
        Verb::Pods => client.list_pods().map(|pods| {
            for pod in pods {
                let state = match pod.state() {
                    PodSandboxState::SandboxReady => "Ready",
                    PodSandboxState::SandboxNotready => "NotReady",
                };
                println!("{:.12}  {:8}  {}", pod.id, state, pod.metadata.unwrap_or_default().name);
            }
        }),
        Verb::Containers => client.list_containers().map(|containers| {
            for container in containers {
                let state = container.state().as_str_name().trim_start_matches("CONTAINER_").to_owned();
                println!("{:.12}  {state:8}  {}", container.id, container.metadata.unwrap_or_default().name);
            }
        }),
    };
    answered.map(|()| 0).map_err(|status| anyhow!(status.message().to_owned()))
}

fn pod_of(text: &str) -> Result<PodSandboxConfig> {
    let pod: Pod = serde_json::from_str(text).context("cannot understand the pod")?;
    let mut config = cri::pod(&pod.name, pod.host_network);
    if let Some(metadata) = &mut config.metadata {
        metadata.namespace = pod.namespace;
    }
    if let Some(linux) = &mut config.linux {
        linux.cgroup_parent = pod.cgroup_parent;
    }
    let ports = pod.ports.iter().map(|port| PortMapping {
        host_port: port.host,
        container_port: port.container,
        ..Default::default()
    });
    Ok(PodSandboxConfig {
        hostname: pod.hostname,
        log_directory: pod.log_directory,
        labels: pod.labels,
        port_mappings: ports.collect(),
        ..config
    })
}

fn container_of(text: &str) -> Result<ContainerConfig> {
    let container: Container = serde_json::from_str(text).context("cannot understand the container")?;
    let mut config = cri::container(&container.name, "");
    if let Some(image) = &mut config.image {
        image.image = container.image;
    }
    let mounts = container.mounts.into_iter().map(|bind| Mount {
        host_path: bind.host,
        container_path: bind.container,
        readonly: bind.readonly,
        ..Default::default()
    });
    Ok(ContainerConfig {
        command: container.command,
        args: container.args,
        envs: container.env.into_iter().map(|(key, value)| KeyValue { key, value }).collect(),
        mounts: mounts.collect(),
        log_path: container.log_path,
        labels: container.labels,
        ..config
    })
}
