//! Starting a monitor that outlives its caller: `roci monitor --detach`.
//!
//! The program returns once the monitor listens, or says why it does not; the monitor itself is then nobody's child but
//! that of the machine's first process, in the cgroup `/hull/monitors`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::client::{Client, ClientError};
use crate::container::roci_path;

/// What a detached monitor is for.
#[derive(Debug, Clone)]
pub struct Detached {
    /// Id of its pod or of its only container.
    pub id: String,
    /// The folder of the runtime's records (`<state>/oci`).
    pub state_root: PathBuf,
    /// Where it listens.
    pub socket: PathBuf,
    /// For one container: it ends with that, and removes what the two fields below name. Otherwise it is a pod's, and
    /// ends when it is told to.
    pub standalone: bool,
    /// Its attachment to a network, released after its end; a file that may be missing.
    pub network: Option<PathBuf>,
    /// A folder (`<root>/containers/<id>`) that goes by way of `<root>/trash` after its end.
    pub remove: Option<PathBuf>,
}

/// Why there is no monitor.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The program could not be started.
    #[error("cannot execute the runtime {}: {source}", program.display())]
    Execute {
        /// The program.
        program: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It ended with a message instead of a monitor.
    #[error("cannot start a monitor: {message}")]
    Refused {
        /// What it said.
        message: String,
    },
    /// It started and cannot be talked to.
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl Detached {
    /// Starts the monitor and opens a conversation with it.
    pub fn start(&self) -> Result<Client, StartError> {
        let program = roci_path();
        let output = Command::new(&program)
            .args(self.arguments())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .output()
            .map_err(|source| StartError::Execute { program, source })?;
        if !output.status.success() {
            let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(StartError::Refused { message });
        }
        Ok(Client::connect(&self.socket)?)
    }

    fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["--root".into(), self.state_root.clone().into()];
        arguments.extend(["monitor", "--detach", "--id", &self.id].map(OsString::from));
        let paths = [
            ("--socket", Some(&self.socket)),
            ("--network", self.network.as_ref()),
            ("--remove", self.remove.as_ref()),
        ];
        for (option, path) in paths {
            arguments.extend(path.into_iter().flat_map(|path| [option.into(), path.clone().into()]));
        }
        if self.standalone {
            arguments.push("--standalone".into());
        }
        arguments
    }
}
