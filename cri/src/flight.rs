//! Changes under way, by the name that they take: the same request again joins the one that runs.
//!
//! The kubelet retries with the same metadata when it has lost patience. A change therefore runs as a task of its own
//! until it has succeeded or undone everything, and its name is taken exactly as long as it runs.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::error::{Error, Result};

type Outcome = Result<String, Arc<Error>>;

/// Changes that make something with an id, by name.
#[derive(Debug)]
pub struct Flights<K, C> {
    running: Mutex<HashMap<K, Flight<C>>>,
}

#[derive(Debug)]
struct Flight<C> {
    request: Arc<C>,
    outcome: watch::Receiver<Option<Outcome>>,
}

impl<K, C> Default for Flights<K, C> {
    fn default() -> Flights<K, C> {
        Flights { running: Mutex::new(HashMap::new()) }
    }
}

impl<K, C> Flights<K, C>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    C: PartialEq + Send + Sync + 'static,
{
    /// Runs `change` under `name`, or waits for the one that does the same already. A different request under the same
    /// name is refused with what `taken` says.
    pub async fn run<F>(
        self: &Arc<Self>,
        name: K,
        request: C,
        taken: impl FnOnce() -> Error,
        change: impl FnOnce(Arc<C>) -> F,
    ) -> Result<String>
    where
        F: Future<Output = Result<String>> + Send + 'static,
    {
        let mut outcome = match self.join_or_begin(&name, request) {
            Entry::Joined(outcome) => outcome,
            Entry::Refused => return Err(taken()),
            Entry::Begun(request, sender, outcome) => {
                let landing = Landing { flights: Arc::clone(self), name };
                let change = change(request);
                tokio::spawn(async move {
                    let result = change.await.map_err(Arc::new);
                    // Before anybody hears of it: who does may ask again at once.
                    drop(landing);
                    sender.send_replace(Some(result));
                });
                outcome
            }
        };
        let landed = outcome.wait_for(Option::is_some).await;
        match landed.as_deref().map(Option::as_ref) {
            Ok(Some(Ok(id))) => Ok(id.clone()),
            Ok(Some(Err(error))) => Err(Error::Shared(Arc::clone(error))),
            // Its task panicked.
            Ok(None) | Err(_) => Err(Error::Internal("a change ended without a result".to_owned())),
        }
    }

    fn join_or_begin(&self, name: &K, request: C) -> Entry<C> {
        let mut running = self.lock();
        if let Some(flight) = running.get(name) {
            return match *flight.request == request {
                true => Entry::Joined(flight.outcome.clone()),
                false => Entry::Refused,
            };
        }
        let (sender, outcome) = watch::channel(None);
        let request = Arc::new(request);
        running.insert(name.clone(), Flight { request: Arc::clone(&request), outcome: outcome.clone() });
        Entry::Begun(request, sender, outcome)
    }
}

impl<K, C> Flights<K, C> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, Flight<C>>> {
        // Nothing that is done under the lock can leave it half done.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Entry<C> {
    Joined(watch::Receiver<Option<Outcome>>),
    Begun(Arc<C>, watch::Sender<Option<Outcome>>, watch::Receiver<Option<Outcome>>),
    Refused,
}

/// Frees the name in whatever way the change ends.
struct Landing<K: Eq + Hash, C> {
    flights: Arc<Flights<K, C>>,
    name: K,
}

impl<K: Eq + Hash, C> Drop for Landing<K, C> {
    fn drop(&mut self) {
        self.flights.lock().remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::Poll;

    use tokio::sync::oneshot;

    use super::*;

    fn taken() -> Error {
        Error::Exists { name: "it".to_owned(), id: "x".to_owned() }
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap()
    }

    #[test]
    fn the_same_request_joins_and_another_is_refused() {
        runtime().block_on(async {
            let flights: Arc<Flights<String, u32>> = Arc::default();
            let made = Arc::new(AtomicU32::new(0));
            let (finish, finished) = oneshot::channel::<()>();
            let (begun, has_begun) = oneshot::channel::<()>();
            let first = tokio::spawn({
                let (flights, made) = (Arc::clone(&flights), Arc::clone(&made));
                async move {
                    let change = |_| async move {
                        begun.send(()).unwrap();
                        finished.await.unwrap();
                        made.fetch_add(1, Ordering::Relaxed);
                        Ok("id".to_owned())
                    };
                    flights.run("a".to_owned(), 1, taken, change).await
                }
            });
            has_begun.await.unwrap();
            let never = |_| async { Err(taken()) };
            assert!(flights.run("a".to_owned(), 2, taken, never).await.is_err());
            // The first caller gives up; the change does not.
            first.abort();
            let mut joined = pin!(flights.run("a".to_owned(), 1, taken, |_| async { Err(taken()) }));
            let looked = poll_fn(|context| Poll::Ready(joined.as_mut().poll(context))).await;
            assert!(looked.is_pending());
            finish.send(()).unwrap();
            assert_eq!(joined.await.unwrap(), "id");
            assert_eq!(made.load(Ordering::Relaxed), 1);
            // The name is free again.
            let again = flights.run("a".to_owned(), 2, taken, |_| async { Ok("other".to_owned()) }).await;
            assert_eq!(again.unwrap(), "other");
        });
    }

    #[test]
    fn a_failure_and_a_panic_free_the_name() {
        runtime().block_on(async {
            let flights: Arc<Flights<u8, ()>> = Arc::default();
            let failed = flights.run(1, (), taken, |_| async { Err(taken()) }).await;
            assert_eq!(failed.unwrap_err().kind(), crate::Kind::Exists);
            let panicked = flights.run(1, (), taken, |_| async { panic!("on purpose") }).await;
            assert!(matches!(panicked, Err(Error::Internal(_))));
            assert!(flights.run(1, (), taken, |_| async { Ok("id".to_owned()) }).await.is_ok());
        });
    }
}
