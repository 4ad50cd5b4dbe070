//! The folders of standalone containers: who they are, who is alive, and what dead ones leave.
//!
//! ```text
//! <root>/containers/            locked shared while a folder is made, exclusively while names or the dead are looked for
//! <root>/containers/<id>/       locked by its `rrun run` from the moment it is there until everything of it is gone
//!     container.json            written first; its "image" protects the image
//!     config.json               what the runtime runs
//!     hosts hostname resolv.conf  bound into the container
//!     upper/ work/              its changes
//! ```
//!
//! Invariants: a container lives exactly as long as its folder's lock is held, by `rrun run` and then by the monitor
//! that it becomes; the kernel frees the lock in whatever way that process ends. Who gets the lock owns the remains:
//! record and cgroup of the runtime, the monitor's socket, and the folder.

use std::fs;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use image::digest::Digest;
use image::store::{Store, remove_tree};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// What this program writes and understands.
const VERSION: u32 = 1;

/// How often a lock that a sweep may hold for a moment is tried, and how long between.
const TRIES: u32 = 50;
const PAUSE: std::time::Duration = std::time::Duration::from_millis(10);

/// `container.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// Format of this file.
    pub version: u32,
    /// 64 hexadecimal digits.
    pub id: String,
    /// What `--name` gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Manifest of its image.
    pub image: Digest,
    /// The image as the user called it.
    pub image_name: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// When it was made, RFC 3339.
    pub created: String,
    /// Whether it goes when it has ended (`--rm`).
    pub remove: bool,
}

impl Record {
    /// A record of this version.
    pub fn new(id: &str, image: Digest, image_name: &str, command: &[String]) -> Record {
        Record {
            version: VERSION,
            id: id.to_owned(),
            name: None,
            image,
            image_name: image_name.to_owned(),
            command: command.to_vec(),
            created: runtime::container::now(),
            remove: false,
        }
    }
}

/// The part of `container.json` that every version has.
#[derive(Deserialize)]
struct Format {
    version: u32,
}

/// The containers of a store.
#[derive(Debug)]
pub struct Containers {
    folder: PathBuf,
    state: PathBuf,
    store: Store,
}

/// A container's folder with its lock held.
#[derive(Debug)]
pub struct Held {
    /// Its id.
    pub id: String,
    /// The folder.
    pub path: PathBuf,
    /// The lock: the open folder itself.
    pub lock: OwnedFd,
}

impl Containers {
    /// The containers of `store`, whose runtime state is below `state`.
    pub fn new(store: &Store, state: &Path) -> Containers {
        Containers { folder: store.containers_dir(), state: state.to_owned(), store: store.clone() }
    }

    /// The folder of the runtime's records.
    pub fn runtime_state(&self) -> PathBuf {
        self.state.join("oci")
    }

    /// Where the monitor of container `id` listens.
    pub fn socket(&self, id: &str) -> PathBuf {
        self.state.join("pods").join(id).join("monitor.sock")
    }

    /// Makes the folder of a new container, locked. The caller holds the store, so that the image named in the
    /// record is still there; a name that another container has is refused.
    pub fn create(&self, record: &Record) -> Result<Held> {
        let operation =
            if record.name.is_some() { FlockOperation::LockExclusive } else { FlockOperation::LockShared };
        let _all = self.lock_all(operation)?.context("the lock of the containers was refused")?;
        if let Some(name) = &record.name
            && let Some(other) = self.records()?.into_iter().find(|other| other.name.as_ref() == Some(name))
        {
            bail!(
                "the container name {name:?} is already in use by container {}; remove that with rrun rm, or choose another",
                short(&other.id)
            );
        }
        let path = self.folder.join(&record.id);
        rustix::fs::mkdir(&path, Mode::RWXU).with_context(|| format!("cannot create {}", path.display()))?;
        let lock = open_folder(&path).with_context(|| format!("cannot open {}", path.display()))?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .with_context(|| format!("cannot lock {}", path.display()))?;
        let held = Held { id: record.id.clone(), path, lock };
        if let Err(error) = held.write_record(record) {
            self.remove(held)?;
            return Err(error);
        }
        Ok(held)
    }

    /// Frees what containers left whose monitor was killed: everything of those with `--rm`, and the runtime's
    /// part of the others. What somebody else is looking at is left to them, and so is a folder whose record cannot be
    /// read: it may be of a newer version. Goes on after a failure and returns the first.
    pub fn sweep(&self) -> Result<()> {
        let mut result = Ok(());
        for held in self.dead()? {
            let freed = match held.read_record() {
                Err(_) => Ok(()),
                Ok(Some(record)) if !record.remove => match self.runtime_state().join(&held.id).exists() {
                    true => self.delete_state(&held.id),
                    false => Ok(()),
                },
                Ok(_) => self.remove(held),
            };
            result = result.and(freed);
        }
        result
    }

    /// Frees what builds left that were killed together with their runtime.
    pub fn sweep_builds(&self) -> Result<()> {
        runtime::container::delete_abandoned(&self.runtime_state(), |bundle| self.store.is_abandoned(bundle))
            .context("cannot free what an interrupted build left")
    }

