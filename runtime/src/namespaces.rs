//! Which namespaces to create and which to join.
//!
//! A new namespace is made at clone, except the cgroup namespace: it shows the cgroup that its creator is in, so it
//! can only be made once the process was moved. An existing one is opened before anything is created, so that a
//! wrong path fails early, and joined by that descriptor.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sched::CloneFlags;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Error, Result};

/// `CLONE_NEWTIME`, which nix has no name for (Linux 5.6).
pub const NEW_TIME: CloneFlags = CloneFlags::from_bits_retain(0x80);

/// The order in which namespaces are joined: the user namespace gives the right to join the others, the mount
/// namespace takes away the paths, so it is the last.
const JOIN_ORDER: [CloneFlags; 8] = [
    CloneFlags::CLONE_NEWUSER,
    CloneFlags::CLONE_NEWPID,
    NEW_TIME,
    CloneFlags::CLONE_NEWIPC,
    CloneFlags::CLONE_NEWUTS,
    CloneFlags::CLONE_NEWNET,
    CloneFlags::CLONE_NEWCGROUP,
    CloneFlags::CLONE_NEWNS,
];

/// The namespaces of a container; those not named are the caller's.
#[derive(Debug)]
pub struct Namespaces {
    /// Made new.
    pub create: CloneFlags,
    /// Joined, with the index in config.json and the path.
    pub join: Vec<(CloneFlags, usize, PathBuf)>,
}

impl Namespaces {
    /// Does the container have its own namespace of this type, or a named one?
    pub fn has(&self, kind: CloneFlags) -> bool {
        self.create.contains(kind) || self.join.iter().any(|(flag, ..)| *flag == kind)
    }

    /// Where in config.json the path of a namespace to be joined is.
    pub fn field(&self, kind: CloneFlags) -> String {
        let index = self.join.iter().find(|(flag, ..)| *flag == kind).map_or(0, |(_, index, _)| *index);
        format!("linux.namespaces[{index}].path")
    }

    /// Opens those to be joined.
    pub fn open(&self) -> Result<Opened> {
        let mut opened = Vec::with_capacity(self.join.len());
        for kind in JOIN_ORDER {
            let Some((_, _, path)) = self.join.iter().find(|(flag, ..)| *flag == kind) else { continue };
            let refuse = |reason| Error::Spec { path: self.field(kind), reason };
            let joined = Joined::open(kind, path).map_err(refuse)?;
            if joined.own && kind == CloneFlags::CLONE_NEWNS {
                return Err(refuse("it is the mount namespace of the runtime itself".to_owned()));
            }
            opened.push(joined);
        }
        Ok(Opened(opened))
    }
}

/// A namespace to join.
#[derive(Debug)]
struct Joined {
    kind: CloneFlags,
    handle: OwnedFd,
    /// The caller is in it already.
    own: bool,
}

impl Joined {
    /// Opens the namespace at `path`, or says why it cannot be one to join.
    fn open(kind: CloneFlags, path: &Path) -> Result<Joined, String> {
        let cannot = |what| move |errno: Errno| format!("cannot {what} {}: {errno}", path.display());
        // A FIFO would wait for a writer.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let handle = rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(cannot("open"))?;
        // Any other file would only be refused in the middle of things.
        const NSFS_MAGIC: i64 = 0x6e73_6673;
        if rustix::fs::fstatfs(&handle).map_err(cannot("examine"))?.f_type as i64 != NSFS_MAGIC {
            return Err(format!("{} is no namespace", path.display()));
        }
        let there = crate::sys::fd::namespace_type(handle.as_fd()).map_err(cannot("examine"))?;
        if there != kind.bits() {
            let (there, wanted) = (name(CloneFlags::from_bits_retain(there)), name(kind));
            return Err(format!("{} is a namespace of type {there} and not {wanted}", path.display()));
        }
        let own = is_own(&handle, kind).map_err(cannot("compare with our own"))?;
        Ok(Joined { kind, handle, own })
    }
}

/// Namespaces opened for joining, in the order in which to join.
#[derive(Debug, Default)]
pub struct Opened(Vec<Joined>);

impl Opened {
    /// One namespace, for what is not described by a config.json.
    pub fn one(kind: CloneFlags, path: &Path) -> Result<Opened> {
        let argument = || format!("{} namespace", name(kind));
        let joined =
            Joined::open(kind, path).map_err(|reason| Error::Argument { argument: argument(), reason })?;
        Ok(Opened(vec![joined]))
    }

    /// The handle of one kind.
    pub fn get(&self, kind: CloneFlags) -> Option<BorrowedFd<'_>> {
        self.0.iter().find(|joined| joined.kind == kind).map(|joined| joined.handle.as_fd())
    }

    /// Is the named namespace of this kind the one the runtime is in?
    pub fn is_own(&self, kind: CloneFlags) -> bool {
        self.0.iter().any(|joined| joined.kind == kind && joined.own)
    }

    /// Those that the child joins itself, in order: all but the PID namespace, which only takes children.
    pub fn for_child(&self) -> impl Iterator<Item = (CloneFlags, BorrowedFd<'_>)> {
        self.0
            .iter()
            .filter(|joined| joined.kind != CloneFlags::CLONE_NEWPID)
            .map(|joined| (joined.kind, joined.handle.as_fd()))
    }
}

