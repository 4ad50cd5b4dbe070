//! A CRI server with pods of the host's network, asked for as the kubelet asks: `rcri` or a peer.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use k8s_cri::v1::{
    ContainerConfig, ContainerMetadata, CreateContainerRequest, ImageSpec, ImageStatusRequest,
    LinuxContainerConfig, LinuxContainerResources, LinuxContainerSecurityContext, LinuxPodSandboxConfig,
    LinuxSandboxSecurityContext, NamespaceMode, NamespaceOption, PodSandboxConfig, PodSandboxMetadata,
    RemovePodSandboxRequest, RunPodSandboxRequest, SecurityProfile, StartContainerRequest,
    StopPodSandboxRequest, security_profile::ProfileType,
};
use rustix::process::{Pid, Signal, kill_process};
use tests::cri::Client;

use crate::world::World;

/// How long a server may take to be there, to know an image, or to end.
const PATIENCE: Duration = Duration::from_secs(20);
/// What the kubelet says of a container that has no limits and is not privileged.
const MASKED: &[&str] = &[
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READ_ONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// A running pod of one container.
#[derive(Debug)]
pub struct Pod {
    /// The sandbox's id.
    pub sandbox: String,
    /// The container's id.
    pub container: String,
}

/// A server of our own; it ends when it is dropped, its pods do not.
#[derive(Debug)]
pub struct Server {
    process: Child,
    client: Client,
    cgroup: String,
    logs: PathBuf,
    image: String,
}

impl Server {
    /// Starts one, which listens on `socket`, and prepares its images, `busybox` among them.
    pub fn launch(
        world: &World,
        mut command: Command,
        socket: &Path,
        images: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<Server> {
        let program = command.get_program().to_string_lossy().into_owned();
        let log = socket.with_extension("log");
        let output = File::create(&log).with_context(|| format!("cannot make {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let mut process = command.spawn().with_context(|| format!("cannot start {program}"))?;
        let client = match Client::connect_within(socket, PATIENCE) {
            Ok(client) => client,
            Err(error) => {
                end(&mut process);
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                bail!("{error:#}; {program} said: {}", last_lines(&said));
            }
        };
        let mut server = Server {
            process,
            client,
            cgroup: world.cgroup(),
            logs: world.path().join("logs"),
            image: String::new(),
        };
        images()?;
        server.image = server.find_image("docker.io/library/busybox:latest")?;
        Ok(server)
    }

    /// The server's process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// A pod with a running container, and how long that took: in all, then each of the three requests.
    pub fn start_pod(&self, number: usize) -> anyhow::Result<(Pod, Vec<Duration>)> {
        let pod = self.pod_config(number);
        // The kubelet makes the folder.
        std::fs::create_dir_all(&pod.log_directory)
            .with_context(|| format!("cannot make {}", pod.log_directory))?;
        let start = Instant::now();
        let request = RunPodSandboxRequest { config: Some(pod.clone()), runtime_handler: String::new() };
        let sandbox = self.client.wait(self.client.runtime().run_pod_sandbox(request));
        let sandbox = sandbox.context("RunPodSandbox")?.pod_sandbox_id;
        let sandbox_made = Instant::now();
        match self.start_container(&sandbox, pod) {
            Ok((container, created)) => {
                let ended = Instant::now();
                let parts = [sandbox_made - start, created - sandbox_made, ended - created];
                let times = std::iter::once(ended - start).chain(parts).collect();
                Ok((Pod { sandbox, container }, times))
            }
            Err(error) => {
                let _ = self.remove_sandbox(&sandbox);
                Err(error)
            }
        }
    }

    fn start_container(&self, sandbox: &str, pod: PodSandboxConfig) -> anyhow::Result<(String, Instant)> {
        let request = CreateContainerRequest {
            pod_sandbox_id: sandbox.to_owned(),
            config: Some(self.container_config()),
            sandbox_config: Some(pod),
        };
        let container = self.client.wait(self.client.runtime().create_container(request));
        let container = container.context("CreateContainer")?.container_id;
        let created = Instant::now();
        let request = StartContainerRequest { container_id: container.clone() };
        self.client.wait(self.client.runtime().start_container(request)).context("StartContainer")?;
        Ok((container, created))
    }

    /// Ends a pod and removes all of it.
    pub fn remove_pod(&self, pod: &Pod) -> anyhow::Result<()> {
        self.remove_sandbox(&pod.sandbox)
    }

    fn remove_sandbox(&self, sandbox: &str) -> anyhow::Result<()> {
        let pod_sandbox_id = sandbox.to_owned();
        let request = StopPodSandboxRequest { pod_sandbox_id };
        self.client.wait(self.client.runtime().stop_pod_sandbox(request)).context("StopPodSandbox")?;
        let pod_sandbox_id = sandbox.to_owned();
        let request = RemovePodSandboxRequest { pod_sandbox_id };
        self.client.wait(self.client.runtime().remove_pod_sandbox(request)).context("RemovePodSandbox")?;
        Ok(())
    }

    /// The id of an image, which a server may get to know a little after it was imported.
    fn find_image(&self, name: &str) -> anyhow::Result<String> {
        let ends = Instant::now() + PATIENCE;
        loop {
            let image = Some(ImageSpec { image: name.to_owned(), ..Default::default() });
            let request = ImageStatusRequest { image, verbose: false };
            let status = self.client.wait(self.client.images.clone().image_status(request));
            if let Some(image) = status.context("ImageStatus")?.image {
                return Ok(image.id);
            }
            if Instant::now() > ends {
                bail!("the server knows no image {name}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn pod_config(&self, number: usize) -> PodSandboxConfig {
        let name = format!("pod-{number}");
        let labels = [
            ("io.kubernetes.pod.name", name.clone()),
            ("io.kubernetes.pod.namespace", "default".to_owned()),
            ("io.kubernetes.pod.uid", name.clone()),
        ];
        let security = LinuxSandboxSecurityContext {
            namespace_options: Some(namespaces()),
            seccomp: Some(profile(ProfileType::RuntimeDefault)),
            ..Default::default()
        };
        PodSandboxConfig {
            log_directory: self.logs.join(&name).to_string_lossy().into_owned(),
            metadata: Some(PodSandboxMetadata {
                uid: name.clone(),
                namespace: "default".to_owned(),
                name,
                attempt: 0,
            }),
            labels: labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
            linux: Some(LinuxPodSandboxConfig {
                cgroup_parent: self.cgroup.clone(),
                security_context: Some(security),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn container_config(&self) -> ContainerConfig {
        let strings = |list: &[&str]| list.iter().map(|&item| item.to_owned()).collect();
        let security = LinuxContainerSecurityContext {
            namespace_options: Some(namespaces()),
            masked_paths: strings(MASKED),
            readonly_paths: strings(READ_ONLY),
            seccomp: Some(profile(ProfileType::Unconfined)),
            ..Default::default()
        };
        let resources = LinuxContainerResources {
            cpu_period: 100_000,
            cpu_shares: 2,
            oom_score_adj: 1000,
            ..Default::default()
        };
        ContainerConfig {
            metadata: Some(ContainerMetadata { name: "main".to_owned(), attempt: 0 }),
            image: Some(ImageSpec { image: self.image.clone(), ..Default::default() }),
            command: strings(&["sleep", "100000"]),
            log_path: "main.log".to_owned(),
            linux: Some(LinuxContainerConfig {
                resources: Some(resources),
                security_context: Some(security),
            }),
            ..Default::default()
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.process);
    }
}

/// With `hostNetwork: true` in a manifest.
fn namespaces() -> NamespaceOption {
    NamespaceOption {
        network: NamespaceMode::Node.into(),
        pid: NamespaceMode::Container.into(),
        ipc: NamespaceMode::Pod.into(),
        ..Default::default()
    }
}

fn profile(kind: ProfileType) -> SecurityProfile {
    SecurityProfile { profile_type: kind.into(), localhost_ref: String::new() }
}

fn end(process: &mut Child) {
    if let Ok(pid) = i32::try_from(process.id())
        && let Some(pid) = Pid::from_raw(pid)
    {
        let _ = kill_process(pid, Signal::TERM);
    }
    let ends = Instant::now() + PATIENCE;
    while Instant::now() < ends {
        if !matches!(process.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = process.kill();
    let _ = process.wait();
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}
