//! Settings of a new process that its parent writes, and the pid file.

use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};

use crate::error::{Error, Result};

/// Sets the preference of the out-of-memory killer. Lowering it takes a right that the machine may withhold: then
/// it stays what it is, and the words to say so are returned.
pub(crate) fn set_oom_score_adj(pid: i32, wanted: i32) -> Result<Option<String>> {
    let path = format!("/proc/{pid}/oom_score_adj");
    match write_file(&path, &wanted.to_string()) {
        Ok(()) => Ok(None),
        Err(Error::System { source: rustix::io::Errno::ACCESS | rustix::io::Errno::PERM, .. }) => {
            Ok(Some(format!("process.oomScoreAdj: the machine does not allow {wanted}")))
        }
        Err(error) => Err(error),
    }
}

/// Writes a file of the kernel's in one call.
pub(super) fn write_file(path: &str, text: &str) -> Result<()> {
    let file = rustix::fs::openat(CWD, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(Error::system("open", path))?;
    rustix::io::write(&file, text.as_bytes()).map(drop).map_err(Error::system("write", path))
}

/// Writes the pid so that a reader never finds half of it.
pub(super) fn write_pid_file(path: &Path, pid: i32) -> Result<()> {
    let fail = |operation| Error::system(operation, path.to_string_lossy());
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    // What somebody else may have put there is not written through.
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, Path::new(&new), flags, Mode::from_raw_mode(0o644))
        .map_err(fail("create"))?;
    rustix::io::write(&file, pid.to_string().as_bytes()).map_err(fail("write"))?;
    rustix::fs::rename(Path::new(&new), path).map_err(fail("rename"))
}
