//! Which objects a list is about: all conditions hold, a missing one holds always, and an unknown id has no objects.

use std::collections::HashMap;

use k8s_cri::v1::{ContainerFilter, ContainerStatsFilter, PodSandboxFilter, PodSandboxState};

use super::convert;
use crate::container::Container;
use crate::sandbox::Pod;

/// Is a pod meant?
pub fn pod(filter: Option<&PodSandboxFilter>, pod: &Pod) -> bool {
    let Some(filter) = filter else { return true };
    let state = filter.state.as_ref().map(|value| value.state);
    starts(&filter.id, &pod.id)
        && state.is_none_or(|state| PodSandboxState::try_from(state) == Ok(convert::pod_state(pod)))
        && labels(&filter.label_selector, &pod.config.labels)
}

/// Is a container meant?
pub fn container(filter: Option<&ContainerFilter>, container: &Container) -> bool {
    let Some(filter) = filter else { return true };
    let state = filter.state.as_ref().map(|value| value.state);
    starts(&filter.id, &container.id)
        && starts(&filter.pod_sandbox_id, &container.pod)
        && state.is_none_or(|state| state == convert::container_state(container) as i32)
        && labels(&filter.label_selector, &container.config.labels)
}

/// Is a container meant, when it is about numbers?
pub fn stats(filter: Option<&ContainerStatsFilter>, container: &Container) -> bool {
    let Some(filter) = filter else { return true };
    starts(&filter.id, &container.id)
        && starts(&filter.pod_sandbox_id, &container.pod)
        && labels(&filter.label_selector, &container.config.labels)
}

fn starts(wanted: &str, id: &str) -> bool {
    id.starts_with(wanted)
}

fn labels(selector: &HashMap<String, String>, labels: &HashMap<String, String>) -> bool {
    selector.iter().all(|(name, value)| labels.get(name) == Some(value))
}

#[cfg(test)]
mod tests {
    use k8s_cri::v1::{PodSandboxConfig, PodSandboxStateValue};

    use super::*;

    #[test]
    fn conditions_are_anded_and_none_means_all() {
        let config =
            PodSandboxConfig { labels: [("app".to_owned(), "web".to_owned())].into(), ..Default::default() };
        let it = Pod::new("abc".to_owned(), config, 1);
        assert!(pod(None, &it));
        assert!(pod(Some(&PodSandboxFilter::default()), &it));
        let ready =
            |state| PodSandboxFilter { state: Some(PodSandboxStateValue { state }), ..Default::default() };
        assert!(!pod(Some(&ready(0)), &it) && pod(Some(&ready(1)), &it));
        let with = |id: &str, value: &str| PodSandboxFilter {
            id: id.to_owned(),
            label_selector: [("app".to_owned(), value.to_owned())].into(),
            ..Default::default()
        };
        assert!(pod(Some(&with("ab", "web")), &it));
        assert!(!pod(Some(&with("x", "web")), &it) && !pod(Some(&with("abc", "db")), &it));
    }
}
