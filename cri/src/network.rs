//! Can pods have a network? What it hangs on is looked at when the folder of configurations changed, and now and then, by a
//! thread that does nothing else. Who asks gets what was found last if that thread is slow: the kubelet takes a node for
//! dead whose status does not come, and threads that may wait can all be waiting for plugins.

use std::path::Path;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use runtime::network::{NetworkConfig, Plugins, load_first, status};
use tokio::sync::oneshot;

use crate::config::Config;
use crate::error::{Error, Result};

/// For how long an answer counts when the folder does not change: a file may have been written in place.
const FRESH: Duration = Duration::from_secs(30);
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(1);
/// Stack of the threads, in bytes.
const STACK: usize = 256 << 10;

/// Whoever asks, and waits for an answer.
type Question = oneshot::Sender<Option<String>>;

/// What is known of the network.
#[derive(Debug)]
pub struct Readiness {
    questions: mpsc::Sender<Question>,
    last: Arc<Mutex<Option<String>>>,
}

impl Readiness {
    /// Starts the thread that looks.
    pub fn new(config: &Config) -> Result<Readiness> {
        let last = Arc::new(Mutex::new(Some("nobody has looked yet".to_owned())));
        let (questions, asked) = mpsc::channel();
        let eye =
            Eye { config: config.clone(), look: None, plugins: Arc::default(), last: Arc::clone(&last) };
        spawn(move || eye.answer(&asked))?;
        Ok(Readiness { questions, last })
    }

    /// Why pods cannot have a network now; `None` if they can.
    pub async fn failure(&self) -> Option<String> {
        let (question, answer) = oneshot::channel();
        // It goes on for as long as we are there.
        let _ = self.questions.send(question);
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(failure)) => failure,
            _ => lock(&self.last).clone(),
        }
    }
}

/// The thread that looks.
struct Eye {
    config: Config,
    look: Option<Look>,
    plugins: Arc<Mutex<Asked>>,
    last: Arc<Mutex<Option<String>>>,
}

/// What was seen last.
struct Look {
    /// Second and nanosecond of the last change of the folder, if it is there.
    folder: Option<(i64, u64)>,
    since: Instant,
    reason: Option<String>,
}

/// What plugins said last about themselves.
#[derive(Default)]
struct Asked {
    /// Somebody is waiting for them now.
    waiting: bool,
    /// Why they cannot make networks.
    reason: Option<String>,
}

impl Eye {
    fn answer(mut self, questions: &mpsc::Receiver<Question>) {
        while let Ok(question) = questions.recv() {
            let failure = self.failure();
            lock(&self.last).clone_from(&failure);
            // Who has given up gets the next one.
            let _ = question.send(failure);
        }
    }

    fn failure(&mut self) -> Option<String> {
        let folder = changed(&self.config.cni_conf_dir);
        let is_fresh = |look: &&Look| look.folder == folder && look.since.elapsed() < FRESH;
        let reason = match self.look.as_ref().filter(is_fresh) {
            Some(look) => look.reason.clone(),
            None => {
                let reason = self.look_again();
                self.look = Some(Look { folder, since: Instant::now(), reason: reason.clone() });
                reason
            }
        };
        reason.or_else(|| lock(&self.plugins).reason.clone())
    }

    fn look_again(&self) -> Option<String> {
        let plugins = Plugins::new(self.config.cni_bin_dirs.iter().cloned());
        let config = match load_first(&self.config.cni_conf_dir) {
            Ok(Some(config)) => config,
            Ok(None) => {
                return Some(Error::NoNetwork { folder: self.config.cni_conf_dir.clone() }.to_string());
            }
            Err(error) => return Some(error.to_string()),
        };
        if let Err(error) = plugins.find_all(&config) {
            return Some(error.to_string());
        }
        self.ask(config, plugins);
        None
    }

    /// Plugins may take their time, and the kubelet waits for no one: their answer counts from the next question on.
    fn ask(&self, config: NetworkConfig, plugins: Plugins) {
        if std::mem::replace(&mut lock(&self.plugins).waiting, true) {
            return;
        }
        let asked = Arc::clone(&self.plugins);
        let started = spawn(move || {
            let reason = status(&config, &plugins).err().map(|error| error.to_string());
            *lock(&asked) = Asked { waiting: false, reason };
        });
        if let Err(error) = started {
            tracing::warn!("cannot ask the network plugins: {}", error.chain());
            lock(&self.plugins).waiting = false;
        }
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) -> Result<()> {
    let started = thread::Builder::new().name("network".to_owned()).stack_size(STACK).spawn(work);
    started.map(drop).map_err(|error| Error::Internal(format!("cannot start a thread: {error}")))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that is done under these locks can leave them half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn changed(folder: &Path) -> Option<(i64, u64)> {
    let stat = rustix::fs::stat(folder).ok()?;
    Some((stat.st_mtime, stat.st_mtime_nsec))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn the_answer_needs_no_thread_of_those_who_wait() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            listen: PathBuf::new(),
            root: PathBuf::new(),
            state: PathBuf::new(),
            cni_conf_dir: folder.path().to_owned(),
            cni_bin_dirs: vec![folder.path().to_owned()],
            log_level: crate::config::LogLevel::Info,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .max_blocking_threads(1)
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (finish, finished) = mpsc::channel::<()>();
            let busy = tokio::task::spawn_blocking(move || finished.recv());
            let readiness = Readiness::new(&config).unwrap();
            assert!(readiness.failure().await.unwrap().contains("no network configuration"));
            let text = r#"{"cniVersion":"1.0.0","name":"n","type":"plugin"}"#;
            std::fs::write(folder.path().join("10-n.conf"), text).unwrap();
            assert!(readiness.failure().await.unwrap().contains("plugin"));
            drop(finish);
            let _ = busy.await;
        });
    }
}
