//! Pods of Kubernetes on disk: `<root>/pods/<id>/pod.json`, and the lock of its folder.
//!
//! A pod's folder is locked by `rcri` while it is made and by its monitor from then on. Its record is there before
//! anything of the pod exists, and durable if it has a network, so that `rcri` finds it after a crash or a reboot.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use image::store::{Store, remove_tree};
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::files::{self, Durability};
use crate::folder::{self, Attempt, Held};
use crate::state::State;

/// What this program writes, and the newest that it understands.
const VERSION: u32 = 1;

const NAME: &str = "pod.json";

/// `pod.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodRecord {
    /// Format of this file.
    pub version: u32,
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its unique id in Kubernetes.
    pub uid: String,
    /// How often the kubelet has made it before.
    #[serde(default)]
    pub attempt: u32,
    /// When it was made, RFC 3339.
    pub created: String,
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Where its network namespace is pinned; it has the host's when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_namespace: Option<PathBuf>,
    /// Its cgroup, as absolute path in every hierarchy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// Everything that only `rcri` reads.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub config: Value,
}

impl PodRecord {
    /// A record of this version.
    pub fn new(id: &str, name: &str, namespace: &str, uid: &str, attempt: u32) -> PodRecord {
        PodRecord {
            version: VERSION,
            id: id.to_owned(),
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            uid: uid.to_owned(),
            attempt,
            created: runtime::container::now(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            network_namespace: None,
            cgroup: None,
            config: Value::Null,
        }
    }

    /// Docker's name for the container that holds the pod's namespaces.
    pub fn shown_name(&self) -> String {
        format!("k8s_POD_{}_{}_{}_{}", self.name, self.namespace, self.uid, self.attempt)
    }

    /// Replaces the record in the pod's `folder`.
    pub fn write(&self, folder: &Path) -> Result<()> {
        files::write_record(&folder.join(NAME), self, self.durability())
    }

    /// Plugins of a network remember a pod over a power cut, so its record has to be there then. All else of a pod ends.
    fn durability(&self) -> Durability {
        match self.network_namespace {
            Some(_) => Durability::Synced,
            None => Durability::Whole,
        }
    }

    /// Reads the record in a pod's `folder`; `None` where its maker was killed before there was one.
    pub fn read(folder: &Path) -> Result<Option<PodRecord>> {
        let record: Option<PodRecord> = files::read_record(&folder.join(NAME), VERSION)?;
        let id = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        Ok(record.map(|record| PodRecord { id: id.to_owned(), ..record }))
    }
}

/// The pods of a store.
#[derive(Clone, Debug)]
pub struct Pods {
    folder: PathBuf,
    store: Store,
}

impl Pods {
    /// The pods of `store`.
    pub fn new(store: &Store) -> Result<Pods> {
        let folder = store.root().join("pods");
        files::make_folder(&folder)?;
        Ok(Pods { folder, store: store.clone() })
    }

    /// The folder of pod `id`.
    pub fn folder(&self, id: &str) -> PathBuf {
        self.folder.join(id)
    }

    /// How pod `id` is: its state is that of the process that holds its namespaces.
    pub fn state(&self, id: &str) -> Result<State> {
        State::of(&self.folder(id))
    }

    /// Makes the folder of a new pod, locked.
    pub fn create(&self, record: &PodRecord) -> Result<Held> {
        let _all = folder::lock_all(&self.folder, FlockOperation::LockShared)?;
        let held = folder::create(&self.folder, &record.id)?;
        let sync = || match record.durability() {
            Durability::Synced => files::sync_folder(&self.folder),
            _ => Ok(()),
        };
        match record.write(&held.path).and_then(|()| sync()) {
            Ok(()) => Ok(held),
            Err(error) => self.remove(held).and(Err(error)),
        }
    }

    /// The record of pod `id`; `None` if there is none.
    pub fn record(&self, id: &str) -> Result<Option<PodRecord>> {
        PodRecord::read(&self.folder(id))
    }

    /// Every pod's id and record, or why that cannot be read; no record where its maker was killed before there was one.
    pub fn entries(&self) -> Result<Vec<(String, Result<Option<PodRecord>>)>> {
        let names = folder::names(&self.folder)?;
        Ok(names.into_iter().map(|id| (id.clone(), PodRecord::read(&self.folder(&id)))).collect())
    }

    /// The records that can be read.
    pub fn records(&self) -> Result<Vec<PodRecord>> {
        let mut records = Vec::new();
        for id in folder::names(&self.folder)? {
            match PodRecord::read(&self.folder(&id)) {
                Ok(record) => records.extend(record),
                Err(Error::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(records)
    }

    /// Takes the lock of a pod for which nobody is responsible.
    pub fn hold(&self, id: &str) -> Result<Held> {
        let (what, name) = ("pod", id.to_owned());
        match folder::hold(&self.folder, id)? {
            Attempt::Held(held) => Ok(held),
            Attempt::Alive => Err(Error::Running { what, name }),
            Attempt::Gone => Err(Error::Missing { what, name }),
        }
    }

    /// The pods for which nobody is responsible, locked now: their monitors have ended or were killed. Folders whose
    /// maker was killed before there was a record are among them.
    pub fn dead(&self) -> Result<Vec<Held>> {
        folder::dead(&self.folder)
    }

    /// Removes the folder of a pod whose lock we have, and nothing else of it.
    pub fn remove(&self, held: Held) -> Result<()> {
        let trashed = self.store.trash(&held.path)?;
        Ok(remove_tree(&trashed)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::containers::tests::with_locks;

    #[test]
    fn a_pod_is_found_again() {
        let _permission = with_locks();
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(&root.path().join("root")).unwrap();
        let pods = Pods::new(&store).unwrap();
        let id = "a".repeat(64);
        let mut record = PodRecord::new(&id, "web", "default", "u-1", 3);
        record.config = serde_json::json!({"linux": {}});
        let held = pods.create(&record).unwrap();
        assert_eq!(pods.records().unwrap(), [record.clone()]);
        assert_eq!(record.shown_name(), "k8s_POD_web_default_u-1_3");
        assert!(matches!(pods.hold(&id), Err(Error::Running { .. })));
        assert_eq!(pods.state(&id).unwrap(), State::Created);
        drop(held);
        assert_eq!(pods.dead().unwrap().len(), 1);
        pods.remove(pods.hold(&id).unwrap()).unwrap();
        assert_eq!(pods.record(&id).unwrap(), None);
        assert!(pods.create(&record).is_ok());
    }
}
