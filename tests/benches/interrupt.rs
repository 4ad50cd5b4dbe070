//! An interrupted bench ends as a failed one does: through everything that tidies up behind it.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, ensure};
use tokio::signal::unix::{SignalKind, signal};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on, SIGINT, SIGTERM and SIGHUP only make [`check`] fail.
pub fn watch() -> anyhow::Result<()> {
    let reactor = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let reactor = reactor.context("cannot wait for signals")?;
    let entered = reactor.enter();
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        let mut signals = signal(kind).context("cannot wait for signals")?;
        reactor.spawn(async move {
            while signals.recv().await.is_some() {
                INTERRUPTED.store(true, Ordering::Relaxed);
            }
        });
    }
    drop(entered);
    std::thread::spawn(move || reactor.block_on(std::future::pending::<()>()));
    Ok(())
}

/// Between two runs.
pub fn check() -> anyhow::Result<()> {
    ensure!(!INTERRUPTED.load(Ordering::Relaxed), "interrupted");
    Ok(())
}
