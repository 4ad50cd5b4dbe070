//! The record of a container on disk, and what can be observed of it.
//!
//! Written beside and renamed, never synced: a reboot ends the container anyway, and the boot id says so. A folder
//! without a record is a creation that was stopped before anything else existed.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::sched::CloneFlags;
use rustix::fs::{CWD, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::home::Home;
use super::{Id, Status};
use crate::cgroup::is_frozen;
use crate::error::{Error, Result};
use crate::hooks::Hooks;
use crate::process;
use crate::spec::plan::Plan;
use crate::spec::{self, Loaded};

/// The version that this program writes; a newer one is refused.
const VERSION: u32 = 1;
const NAME: &str = "state.json";
const NEW_NAME: &str = "state.json.new";
/// The FIFO that a created container waits at.
const GATE: &str = "exec.fifo";

/// What has to be remembered of a container.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Format version.
    pub version: u32,
    /// The specification's version of its config.json.
    pub oci_version: String,
    /// Its folder with config.json, absolute.
    pub bundle: PathBuf,
    /// Its root file system on the host.
    pub rootfs: PathBuf,
    /// Its cgroup, as absolute path in every hierarchy; none where its user may make none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// The scope that systemd makes that cgroup for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Its creator has not finished: it runs hooks, or waits for somebody who answers the filter's calls.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub half_made: bool,
    /// It has no PID namespace of its own: its processes do not end with the first.
    #[serde(default)]
    pub shares_pids: bool,
    /// That cgroup bears this container's mark. Not known before its process, nor on a machine without such marks.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cgroup_marked: bool,
    /// The file that says whether that cgroup is frozen; not known before its process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freezer: Option<PathBuf>,
    /// When it was created.
    pub created: String,
    /// The boot in which its pid means something.
    pub boot: String,
    /// Its first process; 0 until there is one.
    pub pid: i32,
    /// The start time of that process, in clock ticks since boot.
    pub start_time: u64,
    /// Hooks that run later: at its start and after its end.
    #[serde(default, skip_serializing_if = "Hooks::is_empty")]
    pub hooks: Hooks,
    /// Annotations of its config.json.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// What the machine refused and nobody insisted on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clamped: Vec<String>,
}

/// What every record has, whatever its version.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// A container's folder below the state root.
#[derive(Debug)]
pub struct Folder {
    id: Id,
    path: PathBuf,
}

impl Folder {
    /// The folder of an existing container.
    pub fn open(state_root: &Path, id: &Id) -> Result<Folder> {
        let path = state_root.join(id.as_str());
        match rustix::fs::stat(&path) {
            Ok(_) => Ok(Folder { id: id.clone(), path }),
            Err(Errno::NOENT | Errno::NOTDIR) => Err(Error::ContainerMissing { id: id.to_string() }),
            Err(errno) => Err(Error::system("examine", path.to_string_lossy())(errno)),
        }
    }

    /// Takes the name: makes the folder, and the state root on first use.
    pub fn create(state_root: &Path, id: &Id) -> Result<Folder> {
        let path = state_root.join(id.as_str());
        let make = || rustix::fs::mkdirat(CWD, &path, Mode::RWXU);
        let made = match make() {
            Err(Errno::NOENT) => {
                use std::os::unix::fs::DirBuilderExt;
                std::fs::DirBuilder::new().recursive(true).mode(0o700).create(state_root).map_err(
                    |error| {
                        let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
                        Error::system("create", state_root.to_string_lossy())(errno)
                    },
                )?;
                make()
            }
            other => other,
        };
        match made {
            Ok(()) => Ok(Folder { id: id.clone(), path }),
            Err(Errno::EXIST) => Err(Error::ContainerExists { id: id.to_string() }),
            Err(errno) => Err(Error::system("create", path.to_string_lossy())(errno)),
        }
    }

    /// The container's name.
    pub fn id(&self) -> &Id {
        &self.id
    }

    /// Keeps other verbs away while this one changes the container; released when dropped.
    pub fn lock(&self) -> Result<OwnedFd> {
        let folder = self.open_for_lock()?;
        rustix::io::retry_on_intr(|| rustix::fs::flock(&folder, FlockOperation::LockExclusive))
            .map_err(Error::system("lock", self.path.to_string_lossy()))?;
        Ok(folder)
    }