/// Is `handle` the namespace that this process is in?
fn is_own(handle: &OwnedFd, kind: CloneFlags) -> Result<bool, Errno> {
    let own = rustix::fs::stat(format!("/proc/self/ns/{}", name(kind)))?;
    let other = rustix::fs::fstat(handle)?;
    Ok(own.st_dev == other.st_dev && own.st_ino == other.st_ino)
}

/// Makes the next children of this process start in another PID namespace, until dropped.
///
/// Joining a PID namespace moves only children. The monitor starts many containers from one process, so what was
/// before is put back.
#[derive(Debug)]
pub struct ChildrenIn {
    own: OwnedFd,
}

impl ChildrenIn {
    /// Directs children into the namespace of `target`: a namespace descriptor or a pidfd.
    pub fn pid_namespace(target: BorrowedFd<'_>) -> Result<ChildrenIn> {
        const OWN: &str = "/proc/self/ns/pid";
        let own = rustix::fs::openat(CWD, OWN, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(Error::system("open", OWN))?;
        nix::sched::setns(target, CloneFlags::CLONE_NEWPID)
            .map_err(|errno| Error::system("join", "the PID namespace")(from_nix(errno)))?;
        Ok(ChildrenIn { own })
    }
}

impl Drop for ChildrenIn {
    fn drop(&mut self) {
        // Going back to our own namespace cannot be refused: the kernel wants an equal or descendant one.
        let _ = nix::sched::setns(&self.own, CloneFlags::CLONE_NEWPID);
    }
}

/// Makes the next children of this process start in a new time namespace, until dropped.
///
/// Its clocks can only be set while nobody is in it, so it is made before the clone (time_namespaces(7)).
#[derive(Debug)]
pub struct ChildrenInNewTime {
    own: OwnedFd,
}

impl ChildrenInNewTime {
    /// Makes the namespace; `offsets` are the lines of its clocks.
    pub fn new(offsets: &str) -> Result<ChildrenInNewTime> {
        const OWN: &str = "/proc/self/ns/time";
        const OFFSETS: &str = "/proc/self/timens_offsets";
        let own = rustix::fs::openat(CWD, OWN, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(Error::system("open", OWN))?;
        nix::sched::unshare(NEW_TIME)
            .map_err(|errno| Error::system("create", "a time namespace")(from_nix(errno)))?;
        let made = ChildrenInNewTime { own };
        if !offsets.is_empty() {
            let file = rustix::fs::openat(CWD, OFFSETS, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
                .map_err(Error::system("open", OFFSETS))?;
            // All lines in one write, or none is set.
            rustix::io::write(&file, offsets.as_bytes()).map_err(|errno| Error::Spec {
                path: "linux.timeOffsets".to_owned(),
                reason: format!("the kernel refuses {:?}: {errno}", offsets.trim_end()),
            })?;
        }
        Ok(made)
    }
}

impl Drop for ChildrenInNewTime {
    fn drop(&mut self) {
        // Going back to our own namespace cannot be refused: we have one thread.
        let _ = nix::sched::setns(&self.own, NEW_TIME);
    }
}

/// Puts this process into joined namespaces for the moment of a clone, until dropped.
///
/// Needed only together with a new user namespace, whose first process has no right to join what belongs to the
/// host's. The user and mount namespaces are never visited.
#[derive(Debug)]
pub struct Visit {
    own: Vec<(CloneFlags, OwnedFd)>,
}

impl Visit {
    /// Enters the network, IPC, UTS and cgroup namespaces among `joined`.
    pub fn enter(joined: &Opened) -> Result<Visit> {
        let mut visit = Visit { own: Vec::new() };
        let unvisited = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS;
        for (kind, handle) in joined.for_child().filter(|(kind, _)| !unvisited.contains(*kind)) {
            let own = format!("/proc/self/ns/{}", name(kind));
            let home = rustix::fs::openat(CWD, &own, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .map_err(Error::system("open", &own))?;
            nix::sched::setns(handle, kind).map_err(|errno| {
                Error::system("join", format!("the {} namespace", name(kind)))(from_nix(errno))
            })?;
            visit.own.push((kind, home));
        }
        Ok(visit)
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        for (kind, home) in self.own.drain(..) {
            // We came from there with the rights to leave; nothing can refuse the way back.
            let _ = nix::sched::setns(home, kind);
        }
    }
}

/// The name of a namespace's file in `/proc/<pid>/ns`.
pub fn name(kind: CloneFlags) -> &'static str {
    match kind {
        CloneFlags::CLONE_NEWNS => "mnt",
        CloneFlags::CLONE_NEWPID => "pid",
        CloneFlags::CLONE_NEWNET => "net",
        CloneFlags::CLONE_NEWIPC => "ipc",
        CloneFlags::CLONE_NEWUTS => "uts",
        CloneFlags::CLONE_NEWUSER => "user",
        CloneFlags::CLONE_NEWCGROUP => "cgroup",
        NEW_TIME => "time",
        _ => "unknown",
    }
}

/// nix's errno as rustix's, which this crate's errors hold.
pub fn from_nix(errno: nix::errno::Errno) -> Errno {
    Errno::from_raw_os_error(errno as i32)
}
