//! What a caller of `create` says.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use super::Id;
use crate::cgroup::Rootless;

/// What to create.
#[derive(Debug)]
pub struct CreateRequest {
    /// Its name.
    pub id: Id,
    /// The folder with config.json.
    pub bundle: PathBuf,
    /// The folder of all containers' records (`<state>/oci`); made when missing, 0700.
    pub state_root: PathBuf,
    /// The descriptors 0, 1 and 2 of the container's process. Not used when it has a terminal.
    pub stdio: Stdio,
    /// A detached mount that is the root file system instead of `root.path`.
    pub rootfs: Option<OwnedFd>,
    /// Where the terminal goes if config.json asks for one.
    pub console: Console,
    /// How many descriptors after 2 the container's process keeps.
    pub preserve_descriptors: u32,
    /// File to write the process's pid to.
    pub pid_file: Option<PathBuf>,
    /// Socket that receives a descriptor of its first process.
    pub pidfd_socket: Option<PathBuf>,
    /// Give the container a session keyring of its own (runc's default).
    pub new_keyring: bool,
    /// Change the root without pivot_root, for a host whose root is an initramfs. Less safe: see
    /// [`crate::rootfs::Root::change_without_pivot`].
    pub no_pivot: bool,
    /// Who makes its cgroup.
    pub cgroup_driver: CgroupDriver,
    /// Who may start it.
    pub gate: Gate,
    /// Kill its first process when ours ends in whatever way: for a container that is somebody's foreground.
    pub dies_with_creator: bool,
    /// Make its first process a child of our parent, who waits for it, and not of ours: we are a worker that ends.
    pub as_sibling: bool,
    /// Whether it goes without a cgroup where its user may make none.
    pub rootless: Rootless,
}

impl CreateRequest {
    /// What a monitor asks for: a container that only it may start and that dies with it, in cgroups that we make, on the
    /// streams of the calling process and without a terminal.
    pub fn of_a_monitor(id: Id, bundle: PathBuf, state_root: PathBuf) -> CreateRequest {
        CreateRequest {
            id,
            bundle,
            state_root,
            stdio: Stdio::Inherit,
            rootfs: None,
            console: Console::Absent,
            preserve_descriptors: 0,
            pid_file: None,
            pidfd_socket: None,
            new_keyring: true,
            no_pivot: false,
            cgroup_driver: CgroupDriver::Cgroupfs,
            gate: Gate::Held,
            dies_with_creator: true,
            as_sibling: false,
            rootless: Rootless::No,
        }
    }
}

/// The standard streams of the container's process.
#[derive(Debug)]
pub enum Stdio {
    /// Those of the calling process.
    Inherit,
    /// These; our copies are closed once the process has them.
    Descriptors {
        /// Descriptor 0.
        stdin: OwnedFd,
        /// Descriptor 1.
        stdout: OwnedFd,
        /// Descriptor 2.
        stderr: OwnedFd,
    },
}

/// Where the terminal's other end goes.
#[derive(Debug)]
pub enum Console {
    /// Nowhere: a config.json that asks for a terminal is refused.
    Absent,
    /// To the listener on this unix socket, as runc's `--console-socket`.
    Socket(PathBuf),
    /// To the caller, in [`super::Created::console_master`].
    Returned,
}

/// Who makes a container's cgroup, and so what `linux.cgroupsPath` means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupDriver {
    /// We do, at that path.
    Cgroupfs,
    /// systemd does, for a scope that `slice:prefix:name` names.
    Systemd,
}

/// Who may start a created container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Any process, through the record: `roci start`.
    Shared,
    /// Only the holder of [`super::Created`]; without the gate's FIFO this is quicker. The container dies with its holder.
    Held,
}
