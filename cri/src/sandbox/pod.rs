//! One pod in memory, and its way to disk and back.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine::{PodRecord, short};
use k8s_cri::v1::{NamespaceMode, NamespaceOption, PodSandboxConfig, PodSandboxMetadata};
use runtime::cgroup::CgroupPath;
use serde::{Deserialize, Serialize};
use tokio::sync::RwLock;

use crate::encoded::Encoded;
use crate::error::{Error, Result};
use crate::node::{Node, PodName};

/// The cgroup of pods for which the kubelet has none.
const CGROUPS: &str = "/hull/pods";

/// A pod. What it was asked to be never changes; how it is does.
#[derive(Debug)]
pub struct Pod {
    /// 64 hexadecimal digits.
    pub id: String,
    /// As the kubelet asked for it.
    pub config: PodSandboxConfig,
    /// Nanoseconds since 1970.
    pub created_at: i64,
    /// Held exclusively by what ends the pod, shared by what adds to it.
    pub gate: Arc<RwLock<()>>,
    life: Mutex<Life>,
}

#[derive(Debug, Default, Clone)]
struct Life {
    ready: bool,
    addresses: Vec<IpAddr>,
}

/// What only we read of a pod's record.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    created_at: i64,
    config: Encoded<PodSandboxConfig>,
}

impl Pod {
    /// A pod that is not there yet.
    pub fn new(id: String, config: PodSandboxConfig, created_at: i64) -> Pod {
        Pod { id, config, created_at, gate: Arc::default(), life: Mutex::default() }
    }

    /// The pod of a record, not ready.
    pub fn from_record(record: PodRecord) -> Result<Pod> {
        let kept: Kept = serde_json::from_value(record.config).map_err(|error| Error::Record {
            what: "pod sandbox",
            id: record.id.clone(),
            reason: error.to_string(),
        })?;
        Ok(Pod::new(record.id, kept.config.0, kept.created_at))
    }

    /// What is to be known of it when everything else is gone.
    pub fn record(&self, node: &Node) -> Result<PodRecord> {
        let PodSandboxMetadata { name, namespace, uid, attempt } = self.metadata();
        let mut record = PodRecord::new(&self.id, &name, &namespace, &uid, attempt);
        record.labels = self.config.labels.clone().into_iter().collect();
        record.annotations = self.config.annotations.clone().into_iter().collect();
        record.network_namespace =
            (!self.has_host_network()).then(|| node.containers.network_namespace(&self.id));
        record.cgroup = Some(self.pause_cgroup()?.as_str().to_owned());
        let kept = Kept { created_at: self.created_at, config: Encoded(self.config.clone()) };
        record.config = serde_json::to_value(&kept).map_err(|error| Error::Record {
            what: "pod sandbox",
            id: self.id.clone(),
            reason: error.to_string(),
        })?;
        Ok(record)
    }

    /// Its name and attempt.
    pub fn metadata(&self) -> PodSandboxMetadata {
        self.config.metadata.clone().unwrap_or_default()
    }

    /// What no other pod is called.
    pub fn name(&self) -> PodName {
        name_of(&self.metadata())
    }

    /// Which namespaces its containers share.
    pub fn namespaces(&self) -> NamespaceOption {
        let linux = self.config.linux.as_ref();
        let security = linux.and_then(|linux| linux.security_context.as_ref());
        security.and_then(|security| security.namespace_options.clone()).unwrap_or_default()
    }

    /// Does it see the host's network?
    pub fn has_host_network(&self) -> bool {
        self.namespaces().network() == NamespaceMode::Node
    }

    /// Does it see the host's shared memory?
    pub fn has_host_ipc(&self) -> bool {
        self.namespaces().ipc() == NamespaceMode::Node
    }

    /// Has it a PID namespace of its own?
    pub fn has_own_pid(&self) -> bool {
        self.namespaces().pid() != NamespaceMode::Node
    }

    /// May its containers be privileged?
    pub fn is_privileged(&self) -> bool {
        let linux = self.config.linux.as_ref();
        linux.and_then(|linux| linux.security_context.as_ref()).is_some_and(|security| security.privileged)
    }

    /// Its host name, as its containers see it.
    pub fn hostname(&self) -> String {
        match self.has_host_network() || self.config.hostname.is_empty() {
            true => rustix::system::uname().nodename().to_string_lossy().into_owned(),
            false => self.config.hostname.clone(),
        }
    }

    /// The cgroup that the kubelet made for the pod, or one of our own.
    pub fn cgroup_parent(&self) -> Result<CgroupPath> {
        let path = match self.given_cgroup() {
            "" => format!("{CGROUPS}/{}", self.id),
            given => given.to_owned(),
        };
        Ok(CgroupPath::parse(&path).map_err(runtime::error::Error::from)?)
    }

    /// Is the parent ours, and to be removed with the pod?
    pub fn owns_cgroup_parent(&self) -> bool {
        self.given_cgroup().is_empty()
    }

    /// The cgroup of the process that holds the namespaces.
    pub fn pause_cgroup(&self) -> Result<CgroupPath> {
        self.cgroup_of(&self.id)
    }

    /// The cgroup of one of its containers: a child of the pod's, with the id as name.
    pub fn cgroup_of(&self, id: &str) -> Result<CgroupPath> {
        let parent = self.cgroup_parent()?;
        Ok(CgroupPath::parse(&format!("{parent}/{id}")).map_err(runtime::error::Error::from)?)
    }

    fn given_cgroup(&self) -> &str {
        self.config.linux.as_ref().map_or("", |linux| &linux.cgroup_parent)
    }

    /// Its namespaces are there, and so is its network.
    pub fn is_ready(&self) -> bool {
        self.lock().ready
    }

    /// Its addresses, the primary one first; none for the host's network.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.lock().addresses.clone()
    }

    /// It can be used now.
    pub fn set_ready(&self, addresses: Vec<IpAddr>) {
        *self.lock() = Life { ready: true, addresses };
    }

    /// The process that holds its namespaces is gone. It keeps its addresses until the network is released.
    pub fn set_not_ready(&self) {
        self.lock().ready = false;
    }

    /// Its network is released.
    pub fn forget_addresses(&self) {
        self.lock().addresses = Vec::new();
    }

    fn lock(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For messages.
    pub fn short(&self) -> &str {
        short(&self.id)
    }
}

/// What no other pod is called.
pub fn name_of(metadata: &PodSandboxMetadata) -> PodName {
    let PodSandboxMetadata { name, namespace, uid, attempt } = metadata.clone();
    (namespace, name, uid, attempt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_without_a_cgroup_gets_one_that_is_ours() {
        let mut pod = Pod::new("a".repeat(64), PodSandboxConfig::default(), 1);
        assert!(pod.owns_cgroup_parent());
        let id = "a".repeat(64);
        assert_eq!(pod.pause_cgroup().unwrap().as_str(), format!("/hull/pods/{id}/{id}"));
        let linux = k8s_cri::v1::LinuxPodSandboxConfig {
            cgroup_parent: "/kubepods/burstable/podx".to_owned(),
            ..Default::default()
        };
        pod.config.linux = Some(linux);
        assert!(!pod.owns_cgroup_parent());
        assert_eq!(pod.cgroup_of("c").unwrap().as_str(), "/kubepods/burstable/podx/c");
    }
}
