//! What a checked config.json asks for: no field is left that later code must guess about.

use std::ffi::CString;
use std::path::PathBuf;

use oci_spec::runtime::{
    LinuxCapabilities, LinuxDeviceType, LinuxIdMapping, LinuxResources, LinuxSeccomp, PosixRlimit,
};

use crate::hooks::Hooks;
use crate::namespaces::Namespaces;
use crate::rootfs::options::MountOptions;
use crate::security::labels::Labels;
use crate::sys::scheduling::SchedulerAttributes;

/// A whole container.
#[derive(Debug)]
pub struct Plan {
    /// The specification's version that the document names.
    pub version: String,
    /// The container's process.
    pub process: ProcessPlan,
    /// The root file system.
    pub root: RootPlan,
    /// Mounts in order.
    pub mounts: Vec<MountPlan>,
    /// Namespaces to create and to join.
    pub namespaces: Namespaces,
    /// User ids of a new user namespace.
    pub uid_mappings: Vec<LinuxIdMapping>,
    /// Group ids of a new user namespace.
    pub gid_mappings: Vec<LinuxIdMapping>,
    /// Name of the host, if set.
    pub hostname: Option<String>,
    /// Name of the NIS domain, if set.
    pub domainname: Option<String>,
    /// Devices beyond the default ones.
    pub devices: Vec<DevicePlan>,
    /// Network devices to move in, by name.
    pub net_devices: Vec<NetDevicePlan>,
    /// Paths that read as empty.
    pub masked_paths: Vec<PathBuf>,
    /// Paths that cannot be written.
    pub readonly_paths: Vec<PathBuf>,
    /// Kernel parameters: path below /proc/sys, and value.
    pub sysctls: Vec<Sysctl>,
    /// Clocks of a new time namespace, in the kernel's lines (time_namespaces(7)).
    pub time_offsets: String,
    /// Limits.
    pub resources: Option<LinuxResources>,
    /// The asked cgroup, never empty.
    pub cgroups_path: Option<PathBuf>,
    /// Programs to run at points of its life.
    pub hooks: Hooks,
    /// The system call filter.
    pub seccomp: Option<LinuxSeccomp>,
    /// What was asked for and means nothing, in words.
    pub notes: Vec<String>,
}

/// A process to run, as the first of a container or by exec.
#[derive(Debug)]
pub struct ProcessPlan {
    /// Whether it has a terminal.
    pub terminal: bool,
    /// Rows and columns of the terminal, if given.
    pub console_size: Option<(u16, u16)>,
    /// The command and its arguments; at least one.
    pub args: Vec<CString>,
    /// Its whole environment.
    pub env: Vec<CString>,
    /// Its working directory, absolute in the container.
    pub cwd: PathBuf,
    /// User id in the container.
    pub uid: u32,
    /// Group id in the container.
    pub gid: u32,
    /// Further groups.
    pub additional_gids: Vec<u32>,
    /// File mode mask.
    pub umask: Option<u32>,
    /// Capabilities; none at all when absent.
    pub capabilities: Option<LinuxCapabilities>,
    /// Resource limits.
    pub rlimits: Vec<PosixRlimit>,
    /// Never gain privileges by exec.
    pub no_new_privileges: bool,
    /// Preference of the out-of-memory killer.
    pub oom_score_adj: Option<i32>,
    /// Scheduling policy.
    pub scheduler: Option<SchedulerAttributes>,
    /// Class and level of its disk access, as ioprio_set(2) takes them.
    pub io_priority: Option<u16>,
    /// Processors of a process that joins a container.
    pub exec_affinity: ExecAffinity,
    /// The container's personality, as personality(2) takes it.
    pub personality: Option<u32>,
    /// The container's memory policy.
    pub memory_policy: Option<MemoryPolicy>,
    /// Labels of security modules.
    pub labels: Labels,
}

/// Processors by number: before the process enters the container's cgroup, and after.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecAffinity {
    /// Before.
    pub initial: Option<Vec<u32>>,
    /// After.
    pub last: Option<Vec<u32>>,
}

/// Where memory is taken from, as set_mempolicy(2) takes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryPolicy {
    /// Mode and flags.
    pub mode: u32,
    /// A bit for each node.
    pub nodes: Vec<u64>,
}

/// The root file system.
#[derive(Debug)]
pub struct RootPlan {
    /// Its place on the host, absolute. Informative when a mount was passed instead.
    pub path: PathBuf,
    /// Read-only.
    pub readonly: bool,
    /// Propagation of the root mount.
    pub propagation: Propagation,
}

/// How mounts travel between the host and the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Propagation {
    /// `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE` or `MS_UNBINDABLE`.
    pub kind: u64,
    /// Also for all mounts below.
    pub recursive: bool,
}

/// One mount.
#[derive(Debug)]
pub struct MountPlan {
    /// Where, absolute in the container and without `.` and `..`.
    pub destination: PathBuf,
    /// What.
    pub kind: MountKind,
    /// How.
    pub options: MountOptions,
    /// Other owners of what a bind shows.
    pub id_map: Option<IdMap>,
}

/// The ids of an id-mapped mount (mount_setattr(2)); without any those of the user namespace that the container joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdMap {
    /// Users.
    pub users: Vec<LinuxIdMapping>,
    /// Groups.
    pub groups: Vec<LinuxIdMapping>,
    /// Also for all mounts below.
    pub recursive: bool,
}

/// What is mounted.
#[derive(Debug, PartialEq, Eq)]
pub enum MountKind {
    /// A file or folder of the host.
    Bind {
        /// Absolute path on the host.
        source: PathBuf,
        /// The source as a path in the root, if it is in there: what earlier mounts put there counts.
        inside: Option<PathBuf>,
        /// With the mounts below it.
        recursive: bool,
    },
    /// The container's own cgroups.
    Cgroup,
    /// A file system of this type.
    Filesystem {
        /// Its type.
        filesystem: String,
        /// Its source: a name or a device.
        source: String,
    },
}

/// A device to make.
#[derive(Clone, Debug)]
pub struct DevicePlan {
    /// Where, absolute in the container.
    pub path: PathBuf,
    /// Character, block or FIFO.
    pub kind: LinuxDeviceType,
    /// Device number.
    pub major: u32,
    /// Device number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// A network device to move into the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetDevicePlan {
    /// Its name on the host.
    pub host_name: String,
    /// Its name in the container; with `%d` at the end the kernel puts a number there.
    pub name: String,
}

impl NetDevicePlan {
    /// Does the kernel choose the number in its name?
    pub fn is_template(&self) -> bool {
        self.name.ends_with("%d")
    }

    /// Where it is in config.json.
    pub fn field(&self) -> String {
        format!("linux.netDevices[{:?}]", self.host_name)
    }
}

/// A kernel parameter.
#[derive(Debug, PartialEq, Eq)]
pub struct Sysctl {
    /// The name as given.
    pub name: String,
    /// Its file below /proc/sys.
    pub path: PathBuf,
    /// The value.
    pub value: String,
}
