//! The containers of a store: making their folders, taking their locks, removing them.
//!
//! Finding one by what people call it is in [`crate::lookup`], freeing what dead monitors left in [`crate::sweep`].

use std::path::{Path, PathBuf};

use image::store::{Store, remove_tree};
use runtime::monitor::client::Client;
use rustix::fs::FlockOperation;

use crate::error::{Error, Result};
use crate::files::Durability;
use crate::folder::{self, Attempt, Held};
use crate::record::Record;
use crate::state::State;
use crate::{files, ports, short};

/// The containers of a store.
#[derive(Clone, Debug)]
pub struct Containers {
    pub(crate) folder: PathBuf,
    state: PathBuf,
    pub(crate) store: Store,
}

impl Containers {
    /// The containers of `store`, whose runtime state is below the absolute path `state`.
    pub fn new(store: &Store, state: &Path) -> Containers {
        Containers { folder: store.containers_dir(), state: state.to_owned(), store: store.clone() }
    }

    /// The store with their images.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The folder of the runtime's records.
    pub fn runtime_state(&self) -> PathBuf {
        self.state.join("oci")
    }

    /// Where the monitor of pod or standalone container `id` listens.
    pub fn socket(&self, id: &str) -> PathBuf {
        self.state.join("pods").join(id).join("monitor.sock")
    }

    /// Where the monitor of a container listens: its own, or its pod's.
    pub fn monitor(&self, record: &Record) -> PathBuf {
        self.socket(record.cri.as_ref().map_or(&record.id, |cri| &cri.sandbox_id))
    }

    /// Where the network namespace of pod or standalone container `id` is pinned.
    pub fn network_namespace(&self, id: &str) -> PathBuf {
        self.state.join("netns").join(id)
    }

    /// The folder of container `id`.
    pub fn folder(&self, id: &str) -> PathBuf {
        self.folder.join(id)
    }

    /// How container `id` is.
    pub fn state(&self, id: &str) -> Result<State> {
        State::of(&self.folder(id))
    }

    /// Makes the folder of a new container, locked. The caller holds the store, so that the image named in the
    /// record is still there. A name that another container has is refused, and a port that a living one publishes.
    pub fn create(&self, record: &Record) -> Result<Held> {
        let exclusive = record.name.is_some() || !record.ports.is_empty();
        let operation = if exclusive { FlockOperation::LockExclusive } else { FlockOperation::LockShared };
        let _all = folder::lock_all(&self.folder, operation)?;
        if exclusive {
            let others = self.records()?;
            check_name(record, &others)?;
            self.check_ports(record, &others)?;
        }
        let held = folder::create(&self.folder, &record.id)?;
        if let Err(error) = record.write(&held.path) {
            return Err(error.and_undo(self.remove(held)));
        }
        if record.durability() == Durability::Synced {
            files::sync_folder(&self.folder)?;
        }
        Ok(held)
    }

    /// Takes the lock of a container for which nobody is responsible and that is to live again, unless a port that it
    /// publishes is published by another by now.
    pub fn revive(&self, record: &Record, name: &str) -> Result<Held> {
        let _all = folder::lock_all(&self.folder, FlockOperation::LockExclusive)?;
        self.check_ports(record, &self.records()?)?;
        self.hold(&record.id, name)
    }

    /// Fails if a living container publishes a port of `record`. The folder of all is locked.
    fn check_ports(&self, record: &Record, others: &[Record]) -> Result<()> {
        let publishes = |other: &&Record| other.id != record.id && !other.ports.is_empty();
        for other in others.iter().filter(publishes) {
            let taken =
                record.ports.iter().find(|port| other.ports.iter().any(|it| ports::conflict(port, it)));
            if let Some(port) = taken
                && folder::is_held(&self.folder(&other.id))?
            {
                let by = format!("container {} ({})", other.shown_name(), short(&other.id));
                return Err(Error::PortTaken { port: ports::shown(port), by });
            }
        }
        Ok(())
    }

    /// Takes the lock of a container for which nobody is responsible; `name` is what the caller calls it.
    pub fn hold(&self, id: &str, name: &str) -> Result<Held> {
        let (what, name) = ("container", name.to_owned());
        match folder::hold(&self.folder, id)? {
            Attempt::Held(held) => Ok(held),
            Attempt::Alive => Err(Error::Running { what, name }),
            Attempt::Gone => Err(Error::Missing { what, name }),
        }
    }

