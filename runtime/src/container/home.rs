//! The cgroup that a container is to have: named and checked before anything exists, made afterwards.

use std::collections::HashMap;
use std::path::Path;

use super::Id;
use super::request::CgroupDriver;
use crate::cgroup::{Cgroup, CgroupPath, Hierarchies, Occupant, Properties, Rootless, Scope, Systemd};
use crate::error::{Error, Kind, Result};

/// Where it is to be, and who makes it.
#[derive(Debug)]
pub enum Home {
    /// We do, at a path that config.json may have asked for.
    Cgroupfs {
        /// Where.
        path: CgroupPath,
        /// Not because config.json says so.
        is_default: bool,
    },
    /// systemd does, which listens.
    Systemd(Scope, Properties, Systemd),
}

impl Home {
    /// What `linux.cgroupsPath` means to the driver, and to systemd the annotations. See
    /// [`super::prepare::Machine::caller_is_root`].
    pub fn new(
        driver: CgroupDriver,
        requested: Option<&Path>,
        annotations: &HashMap<String, String>,
        id: &Id,
        hierarchies: &Hierarchies,
        caller_is_root: bool,
    ) -> Result<Home> {
        let requested = requested.and_then(Path::to_str);
        let invalid = |error: crate::cgroup::Error| Error::Spec {
            path: "linux.cgroupsPath".to_owned(),
            reason: error.to_string(),
        };
        match driver {
            CgroupDriver::Cgroupfs => {
                let mut path = CgroupPath::new(requested, id.as_str()).map_err(invalid)?;
                if !caller_is_root && requested.is_none() && hierarchies.is_unified() {
                    path = CgroupPath::beside_own(id.as_str()).unwrap_or(path);
                }
                Ok(Home::Cgroupfs { path, is_default: requested.is_none() })
            }
            CgroupDriver::Systemd if !caller_is_root => {
                let what =
                    "--systemd-cgroup of an ordinary user (a systemd of his own is not asked)".to_owned();
                Err(Error::Unsupported { what })
            }
            CgroupDriver::Systemd => {
                let scope = Scope::new(requested, id.as_str()).map_err(invalid)?;
                let properties = Properties::of(annotations).map_err(|refused| Error::Spec {
                    path: format!("annotations[{:?}]", refused.key),
                    reason: refused.reason,
                })?;
                Ok(Home::Systemd(scope, properties, Systemd::connect(hierarchies)?))
            }
        }
    }

    /// The cgroup's path in every hierarchy.
    pub fn path(&self) -> &CgroupPath {
        match self {
            Home::Cgroupfs { path, .. } => path,
            Home::Systemd(scope, ..) => scope.path(),
        }
    }

    /// The unit of systemd that it is made for.
    pub fn unit(&self) -> Option<&str> {
        match self {
            Home::Cgroupfs { .. } => None,
            Home::Systemd(scope, ..) => Some(scope.unit()),
        }
    }

    /// Makes it. Where systemd does, somebody holds it until the container is in it. Who is `rootless` and may make none where
    /// he asked for none goes without, as with runc.
    pub fn make(self, hierarchies: &Hierarchies, rootless: Rootless) -> Result<(Cgroup, Option<Occupant>)> {
        match self {
            Home::Cgroupfs { path, is_default } => match Cgroup::create(hierarchies, &path) {
                Err(error) if error.kind() == Kind::PermissionDenied && rootless.applies() => {
                    if is_default {
                        return Ok((Cgroup::create_where_allowed(hierarchies, &path)?, None));
                    }
                    let reason = format!(
                        "{error} (permission denied): have its parent delegated, or leave the field out"
                    );
                    Err(Error::Spec { path: "linux.cgroupsPath".to_owned(), reason })
                }
                made => Ok((made?, None)),
            },
            Home::Systemd(scope, properties, systemd) => {
                let (cgroup, occupant) = systemd.start(hierarchies, &scope, &properties)?;
                Ok((cgroup, Some(occupant)))
            }
        }
    }
}