    /// Removes a container that has ended, by name, id, or unambiguous start of an id; returns its id.
    pub fn remove_named(&self, name: &str) -> Result<String> {
        let id = self.find(name)?;
        for _ in 0..TRIES {
            match self.try_hold(&id)? {
                Attempt::Held(held) => {
                    match held.read_record() {
                        Err(error) if !is_damaged(&error) => return Err(error),
                        _ => self.remove(held)?,
                    }
                    return Ok(id);
                }
                Attempt::Gone => bail!("no such container: {name}"),
                Attempt::Alive => std::thread::sleep(PAUSE),
            }
        }
        bail!("container {name} is running: stop it first (kill -TERM its rrun run)")
    }

    /// Removes everything of a container whose lock we have.
    pub fn remove(&self, held: Held) -> Result<()> {
        self.delete_state(&held.id)?;
        let trashed = self
            .store
            .trash(&held.path)
            .with_context(|| format!("cannot remove container {}", short(&held.id)))?;
        remove_tree(&trashed).with_context(|| format!("cannot empty {}", trashed.display()))
    }

    fn delete_state(&self, id: &str) -> Result<()> {
        // Folders with other names are not containers and have no state.
        if let Ok(id) = id.parse() {
            runtime::container::delete(&self.runtime_state(), &id, true)
                .with_context(|| format!("cannot delete the remains of container {id}"))?;
        }
        let socket = self.socket(id);
        let folder = socket.parent().unwrap_or(&socket);
        for removed in [fs::remove_file(&socket), fs::remove_dir(folder)] {
            match removed {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                removed => removed.with_context(|| format!("cannot remove {}", socket.display()))?,
            }
        }
        Ok(())
    }

    fn find(&self, name: &str) -> Result<String> {
        let mut ids = self.names()?;
        if ids.iter().any(|id| id == name) {
            return Ok(name.to_owned());
        }
        if let Some(record) = self.records()?.into_iter().find(|it| it.name.as_deref() == Some(name)) {
            return Ok(record.id);
        }
        ids.retain(|id| !name.is_empty() && id.starts_with(name));
        match (ids.pop(), ids.pop()) {
            (Some(one), None) => Ok(one),
            (Some(_), Some(_)) => bail!("several containers have ids that start with {name}"),
            (None, _) => bail!("no such container: {name}"),
        }
    }

    /// The records that can be read, each about the folder that it is in. A container whose record is damaged, as an
    /// empty one after a power cut, has no name any more and can still be removed by its id.
    fn records(&self) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        for id in self.names()? {
            match read_record(&self.folder.join(&id)) {
                Ok(record) => records.extend(record.map(|record| Record { id, ..record })),
                Err(error) if is_damaged(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(records)
    }

    /// The folders that nobody has locked, now locked by us. Whoever holds the whole folder exclusively is looking
    /// for the same: then there is nothing for us.
    fn dead(&self) -> Result<Vec<Held>> {
        let names = self.names()?;
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let Some(_all) = self.lock_all(FlockOperation::NonBlockingLockExclusive)? else {
            return Ok(Vec::new());
        };
        let mut dead = Vec::new();
        for id in names {
            if let Attempt::Held(held) = self.try_hold(&id)? {
                dead.push(held);
            }
        }
        Ok(dead)
    }

    fn try_hold(&self, id: &str) -> Result<Attempt> {
        let path = self.folder.join(id);
        let lock = match open_folder(&path) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Attempt::Gone),
            lock => lock.with_context(|| format!("cannot open {}", path.display()))?,
        };
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::AGAIN) => return Ok(Attempt::Alive),
            result => result.with_context(|| format!("cannot lock {}", path.display()))?,
        }
        // Whoever had the lock before may have removed the folder meanwhile.
        let gone = rustix::fs::stat(&path).is_err();
        Ok(if gone { Attempt::Gone } else { Attempt::Held(Held { id: id.to_owned(), path, lock }) })
    }

    fn names(&self) -> Result<Vec<String>> {
        let fail = || format!("cannot list {}", self.folder.display());
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder).with_context(fail)? {
            names.extend(entry.with_context(fail)?.file_name().into_string());
        }
        Ok(names)
    }

    /// `None` when the lock is not free and the operation does not wait.
    fn lock_all(&self, operation: FlockOperation) -> Result<Option<OwnedFd>> {
        let fail = || format!("cannot lock {}", self.folder.display());
        let lock = open_folder(&self.folder).with_context(fail)?;
        match rustix::io::retry_on_intr(|| rustix::fs::flock(&lock, operation)) {
            Err(Errno::AGAIN) => Ok(None),
            result => result.map(|()| Some(lock)).with_context(fail),
        }
    }
}

enum Attempt {
    Held(Held),
    Alive,
    Gone,
}

impl Held {
    fn read_record(&self) -> Result<Option<Record>> {
        read_record(&self.path)
    }

