//! Waiting, without a thread, until one of the monitor's sockets has something to say.

use std::os::fd::{AsFd, AsRawFd, RawFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::error::{Error, Result};

/// Something with a descriptor of its own, which it keeps as long as it lives.
#[derive(Debug)]
pub struct Readable<T: AsFd>(AsyncFd<Owner<T>>);

#[derive(Debug)]
struct Owner<T>(T);

impl<T: AsFd> AsRawFd for Owner<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl<T: AsFd> Readable<T> {
    /// Watches `inner`. To be called where an async runtime is.
    pub fn new(inner: T) -> Result<Readable<T>> {
        // Deprecated for a new function that is unsafe, because a type may lie about its descriptor. `Owner` cannot: what
        // it tells is what it borrows from the one owner, which nobody can exchange.
        #[allow(deprecated)]
        let watched = AsyncFd::with_interest(Owner(inner), Interest::READABLE);
        watched.map(Readable).map_err(failed)
    }

    /// Waits until there is something to read, and takes it by `read`, which returns `None` when it found nothing.
    pub async fn next<R>(&mut self, mut read: impl FnMut(&mut T) -> Result<Option<R>>) -> Result<R> {
        loop {
            let mut ready = self.0.readable_mut().await.map_err(failed)?;
            match read(&mut ready.get_inner_mut().0)? {
                Some(found) => return Ok(found),
                None => ready.clear_ready(),
            }
        }
    }

    /// Waits until there is something to read.
    pub async fn wait(&self) -> Result<()> {
        self.0.readable().await.map(drop).map_err(failed)
    }

    /// Watches no more.
    pub fn into_inner(self) -> T {
        self.0.into_inner().0
    }
}

fn failed(error: std::io::Error) -> Error {
    Error::Internal(format!("cannot watch a monitor: {error}"))
}
