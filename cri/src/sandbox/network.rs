//! The network of a pod: its namespace, and what CNI is told about it.

use std::net::IpAddr;
use std::path::Path;

use engine::network_file;
use runtime::network::{Attachment, NetworkConfig, PortMapping, load_first, namespace};
use serde_json::{Map, Value, json};

use super::{Pod, annotations};
use crate::error::{Error, Result};
use crate::node::Node;

/// Makes the pod's network namespace and attaches it; returns its addresses, the primary one first.
///
/// After a failure, whatever is left is found by the pod's network file or at the namespace's own place.
pub fn set_up(node: &Node, pod: &Pod, ports: &[PortMapping], folder: &Path) -> Result<Vec<IpAddr>> {
    let configurations = &node.config.cni_conf_dir;
    let config =
        load_first(configurations)?.ok_or_else(|| Error::NoNetwork { folder: configurations.clone() })?;
    let path = node.containers.network_namespace(&pod.id);
    let mut attachment =
        Attachment::new(&pod.id, &path, config, &node.plugins(), node.config.root.join("cni/results"))?;
    attachment.args = arguments(pod);
    attachment.capabilities = capabilities(pod, ports, &attachment.config)?;
    attachment.write(&network_file(folder))?;
    namespace::create(&path)?;
    let result = attachment.add()?;
    let addresses = result.primary_first();
    if addresses.is_empty() {
        return Err(Error::NoAddress);
    }
    Ok(addresses)
}

/// The addresses of a pod that was attached before; none where that is not known.
pub fn addresses(folder: &Path) -> Vec<IpAddr> {
    let attachment = Attachment::read(&network_file(folder)).ok().flatten();
    attachment.and_then(|attachment| attachment.result()).map_or(Vec::new(), |result| result.primary_first())
}

/// `CNI_ARGS`. Networks that know Kubernetes depend on these names.
fn arguments(pod: &Pod) -> Vec<(String, String)> {
    let metadata = pod.metadata();
    [
        ("IgnoreUnknown", "1"),
        ("K8S_POD_NAMESPACE", &metadata.namespace),
        ("K8S_POD_NAME", &metadata.name),
        ("K8S_POD_INFRA_CONTAINER_ID", &pod.id),
        ("K8S_POD_UID", &metadata.uid),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// All that a plugin may declare to understand; each gets what it declares.
fn capabilities(pod: &Pod, ports: &[PortMapping], config: &NetworkConfig) -> Result<Map<String, Value>> {
    let mut all = Map::new();
    if !ports.is_empty() {
        if !config.declares("portMappings") {
            tracing::warn!(
                pod = pod.short(),
                "no plugin of the network maps ports: the pod's are not mapped"
            );
        }
        all.insert("portMappings".to_owned(), json!(ports));
    }
    if let Some(limits) = annotations::bandwidth(&pod.config.annotations)? {
        all.insert("bandwidth".to_owned(), limits);
    }
    if let Some(dns) = &pod.config.dns_config {
        let value = json!({"servers": dns.servers, "searches": dns.searches, "options": dns.options});
        all.insert("dns".to_owned(), value);
    }
    all.insert("cgroupPath".to_owned(), json!(pod.cgroup_parent()?.as_str()));
    all.insert("io.kubernetes.cri.pod-annotations".to_owned(), json!(pod.config.annotations));
    Ok(all)
}
