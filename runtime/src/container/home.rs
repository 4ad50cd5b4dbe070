//! The cgroup that a container is to have: named and checked before anything exists, made afterwards.

use std::path::Path;

use super::Id;
use super::request::CgroupDriver;
use crate::cgroup::{Cgroup, CgroupPath, Hierarchies, Occupant, Scope, Systemd};
use crate::error::{Error, Result};

/// Where it is to be, and who makes it.
#[derive(Debug)]
pub enum Home {
    /// We do.
    Cgroupfs(CgroupPath),
    /// systemd does, which listens.
    Systemd(Scope, Systemd),
}

impl Home {
    /// What `linux.cgroupsPath` means to the driver.
    pub fn new(
        driver: CgroupDriver,
        requested: Option<&Path>,
        id: &Id,
        hierarchies: &Hierarchies,
    ) -> Result<Home> {
        let requested = requested.and_then(Path::to_str);
        let invalid = |error: crate::cgroup::Error| Error::Spec {
            path: "linux.cgroupsPath".to_owned(),
            reason: error.to_string(),
        };
        match driver {
            CgroupDriver::Cgroupfs => {
                Ok(Home::Cgroupfs(CgroupPath::new(requested, id.as_str()).map_err(invalid)?))
            }
            CgroupDriver::Systemd => {
                let scope = Scope::new(requested, id.as_str()).map_err(invalid)?;
                Ok(Home::Systemd(scope, Systemd::connect(hierarchies)?))
            }
        }
    }

    /// The cgroup's path in every hierarchy.
    pub fn path(&self) -> &CgroupPath {
        match self {
            Home::Cgroupfs(path) => path,
            Home::Systemd(scope, _) => scope.path(),
        }
    }

    /// The unit of systemd that it is made for.
    pub fn unit(&self) -> Option<&str> {
        match self {
            Home::Cgroupfs(_) => None,
            Home::Systemd(scope, _) => Some(scope.unit()),
        }
    }

    /// Makes it. Where systemd does, somebody holds it until the container is in it.
    pub fn make(self, hierarchies: &Hierarchies) -> Result<(Cgroup, Option<Occupant>)> {
        match self {
            Home::Cgroupfs(path) => Ok((Cgroup::create(hierarchies, &path)?, None)),
            Home::Systemd(scope, systemd) => {
                let (cgroup, occupant) = systemd.start(hierarchies, &scope)?;
                Ok((cgroup, Some(occupant)))
            }
        }
    }
}
