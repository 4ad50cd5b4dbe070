//! The pause process of a pod: holds the pod's namespaces, and is reaper and PID 1 where it has a PID namespace.
//!
//! It runs a program of ours of some 250 bytes ([`crate::sys::pause`]) in a file system with nothing else, as a user with no
//! capability, without any open descriptor, and dies with its monitor. There is no image to pull and no bundle.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use nix::sched::CloneFlags;

use oci_spec::runtime::{LinuxCpu, LinuxResources};

use crate::cgroup::{Cgroup, CgroupPath, Hierarchies};
use crate::container::PATIENCE;
use crate::error::{Error, Result};
use crate::init::{PauseChild, end, launch, pause_root};
use crate::namespaces::Namespaces;
use crate::security::capabilities::{CapabilityPlan, MachineCapabilities};
use crate::spec::plan::{ProcessPlan, Propagation, RootPlan, Sysctl};

/// The user of containers that are nobody's.
const NOBODY: u32 = 65535;

/// The least share of CPU time that a cgroup can have (v1 `cpu.shares`).
const CPU_SHARES: u64 = 2;

/// Which the out-of-memory killer takes last.
const OOM_SCORE_ADJ: i32 = -998;

const PROGRAM: &std::ffi::CStr = c"pause";

/// A pause to be made.
#[derive(Debug)]
pub struct PauseRequest {
    /// Where its network namespace is pinned; the caller's own when missing.
    pub network_namespace: Option<PathBuf>,
    /// Its host name, in a UTS namespace of its own; the caller's when missing.
    pub hostname: Option<String>,
    /// Its cgroup, made here.
    pub cgroup: CgroupPath,
    /// Kernel parameters of its namespaces, as `name=value` lines.
    pub sysctls: String,
    /// A PID namespace whose first process it is.
    pub own_pid_namespace: bool,
    /// An IPC namespace.
    pub own_ipc_namespace: bool,
    /// Make it a child of our parent instead of ours.
    pub as_sibling: bool,
}

/// A pause that runs.
#[derive(Debug)]
pub struct Paused {
    /// Its pid as we see it.
    pub pid: i32,
    /// It.
    pub pidfd: OwnedFd,
}

/// Makes a pause; returns when it runs its program. On failure nothing is left.
pub fn create(request: PauseRequest) -> Result<Paused> {
    let program = crate::sys::pause::program().ok_or_else(|| Error::Unsupported {
        what: "a pause process on this machine's architecture".to_owned(),
    })?;
    let namespaces = namespaces_of(&request);
    let sysctls = crate::spec::sysctl_lines(&request.sysctls, &namespaces)?;
    let joined = namespaces.open()?;
    let root =
        pause_root(program, PROGRAM).map_err(Error::system("make", "the root of the pause process"))?;
    let cgroup = Cgroup::create(&Hierarchies::discover()?, &request.cgroup)?;
    let made = launch_in(&cgroup, &request, &namespaces, &joined, &sysctls, &root);
    if made.is_err() {
        // The failure that led here is the one to report.
        let _ = cgroup.kill().and_then(|()| cgroup.remove(PATIENCE));
    }
    made
}

fn launch_in(
    cgroup: &Cgroup,
    request: &PauseRequest,
    namespaces: &Namespaces,
    joined: &crate::namespaces::Opened,
    sysctls: &[Sysctl],
    root: &OwnedFd,
) -> Result<Paused> {
    let mut cpu = LinuxCpu::default();
    cpu.set_shares(Some(CPU_SHARES));
    let mut resources = LinuxResources::default();
    resources.set_cpu(Some(cpu));
    cgroup.apply(Some(&resources))?;
    let (capabilities, _) = CapabilityPlan::new(None, &MachineCapabilities::read()?)?;
    let process = process_plan();
    let entrance = cgroup.entrance()?;
    let keyring =
        CString::new(format!("_ses.{}", request.cgroup.as_str().replace('/', "."))).unwrap_or_default();
    let mut child = PauseChild {
        process: &process,
        capabilities,
        root,
        root_plan: &RootPlan {
            path: PathBuf::from("/"),
            readonly: true,
            propagation: Propagation { kind: libc::MS_PRIVATE, recursive: true },
        },
        joined,
        hostname: request.hostname.as_deref(),
        sysctls,
        entrance: &entrance,
        keyring: &keyring,
    };
    let sibling = if request.as_sibling { CloneFlags::CLONE_PARENT } else { CloneFlags::empty() };
    let launched = launch(namespaces.create | sibling, entrance.clone_target(), &mut child)?;
    // Clamped to what the machine allows: nobody insisted on it.
    crate::container::set_oom_score_adj(launched.pid, OOM_SCORE_ADJ)?;
    let ready = launched.wait_ready()?;
    if let Err(error) = crate::container::start_by(&ready.channel) {
        end(&ready.pidfd);
        return Err(error);
    }
    Ok(Paused { pid: ready.pid, pidfd: ready.pidfd })
}

fn namespaces_of(request: &PauseRequest) -> Namespaces {
    let mut create = CloneFlags::CLONE_NEWNS;
    create.set(CloneFlags::CLONE_NEWPID, request.own_pid_namespace);
    create.set(CloneFlags::CLONE_NEWIPC, request.own_ipc_namespace);
    create.set(CloneFlags::CLONE_NEWUTS, request.hostname.is_some());
    let network = request.network_namespace.iter().map(|path| (CloneFlags::CLONE_NEWNET, 0, path.clone()));
    Namespaces { create, join: network.collect() }
}

fn process_plan() -> ProcessPlan {
    ProcessPlan {
        terminal: false,
        console_size: None,
        args: vec![c"/pause".to_owned()],
        env: Vec::new(),
        cwd: PathBuf::from("/"),
        uid: NOBODY,
        gid: NOBODY,
        additional_gids: Vec::new(),
        umask: None,
        capabilities: None,
        rlimits: Vec::new(),
        no_new_privileges: true,
        oom_score_adj: None,
    }
}
