//! Can pods have a network? Answered from memory; what it hangs on is looked at again when the folder of configurations
//! changed, and now and then.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use runtime::network::{NetworkConfig, load_first, status};

use crate::error::Result;
use crate::node::Node;

/// For how long an answer counts when the folder does not change: a file may have been written in place.
const FRESH: Duration = Duration::from_secs(30);

/// What was found last.
#[derive(Debug, Default)]
pub struct Readiness {
    last: Mutex<Option<Answer>>,
}

#[derive(Debug, Clone)]
struct Answer {
    /// Second and nanosecond of the last change of the folder, if it is there.
    folder: Option<(i64, u64)>,
    since: Instant,
    reason: Option<String>,
}

impl Readiness {
    /// Why pods cannot have a network now; `None` if they can.
    pub async fn failure(&self, node: &Arc<Node>) -> Result<Option<String>> {
        node.blocking(|node| {
            let folder = changed(&node.config.cni_conf_dir);
            let last = node.readiness.lock().clone();
            if let Some(last) = last.filter(|last| last.folder == folder && last.since.elapsed() < FRESH) {
                return Ok(last.reason);
            }
            let (reason, config) = look(node);
            node.readiness.put(folder, reason.clone());
            if let Some(config) = config {
                ask_plugins(node, folder, config);
            }
            Ok(reason)
        })
        .await
    }

    fn put(&self, folder: Option<(i64, u64)>, reason: Option<String>) {
        *self.lock() = Some(Answer { folder, since: Instant::now(), reason });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Answer>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A configuration that can be used, or why there is none.
fn look(node: &Node) -> (Option<String>, Option<NetworkConfig>) {
    let folder = &node.config.cni_conf_dir;
    match load_first(folder) {
        Ok(Some(config)) => match node.plugins().find_all(&config) {
            Ok(_) => (None, Some(config)),
            Err(error) => (Some(error.to_string()), None),
        },
        Ok(None) => (Some(format!("no network configuration in {}", folder.display())), None),
        Err(error) => (Some(error.to_string()), None),
    }
}

/// Plugins may take their time, and the kubelet waits for no one: their answer counts from the next question on.
fn ask_plugins(node: &Arc<Node>, folder: Option<(i64, u64)>, config: NetworkConfig) {
    let node = Arc::clone(node);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = status(&config, &node.plugins()) {
            node.readiness.put(folder, Some(error.to_string()));
        }
    });
}

fn changed(folder: &Path) -> Option<(i64, u64)> {
    let stat = rustix::fs::stat(folder).ok()?;
    Some((stat.st_mtime, stat.st_mtime_nsec))
}