    /// As [`Folder::lock`], without waiting; `None` while another verb has it.
    pub fn try_lock(&self) -> Result<Option<OwnedFd>> {
        let folder = self.open_for_lock()?;
        match rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(folder)),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(Error::system("lock", self.path.to_string_lossy())(errno)),
        }
    }

    fn open_for_lock(&self) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(CWD, &self.path, flags, Mode::empty()).map_err(|errno| match errno {
            Errno::NOENT => Error::ContainerMissing { id: self.id.to_string() },
            errno => Error::system("open", self.path.to_string_lossy())(errno),
        })
    }

    /// Writes the record so that a reader finds the old or the new one.
    pub fn write(&self, record: &Record) -> Result<()> {
        let new = self.path.join(NEW_NAME);
        let text = serde_json::to_vec(record)
            .map_err(|error| Error::Record { path: new.clone(), reason: error.to_string() })?;
        write_file(&new, &text)?;
        rustix::fs::rename(&new, self.path.join(NAME)).map_err(Error::system("rename", new.to_string_lossy()))
    }

    /// Keeps the config.json that the container is created from: what is changed in its bundle later must not affect it
    /// (runtime-spec, "Lifecycle", step 2), least of all which namespaces and which filter a further process gets.
    pub fn keep_config(&self, text: &[u8]) -> Result<()> {
        write_file(&self.path.join(spec::FILE_NAME), text)
    }

    /// The config.json that the container was created from.
    pub fn config(&self) -> Result<Loaded> {
        spec::load(&self.path)
    }

    /// Reads the record; `None` if none was written yet.
    pub fn read(&self) -> Result<Option<Record>> {
        let path = self.path.join(NAME);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::Record { path, reason: error.to_string() }),
        };
        let refuse = |reason| Error::Record { path: path.clone(), reason };
        let newer =
            |version| refuse(format!("version {version} is newer than {VERSION}, which this program knows"));
        let record: Record = serde_json::from_slice(&text).map_err(|error| {
            // A newer one may have other fields.
            match serde_json::from_slice(&text) {
                Ok(Versioned { version }) if version > VERSION => newer(version),
                _ => refuse(error.to_string()),
            }
        })?;
        if record.version > VERSION {
            return Err(newer(record.version));
        }
        Ok(Some(record))
    }

    /// Makes the gate and opens both its ends, so that reading it waits and never ends.
    pub fn create_gate(&self) -> Result<OwnedFd> {
        let path = self.path.join(GATE);
        let fail = |operation| Error::system(operation, path.to_string_lossy());
        rustix::fs::mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).map_err(fail("create"))?;
        rustix::fs::openat(CWD, &path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map_err(fail("open"))
    }

    /// Opens an end of the gate without waiting; `None` when nobody waits at it, or there is no gate.
    pub fn open_gate(&self, end: OFlags) -> Result<Option<OwnedFd>> {
        let path = self.path.join(GATE);
        match rustix::fs::openat(CWD, &path, end | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()) {
            Ok(gate) => Ok(Some(gate)),
            Err(Errno::NXIO | Errno::NOENT) => Ok(None),
            Err(errno) => Err(Error::system("open", path.to_string_lossy())(errno)),
        }
    }

    /// Removes the folder and all our files in it; the record goes last of them.
    pub fn remove(&self) -> Result<()> {
        for name in [GATE, spec::FILE_NAME, NEW_NAME, NAME] {
            let path = self.path.join(name);
            match rustix::fs::unlink(&path) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(Error::system("remove", path.to_string_lossy())(errno)),
            }
        }
        match rustix::fs::rmdir(&self.path) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(Error::system("remove", self.path.to_string_lossy())(errno)),
        }
    }
}

fn write_file(path: &Path, text: &[u8]) -> Result<()> {
    let fail = |operation| Error::system(operation, path.to_string_lossy());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, path, flags, Mode::RUSR | Mode::WUSR).map_err(fail("create"))?;
    let written = rustix::io::write(&file, text).map_err(fail("write"))?;
    if written == text.len() { Ok(()) } else { Err(fail("write")(Errno::NOSPC)) }
}

impl Record {
    /// A record of a container that has no process yet.
    pub fn new(bundle: PathBuf, plan: &Plan, home: &Home) -> Result<Record> {
        Ok(Record {
            version: VERSION,
            oci_version: plan.version.clone(),
            bundle,
            rootfs: plan.root.path.clone(),
            cgroup: Some(home.path().as_str().to_owned()),
            unit: home.unit().map(str::to_owned),
            half_made: false,
            shares_pids: !plan.namespaces.create.contains(CloneFlags::CLONE_NEWPID),
            cgroup_marked: false,
            freezer: None,
            created: super::timestamp::now(),
            boot: process::boot_id()?,
            pid: 0,
            start_time: 0,
            hooks: Hooks {
                poststart: plan.hooks.poststart.clone(),
                poststop: plan.hooks.poststop.clone(),
                ..Hooks::default()
            },
            annotations: BTreeMap::new(),
            clamped: Vec::new(),
        })
    }