    /// Written aside and renamed: what it protects must never be unknown.
    fn write_record(&self, record: &Record) -> Result<()> {
        let path = self.path.join("container.json");
        let new = self.path.join("container.json.new");
        let bytes = serde_json::to_vec(record).context("cannot encode container.json")?;
        fs::write(&new, bytes).with_context(|| format!("cannot write {}", new.display()))?;
        fs::rename(&new, &path).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// `None` for a folder whose maker was killed before there was a record.
fn read_record(folder: &Path) -> Result<Option<Record>> {
    let path = folder.join("container.json");
    let bytes = match fs::read(&path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        bytes => bytes.with_context(|| format!("cannot read {}", path.display()))?,
    };
    let damaged = || format!("cannot understand {}", path.display());
    // First: what else a newer one says is not known.
    let Format { version } = serde_json::from_slice(&bytes).with_context(damaged)?;
    if version > VERSION {
        bail!("{} is of version {version}, newer than this program", path.display());
    }
    serde_json::from_slice(&bytes).with_context(damaged).map(Some)
}

/// Whether a record is nothing that any version wrote.
fn is_damaged(error: &anyhow::Error) -> bool {
    error.downcast_ref::<serde_json::Error>().is_some()
}

/// The first twelve digits, by which people call a container.
pub fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

fn open_folder(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn containers() -> (tempfile::TempDir, Containers) {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(&root.path().join("root")).unwrap();
        let containers = Containers::new(&store, &root.path().join("state"));
        (root, containers)
    }

    fn record(digit: &str) -> Record {
        Record::new(&digit.repeat(64), Digest::of(b"image"), "busybox", &["true".to_owned()])
    }

    #[test]
    fn the_living_are_left_alone_and_the_dead_are_freed() {
        let (_root, containers) = containers();
        let alive = containers.create(&Record { remove: true, ..record("a") }).unwrap();
        drop(containers.create(&Record { remove: true, ..record("b") }).unwrap());
        drop(containers.create(&record("c")).unwrap());
        fs::create_dir(containers.folder.join("d".repeat(64))).unwrap();
        let newer = containers.create(&Record { version: VERSION + 1, remove: true, ..record("e") }).unwrap();
        drop(newer);
        containers.sweep().unwrap();
        let mut left = containers.names().unwrap();
        left.sort();
        assert_eq!(left, ["a".repeat(64), "c".repeat(64), "e".repeat(64)]);
        fs::remove_dir_all(containers.folder.join("e".repeat(64))).unwrap();
        assert!(containers.remove_named(&"a".repeat(64)).unwrap_err().to_string().contains("is running"));
        drop(alive);
        assert_eq!(containers.remove_named("aaaa").unwrap(), "a".repeat(64));
    }

    #[test]
    fn names_are_unique_and_find_their_container() {
        let (_root, containers) = containers();
        let named = |digit: &str, name: &str| Record { name: Some(name.to_owned()), ..record(digit) };
        drop(containers.create(&named("a", "web")).unwrap());
        let refused = containers.create(&named("b", "web")).unwrap_err().to_string();
        assert!(refused.contains("\"web\"") && refused.contains("aaaaaaaaaaaa"), "{refused}");
        assert_eq!(containers.remove_named("web").unwrap(), "a".repeat(64));
        assert!(containers.remove_named("web").unwrap_err().to_string().contains("no such container"));
        containers.create(&named("b", "web")).unwrap();
    }

    #[test]
    fn a_damaged_record_stops_nobody_else() {
        let (_root, containers) = containers();
        for digit in ["a", "b"] {
            let named = Record { name: Some(format!("name-{digit}")), ..record(digit) };
            drop(containers.create(&named).unwrap());
        }
        let file = |digit: &str| containers.folder.join(digit.repeat(64)).join("container.json");
        fs::write(file("a"), "").unwrap();
        containers.sweep().unwrap();
        assert_eq!(containers.remove_named("name-b").unwrap(), "b".repeat(64));
        assert_eq!(containers.remove_named("aaaa").unwrap(), "a".repeat(64));
        // What a record says of its own place counts for nothing.
        drop(containers.create(&record("c")).unwrap());
        let lies = Record { id: "../../outside".to_owned(), name: Some("liar".to_owned()), ..record("c") };
        fs::write(file("c"), serde_json::to_vec(&lies).unwrap()).unwrap();
        assert_eq!(containers.remove_named("liar").unwrap(), "c".repeat(64));
        // One of a newer version is not ours to judge.
        drop(containers.create(&record("d")).unwrap());
        fs::write(file("d"), br#"{"version":99,"changed":true}"#).unwrap();
        assert!(containers.remove_named("dddd").unwrap_err().to_string().contains("newer"));
    }

    #[test]
    fn a_short_id_must_mean_one_container() {
        let (_root, containers) = containers();
        let one = format!("ab{}", "0".repeat(62));
        let other = format!("ac{}", "0".repeat(62));
        for id in [&one, &other] {
            drop(containers.create(&Record { id: id.clone(), ..record("x") }).unwrap());
        }
        assert!(containers.remove_named("a").unwrap_err().to_string().contains("several"));
        assert!(containers.remove_named("").is_err());
        assert_eq!(containers.remove_named("ac").unwrap(), other);
    }
}
