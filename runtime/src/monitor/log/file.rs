//! The file of a log: opened with care, rotated by us or by somebody else, and at times full.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::batch::{Batch, Failed};
use super::line::{Cutter, Headers, Line, Stream};
use super::{LogError, LogSettings};
use crate::container::timestamp::{since_epoch, stamp};

/// After a write that failed, what comes is dropped for this long: a full file system may take its time to say so
/// again, and nobody else is served meanwhile.
const RETRY: Duration = Duration::from_millis(100);

/// Where entries go, and what became of those that did not get there.
#[derive(Debug)]
pub(super) struct LogFile {
    settings: LogSettings,
    file: Option<OwnedFd>,
    size: u64,
    /// The size that no entry may exceed.
    limit: u64,
    /// Bytes that the log does not tell of yet.
    untold: u64,
    lost: u64,
    cause: Errno,
    retry_at: Option<Instant>,
}

impl LogFile {
    pub(super) fn new(settings: LogSettings) -> LogFile {
        let limit = settings.max_size.unwrap_or(u64::MAX);
        LogFile {
            settings,
            file: None,
            size: 0,
            limit,
            untold: 0,
            lost: 0,
            cause: Errno::NOSPC,
            retry_at: None,
        }
    }

    /// All bytes of the container that are in no log.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    /// Opens the file unless it is open.
    pub(super) fn open(&mut self) -> Result<(), LogError> {
        if self.file.is_none() { self.reopen() } else { Ok(()) }
    }

    /// Opens the file by its name and goes on there. On failure the old one stays.
    pub(super) fn reopen(&mut self) -> Result<(), LogError> {
        let file = open(&self.settings.path)?;
        let stat = rustix::fs::fstat(&file).map_err(LogError::open(&self.settings.path))?;
        self.size = stat.st_size.unsigned_abs();
        self.limit = self.settings.max_size.unwrap_or(u64::MAX);
        self.file = Some(file);
        self.retry_at = None;
        Ok(())
    }

    /// Puts an entry into the batch, writing what was there and rotating as needed.
    pub(super) fn add(&mut self, batch: &mut Batch, line: &Line<'_>) {
        let length = line.length() as u64;
        if !batch.has_room(line) || self.size + batch.length() as u64 + length > self.limit {
            self.write(batch);
        }
        // Its size is known once the file is open.
        if self.settings.max_size.is_some()
            && self.ready().is_ok()
            && self.size > 0
            && self.size + batch.length() as u64 + length > self.limit
        {
            self.rotate();
        }
        batch.push(line);
    }

    /// Writes a batch and empties it. What cannot be written is counted.
    pub(super) fn write(&mut self, batch: &mut Batch) {
        if batch.is_empty() {
            return;
        }
        self.tell_losses();
        let result = match self.ready() {
            Ok(file) => batch.write_to(file),
            Err(errno) => Err(batch.failed(errno)),
        };
        match result {
            Ok(()) => self.size += batch.length() as u64,
            Err(failed) => self.failed(&failed),
        }
        batch.clear();
    }

    /// Writes an entry about what was lost, if anything was and something can be written again.
    pub(super) fn tell_losses(&mut self) {
        if self.untold == 0 {
            return;
        }
        let text = format!("hull: {} bytes of output were lost: {}\n", self.untold, self.cause);
        let Ok(file) = self.ready() else { return };
        let headers = Headers::new(&stamp(since_epoch()), Stream::Stderr);
        let mut batch = Batch::default();
        Cutter::new(&headers, b"", text.as_bytes()).for_each(|line| batch.push(&line));
        match batch.write_to(file) {
            Ok(()) => {
                self.size += batch.length() as u64;
                self.untold = 0;
            }
            Err(failed) => self.failed(&Failed { lost: 0, ..failed }),
        }
    }

    /// The file, opened if need be; not shortly after a failure.
    fn ready(&mut self) -> Result<&OwnedFd, Errno> {
        if let Some(retry_at) = self.retry_at {
            if Instant::now() < retry_at {
                return Err(self.cause);
            }
            self.retry_at = None;
        }
        if self.file.is_none()
            && let Err(error) = self.reopen()
        {
            self.retry_at = Some(Instant::now() + RETRY);
            self.cause = error.errno();
        }
        self.file.as_ref().ok_or(self.cause)
    }

    fn failed(&mut self, failed: &Failed) {
        self.size += failed.written as u64;
        self.untold += failed.lost as u64;
        self.lost += failed.lost as u64;
        self.cause = failed.errno;
        self.retry_at.get_or_insert_with(|| Instant::now() + RETRY);
    }

    /// Renames `log` to `log.1`, `log.1` to `log.2` and so on, and begins a new file.
    fn rotate(&mut self) {
        match shift(&self.settings.path, self.settings.max_files) {
            Ok(()) => {
                // Opened by the next write; if that fails, lines are lost rather than written to an old file.
                self.file = None;
                self.size = 0;
            }
            // Not at every entry: each attempt may push the oldest file out.
            Err(_) => self.limit = self.size.saturating_add(self.settings.max_size.unwrap_or(u64::MAX)),
        }
    }
}

/// Makes room for a new file at `path`; `files` are to be there afterwards, the new one included.
fn shift(path: &Path, files: u32) -> Result<(), Errno> {
    if rustix::fs::access(path, rustix::fs::Access::EXISTS) == Err(Errno::NOENT) {
        // Somebody took the file away, and with it what we wrote: there is room, and the older ones stay.
        return Ok(());
    }
    let Some(oldest) = files.checked_sub(1).filter(|oldest| *oldest > 0) else {
        return rustix::fs::unlink(path);
    };
    for number in (1..oldest).rev() {
        match rustix::fs::rename(rotated(path, number), rotated(path, number + 1)) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    rustix::fs::rename(path, rotated(path, 1))
}

/// The name of the file that was rotated `number` times.
pub(super) fn rotated(path: &Path, number: u32) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{number}"));
    name.into()
}

/// Opens a log for appending. No link is followed, nothing but a regular file is taken, and a FIFO in its place
/// does not block.
fn open(path: &Path) -> Result<OwnedFd, LogError> {
    /// An existing file can vanish before it is opened, and another appear.
    const ATTEMPTS: usize = 8;
    let mode = Mode::from_raw_mode(0o640);
    let append = OFlags::WRONLY
        | OFlags::APPEND
        | OFlags::NOFOLLOW
        | OFlags::NONBLOCK
        | OFlags::NOCTTY
        | OFlags::CLOEXEC;
    let open = |flags, mode| rustix::fs::openat2(CWD, path, append | flags, mode, ResolveFlags::NO_SYMLINKS);
    for _ in 0..ATTEMPTS {
        match open(OFlags::CREATE | OFlags::EXCL, mode) {
            Ok(file) => {
                // Whatever mask we were started with.
                rustix::fs::fchmod(&file, mode).map_err(LogError::open(path))?;
                return Ok(file);
            }
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(LogError::open(path)(errno)),
        }
        match open(OFlags::empty(), Mode::empty()) {
            Ok(file) => {
                let stat = rustix::fs::fstat(&file).map_err(LogError::open(path))?;
                if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                    return Err(LogError::Irregular { path: path.to_owned() });
                }
                return Ok(file);
            }
            Err(Errno::NOENT) => {}
            // A FIFO without reader, a device without driver.
            Err(Errno::NXIO | Errno::ISDIR | Errno::NODEV) => {
                return Err(LogError::Irregular { path: path.to_owned() });
            }
            Err(errno) => return Err(LogError::open(path)(errno)),
        }
    }
    Err(LogError::open(path)(Errno::AGAIN))
}
