//! What can go wrong with a cgroup, always with the file or path that the kernel refused.

use std::path::PathBuf;

use rustix::io::Errno;

use crate::error::Kind;

/// A failed cgroup operation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel's list of mounts cannot be read.
    #[error("cannot read {file}: {}", name(*source))]
    Discover {
        /// The file read.
        file: &'static str,
        /// The cause.
        source: Errno,
    },
    /// No cgroup file system is mounted at all.
    #[error("no cgroup hierarchy is mounted on this machine; mount cgroup2 at /sys/fs/cgroup")]
    NoHierarchy,
    /// The systemd driver was asked for and cannot work here.
    #[error(
        "cgroups cannot be made by systemd: {reason}; leave --systemd-cgroup out to have them without it"
    )]
    NoSystemd {
        /// What is missing.
        reason: String,
    },
    /// systemd did not do what it was asked for.
    #[error("systemd cannot {operation} {unit}: {reason}")]
    Systemd {
        /// start, stop, or set the limits of.
        operation: &'static str,
        /// The container's unit.
        unit: String,
        /// systemd's own words, or what was wrong with the conversation.
        reason: String,
    },
    /// A requested cgroup path that we do not accept.
    #[error("cgroup path {given:?} {reason}")]
    Path {
        /// The path as given.
        given: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A cgroup folder cannot be created or opened.
    #[error("cannot {operation} cgroup {}: {}", path.display(), name(*source))]
    Folder {
        /// create, open, or list.
        operation: &'static str,
        /// The folder.
        path: PathBuf,
        /// The cause.
        source: Errno,
    },
    /// A cgroup below the container's cannot be entered. The middle in runc's words.
    #[error("exec --cgroup: error adding pid to cgroup {}: {source}", path.display())]
    Below {
        /// The folder.
        path: PathBuf,
        /// The cause.
        source: Errno,
    },
    /// The cgroup of a new container already has processes in it.
    #[error("container's cgroup is not empty: {} already contains processes; is another container using it?", path.display())]
    Populated {
        /// The folder.
        path: PathBuf,
    },
    /// The cgroup of a new container is frozen: nothing would ever start in it.
    #[error("container's cgroup unexpectedly frozen: {}; thaw it or choose another", path.display())]
    Frozen {
        /// The freezer's control file.
        path: PathBuf,
    },
    /// A control file refused a value.
    #[error("cannot set {file} of {group} to {value}: {}{hint}", name(*source))]
    Setting {
        /// The control file's name.
        file: String,
        /// The cgroup's path below the hierarchy.
        group: String,
        /// What was written.
        value: String,
        /// The cause.
        source: Errno,
        /// What the cause means here, starting with its own punctuation, or empty.
        hint: &'static str,
    },
    /// A control file cannot be read.
    #[error("cannot read {}: {}", path.display(), name(*source))]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: Errno,
    },
    /// A setting that is invalid whatever the machine.
    #[error("linux.resources.{setting}: {reason}")]
    Invalid {
        /// The field of the specification, below `linux.resources`.
        setting: String,
        /// What is wrong.
        reason: String,
    },
    /// A setting that this machine's cgroups do not have.
    #[error("linux.resources.{setting} cannot be honoured: {reason}")]
    Unsupported {
        /// The field of the specification, below `linux.resources`.
        setting: &'static str,
        /// Why not.
        reason: &'static str,
    },
    /// A process cannot be moved.
    #[error("cannot move process {process} into cgroup {}: {}", path.display(), name(*source))]
    Join {
        /// The process.
        process: i32,
        /// The folder.
        path: PathBuf,
        /// The cause.
        source: Errno,
    },
    /// The device program was refused by the kernel.
    #[error("cannot {operation} the device program of {group}: {}", name(*source))]
    DeviceProgram {
        /// load or attach.
        operation: &'static str,
        /// The cgroup's path below the hierarchy.
        group: String,
        /// The cause.
        source: Errno,
    },
    /// Processes do not go away.
    #[error("cgroup {} still has processes after {milliseconds} ms: {processes:?}", path.display())]
    Busy {
        /// The folder.
        path: PathBuf,
        /// How long we waited.
        milliseconds: u128,
        /// The first few process ids found in it.
        processes: Vec<i32>,
    },
}

impl Error {
    /// What kind of failure this is.
    pub fn kind(&self) -> Kind {
        match self {
            Error::Path { .. } | Error::Invalid { .. } => Kind::InvalidSpec,
            Error::Unsupported { .. } => Kind::Unsupported,
            Error::Populated { .. } | Error::Frozen { .. } | Error::Busy { .. } => Kind::InvalidState,
            Error::NoHierarchy | Error::NoSystemd { .. } | Error::Systemd { .. } => Kind::Machine,
            other => match other.errno() {
                Some(Errno::PERM | Errno::ACCESS | Errno::ROFS) => Kind::PermissionDenied,
                _ => Kind::Machine,
            },
        }
    }

    /// The errno behind the error, where there is one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Error::Discover { source, .. }
            | Error::Folder { source, .. }
            | Error::Below { source, .. }
            | Error::Setting { source, .. }
            | Error::Read { source, .. }
            | Error::Join { source, .. }
            | Error::DeviceProgram { source, .. } => Some(*source),
            Error::NoHierarchy
            | Error::NoSystemd { .. }
            | Error::Systemd { .. }
            | Error::Path { .. }
            | Error::Populated { .. }
            | Error::Invalid { .. }
            | Error::Frozen { .. }
            | Error::Unsupported { .. }
            | Error::Busy { .. } => None,
        }
    }
}

/// `EINVAL`, as manuals and bug reports call it.
fn name(errno: Errno) -> String {
    format!("{:?}", nix::errno::Errno::from_raw(errno.raw_os_error()))
}
