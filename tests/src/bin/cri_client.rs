//! `cri-client SOCKET VERB ...`: a small client of a CRI server, for the demo and for hands. It asks as a kubelet asks.
//!
//! ```text
//! run-pod NAME [HOST_PORT:PORT]      RunPodSandbox; prints the pod's id
//! run POD NAME IMAGE [COMMAND...]    CreateContainer and StartContainer; prints the container's id
//! ip POD                             the pod's address
//! exec CONTAINER COMMAND...          ExecSync; ends with the command's code
//! list                               pods and containers with their states
//! stop CONTAINER                     StopContainer, with two seconds to end
//! stop-pod POD | remove-pod POD
//! clear                              stops and removes every pod
//! ```

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use k8s_cri::v1 as cri;
use tests::cri::Client;

/// How long a container may take to end before it is killed, in seconds.
const GRACE: i64 = 2;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("cri-client: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> anyhow::Result<u8> {
    let [socket, verb, rest @ ..] = words else { bail!("usage: cri-client SOCKET VERB ...") };
    let client = Client::connect_within(Path::new(socket), Duration::from_secs(10))?;
    match (*verb, rest) {
        ("run-pod", [name, ports @ ..]) => println!("{}", run_pod(&client, name, ports)?),
        ("run", [pod, name, image, command @ ..]) => {
            println!("{}", run_container(&client, pod, name, image, command)?);
        }
        ("ip", [pod]) => println!("{}", address(&client, pod)?),
        ("exec", [container, command @ ..]) => return exec(&client, container, command),
        ("list", []) => list(&client)?,
        ("stop", [container]) => {
            let request = cri::StopContainerRequest { container_id: container.to_string(), timeout: GRACE };
            client.wait(client.runtime().stop_container(request))?;
        }
        ("stop-pod", [pod]) => stop_pod(&client, pod)?,
        ("remove-pod", [pod]) => remove_pod(&client, pod)?,
        ("clear", []) => {
            for pod in pods(&client)? {
                stop_pod(&client, &pod.id)?;
                remove_pod(&client, &pod.id)?;
            }
        }
        _ => bail!("unknown verb {verb:?}, or not its arguments"),
    }
    Ok(0)
}

fn config(name: &str) -> cri::PodSandboxConfig {
    cri::PodSandboxConfig {
        metadata: Some(cri::PodSandboxMetadata {
            name: name.to_owned(),
            uid: format!("uid-{name}"),
            namespace: "default".to_owned(),
            attempt: 0,
        }),
        hostname: name.to_owned(),
        linux: Some(cri::LinuxPodSandboxConfig::default()),
        ..cri::PodSandboxConfig::default()
    }
}

fn run_pod(client: &Client, name: &str, ports: &[&str]) -> anyhow::Result<String> {
    let mut config = config(name);
    for mapping in ports {
        let (host, container) = mapping.split_once(':').context("a port is HOST_PORT:PORT")?;
        config.port_mappings.push(cri::PortMapping {
            host_port: host.parse().context("HOST_PORT is a number")?,
            container_port: container.parse().context("PORT is a number")?,
            ..cri::PortMapping::default()
        });
    }
    let request = cri::RunPodSandboxRequest { config: Some(config), ..Default::default() };
    Ok(client.wait(client.runtime().run_pod_sandbox(request))?.pod_sandbox_id)
}

fn run_container(
    client: &Client,
    pod: &str,
    name: &str,
    image: &str,
    command: &[&str],
) -> anyhow::Result<String> {
    let config = cri::ContainerConfig {
        metadata: Some(cri::ContainerMetadata { name: name.to_owned(), attempt: 0 }),
        image: Some(cri::ImageSpec { image: image.to_owned(), ..Default::default() }),
        command: command.iter().map(|word| word.to_string()).collect(),
        linux: Some(cri::LinuxContainerConfig::default()),
        ..cri::ContainerConfig::default()
    };
    let metadata = pods(client)?.into_iter().find(|known| known.id == pod).and_then(|known| known.metadata);
    let sandbox = self::config(&metadata.context("no such pod")?.name);
    let request = cri::CreateContainerRequest {
        pod_sandbox_id: pod.to_owned(),
        config: Some(config),
        sandbox_config: Some(sandbox),
    };
    let container_id = client.wait(client.runtime().create_container(request))?.container_id;
    let request = cri::StartContainerRequest { container_id: container_id.clone() };
    client.wait(client.runtime().start_container(request))?;
    Ok(container_id)
}

fn address(client: &Client, pod: &str) -> anyhow::Result<String> {
    let request = cri::PodSandboxStatusRequest { pod_sandbox_id: pod.to_owned(), verbose: false };
    let status = client.wait(client.runtime().pod_sandbox_status(request))?.status;
    let network = status.and_then(|status| status.network).context("the pod has no network")?;
    Ok(network.ip)
}

fn exec(client: &Client, container: &str, command: &[&str]) -> anyhow::Result<u8> {
    use std::io::Write;
    let request = cri::ExecSyncRequest {
        container_id: container.to_owned(),
        cmd: command.iter().map(|word| word.to_string()).collect(),
        timeout: 0,
    };
    let answer = client.wait(client.runtime().exec_sync(request))?;
    std::io::stdout().write_all(&answer.stdout)?;
    std::io::stderr().write_all(&answer.stderr)?;
    Ok(u8::try_from(answer.exit_code).unwrap_or(u8::MAX))
}

fn pods(client: &Client) -> anyhow::Result<Vec<cri::PodSandbox>> {
    Ok(client.wait(client.runtime().list_pod_sandbox(cri::ListPodSandboxRequest::default()))?.items)
}

fn list(client: &Client) -> anyhow::Result<()> {
    for pod in pods(client)? {
        let name = pod.metadata.clone().unwrap_or_default().name;
        println!("pod       {} {name} {}", &pod.id[..12.min(pod.id.len())], pod.state().as_str_name());
    }
    let request = cri::ListContainersRequest::default();
    for container in client.wait(client.runtime().list_containers(request))?.containers {
        let name = container.metadata.clone().unwrap_or_default().name;
        let id = &container.id[..12.min(container.id.len())];
        println!("container {id} {name} {}", container.state().as_str_name());
    }
    Ok(())
}

fn stop_pod(client: &Client, pod: &str) -> anyhow::Result<()> {
    let request = cri::StopPodSandboxRequest { pod_sandbox_id: pod.to_owned() };
    client.wait(client.runtime().stop_pod_sandbox(request))?;
    Ok(())
}

fn remove_pod(client: &Client, pod: &str) -> anyhow::Result<()> {
    let request = cri::RemovePodSandboxRequest { pod_sandbox_id: pod.to_owned() };
    client.wait(client.runtime().remove_pod_sandbox(request))?;
    Ok(())
}
