//! Starting containers that outlive their starter: a monitor is left behind, and makes and runs the container.
//!
//! The container's folder has its lock, its config.json and, if it has one, its attachment to a network before; from
//! [`create`] on the monitor has a copy of the lock and releases all of that after the container's end.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use runtime::monitor::client::Client;
use runtime::monitor::detached::Detached;
use runtime::monitor::protocol::{Create, CreateFlags};
use runtime::monitor::status_record::StatusRecord;

use crate::containers::{Containers, network_file};
use crate::error::{Error, Result};
use crate::folder::Held;
use crate::record::{NetworkMode, Record};

/// Docker's exit code of a container that could not be started, where it is no matter of its command.
const OTHER_FAILURE: u8 = 128;

/// Where the log of a container outside of Kubernetes is.
pub fn log_file(folder: &Path) -> std::path::PathBuf {
    folder.join("log")
}

/// Starts a monitor and has it make the container up to its gate. The container is killed if this process ends before
/// it was started.
///
/// After a failure there is no monitor, what it was to release may be released already, and a container without --rm has
/// the reason on record.
pub fn create(containers: &Containers, record: &Record, held: &Held, root: &OwnedFd) -> Result<Client> {
    let mut client = Detached {
        id: record.id.clone(),
        state_root: containers.runtime_state(),
        socket: containers.socket(&record.id),
        standalone: true,
        network: (record.network == NetworkMode::Bridge).then(|| network_file(&held.path)),
        remove: record.remove.then(|| held.path.clone()),
    }
    .start()?;
    let (folder, log) = (held.path.clone(), log_file(&held.path));
    let text = |path: &Path| {
        let text = path.to_str().map(str::to_owned);
        text.ok_or_else(|| Error::Invalid(format!("the path {} is not UTF-8", path.display())))
    };
    let (folder, log) = (text(&folder)?, text(&log)?);
    let request = Create {
        container: &record.id,
        folder: &folder,
        log: Some(&log),
        log_size: record.log.max_size,
        log_files: record.log.max_files,
        flags: CreateFlags {
            terminal: record.tty,
            stdin: record.interactive,
            stdin_once: false,
            bound: true,
        },
    };
    match client.create(request, root.as_fd(), held.lock.as_fd()) {
        Ok(_) => Ok(client),
        Err(error) => {
            // It answers when it has released everything, or is gone, which is as good.
            let _ = client.shutdown();
            let error = Error::from(error);
            match record.remove {
                true => Err(error),
                false => {
                    let noted = note_failure(&error, &held.path);
                    Err(error.and_undo(noted))
                }
            }
        }
    }
}

/// Writes down why a container that stays could not be made, as the monitor does for one that could not be started.
fn note_failure(error: &Error, folder: &Path) -> Result<()> {
    let code = match error.exit_code() {
        code @ (126 | 127) => code,
        _ => OTHER_FAILURE,
    };
    Ok(StatusRecord::failed(code, error.to_string())?.write(folder)?)
}

/// Runs the command of a container that [`create`] made. After a failure the container is gone.
pub fn start(client: &mut Client, record: &Record) -> Result<()> {
    client.start(&record.id).map_err(|error| {
        let _ = client.shutdown();
        error.into()
    })
}
