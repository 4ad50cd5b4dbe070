//! Finding the command before the container counts as created, so that `create` can say that it is missing.

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{Access, CWD, FileType};
use rustix::io::Errno;

use super::protocol::{CommandFailure, CommandReason};

/// The file to execute for `command`, as the process's user sees it.
///
/// A name without a slash is searched in the PATH of the process's own environment, never ours.
pub(super) fn find(command: &CStr, environment: &[CString]) -> Result<CString, CommandFailure> {
    let refuse = |reason| CommandFailure { reason, command: command.to_string_lossy().into_owned() };
    if command.to_bytes().contains(&b'/') {
        return match executable(command) {
            Ok(()) => Ok(command.to_owned()),
            Err(errno) => Err(refuse(reason_of(errno))),
        };
    }
    let path = environment.iter().rev().find_map(|variable| variable.to_bytes().strip_prefix(b"PATH="));
    for folder in path.unwrap_or_default().split(|&byte| byte == b':') {
        // An empty entry means the working directory to shells; runc ignores it, and so do we.
        if folder.is_empty() {
            continue;
        }
        let candidate = Path::new(std::ffi::OsStr::from_bytes(folder))
            .join(std::ffi::OsStr::from_bytes(command.to_bytes()));
        let Ok(candidate) = CString::new(candidate.into_os_string().into_encoded_bytes()) else { continue };
        if executable(&candidate).is_ok() {
            return Ok(candidate);
        }
    }
    Err(refuse(CommandReason::NotInPath))
}

fn executable(path: &CStr) -> Result<(), Errno> {
    rustix::fs::accessat(CWD, path, Access::EXEC_OK, rustix::fs::AtFlags::EACCESS)?;
    let stat = rustix::fs::stat(path)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(()),
        FileType::Directory => Err(Errno::ISDIR),
        _ => Err(Errno::ACCESS),
    }
}

/// Why a file cannot be executed.
pub(super) fn reason_of(errno: Errno) -> CommandReason {
    match errno {
        Errno::NOENT | Errno::NOTDIR => CommandReason::Missing,
        Errno::ISDIR => CommandReason::IsDirectory,
        Errno::LOOP => CommandReason::Loop,
        Errno::NOEXEC => CommandReason::Format,
        _ => CommandReason::PermissionDenied,
    }
}
