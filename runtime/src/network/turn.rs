//! One plugin at a time for each attachment, also after whoever called it was killed.
//!
//! A plugin that is killed in the middle leaves something that its own DEL may not understand, and one that goes on
//! while others already undo leaves what it sets up last. So a plugin whose caller dies goes on, and the next caller
//! waits for it: the plugin's input is a locked file, and the lock is held by whoever has that very opening of it,
//! which from the start of the plugin is the plugin alone. One that does not end by itself is then found by its input,
//! and killed with its process group.
//!
//! Callers that are alive keep each other away by locks of their own; nobody takes a turn from them.

use std::fs::{File, OpenOptions};
use std::io::{Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};

use super::error::{Error, Result, errno};

/// How often a held lock is tried again.
const PAUSE: Duration = Duration::from_millis(5);

/// Waits for the turn at `path` and makes `input` the content of the file. What is returned is to become the input of
/// a plugin. A plugin that still runs gets `grace` to end.
pub(super) fn take(path: &Path, input: &[u8], grace: Duration) -> Result<File> {
    let fail = |operation| move |error| Error::system(operation, path.display())(errno(&error));
    loop {
        let mut options = OpenOptions::new();
        // Not truncated: it may be what a plugin is about to read.
        let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.custom_flags(libc::O_NOFOLLOW).open(path).map_err(fail("open"))?;
        if !locked_within(&file, path, grace)? {
            kill_readers(&file).map_err(fail("find who reads"))?;
            if !locked_within(&file, path, grace)? {
                return Err(Error::system("end the plugin that still reads", path.display())(Errno::BUSY));
            }
        }
        if file.metadata().map_err(fail("examine"))?.nlink() == 0 {
            // The attachment was undone meanwhile, and the file went with it.
            continue;
        }
        let written = file.set_len(0).and_then(|()| file.write_all(input)).and_then(|()| file.rewind());
        return written.map(|()| file).map_err(fail("write"));
    }
}

fn locked_within(file: &File, path: &Path, grace: Duration) -> Result<bool> {
    let deadline = Instant::now() + grace;
    loop {
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK) if Instant::now() >= deadline => return Ok(false),
            Err(Errno::WOULDBLOCK) => std::thread::sleep(PAUSE),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::system("lock", path.display())(errno)),
        }
    }
}

/// Kills every process whose input is `file`.
fn kill_readers(file: &File) -> std::io::Result<()> {
    let wanted = file.metadata()?;
    let reads = |pid: Pid| {
        let input = std::fs::metadata(format!("/proc/{pid}/fd/0"));
        input.is_ok_and(|input| (input.dev(), input.ino()) == (wanted.dev(), wanted.ino()))
    };
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.parse().ok());
        let Some(pid) = number.and_then(Pid::from_raw).filter(|pid| reads(*pid)) else { continue };
        let Ok(process) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { continue };
        // Asked again, now that the number is held: it could have become somebody else's.
        if !reads(pid) {
            continue;
        }
        if rustix::process::getpgid(Some(pid)) == Ok(pid) {
            let _ = rustix::process::kill_process_group(pid, Signal::KILL);
        }
        let _ = rustix::process::pidfd_send_signal(&process, Signal::KILL);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::process::{Child, Command};

    use super::*;

    /// A plugin whose caller is no more: nobody but it has the file.
    fn orphan(input: File, seconds: &str) -> Child {
        Command::new("sleep").arg(seconds).stdin(input).process_group(0).spawn().unwrap()
    }

    #[test]
    fn a_plugin_that_still_runs_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("call");
        let mut child = orphan(take(&path, b"a longer input", Duration::ZERO).unwrap(), "0.3");
        let mut file = take(&path, b"second", Duration::from_secs(20)).unwrap();
        assert!(child.wait().unwrap().success());
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "second");
    }

    #[test]
    fn one_that_does_not_end_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("call");
        let mut child = orphan(take(&path, b"", Duration::ZERO).unwrap(), "1000");
        take(&path, b"", Duration::from_millis(300)).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9));
    }

    #[test]
    fn a_file_that_was_removed_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("call");
        let first = take(&path, b"1", Duration::ZERO).unwrap();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| take(&path, b"2", Duration::from_secs(20)).unwrap());
            std::thread::sleep(Duration::from_millis(50));
            std::fs::remove_file(&path).unwrap();
            drop(first);
            assert_eq!(second.join().unwrap().metadata().unwrap().nlink(), 1);
        });
        assert_eq!(std::fs::read(&path).unwrap(), b"2");
    }
}
