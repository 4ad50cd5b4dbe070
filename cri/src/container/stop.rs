//! Stopping a container: ask, wait, kill. Callers who come later share the stop under way; the shorter patience wins.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine::State;
use runtime::monitor::protocol::{ErrorKind, Subject};
use runtime::process::Signal;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Container;
use super::admission::{self, StopVerdict};
use crate::error::{Error, Result};
use crate::node::Node;

/// How long a container may take to end after all of it was killed.
const KILL_PATIENCE: Duration = Duration::from_secs(20);

/// The longest patience that makes sense: nobody waits for a year.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

type Outcome = Option<Result<(), Arc<Error>>>;

/// The stop that is under way, if there is one.
#[derive(Debug, Default)]
pub struct Stop(Mutex<Option<Running>>);

#[derive(Debug, Clone)]
struct Running {
    deadline: watch::Sender<Instant>,
    outcome: watch::Receiver<Outcome>,
}

/// Stops a container; returns when it has ended. `grace` is the time between asking and killing.
pub async fn stop(node: &Arc<Node>, container: &Arc<Container>, grace: Duration) -> Result<()> {
    if admission::stop(&container.state()) == StopVerdict::Nothing {
        return Ok(());
    }
    let mut outcome = join_or_begin(node, container, Instant::now() + grace.min(LONGEST), grace.is_zero());
    let ended = outcome.wait_for(Option::is_some).await;
    match ended.as_deref().map(Option::as_ref) {
        Ok(Some(Err(error))) => Err(Error::Shared(Arc::clone(error))),
        Ok(_) => Ok(()),
        Err(_) => Err(Error::Internal("a stop ended without a result".to_owned())),
    }
}

fn join_or_begin(
    node: &Arc<Node>,
    container: &Arc<Container>,
    deadline: Instant,
    at_once: bool,
) -> watch::Receiver<Outcome> {
    let mut running = container.stop.lock();
    if let Some(running) = running.as_ref() {
        running.deadline.send_if_modified(|current| {
            let sooner = deadline < *current;
            *current = deadline.min(*current);
            sooner
        });
        return running.outcome.clone();
    }
    let (sender, outcome) = watch::channel(None);
    let (deadline, deadlines) = watch::channel(deadline);
    *running = Some(Running { deadline, outcome: outcome.clone() });
    let (node, container) = (Arc::clone(node), Arc::clone(container));
    tokio::spawn(async move {
        let under_way = UnderWay(Arc::clone(&container));
        let result = drive(&node, &container, deadlines, at_once).await;
        // Before anybody hears of it: who does may ask again at once.
        drop(under_way);
        sender.send_replace(Some(result.map_err(Arc::new)));
    });
    outcome
}

/// A stop that is over in whatever way is none that others could join.
struct UnderWay(Arc<Container>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.stop.lock().take();
    }
}

async fn drive(
    node: &Arc<Node>,
    container: &Arc<Container>,
    mut deadline: watch::Receiver<Instant>,
    at_once: bool,
) -> Result<()> {
    let mut changes = container.changes();
    if !at_once {
        signal(node, container, container.stop_signal, false).await?;
        loop {
            let until = *deadline.borrow_and_update();
            tokio::select! {
                _ = changes.wait_for(has_ended) => return Ok(()),
                () = tokio::time::sleep_until(until) => break,
                changed = deadline.changed() => if changed.is_err() { break },
            }
        }
    }
    signal(node, container, Signal::KILL.0.unsigned_abs(), true).await?;
    match tokio::time::timeout(KILL_PATIENCE, changes.wait_for(has_ended)).await {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::Undying { id: container.short().to_owned(), seconds: KILL_PATIENCE.as_secs() }),
    }
}

/// Sends a signal. One that has ended, or whose monitor is gone, needs none: that will be seen.
async fn signal(node: &Arc<Node>, container: &Arc<Container>, number: u32, all: bool) -> Result<()> {
    let container = Arc::clone(container);
    node.blocking(move |node| {
        let sent = node
            .monitor(&container.pod)
            .and_then(|mut client| Ok(client.signal(Subject::Container(&container.id), number, all)?));
        match sent {
            Err(Error::Client(error))
                if error.is_gone()
                    || matches!(error.refusal(), Some(ErrorKind::NotFound | ErrorKind::WrongPhase)) =>
            {
                Ok(())
            }
            other => other,
        }
    })
    .await
}

fn has_ended(state: &State) -> bool {
    state.exit_code().is_some()
}

impl Stop {
    fn lock(&self) -> MutexGuard<'_, Option<Running>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::entry::tests::container;

    #[test]
    fn a_stop_that_panicked_is_not_joined() {
        let container = Arc::new(container());
        let (deadline, _) = watch::channel(Instant::now());
        let (_, outcome) = watch::channel(None);
        *container.stop.lock() = Some(Running { deadline, outcome });
        let under_way = UnderWay(Arc::clone(&container));
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _under_way = under_way;
            panic!("on purpose");
        }));
        assert!(panicked.is_err() && container.stop.lock().is_none());
    }
}