    /// Removes a container that has ended, by whatever people call it; returns its id. One of Kubernetes goes only with
    /// `cri`.
    pub fn remove_named(&self, name: &str, cri: bool) -> Result<String> {
        let held = self.hold_named(name, cri)?;
        let id = held.id.clone();
        self.remove(held)?;
        Ok(id)
    }

    /// As [`Containers::remove_named`], also if its network cannot be released: then it is said why not, and what may be
    /// left of it.
    pub fn discard_named(&self, name: &str, cri: bool) -> Result<Option<String>> {
        let held = self.hold_named(name, cri)?;
        self.end_processes(&held)?;
        let file = network_file(&held.path);
        let left = runtime::network::release(&file).err().map(|error| {
            let cause = crate::error::chain(&Error::from(error));
            format!("what may be left is {}: {cause}", runtime::network::abandon(&file))
        });
        self.trash(held)?;
        Ok(left)
    }

    fn hold_named(&self, name: &str, cri: bool) -> Result<Held> {
        let held = self.hold(&self.find_id(name)?, name)?;
        match Record::read(&held.path) {
            Ok(Some(record)) if !cri => record.refuse_cri(name)?,
            // Its record says nothing to anybody.
            Ok(_) | Err(Error::Damaged { .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(held)
    }

    /// Removes everything of a container whose lock we have.
    pub fn remove(&self, held: Held) -> Result<()> {
        self.release(&held)?;
        self.trash(held)
    }

    /// Removes the folder of a container of which nothing else is left.
    pub(crate) fn trash(&self, held: Held) -> Result<()> {
        // Its monitor may have removed it.
        if !held.path.exists() {
            return Ok(());
        }
        let trashed = self.store.trash(&held.path)?;
        Ok(remove_tree(&trashed)?)
    }

    /// Frees what a container without monitor still has beside its folder: processes, cgroup, the runtime's record, the
    /// monitor's socket and its network.
    pub fn release(&self, held: &Held) -> Result<()> {
        self.end_processes(held)?;
        Ok(runtime::network::release(&network_file(&held.path))?)
    }

    /// As [`Containers::release`], but for the network.
    pub(crate) fn end_processes(&self, held: &Held) -> Result<()> {
        // Folders with other names are not containers and have no state.
        if let Ok(id) = held.id.parse() {
            runtime::container::delete(&self.runtime_state(), &id, true).map_err(|source| {
                Error::Remains { id: short(&held.id).to_owned(), source: Box::new(source) }
            })?;
        }
        self.end_monitor(&held.id)
    }

    /// A monitor without our lock has no container: its caller was killed before it asked for one.
    fn end_monitor(&self, id: &str) -> Result<()> {
        let socket = self.socket(id);
        if let Ok(mut client) = Client::connect(&socket) {
            // It would end by itself, if later.
            let _ = client.shutdown();
        }
        files::remove_file(&socket)?;
        socket.parent().map_or(Ok(()), files::remove_folder)
    }
}

fn check_name(record: &Record, others: &[Record]) -> Result<()> {
    let Some(name) = &record.name else { return Ok(()) };
    match others.iter().find(|other| other.name.as_ref() == Some(name)) {
        Some(other) => Err(Error::NameTaken { name: name.clone(), other: short(&other.id).to_owned() }),
        None => Ok(()),
    }
}

/// What is known of the network of the container or pod in `folder`, as long as that is attached to one.
pub fn network_file(folder: &Path) -> PathBuf {
    folder.join("network.json")
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

    use image::digest::Digest;
    use runtime::network::PortMapping;

    use super::*;
    use crate::record::CriContainer;

    /// Between fork and exec a child has copies of all locks of this process: who starts one has it to himself.
    static ALONE: RwLock<()> = RwLock::new(());

    /// The folder of a test, and its permission to have locks, or to start processes.
    pub(crate) struct Root<T> {
        folder: tempfile::TempDir,
        _permission: T,
    }

    impl<T> Root<T> {
        pub(crate) fn path(&self) -> &Path {
            self.folder.path()
        }
    }

    /// Waits until nobody starts a process.
    pub(crate) fn with_locks() -> RwLockReadGuard<'static, ()> {
        ALONE.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn containers() -> (Root<RwLockReadGuard<'static, ()>>, Containers) {
        containers_with(with_locks())
    }

    /// As [`containers`], for a test that starts processes.
    pub(crate) fn containers_alone() -> (Root<RwLockWriteGuard<'static, ()>>, Containers) {
        containers_with(ALONE.write().unwrap_or_else(PoisonError::into_inner))
    }

    fn containers_with<T>(permission: T) -> (Root<T>, Containers) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("root")).unwrap();
        let containers = Containers::new(&store, &folder.path().join("state"));
        (Root { folder, _permission: permission }, containers)
    }

    pub(crate) fn record(digit: &str) -> Record {
        Record::new(&digit.repeat(64), Digest::of(b"image"), "busybox", &["true".to_owned()])
    }

    pub(crate) fn named(digit: &str, name: &str) -> Record {
        Record { name: Some(name.to_owned()), ..record(digit) }
    }

    #[test]
    fn names_are_unique_and_find_their_container() {
        let (_root, containers) = containers();
        drop(containers.create(&named("a", "web")).unwrap());
        let refused = containers.create(&named("b", "web")).unwrap_err().to_string();
        assert!(refused.contains("\"web\"") && refused.contains("aaaaaaaaaaaa"), "{refused}");
        assert_eq!(containers.remove_named("web", false).unwrap(), "a".repeat(64));
        let gone = containers.remove_named("web", false).unwrap_err();
        assert!(gone.to_string().contains("no such container"));
        containers.create(&named("b", "web")).unwrap();
    }

    #[test]
    fn a_damaged_record_stops_nobody_else() {
        let (_root, containers) = containers();
        for digit in ["a", "b"] {
            drop(containers.create(&named(digit, &format!("name-{digit}"))).unwrap());
        }
        let file = |digit: &str| containers.folder.join(digit.repeat(64)).join("container.json");
        std::fs::write(file("a"), "").unwrap();
        containers.sweep().unwrap();
        assert_eq!(containers.remove_named("name-b", false).unwrap(), "b".repeat(64));
        assert_eq!(containers.remove_named("aaaa", false).unwrap(), "a".repeat(64));
        // What a record says of its own place counts for nothing.
        drop(containers.create(&record("c")).unwrap());
        let lies = Record { id: "../../outside".to_owned(), ..named("c", "liar") };
        std::fs::write(file("c"), serde_json::to_vec(&lies).unwrap()).unwrap();
        assert_eq!(containers.remove_named("liar", false).unwrap(), "c".repeat(64));
        // One of a newer version is not ours to judge.
        drop(containers.create(&record("d")).unwrap());
        std::fs::write(file("d"), br#"{"version":99,"changed":true}"#).unwrap();
        assert!(containers.remove_named("dddd", false).unwrap_err().to_string().contains("newer"));
    }

    #[test]
    fn what_belongs_to_kubernetes_is_removed_only_on_demand() {
        let (_root, containers) = containers();
        let cri = CriContainer { name: "web".to_owned(), ..CriContainer::default() };
        drop(containers.create(&Record { cri: Some(cri), ..record("a") }).unwrap());
        assert!(containers.remove_named("aaaa", false).unwrap_err().to_string().contains("--cri"));
        containers.remove_named("k8s_web____0", true).unwrap();
    }

    #[test]
    fn a_port_leads_to_one_living_container() {
        let (_root, containers) = containers();
        let port: PortMapping =
            serde_json::from_str(r#"{"hostPort":80,"containerPort":8080,"protocol":"tcp"}"#).unwrap();
        let publishing = |digit: &str| Record { ports: vec![port.clone()], ..named(digit, digit) };
        let first = containers.create(&publishing("a")).unwrap();
        let refused = containers.create(&publishing("b")).unwrap_err().to_string();
        assert!(refused.contains("0.0.0.0:80/tcp") && refused.contains("container a ("), "{refused}");
        drop(first);
        let second = containers.create(&publishing("b")).unwrap();
        assert!(matches!(containers.revive(&publishing("a"), "a"), Err(Error::PortTaken { .. })));
        drop(second);
        containers.revive(&publishing("a"), "a").unwrap();
    }

    #[test]
    fn who_is_alive_is_not_removed() {
        let (_root, containers) = containers();
        let alive = containers.create(&record("a")).unwrap();
        assert!(matches!(containers.remove_named("aaaa", false), Err(Error::Running { .. })));
        drop(alive);
        assert_eq!(containers.remove_named("aaaa", false).unwrap(), "a".repeat(64));
    }
}
