//! The gate lock and the store lock.
//!
//! Everybody passes the gate alone and keeps it only until the store lock is held, so an exclusive taker waits for
//! those who are inside and nobody overtakes it (without the gate: 3.8 s behind three steady readers).

use std::{os::fd::OwnedFd, path::Path};

use rustix::{
    fs::{FlockOperation, Mode, OFlags},
    io::Errno,
};

use super::Store;
use crate::error::{IoContext, Result};

/// The store lock, released when dropped. While one exists nothing is collected: hold it, for milliseconds, between
/// finding an image and recording who uses it.
#[derive(Debug)]
pub struct Hold {
    _lock: OwnedFd,
}

impl Store {
    /// Takes the store lock shared.
    pub fn hold(&self) -> Result<Hold> {
        self.take(FlockOperation::LockShared)
    }

    pub(super) fn hold_exclusive(&self) -> Result<Hold> {
        self.take(FlockOperation::LockExclusive)
    }

    fn take(&self, operation: FlockOperation) -> Result<Hold> {
        let gate = self.open_lock("gate")?;
        flock(&gate, FlockOperation::LockExclusive, &self.path("gate"))?;
        let lock = self.open_lock("lock")?;
        flock(&lock, operation, &self.path("lock"))?;
        Ok(Hold { _lock: lock })
    }

    /// A description of its own for each taker, since that is what owns a flock; threads exclude each other too.
    fn open_lock(&self, name: &str) -> Result<OwnedFd> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.shared.folder, name, flags, Mode::RUSR | Mode::WUSR)
            .at("open", self.path(name))?)
    }
}

/// Waits for a lock through signals.
pub(super) fn flock(file: &OwnedFd, operation: FlockOperation, path: &Path) -> Result<()> {
    loop {
        match rustix::fs::flock(file, operation) {
            Err(Errno::INTR) => {}
            result => return Ok(result.at("lock", path)?),
        }
    }
}
