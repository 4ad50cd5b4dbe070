//! `status.json`: how a container lives and ended, as its monitor writes it beside config.json.
//!
//! The monitor is its only writer while it holds the container's lock; whoever finds that lock free owns the remains and
//! writes the end that nobody saw ([`StatusRecord::lost`]). Written aside and renamed, never synced: a reboot ends the
//! container anyway, and the boot id says so. It is on disk before anybody is told.

use std::io::ErrorKind;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::process::{self, Exit};

/// The version that this program writes; a newer one is refused.
const VERSION: u32 = 1;
const NAME: &str = "status.json";
const NEW_NAME: &str = "status.json.new";
/// Longest file that is read, in bytes.
const LONGEST: u64 = 64 << 10;
/// Shortest file that is written: one that says that a container runs has room for its end, should the disk be full then.
const SHORTEST: usize = 512;

/// The code of a container whose end nobody saw.
pub const LOST: u8 = 255;

/// What a monitor has to say about a container. Times are nanoseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusRecord {
    /// Format version.
    pub version: u32,
    /// The boot in which the rest holds.
    pub boot: String,
    /// The first process, while it runs; 0 otherwise.
    #[serde(default)]
    pub pid: i32,
    /// When its command was executed; 0 if it never was.
    #[serde(default)]
    pub started: i64,
    /// When it had ended; 0 before.
    #[serde(default)]
    pub finished: i64,
    /// Its exit code, once it has ended: the command's own, or 128 and the signal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u8>,
    /// The kernel's out-of-memory killer hit one of its processes.
    #[serde(default)]
    pub oom_killed: bool,
    /// Why its command was never executed, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// Its monitor was killed, so how it ended is not known.
    #[serde(default)]
    pub lost: bool,
}

impl StatusRecord {
    /// A container whose command runs since now.
    pub fn running(pid: i32) -> Result<StatusRecord> {
        Ok(StatusRecord {
            version: VERSION,
            boot: process::boot_id()?,
            pid,
            started: now(),
            ..StatusRecord::default()
        })
    }

    /// A container whose command could not be executed.
    pub fn failed(exit_code: u8, failure: String) -> Result<StatusRecord> {
        Ok(StatusRecord {
            version: VERSION,
            boot: process::boot_id()?,
            finished: now(),
            exit_code: Some(exit_code),
            failure: Some(failure),
            ..StatusRecord::default()
        })
    }

    /// The same container when it has ended.
    pub fn ended(mut self, exit: Exit, oom_killed: bool) -> StatusRecord {
        self.pid = 0;
        self.finished = now().max(self.started);
        self.exit_code = Some(exit.code());
        self.oom_killed = oom_killed;
        self
    }

    /// The same container when nobody was there to see its end.
    pub fn lost(mut self) -> StatusRecord {
        self.version = VERSION;
        self.pid = 0;
        self.finished = now().max(self.started);
        self.exit_code = Some(LOST);
        self.lost = true;
        self
    }

    /// Has it ended, in whatever way?
    pub fn has_ended(&self) -> bool {
        self.exit_code.is_some()
    }

    /// Writes it into the container's folder, so that a reader finds the old or the new one. On a full disk it is written over
    /// the old one, which it fits into: half a record is read by nobody, as it is one small write.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let new = folder.join(NEW_NAME);
        let mut text = serde_json::to_vec(self)
            .map_err(|error| Error::Record { path: new.clone(), reason: error.to_string() })?;
        text.resize(text.len().max(SHORTEST), b' ');
        let Err(error) = write_aside(&text, &new, &folder.join(NAME)) else { return Ok(()) };
        // What is there of it takes room that somebody else may use.
        let _ = rustix::fs::unlink(&new);
        match error {
            Error::System { source: Errno::NOSPC | Errno::DQUOT, .. }
                if overwrite(&text, &folder.join(NAME)).is_ok() =>
            {
                Ok(())
            }
            error => Err(error),
        }
    }

    /// Reads it; `None` if the container was never started.
    pub fn read(folder: &Path) -> Result<Option<StatusRecord>> {
        use std::io::Read;
        let path = folder.join(NAME);
        let damaged = |reason: String| Error::Record { path: path.clone(), reason };
        let file = match std::fs::File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(damaged(error.to_string())),
        };
        // Read by one call, so that one that is being overwritten is the old or the new one.
        let mut text = Vec::with_capacity(8 * SHORTEST);
        file.take(LONGEST).read_to_end(&mut text).map_err(|error| damaged(error.to_string()))?;
        let record: StatusRecord =
            serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        if record.version > VERSION {
            return Err(damaged(format!(
                "version {} is newer than {VERSION}, which this program knows",
                record.version
            )));
        }
        Ok(Some(record))
    }

    /// Forgets how a container lived before, when it is started again.
    pub fn remove(folder: &Path) -> Result<()> {
        match rustix::fs::unlink(folder.join(NAME)) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(Error::system("remove", folder.join(NAME).to_string_lossy())(errno)),
        }
    }
}

fn write_aside(text: &[u8], new: &Path, path: &Path) -> Result<()> {
    let fail = |operation| Error::system(operation, new.to_string_lossy());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, new, flags, Mode::RUSR | Mode::WUSR).map_err(fail("create"))?;
    let written = rustix::io::write(&file, text).map_err(fail("write"))?;
    if written != text.len() {
        return Err(fail("write")(Errno::NOSPC));
    }
    rustix::fs::rename(new, path).map_err(fail("rename"))
}

/// Writes over a file that is as long as `text`.
fn overwrite(text: &[u8], path: &Path) -> Result<(), Errno> {
    let file =
        rustix::fs::openat(CWD, path, OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    if rustix::fs::fstat(&file)?.st_size.unsigned_abs() != text.len() as u64 {
        return Err(Errno::FBIG);
    }
    match rustix::io::pwrite(&file, text, 0)? {
        written if written == text.len() => Ok(()),
        _ => Err(Errno::IO),
    }
}

/// Nanoseconds since 1970.
pub fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_is_written_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(StatusRecord::read(folder.path()).unwrap(), None);
        let running = StatusRecord::running(7).unwrap();
        running.write(folder.path()).unwrap();
        assert!(!StatusRecord::read(folder.path()).unwrap().unwrap().has_ended());
        let ended = running.clone().ended(Exit::Signal(9), true);
        ended.write(folder.path()).unwrap();
        let read = StatusRecord::read(folder.path()).unwrap().unwrap();
        assert_eq!((read.exit_code, read.oom_killed, read.pid), (Some(137), true, 0));
        assert!(read.finished >= read.started);
        assert_eq!(running.lost().exit_code, Some(LOST));
        StatusRecord::remove(folder.path()).unwrap();
        StatusRecord::remove(folder.path()).unwrap();
    }

    #[test]
    fn what_cannot_be_understood_is_an_error_with_the_file() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["", "{", r#"{"version":99,"boot":"x"}"#] {
            std::fs::write(folder.path().join(NAME), text).unwrap();
            assert!(StatusRecord::read(folder.path()).unwrap_err().to_string().contains(NAME));
        }
    }
}
