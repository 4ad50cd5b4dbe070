//! All pods and containers in memory. Its lock is held for look-ups only, never across anything that waits.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::container::Container;
use crate::error::{Error, Result};
use crate::sandbox::Pod;

/// Pods and containers by id.
#[derive(Debug, Default)]
pub struct Index {
    tables: RwLock<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    pods: BTreeMap<String, Arc<Pod>>,
    /// Pods that are being made: nobody is told of them, but they can be stopped.
    unborn: BTreeMap<String, Arc<Pod>>,
    containers: BTreeMap<String, Arc<Container>>,
}

impl Index {
    /// The pod with this id, or the only one whose id starts so; `None` if there is none.
    pub fn find_pod(&self, id: &str) -> Result<Option<Arc<Pod>>> {
        by_prefix(&self.read().pods, id, "pod sandbox")
    }

    /// As [`Index::find_pod`], or else one that is being made. What is to be done with that has to wait for its gate, and
    /// to look then whether there is a pod ([`Index::has_pod`]).
    pub fn find_pod_to_end(&self, id: &str) -> Result<Option<Arc<Pod>>> {
        match self.find_pod(id)? {
            Some(pod) => Ok(Some(pod)),
            None => by_prefix(&self.read().unborn, id, "pod sandbox"),
        }
    }

    /// Is there a pod with this whole id?
    pub fn has_pod(&self, id: &str) -> bool {
        self.read().pods.contains_key(id)
    }

    /// Remembers a pod as one that is being made, until what is returned is dropped.
    pub fn begin_pod(&self, pod: &Arc<Pod>) -> Unborn<'_> {
        self.write().unborn.insert(pod.id.clone(), Arc::clone(pod));
        Unborn { index: self, id: pod.id.clone() }
    }

    /// As [`Index::find_pod`], where there has to be one.
    pub fn pod(&self, id: &str) -> Result<Arc<Pod>> {
        self.find_pod(id)?.ok_or_else(|| Error::Missing { what: "pod sandbox", id: id.to_owned() })
    }

    /// The container with this id, or the only one whose id starts so; `None` if there is none.
    pub fn find_container(&self, id: &str) -> Result<Option<Arc<Container>>> {
        by_prefix(&self.read().containers, id, "container")
    }

    /// As [`Index::find_container`], where there has to be one.
    pub fn container(&self, id: &str) -> Result<Arc<Container>> {
        self.find_container(id)?.ok_or_else(|| Error::Missing { what: "container", id: id.to_owned() })
    }

    /// All pods.
    pub fn pods(&self) -> Vec<Arc<Pod>> {
        self.read().pods.values().cloned().collect()
    }

    /// All containers.
    pub fn containers(&self) -> Vec<Arc<Container>> {
        self.read().containers.values().cloned().collect()
    }

    /// The containers of a pod.
    pub fn containers_of(&self, pod: &str) -> Vec<Arc<Container>> {
        self.read().containers.values().filter(|container| container.pod == pod).cloned().collect()
    }

    /// Adds a pod.
    pub fn add_pod(&self, pod: Arc<Pod>) {
        self.write().pods.insert(pod.id.clone(), pod);
    }

    /// Adds a container.
    pub fn add_container(&self, container: Arc<Container>) {
        self.write().containers.insert(container.id.clone(), container);
    }

    /// Forgets a pod.
    pub fn remove_pod(&self, id: &str) {
        self.write().pods.remove(id);
    }

    /// Forgets a container.
    pub fn remove_container(&self, id: &str) {
        self.write().containers.remove(id);
    }

    fn read(&self) -> RwLockReadGuard<'_, Tables> {
        // Nothing that is done under the lock can leave the tables half changed.
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Tables> {
        self.tables.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A pod that is being made.
#[derive(Debug)]
pub struct Unborn<'a> {
    index: &'a Index,
    id: String,
}

impl Drop for Unborn<'_> {
    fn drop(&mut self) {
        self.index.write().unborn.remove(&self.id);
    }
}

fn by_prefix<T>(table: &BTreeMap<String, Arc<T>>, id: &str, what: &'static str) -> Result<Option<Arc<T>>> {
    if id.is_empty() {
        return Err(Error::invalid(format!("{what} id"), "it is empty"));
    }
    let mut from = table.range(id.to_owned()..).take_while(|(key, _)| key.starts_with(id));
    match (from.next(), from.next()) {
        (Some((key, only)), other) if key == id || other.is_none() => Ok(Some(Arc::clone(only))),
        (None, _) => Ok(None),
        _ => Err(Error::Ambiguous { what, prefix: id.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_that_is_being_made_can_only_be_ended() {
        let index = Index::default();
        let pod = Arc::new(Pod::new("aa".to_owned(), Default::default(), 1));
        let unborn = index.begin_pod(&pod);
        assert!(index.pods().is_empty() && index.find_pod("aa").unwrap().is_none());
        assert!(index.find_pod_to_end("aa").unwrap().is_some() && !index.has_pod("aa"));
        index.add_pod(Arc::clone(&pod));
        drop(unborn);
        assert!(index.find_pod_to_end("aa").unwrap().is_some() && index.has_pod("aa"));
        index.remove_pod("aa");
        assert!(index.find_pod_to_end("aa").unwrap().is_none());
    }

    #[test]
    fn a_start_must_mean_one() {
        let table: BTreeMap<String, Arc<u8>> =
            [("aa1", 1), ("aa2", 2), ("aa", 3), ("b", 4)].map(|(id, n)| (id.to_owned(), Arc::new(n))).into();
        let find = |id| by_prefix(&table, id, "container").map(|found| found.map(|found| *found));
        assert_eq!(find("aa").unwrap(), Some(3));
        assert_eq!(find("aa2").unwrap(), Some(2));
        assert_eq!(find("b").unwrap(), Some(4));
        assert_eq!(find("c").unwrap(), None);
        assert!(matches!(find("a"), Err(Error::Ambiguous { .. })));
        assert!(find("").is_err());
    }
}
