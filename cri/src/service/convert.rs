//! From our objects to messages. Everything comes from memory.

use engine::State;
use image::store::{Image, Store};
use k8s_cri::v1::{
    Container as CriContainer, ContainerAttributes, ContainerResources, ContainerState, ContainerStatus,
    ContainerUser, Image as CriImage, ImageSpec, Int64Value, LinuxPodSandboxStatus, Namespace, PodIp,
    PodSandbox, PodSandboxNetworkStatus, PodSandboxState, PodSandboxStatus, UInt64Value,
};

use crate::container::{Container, Shown};
use crate::sandbox::Pod;

/// Ready or not.
pub fn pod_state(pod: &Pod) -> PodSandboxState {
    match pod.is_ready() {
        true => PodSandboxState::SandboxReady,
        false => PodSandboxState::SandboxNotready,
    }
}

/// A pod in a list.
pub fn pod(pod: &Pod) -> PodSandbox {
    PodSandbox {
        id: pod.id.clone(),
        metadata: pod.config.metadata.clone(),
        state: pod_state(pod) as i32,
        created_at: pod.created_at,
        labels: pod.config.labels.clone(),
        annotations: pod.config.annotations.clone(),
        runtime_handler: String::new(),
    }
}

/// All about a pod.
pub fn pod_status(pod: &Pod) -> PodSandboxStatus {
    let mut addresses = pod.addresses().into_iter().map(|address| address.to_string());
    PodSandboxStatus {
        id: pod.id.clone(),
        metadata: pod.config.metadata.clone(),
        state: pod_state(pod) as i32,
        created_at: pod.created_at,
        network: Some(PodSandboxNetworkStatus {
            ip: addresses.next().unwrap_or_default(),
            additional_ips: addresses.map(|ip| PodIp { ip }).collect(),
        }),
        linux: Some(LinuxPodSandboxStatus {
            namespaces: Some(Namespace { options: Some(pod.namespaces()) }),
        }),
        labels: pod.config.labels.clone(),
        annotations: pod.config.annotations.clone(),
        runtime_handler: String::new(),
    }
}

/// Where a container is in its life.
pub fn container_state(container: &Container) -> ContainerState {
    Shown::from(&container.state()).state
}

/// A container in a list.
pub fn container(container: &Container) -> CriContainer {
    CriContainer {
        id: container.id.clone(),
        pod_sandbox_id: container.pod.clone(),
        metadata: container.config.metadata.clone(),
        image: container.config.image.clone(),
        image_ref: container.image.reference.clone(),
        state: container_state(container) as i32,
        created_at: container.created_at,
        labels: container.config.labels.clone(),
        annotations: container.config.annotations.clone(),
        image_id: container.image.id.clone(),
    }
}

/// All about a container. Its mounts are exactly those that were asked for.
pub fn container_status(container: &Container) -> ContainerStatus {
    let state: State = container.state();
    let shown = Shown::from(&state);
    let image = ImageSpec {
        image: container.image.name.clone(),
        ..container.config.image.clone().unwrap_or_default()
    };
    let linux = container.config.linux.as_ref();
    ContainerStatus {
        id: container.id.clone(),
        metadata: container.config.metadata.clone(),
        state: shown.state as i32,
        created_at: container.created_at,
        started_at: state.started(),
        finished_at: state.finished(),
        exit_code: shown.exit_code,
        image: Some(image),
        image_ref: container.image.reference.clone(),
        reason: shown.reason.to_owned(),
        message: shown.message,
        labels: container.config.labels.clone(),
        annotations: container.config.annotations.clone(),
        mounts: container.config.mounts.clone(),
        log_path: container.log_path.as_ref().map_or(String::new(), |path| path.display().to_string()),
        resources: linux
            .and_then(|linux| linux.resources.clone())
            .map(|linux| ContainerResources { linux: Some(linux), windows: None }),
        image_id: container.image.id.clone(),
        user: Some(ContainerUser { linux: Some(container.user.clone()) }),
    }
}

/// Who numbers are about.
pub fn attributes(container: &Container) -> ContainerAttributes {
    ContainerAttributes {
        id: container.id.clone(),
        metadata: container.config.metadata.clone(),
        labels: container.config.labels.clone(),
        annotations: container.config.annotations.clone(),
    }
}

/// An image. Its id is the one identifier of everything that the kubelet compares.
pub fn image(image: &Image, store: &Store) -> CriImage {
    let (uid, username) = user_of(&image.config.config.user);
    CriImage {
        id: image.id.to_string(),
        repo_tags: image.names.iter().map(ToString::to_string).collect(),
        repo_digests: Vec::new(),
        // The kubelet takes an image of no size for one that is not there.
        size: store.unpacked_size(image).max(1),
        uid,
        username,
        spec: None,
        pinned: false,
    }
}

/// `user[:group]` without the group: a number or a name; nothing for the image's default.
fn user_of(user: &str) -> (Option<Int64Value>, String) {
    let user = user.split(':').next().unwrap_or_default();
    match user.parse::<i64>() {
        Ok(value) => (Some(Int64Value { value }), String::new()),
        Err(_) => (None, user.to_owned()),
    }
}

/// A number that is there.
pub fn number(value: u64) -> Option<UInt64Value> {
    Some(UInt64Value { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_a_number_or_a_name() {
        assert_eq!(user_of(""), (None, String::new()));
        assert_eq!(user_of("1002"), (Some(Int64Value { value: 1002 }), String::new()));
        assert_eq!(user_of("1003:g"), (Some(Int64Value { value: 1003 }), String::new()));
        assert_eq!(user_of("www-data:www-data"), (None, "www-data".to_owned()));
    }
}
