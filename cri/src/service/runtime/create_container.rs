//! `CreateContainer`: a container in a pod, everything ready but its command.

use std::sync::Arc;

use k8s_cri::v1::{ContainerConfig, ContainerMetadata, CreateContainerRequest, CreateContainerResponse};

use crate::container::admission;
use crate::container::create;
use crate::error::{Error, Result};
use crate::node::{ContainerName, Node};
use crate::sandbox::Pod;

/// Makes a container. The same request again joins the one that runs, or gets the container that it made.
pub async fn call(node: &Arc<Node>, request: CreateContainerRequest) -> Result<CreateContainerResponse> {
    let config = request.config.ok_or_else(|| Error::invalid("config", "it is missing"))?;
    let pod = node.index.pod(&request.pod_sandbox_id)?;
    let ContainerMetadata { name, attempt } = config.metadata.clone().unwrap_or_default();
    let name = (pod.id.clone(), name, attempt);
    let taken = || taken(&name, "being made");
    let change = Arc::clone(node);
    let own_name = name.clone();
    let id = node
        .new_containers
        .run(name.clone(), config, taken, move |config| run(change, pod, own_name, config))
        .await?;
    Ok(CreateContainerResponse { container_id: id })
}

async fn run(
    node: Arc<Node>,
    pod: Arc<Pod>,
    name: ContainerName,
    config: Arc<ContainerConfig>,
) -> Result<String> {
    let _gate = pod.gate.read().await;
    // It may have been removed while we waited.
    let pod = node.index.pod(&pod.id)?;
    let earlier = node.index.containers_of(&pod.id).into_iter().find(|it| it.name() == name);
    if let Some(earlier) = earlier {
        let same = earlier.config == *config;
        return match admission::is_same_container(same, &earlier.state()) {
            true => Ok(earlier.id.clone()),
            false => Err(taken(&name, &earlier.id)),
        };
    }
    let pod_again = Arc::clone(&pod);
    node.blocking(move |node| Ok(create::create(node, &pod_again, &config)?.id.clone())).await
}

fn taken(name: &ContainerName, id: &str) -> Error {
    let (_, container, attempt) = name;
    Error::Exists {
        name: format!("container {container}, attempt {attempt}, of this pod"),
        id: id.to_owned(),
    }
}
