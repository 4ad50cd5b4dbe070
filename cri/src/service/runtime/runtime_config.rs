//! `RuntimeConfig`: who manages cgroups.

use k8s_cri::v1::{CgroupDriver, LinuxRuntimeConfiguration, RuntimeConfigRequest, RuntimeConfigResponse};

use crate::error::Result;

/// Answers. The zero of this enumeration would mean systemd.
pub fn call(_request: &RuntimeConfigRequest) -> Result<RuntimeConfigResponse> {
    let linux = LinuxRuntimeConfiguration { cgroup_driver: CgroupDriver::Cgroupfs as i32 };
    Ok(RuntimeConfigResponse { linux: Some(linux) })
}
