//! The sandbox of a pod: a process of ours that holds the pod's namespaces and is PID 1 of a shared PID namespace.
//!
//! There is no image and no file behind it. The program ([`crate::sys::pause`]) goes into a sealed memfd, its root is
//! an empty file system that cannot be written, and it has no descriptors, no capabilities and a user of its own. It
//! dies with the monitor whose child it is.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use nix::sched::CloneFlags;
use oci_spec::runtime::{LinuxCpuBuilder, LinuxResources, LinuxResourcesBuilder};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use crate::cgroup::{Cgroup, CgroupPath, Hierarchies};
use crate::container::{PATIENCE, set_oom_score_adj};
use crate::error::{Error, Result};
use crate::init::{Kinship, PauseChild, Ready, launch};
use crate::namespaces::Opened;
use crate::security::capabilities::{CapabilityPlan, MachineCapabilities};
use crate::security::sealed;
use crate::spec::plan::Sysctl;

/// Killed last: without it the pod's containers have to go, too.
const OOM_SCORE_ADJ: i32 = -998;
/// The least share that there is, for it never runs.
const CPU_SHARES: u64 = 2;
/// What may be asked for in [`PauseRequest::namespaces`].
const POSSIBLE: CloneFlags =
    CloneFlags::CLONE_NEWPID.union(CloneFlags::CLONE_NEWIPC).union(CloneFlags::CLONE_NEWUTS);

/// What to hold.
#[derive(Debug)]
pub struct PauseRequest {
    /// New namespaces, of PID, IPC and UTS; those left out are the host's. The mount namespace is always new, as is the
    /// cgroup namespace on a machine with v2 alone.
    pub namespaces: CloneFlags,
    /// The pod's network namespace, where it is pinned; `None` for the host's.
    pub network: Option<PathBuf>,
    /// Name of the new UTS namespace.
    pub hostname: Option<String>,
    /// Kernel parameters by name, of namespaces that are the pod's own.
    pub sysctls: Vec<(String, String)>,
    /// The cgroup of the process alone; made here.
    pub cgroup: CgroupPath,
    /// Make it a child of our parent, who waits for it, and not of ours: we are a worker that ends.
    pub as_sibling: bool,
}

/// A process that holds namespaces. It is not ended when this is dropped.
#[derive(Debug)]
pub struct Paused {
    /// Its pid as we see it.
    pub pid: i32,
    /// It, a child of ours or of our parent.
    pub pidfd: OwnedFd,
    /// Its cgroup, to be removed after its end.
    pub cgroup: Cgroup,
    /// What the machine refused and nobody insisted on, in words.
    pub clamped: Vec<String>,
}

/// Starts the program; returns once it runs. On failure nothing is left.
pub fn create(request: PauseRequest) -> Result<Paused> {
    let program = crate::sys::pause::program()
        .ok_or_else(|| Error::Unsupported { what: "a pod sandbox on this processor".to_owned() })?;
    let program = sealed::program("pause", program).map_err(Error::system("prepare", "the pause program"))?;
    let checked = Checked::new(&request)?;
    let hierarchies = Hierarchies::discover()?;
    let cgroup = Cgroup::create(&hierarchies, &request.cgroup)?;
    match start(&request, &checked, &cgroup, hierarchies.is_unified(), program) {
        Ok((ready, clamped)) => Ok(Paused { pid: ready.pid, pidfd: ready.pidfd, cgroup, clamped }),
        Err(error) => {
            // The error that stopped us is the one to report.
            let _ = cgroup.kill().and_then(|()| cgroup.remove(PATIENCE));
            Err(error)
        }
    }
}

/// What can be found out while nothing exists yet.
struct Checked {
    joined: Opened,
    sysctls: Vec<Sysctl>,
    capabilities: CapabilityPlan,
}

impl Checked {
    fn new(request: &PauseRequest) -> Result<Checked> {
        let refuse =
            |argument: &str, reason: String| Error::Argument { argument: argument.to_owned(), reason };
        if !POSSIBLE.contains(request.namespaces) {
            return Err(refuse(
                "namespaces",
                "a pod sandbox makes PID, IPC and UTS namespaces only".to_owned(),
            ));
        }
        if request.hostname.is_some() && !request.namespaces.contains(CloneFlags::CLONE_NEWUTS) {
            return Err(refuse(
                "hostname",
                "it would change the host: the pod has no UTS namespace".to_owned(),
            ));
        }
        let network = CloneFlags::CLONE_NEWNET;
        let joined = request.network.as_deref().map(|path| Opened::one(network, path)).transpose()?;
        let joined = joined.unwrap_or_default();
        let has = |kind| match kind {
            // A name that turns out to be the host's own is not the pod's to change (CVE-2022-0532).
            CloneFlags::CLONE_NEWNET => joined.get(kind).is_some() && !joined.is_own(kind),
            kind => request.namespaces.contains(kind),
        };
        let sysctl = |(name, value): &(String, String)| {
            crate::spec::sysctl(name, value, has)
                .map_err(|reason| refuse(&format!("sysctl {name:?}"), reason))
        };
        let sysctls = request.sysctls.iter().map(sysctl).collect::<Result<_>>()?;
        let (capabilities, _) = CapabilityPlan::new(None, &MachineCapabilities::read()?)?;
        Ok(Checked { joined, sysctls, capabilities })
    }
}

fn start(
    request: &PauseRequest,
    checked: &Checked,
    cgroup: &Cgroup,
    unified: bool,
    program: OwnedFd,
) -> Result<(Ready, Vec<String>)> {
    let mut clamped: Vec<String> =
        cgroup.apply(Some(&resources()?))?.iter().map(ToString::to_string).collect();
    let entrance = cgroup.entrance()?;
    let mut child = PauseChild {
        program,
        root: empty_root().map_err(Error::system("make", "an empty root file system"))?,
        joined: &checked.joined,
        new_cgroup_namespace: unified,
        entrance: &entrance,
        hostname: request.hostname.as_deref(),
        sysctls: &checked.sysctls,
        capabilities: checked.capabilities,
    };
    let flags = request.namespaces | CloneFlags::CLONE_NEWNS;
    let launched = launch(Kinship::of(request.as_sibling), flags, entrance.clone_target(), &mut child)?;
    clamped.extend(set_oom_score_adj(launched.pid, OOM_SCORE_ADJ)?);
    let ready = launched.wait_ready()?;
    match ready.channel.start_and_follow() {
        Ok(()) => Ok((ready, clamped)),
        Err(error) => {
            ready.end();
            Err(error)
        }
    }
}

fn resources() -> Result<LinuxResources> {
    let cpu = LinuxCpuBuilder::default().shares(CPU_SHARES).build();
    cpu.and_then(|cpu| LinuxResourcesBuilder::default().cpu(cpu).build())
        .map_err(|error| Error::Argument { argument: "cpu shares".to_owned(), reason: error.to_string() })
}

/// A file system with nothing in it, which can never be written.
fn empty_root() -> Result<OwnedFd, Errno> {
    let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(&context, "mode", "0555")?;
    rustix::mount::fsconfig_set_flag(&context, "ro")?;
    rustix::mount::fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}
