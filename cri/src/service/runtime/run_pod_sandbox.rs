//! `RunPodSandbox`: a pod, ready and with its network, or nothing.

use std::sync::Arc;

use k8s_cri::v1::{PodSandboxConfig, RunPodSandboxRequest, RunPodSandboxResponse};
use runtime::monitor::status_record;

use crate::container::admission::{self, Again};
use crate::error::{Error, Result};
use crate::node::{Node, PodName};
use crate::sandbox::plan::{self, Plan};
use crate::sandbox::{Pod, create, name_of, teardown};

/// Makes a pod. The same request again joins the one that runs, or gets the pod that it made.
pub async fn call(node: &Arc<Node>, request: RunPodSandboxRequest) -> Result<RunPodSandboxResponse> {
    let config = request.config.ok_or_else(|| Error::invalid("config", "it is missing"))?;
    let plan = plan::check(&config, &request.runtime_handler)?;
    let name = name_of(&config.metadata.clone().unwrap_or_default());
    let taken = || taken(&name, "being made");
    let change_node = Arc::clone(node);
    let id =
        node.new_pods.run(name.clone(), config, taken, move |config| run(change_node, config, plan)).await?;
    Ok(RunPodSandboxResponse { pod_sandbox_id: id })
}

async fn run(node: Arc<Node>, config: Arc<PodSandboxConfig>, plan: Plan) -> Result<String> {
    let name = name_of(&config.metadata.clone().unwrap_or_default());
    if let Some(earlier) = node.index.pods().into_iter().find(|pod| pod.name() == name) {
        let has_containers = !node.index.containers_of(&earlier.id).is_empty();
        match admission::pod_again(earlier.config == *config, earlier.is_ready(), has_containers) {
            Again::Same => return Ok(earlier.id.clone()),
            Again::Conflict => return Err(taken(&name, &earlier.id)),
            Again::Replace => node.end_pod(earlier, teardown::end).await?,
        }
    }
    let pod = Arc::new(Pod::new(engine::new_id()?, (*config).clone(), status_record::now()));
    let _unborn = node.index.begin_pod(&pod);
    let _gate = pod.gate.write().await;
    let _turn = node.network_turn(&pod).await;
    let made = Arc::clone(&pod);
    node.blocking(move |node| create::create(node, &made, &plan)).await?;
    Ok(pod.id.clone())
}

fn taken(name: &PodName, id: &str) -> Error {
    let (namespace, pod, _, attempt) = name;
    Error::Exists { name: format!("pod sandbox {namespace}/{pod}, attempt {attempt},"), id: id.to_owned() }
}
