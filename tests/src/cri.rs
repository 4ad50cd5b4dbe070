//! A client of the Container Runtime Interface that blocks, and requests with sensible defaults, for tests and the demo.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use k8s_cri::v1::image_service_client::ImageServiceClient;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use k8s_cri::v1::{
    ContainerConfig, ContainerMetadata, ContainerStatus, CreateContainerRequest, ExecSyncRequest,
    ExecSyncResponse, ImageSpec, LinuxContainerConfig, LinuxContainerSecurityContext, LinuxPodSandboxConfig,
    LinuxSandboxSecurityContext, NamespaceMode, NamespaceOption, PodSandboxConfig, PodSandboxMetadata,
    PodSandboxStatus, PodSandboxStatusRequest, RemoveContainerRequest, RemovePodSandboxRequest,
    RunPodSandboxRequest, StartContainerRequest, StopContainerRequest, StopPodSandboxRequest,
};
use k8s_cri::v1::{ContainerStatusRequest, ListContainersRequest, ListPodSandboxRequest, VersionRequest};
use tonic::transport::{Channel, Endpoint, Error as TransportError};
use tonic::{Response, Status};

/// As long as the kubelet would wait for the slowest call.
const PATIENCE: Duration = Duration::from_secs(240);

/// The longest reply that a kubelet takes.
const LONGEST: usize = 16 << 20;

/// What a call comes to.
pub type Answer<T> = Result<T, Status>;

/// A connection to a CRI server.
#[derive(Debug)]
pub struct Client {
    runtime: tokio::runtime::Runtime,
    /// The runtime service, for calls that have no method here: see [`Client::ask`].
    pub pods: RuntimeServiceClient<Channel>,
    /// The image service.
    pub images: ImageServiceClient<Channel>,
}