    /// Was it written since the machine started? If not, its pid and its cgroup are somebody else's, if anybody's.
    pub fn is_of_this_boot(&self) -> Result<bool> {
        Ok(self.boot == process::boot_id()?)
    }
}

/// What a container is right now.
#[derive(Debug)]
pub struct Observed {
    /// Its state.
    pub status: Status,
    /// Its first process, if that lives.
    pub process: Option<OwnedFd>,
}

/// Looks at a container. Nothing is remembered: a process that is gone, or belongs to another boot, is gone.
pub fn observe(folder: &Folder, record: Option<&Record>) -> Result<Observed> {
    let Some(record) = record.filter(|record| record.pid > 0) else {
        return Ok(Observed { status: Status::Creating, process: None });
    };
    let process =
        if record.boot == process::boot_id()? { process::open(record.pid, record.start_time)? } else { None };
    let status = match &process {
        None => Status::Stopped,
        Some(_) if record.half_made => Status::Creating,
        Some(_) if record.freezer.as_deref().is_some_and(is_frozen) => Status::Paused,
        // While it waits it holds the reading end too; once it executed the command nobody does.
        Some(_) if folder.open_gate(OFlags::WRONLY)?.is_some() => Status::Created,
        Some(_) => Status::Running,
    };
    Ok(Observed { status, process })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            version: VERSION,
            oci_version: "1.2.0".to_owned(),
            bundle: "/b".into(),
            rootfs: "/b/rootfs".into(),
            cgroup: Some("/hull/x".to_owned()),
            unit: None,
            half_made: false,
            shares_pids: false,
            cgroup_marked: false,
            freezer: None,
            created: "2026-01-01T00:00:00Z".to_owned(),
            boot: process::boot_id().unwrap(),
            pid: 0,
            start_time: 0,
            hooks: Hooks::default(),
            annotations: BTreeMap::new(),
            clamped: Vec::new(),
        }
    }

    fn folder() -> (tempfile::TempDir, Folder) {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::create(&root.path().join("deep/root"), &"x".parse().unwrap()).unwrap();
        (root, folder)
    }

    #[test]
    fn a_name_is_taken_once_and_given_back() {
        let (root, folder) = folder();
        let state_root = root.path().join("deep/root");
        let again = Folder::create(&state_root, &folder.id).unwrap_err();
        assert_eq!(again.kind(), crate::error::Kind::Exists);
        assert!(folder.read().unwrap().is_none());
        folder.write(&record()).unwrap();
        assert_eq!(folder.read().unwrap().unwrap().cgroup.as_deref(), Some("/hull/x"));
        let _gate = folder.create_gate().unwrap();
        folder.remove().unwrap();
        assert_eq!(Folder::open(&state_root, &folder.id).unwrap_err().kind(), crate::error::Kind::NotFound);
    }

    #[test]
    fn the_state_is_what_can_be_seen() {
        let (_root, folder) = folder();
        assert_eq!(observe(&folder, None).unwrap().status, Status::Creating);
        let own = std::process::id() as i32;
        let start_time = process::stat(own).unwrap().unwrap().start_time;
        let mut record = Record { pid: own, start_time, ..record() };
        let status = |record: &Record| observe(&folder, Some(record)).unwrap().status;
        assert_eq!(status(&record), Status::Running);
        let gate = folder.create_gate().unwrap();
        assert_eq!(status(&record), Status::Created);
        drop(gate);
        assert_eq!(status(&record), Status::Running);
        record.freezer = Some(folder.path.join("freezer.state"));
        assert_eq!(status(&record), Status::Running);
        std::fs::write(folder.path.join("freezer.state"), "FROZEN\n").unwrap();
        assert_eq!(status(&record), Status::Paused);
        record.freezer = None;
        record.start_time += 1;
        assert_eq!(status(&record), Status::Stopped);
        record.start_time -= 1;
        record.boot = "another".to_owned();
        assert_eq!(status(&record), Status::Stopped);
    }

    #[test]
    fn a_newer_record_is_refused() {
        let (_root, folder) = folder();
        folder.write(&Record { version: VERSION + 1, ..record() }).unwrap();
        assert!(folder.read().unwrap_err().to_string().contains("newer"));
        std::fs::write(folder.path.join(NAME), r#"{"version":99,"other":1}"#).unwrap();
        assert!(folder.read().unwrap_err().to_string().contains("version 99 is newer"));
    }
}
