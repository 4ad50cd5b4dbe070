//! The agent that answers the calls which a container's filter hands over (runtime-spec, "The Container Process State").

use std::os::fd::{AsFd, OwnedFd};

use oci_spec::runtime::LinuxSeccomp;
use serde::Serialize;

use super::State;
use super::console::connect;
use crate::error::{Error, Result};
use crate::fault;
use crate::init::send_with;
use crate::security::seccomp::Program;

/// A connection to the agent, made before anything is created.
#[derive(Debug)]
pub(super) struct Agent {
    socket: OwnedFd,
    metadata: String,
}

/// What the agent is told; the descriptor travels beside it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProcessState<'a> {
    oci_version: &'a str,
    fds: [&'static str; 1],
    pid: i32,
    #[serde(skip_serializing_if = "str::is_empty")]
    metadata: &'a str,
    state: &'a State,
}

impl Agent {
    /// Connects to the agent that the profile names, if its filter hands anything over.
    pub(super) fn open(profile: Option<&LinuxSeccomp>, filter: Option<&Program>) -> Result<Option<Agent>> {
        let Some(profile) = profile.filter(|_| filter.is_some_and(Program::has_listener)) else {
            return Ok(None);
        };
        let path = profile.listener_path().as_deref().unwrap_or(std::path::Path::new(""));
        let socket = connect(path).map_err(|error| Error::Spec {
            path: "linux.seccomp.listenerPath".to_owned(),
            reason: format!("failed to connect with seccomp agent: {error}"),
        })?;
        Ok(Some(Agent { socket, metadata: profile.listener_metadata().clone().unwrap_or_default() }))
    }

    /// Hands the listener of process `pid` to the agent.
    pub(super) fn hand_over(&self, listener: &OwnedFd, pid: i32, state: &State) -> Result<()> {
        let told = ProcessState {
            oci_version: &state.oci_version,
            fds: ["seccompFd"],
            pid,
            metadata: &self.metadata,
            state,
        };
        let text = serde_json::to_vec(&told)
            .map_err(|error| Error::Argument { argument: "state".to_owned(), reason: error.to_string() })?;
        fault::point(18)?;
        send_with(self.socket.as_fd(), &text, Some(listener.as_fd()))
            .map_err(Error::system("send", "the listener to the seccomp agent"))?;
        fault::point(19)
    }
}