impl Client {
    /// Connects to the server that listens on `socket`.
    ///
    /// # Panics
    /// If no thread can be started.
    pub fn connect(socket: &Path) -> Result<Client, TransportError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("an event loop can be made");
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))?.timeout(PATIENCE);
        let channel = runtime.block_on(endpoint.connect())?;
        let pods = RuntimeServiceClient::new(channel.clone()).max_decoding_message_size(LONGEST);
        Ok(Client { runtime, pods, images: ImageServiceClient::new(channel) })
    }

    /// Connects to a server that may just be starting: it gets `patience` to be there and to answer.
    ///
    /// # Errors
    /// When it does not.
    pub fn connect_within(socket: &Path, patience: Duration) -> anyhow::Result<Client> {
        let ends = Instant::now() + patience;
        loop {
            let attempt = Client::connect(socket).map_err(anyhow::Error::from).and_then(|client| {
                client.wait(client.runtime().version(VersionRequest::default()))?;
                Ok(client)
            });
            if attempt.is_ok() || Instant::now() > ends {
                return attempt.with_context(|| format!("cannot reach a CRI server at {}", socket.display()));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The runtime service, whose calls are waited for with [`Client::wait`].
    pub fn runtime(&self) -> RuntimeServiceClient<Channel> {
        self.pods.clone()
    }

    /// The answer to a call.
    pub fn wait<T>(&self, call: impl Future<Output = Result<Response<T>, Status>>) -> Answer<T> {
        self.runtime.block_on(call).map(Response::into_inner)
    }

    /// Waits for a call: `client.ask(async |pods, _| pods.version(request).await)`.
    pub fn ask<T>(
        &self,
        call: impl AsyncFnOnce(
            RuntimeServiceClient<Channel>,
            ImageServiceClient<Channel>,
        ) -> Result<Response<T>, Status>,
    ) -> Answer<T> {
        let (pods, images) = (self.pods.clone(), self.images.clone());
        self.runtime.block_on(call(pods, images)).map(Response::into_inner)
    }

    /// Makes a pod; returns its id.
    pub fn run_pod(&self, config: &PodSandboxConfig) -> Answer<String> {
        let request = RunPodSandboxRequest { config: Some(config.clone()), runtime_handler: String::new() };
        let reply = self.ask(async move |mut pods, _| pods.run_pod_sandbox(request).await)?;
        Ok(reply.pod_sandbox_id)
    }

    /// Makes a container; returns its id.
    pub fn create(
        &self,
        pod: &str,
        config: &ContainerConfig,
        pod_config: &PodSandboxConfig,
    ) -> Answer<String> {
        let request = CreateContainerRequest {
            pod_sandbox_id: pod.to_owned(),
            config: Some(config.clone()),
            sandbox_config: Some(pod_config.clone()),
        };
        Ok(self.ask(async move |mut pods, _| pods.create_container(request).await)?.container_id)
    }

    /// Starts a container.
    pub fn start(&self, container: &str) -> Answer<()> {
        let request = StartContainerRequest { container_id: container.to_owned() };
        self.ask(async move |mut pods, _| pods.start_container(request).await).map(drop)
    }

    /// Makes and starts a container; returns its id.
    pub fn run(&self, pod: &str, config: &ContainerConfig, pod_config: &PodSandboxConfig) -> Answer<String> {
        let id = self.create(pod, config, pod_config)?;
        self.start(&id)?;
        Ok(id)
    }

    /// Stops a container.
    pub fn stop(&self, container: &str, seconds: i64) -> Answer<()> {
        let request = StopContainerRequest { container_id: container.to_owned(), timeout: seconds };
        self.ask(async move |mut pods, _| pods.stop_container(request).await).map(drop)
    }

    /// Removes a container.
    pub fn remove(&self, container: &str) -> Answer<()> {
        let request = RemoveContainerRequest { container_id: container.to_owned() };
        self.ask(async move |mut pods, _| pods.remove_container(request).await).map(drop)
    }

    /// Stops a pod.
    pub fn stop_pod(&self, pod: &str) -> Answer<()> {
        let request = StopPodSandboxRequest { pod_sandbox_id: pod.to_owned() };
        self.ask(async move |mut pods, _| pods.stop_pod_sandbox(request).await).map(drop)
    }

    /// Removes a pod.
    pub fn remove_pod(&self, pod: &str) -> Answer<()> {
        let request = RemovePodSandboxRequest { pod_sandbox_id: pod.to_owned() };
        self.ask(async move |mut pods, _| pods.remove_pod_sandbox(request).await).map(drop)
    }

    /// Executes a command.
    pub fn exec(&self, container: &str, command: &[&str], seconds: i64) -> Answer<ExecSyncResponse> {
        let request = ExecSyncRequest {
            container_id: container.to_owned(),
            cmd: command.iter().map(|word| (*word).to_owned()).collect(),
            timeout: seconds,
        };
        self.ask(async move |mut pods, _| pods.exec_sync(request).await)
    }

    /// How a container is.
    pub fn status(&self, container: &str) -> Answer<ContainerStatus> {
        let request = ContainerStatusRequest { container_id: container.to_owned(), verbose: false };
        let reply = self.ask(async move |mut pods, _| pods.container_status(request).await)?;
        reply.status.ok_or_else(|| Status::internal("the reply has no status"))
    }

    /// How a pod is.
    pub fn pod_status(&self, pod: &str) -> Answer<PodSandboxStatus> {
        let request = PodSandboxStatusRequest { pod_sandbox_id: pod.to_owned(), verbose: false };
        let reply = self.ask(async move |mut pods, _| pods.pod_sandbox_status(request).await)?;
        reply.status.ok_or_else(|| Status::internal("the reply has no status"))
    }

    /// All pods.
    pub fn list_pods(&self) -> Answer<Vec<k8s_cri::v1::PodSandbox>> {
        let request = ListPodSandboxRequest::default();
        Ok(self.ask(async move |mut pods, _| pods.list_pod_sandbox(request).await)?.items)
    }

    /// All containers.
    pub fn list_containers(&self) -> Answer<Vec<k8s_cri::v1::Container>> {
        let request = ListContainersRequest::default();
        Ok(self.ask(async move |mut pods, _| pods.list_containers(request).await)?.containers)
    }
}

/// A pod on the host's network or on one of its own, as the kubelet asks for it: processes are not shared.
pub fn pod(name: &str, host_network: bool) -> PodSandboxConfig {
    let mode = if host_network { NamespaceMode::Node } else { NamespaceMode::Pod };
    let options =
        NamespaceOption { network: mode as i32, pid: NamespaceMode::Container as i32, ..Default::default() };
    let security = LinuxSandboxSecurityContext { namespace_options: Some(options), ..Default::default() };
    PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: name.to_owned(),
            namespace: "default".to_owned(),
            uid: format!("uid-{name}"),
            attempt: 0,
        }),
        linux: Some(LinuxPodSandboxConfig { security_context: Some(security), ..Default::default() }),
        ..Default::default()
    }
}

/// A container of the image `busybox` that runs a script, as the kubelet asks for it.
pub fn container(name: &str, script: &str) -> ContainerConfig {
    let options = NamespaceOption { pid: NamespaceMode::Container as i32, ..Default::default() };
    let security = LinuxContainerSecurityContext { namespace_options: Some(options), ..Default::default() };
    ContainerConfig {
        metadata: Some(ContainerMetadata { name: name.to_owned(), attempt: 0 }),
        image: Some(ImageSpec { image: "busybox".to_owned(), ..Default::default() }),
        command: ["sh", "-c", script].map(str::to_owned).into(),
        log_path: format!("{name}/0.log"),
        linux: Some(LinuxContainerConfig { security_context: Some(security), ..Default::default() }),
        ..Default::default()
    }
}
