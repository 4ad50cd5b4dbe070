//! Everything that requests share: the store, the records, the index, and threads that may wait.

use std::any::Any;
use std::path::PathBuf;
use std::sync::Arc;

use engine::{Containers, Pods};
use image::store::Store;
use k8s_cri::v1::{ContainerConfig, PodSandboxConfig};
use runtime::cgroup::Hierarchies;
use runtime::monitor::client::Client;
use runtime::network::Plugins;
use tokio::sync::{Mutex as AsyncMutex, Semaphore, SemaphorePermit};

use crate::config::Config;
use crate::container::exec;
use crate::error::{Error, Result};
use crate::flight::Flights;
use crate::index::Index;
use crate::network::Readiness;
use crate::sandbox::Pod;
use crate::stats::Usage;

/// Namespace, name, unique id and attempt of a pod.
pub type PodName = (String, String, String, u32);
/// Pod, name and attempt of a container.
pub type ContainerName = (String, String, u32);

/// Pods whose networks are made or released at the same time. Plugins may hang for as long as they have time, each with a
/// thread that waits: the others are for those who wait for no plugin.
const NETWORKS: usize = 32;

/// The node as `rcri` sees it.
#[derive(Debug)]
pub struct Node {
    /// What we were told.
    pub config: Config,
    /// Images.
    pub store: Store,
    /// Records of containers.
    pub containers: Containers,
    /// Records of pods.
    pub pods: Pods,
    /// Pods and containers in memory.
    pub index: Index,
    /// The machine's cgroups.
    pub hierarchies: Hierarchies,
    /// Pods that are being made.
    pub new_pods: Arc<Flights<PodName, PodSandboxConfig>>,
    /// Containers that are being made.
    pub new_containers: Arc<Flights<ContainerName, ContainerConfig>>,
    /// Can pods have a network?
    pub readiness: Readiness,
    /// What bounds the commands that are executed.
    pub execs: exec::Limits,
    /// Turns at the network.
    networks: Semaphore,
    /// What containers and layers take on disk.
    pub usage: Usage,
    /// Removals of images, one at a time.
    pub image_removal: AsyncMutex<()>,
}

impl Node {
    /// Opens the store and finds the cgroups.
    pub fn new(config: Config) -> Result<Arc<Node>> {
        let store = Store::open(&config.root)?;
        let pods = Pods::new(&store)?;
        let hierarchies = Hierarchies::discover().map_err(runtime::error::Error::from)?;
        Ok(Arc::new(Node {
            containers: Containers::new(&store, &config.state),
            pods,
            index: Index::default(),
            hierarchies,
            new_pods: Arc::default(),
            new_containers: Arc::default(),
            readiness: Readiness::new(&config)?,
            execs: exec::Limits::default(),
            networks: Semaphore::new(NETWORKS),
            usage: Usage::default(),
            image_removal: AsyncMutex::default(),
            store,
            config,
        }))
    }

    /// Does work that may wait, on a thread that is there for it. A panic of it is an error of ours.
    pub async fn blocking<T: Send + 'static>(
        self: &Arc<Node>,
        work: impl FnOnce(&Arc<Node>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let node = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || work(&node)).await;
        done.unwrap_or_else(|error| Err(died(error)))
    }

    /// Goes on with `change` when whoever asked for it has given up.
    pub async fn unattended<T: Send + 'static>(
        change: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        tokio::spawn(change).await.unwrap_or_else(|error| Err(died(error)))
    }

    /// Ends a pod by `work`, on a thread that may wait, while no request about that pod is served. A pod that was removed
    /// meanwhile, or never came to be, is no failure.
    pub async fn end_pod(
        self: &Arc<Node>,
        pod: Arc<Pod>,
        work: impl FnOnce(&Node, &Pod) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let _gate = pod.gate.write().await;
        if !self.index.has_pod(&pod.id) {
            return Ok(());
        }
        let _turn = self.network_turn(&pod).await;
        let ended = Arc::clone(&pod);
        self.blocking(move |node| work(node, &ended)).await
    }

    /// A turn at making or releasing the network of `pod`; a pod with the host's needs none.
    pub async fn network_turn(&self, pod: &Pod) -> Option<SemaphorePermit<'_>> {
        match pod.has_host_network() {
            true => None,
            // Never closed.
            false => self.networks.acquire().await.ok(),
        }
    }

    /// A conversation with the monitor of a pod.
    pub fn monitor(&self, pod: &str) -> Result<Client> {
        Ok(Client::connect(&self.containers.socket(pod))?)
    }

    /// Where network plugins are.
    pub fn plugins(&self) -> Plugins {
        Plugins::new(self.config.cni_bin_dirs.iter().cloned())
    }

    /// What a reboot ends of a pod: its monitor's socket and its shared memory.
    pub fn pod_state(&self, pod: &str) -> PathBuf {
        self.config.state.join("pods").join(pod)
    }
}

fn died(error: tokio::task::JoinError) -> Error {
    let Ok(panic) = error.try_into_panic() else {
        return Error::Internal("the server is ending".to_owned());
    };
    Error::Internal(message_of(panic.as_ref()))
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".to_owned())
}
