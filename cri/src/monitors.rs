//! Following what monitors say: one task for each pod that has one, and no thread.
//!
//! A monitor writes an end to disk before it tells of it, so all that is done here is to look. A monitor that is gone
//! without having been told to go was killed: then its pod is buried. One that is there and does not answer, because it was
//! stopped or the machine is busy, is asked again later; until then its pod stays as it was last seen.

use std::sync::Arc;
use std::time::{Duration, Instant};

use runtime::monitor::client::{Client, Event};
use runtime::monitor::protocol::ErrorKind;
use tokio::sync::{OwnedRwLockWriteGuard, Semaphore};

use crate::container::Container;
use crate::error::Result;
use crate::node::Node;
use crate::readable::Readable;
use crate::recovery;
use crate::sandbox::{Pod, teardown};

/// Before a monitor that does not answer is asked again, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Monitors that are asked at the same time: each may keep a thread waiting.
static ASKED: Semaphore = Semaphore::const_new(8);

/// Follows the monitor of a pod from now on; `client` is a conversation with it that nobody needs any more. To be called
/// where an async runtime is.
pub fn follow(node: &Arc<Node>, pod: &Arc<Pod>, client: Client) {
    let (node, pod) = (Arc::clone(node), Arc::clone(pod));
    tokio::spawn(async move { go_on(&node, &pod, Some(client)).await });
}

/// Follows the monitor of a pod that an earlier server made. Only the monitor knows whether the containers that are
/// `unsure` were made; nobody changes the pod before it was asked. To be called where an async runtime is.
pub fn take_over(
    node: &Arc<Node>,
    pod: &Arc<Pod>,
    unsure: Vec<Arc<Container>>,
    gate: OwnedRwLockWriteGuard<()>,
) {
    let (node, pod) = (Arc::clone(node), Arc::clone(pod));
    tokio::spawn(async move {
        let mut gate = (!unsure.is_empty()).then_some(gate);
        let mut pauses = Pauses::new();
        while gate.is_some() && is_known(&node, &pod) {
            match settle(&node, &pod, &unsure).await {
                Ok(()) => break,
                Err(error) => tracing::warn!(
                    pod = pod.short(),
                    "cannot ask the monitor about containers that were being made: {}",
                    error.chain()
                ),
            }
            drop(gate.take());
            pauses.wait().await;
            gate = Some(Arc::clone(&pod.gate).write_owned().await);
        }
        drop(gate);
        go_on(&node, &pod, None).await;
    });
}

async fn go_on(node: &Arc<Node>, pod: &Arc<Pod>, mut client: Option<Client>) {
    let mut pauses = Pauses::new();
    loop {
        if let Some(client) = client.take() {
            let since = Instant::now();
            if let Err(error) = watch(node, pod, client).await {
                tracing::warn!(pod = pod.short(), "lost the monitor: {}", error.chain());
            }
            if since.elapsed() > PAUSES.1 {
                pauses = Pauses::new();
            }
        }
        if !is_known(node, pod) {
            return;
        }
        match connect(node, pod).await {
            Ok(again) => client = Some(again),
            Err(error) if error.is_monitor_gone() => match bury(node, pod).await {
                Ok(()) => return,
                Err(error) => tracing::error!(
                    pod = pod.short(),
                    "cannot end what is left of the pod: {}",
                    error.chain()
                ),
            },
            Err(error) => tracing::warn!(
                pod = pod.short(),
                "its monitor does not answer, it is left alone: {}",
                error.chain()
            ),
        }
        pauses.wait().await;
    }
}

/// Was it not removed?
fn is_known(node: &Node, pod: &Pod) -> bool {
    matches!(node.index.find_pod(&pod.id), Ok(Some(_)))
}

async fn connect(node: &Arc<Node>, pod: &Pod) -> Result<Client> {
    // Never closed.
    let _turn = ASKED.acquire().await;
    let id = pod.id.clone();
    node.blocking(move |node| node.monitor(&id)).await
}

/// Removes those of `containers` that were never made.
async fn settle(node: &Arc<Node>, pod: &Pod, containers: &[Arc<Container>]) -> Result<()> {
    let mut client = match connect(node, pod).await {
        // Then nothing tells one that was made from one that was not, and neither will ever run.
        Err(error) if error.is_monitor_gone() => return Ok(()),
        client => client?,
    };
    let containers = containers.to_vec();
    node.blocking(move |node| {
        for container in containers {
            match client.status(Some(&container.id)) {
                Ok(_) => {}
                Err(error) if error.refusal() == Some(ErrorKind::NotFound) => {
                    recovery::forget(node, &container)?;
                }
                Err(error) if error.is_gone() => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    })
    .await
}

/// Ends what is left of a pod whose monitor is gone. If that was told to go there is nothing.
async fn bury(node: &Arc<Node>, pod: &Arc<Pod>) -> Result<()> {
    let _gate = pod.gate.write().await;
    if !is_known(node, pod) {
        return Ok(());
    }
    let _turn = node.network_turn(pod).await;
    let buried = Arc::clone(pod);
    node.blocking(move |node| teardown::end_remains(node, &buried)).await
}

/// Follows a monitor until it is gone.
async fn watch(node: &Arc<Node>, pod: &Arc<Pod>, client: Client) -> Result<()> {
    let watcher = node.blocking(move |_| Ok(client.watch()?)).await?;
    // What happened before somebody was watching.
    look(node, pod).await?;
    let mut watcher = Readable::new(watcher)?;
    loop {
        let event = watcher.next(|watcher| match watcher.next_event()? {
            Event::Nothing => Ok(None),
            event => Ok(Some(event)),
        });
        match event.await? {
            Event::Ended { container, .. } => ended(node, pod, container).await?,
            Event::Gone | Event::Nothing => return Ok(()),
        }
    }
}

async fn ended(node: &Arc<Node>, pod: &Arc<Pod>, id: String) -> Result<()> {
    if id == pod.id {
        pod.set_not_ready();
        tracing::info!(pod = pod.short(), "the process that holds its namespaces is gone");
        return Ok(());
    }
    let Ok(Some(container)) = node.index.find_container(&id) else { return Ok(()) };
    node.blocking(move |node| {
        container.refresh(node)?;
        let code = container.state().exit_code();
        tracing::info!(container = container.short(), code, "a container has ended");
        Ok(())
    })
    .await
}

async fn look(node: &Arc<Node>, pod: &Arc<Pod>) -> Result<()> {
    let pod = Arc::clone(pod);
    node.blocking(move |node| {
        if !node.pods.state(&pod.id)?.is_running() {
            pod.set_not_ready();
        }
        node.index.containers_of(&pod.id).iter().try_for_each(|container| container.refresh(node))
    })
    .await
}

/// None before the second attempt, and longer and longer ones from then on.
#[derive(Debug)]
struct Pauses {
    next: Duration,
}

impl Pauses {
    fn new() -> Pauses {
        Pauses { next: Duration::ZERO }
    }

    fn take(&mut self) -> Duration {
        let (first, longest) = PAUSES;
        let now = self.next;
        self.next = (now * 2).clamp(first, longest);
        now
    }

    async fn wait(&mut self) {
        tokio::time::sleep(self.take()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_have_a_limit() {
        let mut pauses = Pauses::new();
        let taken: Vec<u64> = std::iter::repeat_with(|| pauses.take().as_secs()).take(8).collect();
        assert_eq!(taken, [0, 1, 2, 4, 8, 16, 30, 30]);
    }
}
