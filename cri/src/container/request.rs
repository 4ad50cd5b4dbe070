//! What a container is asked to be, checked before anything exists. Pure but for profiles in files, which have to be there.

use std::path::PathBuf;

use k8s_cri::v1::{ContainerConfig, LinuxContainerResources, LinuxContainerSecurityContext, NamespaceMode};
use prost::Message;

use super::security::{self, Granted};
use super::{log, mounts, resources};
use crate::encoded;
use crate::error::{Error, Result};
use crate::sandbox::{Pod, plan};
use crate::text;

/// Annotations that name devices by the Container Device Interface.
const DEVICE_ANNOTATIONS: &str = "cdi.k8s.io/";

/// The PID namespace of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PidNamespace {
    /// Its own.
    Own,
    /// Its pod's, which may be the host's.
    Pod,
    /// The host's.
    Host,
}

/// The parts of a request that the rest of the work should not have to guess about.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What it may do.
    pub security: LinuxContainerSecurityContext,
    /// Its limits.
    pub resources: LinuxContainerResources,
    /// Its capabilities.
    pub granted: Granted,
    /// Preference of the out-of-memory killer.
    pub oom_score: i32,
    /// Its PID namespace.
    pub pid: PidNamespace,
    /// What of the host it sees, in order.
    pub mounts: Vec<mounts::Wanted>,
    /// Its log below the pod's log folder.
    pub log: Option<PathBuf>,
}

/// Checks a request for a container of `pod`.
pub fn check(config: &ContainerConfig, pod: &Pod) -> Result<Plan> {
    if config.encoded_len() > encoded::LONGEST {
        return Err(Error::invalid("config", format!("it has more than {} bytes", encoded::LONGEST)));
    }
    let metadata =
        config.metadata.as_ref().ok_or_else(|| Error::invalid("config.metadata", "it is missing"))?;
    text::name("config.metadata.name", &metadata.name)?;
    if config.image.as_ref().is_none_or(|image| image.image.is_empty()) {
        return Err(Error::invalid("config.image", "it is missing"));
    }
    if !config.cdi_devices.is_empty()
        || config.annotations.keys().any(|name| name.starts_with(DEVICE_ANNOTATIONS))
    {
        return Err(Error::Unsupported {
            field: "config.CDI_devices",
            what: "devices of the Container Device Interface are",
        });
    }
    let linux = config.linux.clone().unwrap_or_default();
    let security = linux.security_context.unwrap_or_default();
    let resources = linux.resources.unwrap_or_default();
    if security.privileged && !pod.is_privileged() {
        return Err(Error::invalid(
            "security_context.privileged",
            "a privileged container needs a privileged pod sandbox",
        ));
    }
    security::refuse_unavailable(&security)?;
    Ok(Plan {
        granted: security::capabilities(&security)?,
        oom_score: resources::oom_score(&resources)?,
        pid: pid_namespace(&security)?,
        mounts: mounts::check(&config.mounts)?,
        log: log::check(&pod.config.log_directory, &config.log_path)?,
        security,
        resources,
    })
}

fn pid_namespace(security: &LinuxContainerSecurityContext) -> Result<PidNamespace> {
    const FIELD: &str = "security_context.namespace_options.pid";
    let options = security.namespace_options.clone().unwrap_or_default();
    plan::no_user_namespace(&options)?;
    match NamespaceMode::try_from(options.pid) {
        Ok(NamespaceMode::Container) => Ok(PidNamespace::Own),
        Ok(NamespaceMode::Pod) => Ok(PidNamespace::Pod),
        Ok(NamespaceMode::Node) => Ok(PidNamespace::Host),
        Ok(NamespaceMode::Target) => {
            Err(Error::Unsupported { field: FIELD, what: "the PID namespaces of other containers are" })
        }
        Err(_) => Err(Error::invalid(FIELD, format!("there is no mode {}", options.pid))),
    }
}

#[cfg(test)]
mod tests {
    use k8s_cri::v1::{
        CdiDevice, ContainerMetadata, ImageSpec, LinuxContainerConfig, NamespaceOption, PodSandboxConfig,
    };

    use super::*;

    fn config() -> ContainerConfig {
        ContainerConfig {
            metadata: Some(ContainerMetadata { name: "web".to_owned(), attempt: 0 }),
            image: Some(ImageSpec { image: "busybox".to_owned(), ..Default::default() }),
            ..Default::default()
        }
    }

    fn checked(config: &ContainerConfig) -> Result<Plan> {
        check(config, &Pod::new("a".repeat(64), PodSandboxConfig::default(), 1))
    }

    fn with_security(security: LinuxContainerSecurityContext) -> ContainerConfig {
        let linux = LinuxContainerConfig { security_context: Some(security), ..Default::default() };
        ContainerConfig { linux: Some(linux), ..config() }
    }

    #[test]
    fn a_plain_container_shares_its_pods_processes() {
        let plan = checked(&config()).unwrap();
        assert_eq!((plan.pid, plan.oom_score, plan.log), (PidNamespace::Pod, 0, None));
        for (mode, expected) in
            [(1, Some(PidNamespace::Own)), (2, Some(PidNamespace::Host)), (3, None), (9, None)]
        {
            let options = NamespaceOption { pid: mode, ..Default::default() };
            let security =
                LinuxContainerSecurityContext { namespace_options: Some(options), ..Default::default() };
            assert_eq!(checked(&with_security(security)).ok().map(|plan| plan.pid), expected, "{mode}");
        }
    }

    #[test]
    fn what_cannot_be_done_is_refused_and_not_left_out() {
        let privileged = LinuxContainerSecurityContext { privileged: true, ..Default::default() };
        let annotations = [("cdi.k8s.io/x".to_owned(), "vendor/class=name".to_owned())].into();
        for bad in [
            ContainerConfig { metadata: None, ..config() },
            ContainerConfig { image: None, ..config() },
            ContainerConfig { metadata: Some(ContainerMetadata::default()), ..config() },
            ContainerConfig { cdi_devices: vec![CdiDevice::default()], ..config() },
            ContainerConfig { annotations, ..config() },
            ContainerConfig { log_path: "x".repeat(encoded::LONGEST), ..config() },
            with_security(privileged),
        ] {
            assert!(checked(&bad).is_err(), "{bad:?}");
        }
    }
}
