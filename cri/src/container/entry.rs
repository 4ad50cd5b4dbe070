//! One container in memory, and its way to disk and back.

use std::path::PathBuf;

use engine::{CriContainer, Record, State, short};
use image::digest::Digest;
use k8s_cri::v1::{ContainerConfig, ContainerMetadata, ContainerState, LinuxContainerUser};
use runtime::cgroup::CgroupPath;
use runtime::monitor::status_record::StatusRecord;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::stop::Stop;
use crate::encoded::Encoded;
use crate::error::{Error, Result};
use crate::node::{ContainerName, Node};
use crate::sandbox::Pod;

/// The exit code of a container whose command could not be executed, as containerd reports it.
const START_FAILED: i32 = 128;

/// A container. What it was asked to be never changes; how it is does.
#[derive(Debug)]
pub struct Container {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its pod.
    pub pod: String,
    /// As the kubelet asked for it.
    pub config: ContainerConfig,
    /// Its image.
    pub image: ImageUse,
    /// Nanoseconds since 1970.
    pub created_at: i64,
    /// Who its first process runs as.
    pub user: LinuxContainerUser,
    /// Its cgroup.
    pub cgroup: CgroupPath,
    /// Its log, if it has one.
    pub log_path: Option<PathBuf>,
    /// What asks it to end.
    pub stop_signal: u32,
    /// Why it cannot be started, when that is known already. Its creation succeeds all the same: the kubelet takes a
    /// program that is not there for the end of the container, and a failed creation for something that may pass.
    pub broken: Option<Broken>,
    /// What stops it, if anybody does.
    pub stop: Stop,
    state: watch::Sender<State>,
}

/// A command that cannot be executed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Broken {
    /// The exit code of such a command.
    pub code: u8,
    /// Why.
    pub reason: String,
}

/// An image as a container uses it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageUse {
    /// The one identifier: `sha256:` and the digest of the config.
    pub id: String,
    /// What users see: a name with a digest if there is one, else the id.
    pub reference: String,
    /// A name of the image, or what was asked for.
    pub name: String,
}

/// What only we read of a container's record.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    created_at: i64,
    config: Encoded<ContainerConfig>,
    image: ImageUse,
    stop_signal: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    broken: Option<Broken>,
}

/// What a container is made of; see the fields of [`Container`].
#[derive(Debug)]
#[allow(missing_docs)]
pub struct Parts {
    pub id: String,
    pub config: ContainerConfig,
    pub image: ImageUse,
    pub created_at: i64,
    pub log_path: Option<PathBuf>,
    pub stop_signal: u32,
    pub broken: Option<Broken>,
}

impl Container {
    /// A container of `pod` that has just been made.
    pub fn new(parts: Parts, pod: &Pod, user: LinuxContainerUser) -> Result<Container> {
        Ok(Container {
            cgroup: pod.cgroup_of(&parts.id)?,
            id: parts.id,
            pod: pod.id.clone(),
            config: parts.config,
            image: parts.image,
            created_at: parts.created_at,
            user,
            log_path: parts.log_path,
            stop_signal: parts.stop_signal,
            broken: parts.broken,
            stop: Stop::default(),
            state: watch::Sender::new(State::Created),
        })
    }

    /// The container of a record.
    pub fn from_record(
        record: Record,
        cri: CriContainer,
        pod: &Pod,
        user: LinuxContainerUser,
    ) -> Result<Container> {
        let kept: Kept = serde_json::from_value(cri.config).map_err(|error| damaged(&record.id, &error))?;
        let parts = Parts {
            id: record.id,
            config: kept.config.0,
            image: kept.image,
            created_at: kept.created_at,
            log_path: cri.log_path,
            stop_signal: kept.stop_signal,
            broken: kept.broken,
        };
        Container::new(parts, pod, user)
    }

    /// What is to be known of it when everything else is gone.
    pub fn record(parts: &Parts, pod: &Pod, manifest: Digest, command: &[String]) -> Result<Record> {
        let ContainerMetadata { name, attempt } = parts.config.metadata.clone().unwrap_or_default();
        let of_pod = pod.metadata();
        let kept = Kept {
            created_at: parts.created_at,
            config: Encoded(parts.config.clone()),
            image: parts.image.clone(),
            stop_signal: parts.stop_signal,
            broken: parts.broken.clone(),
        };
        let mut record = Record::new(&parts.id, manifest, &parts.image.name, command);
        record.labels = parts.config.labels.clone().into_iter().collect();
        record.network =
            if pod.has_host_network() { engine::NetworkMode::Host } else { engine::NetworkMode::Pod };
        record.interactive = parts.config.stdin;
        record.tty = parts.config.tty;
        record.cri = Some(CriContainer {
            sandbox_id: pod.id.clone(),
            name,
            attempt,
            pod_name: of_pod.name,
            pod_namespace: of_pod.namespace,
            pod_uid: of_pod.uid,
            log_path: parts.log_path.clone(),
            annotations: parts.config.annotations.clone().into_iter().collect(),
            config: serde_json::to_value(&kept).map_err(|error| damaged(&parts.id, &error))?,
        });
        Ok(record)
    }

    /// Its name and attempt.
    pub fn metadata(&self) -> ContainerMetadata {
        self.config.metadata.clone().unwrap_or_default()
    }

    /// What no other container is called.
    pub fn name(&self) -> ContainerName {
        let ContainerMetadata { name, attempt } = self.metadata();
        (self.pod.clone(), name, attempt)
    }

    /// How it is.
    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Does it run?
    pub fn is_running(&self) -> bool {
        self.state.borrow().is_running()
    }

    /// Tells of every change from now on.
    pub fn changes(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Looks how it is.
    pub fn refresh(&self, node: &Node) -> Result<()> {
        self.advance(node.containers.state(&self.id)?);
        Ok(())
    }

    /// Takes a newer state. One that is over stays so, whatever an older look says.
    pub fn advance(&self, newer: State) {
        self.state.send_if_modified(|state| {
            let advances = rank(&newer) > rank(state);
            if advances {
                *state = newer;
            }
            advances
        });
    }

    /// Writes down that its start failed.
    pub fn fail_to_start(&self, node: &Node, broken: &Broken) -> Result<()> {
        let failed = StatusRecord::failed(broken.code, broken.reason.clone())?;
        failed.write(&node.containers.folder(&self.id))?;
        self.refresh(node)
    }

    /// Looks how it is after its pod was stopped. One that was never started never will be.
    pub fn settle_stopped(&self, node: &Node) -> Result<()> {
        self.refresh(node)?;
        if self.state() == State::Created {
            let reason = "the pod was stopped before the container was started".to_owned();
            self.fail_to_start(node, &Broken { code: START_FAILED as u8, reason })?;
        }
        Ok(())
    }

    /// For messages.
    pub fn short(&self) -> &str {
        short(&self.id)
    }
}

/// How a state looks to the kubelet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Where it is in its life.
    pub state: ContainerState,
    /// Its exit code, 0 before.
    pub exit_code: i32,
    /// Why it ended, in one word.
    pub reason: &'static str,
    /// Why it ended, for people.
    pub message: String,
}

impl From<&State> for Shown {
    fn from(state: &State) -> Shown {
        let shown = |state, exit_code, reason, message| Shown { state, exit_code, reason, message };
        match state {
            State::Created => shown(ContainerState::ContainerCreated, 0, "", String::new()),
            State::Running { .. } => shown(ContainerState::ContainerRunning, 0, "", String::new()),
            State::Lost { .. } => {
                shown(ContainerState::ContainerExited, 255, "Unknown", "its monitor was killed".to_owned())
            }
            State::Exited { failure: Some(failure), .. } => {
                shown(ContainerState::ContainerExited, START_FAILED, "StartError", failure.clone())
            }
            State::Exited { code, oom, .. } => {
                let reason = match (oom, code) {
                    (true, _) => "OOMKilled",
                    (false, 0) => "Completed",
                    (false, _) => "Error",
                };
                shown(ContainerState::ContainerExited, i32::from(*code), reason, String::new())
            }
        }
    }
}

/// Later in life is higher. One that is lost has ended once that was written down.
fn rank(state: &State) -> u8 {
    match state {
        State::Created => 0,
        State::Lost { finished: 0, .. } => 0,
        State::Running { .. } => 1,
        State::Exited { .. } | State::Lost { .. } => 2,
    }
}

fn damaged(id: &str, error: &serde_json::Error) -> Error {
    Error::Record { what: "container", id: id.to_owned(), reason: error.to_string() }
}

#[cfg(test)]
pub(super) mod tests {
    use k8s_cri::v1::PodSandboxConfig;

    use super::*;

    fn parts(broken: Option<Broken>) -> Parts {
        Parts {
            id: "c".repeat(64),
            config: ContainerConfig::default(),
            image: ImageUse::default(),
            created_at: 1,
            log_path: None,
            stop_signal: 15,
            broken,
        }
    }

    pub(in crate::container) fn container() -> Container {
        let parts = parts(None);
        let pod = Pod::new("a".repeat(64), PodSandboxConfig::default(), 1);
        Container::new(parts, &pod, LinuxContainerUser::default()).unwrap()
    }

    fn exited(code: u8, oom: bool, failure: Option<&str>) -> State {
        State::Exited { code, started: 1, finished: 2, oom, failure: failure.map(str::to_owned) }
    }

    #[test]
    fn a_command_that_cannot_run_is_remembered_on_disk() {
        let pod = Pod::new("a".repeat(64), PodSandboxConfig::default(), 1);
        let reason = "no such program".to_owned();
        let parts = parts(Some(Broken { code: 127, reason }));
        let record = Container::record(&parts, &pod, Digest::of(b"x"), &[]).unwrap();
        let cri = record.cri.clone().unwrap();
        let read = Container::from_record(record, cri, &pod, LinuxContainerUser::default()).unwrap();
        assert_eq!(read.broken, parts.broken);
    }

    #[test]
    fn a_state_only_advances() {
        let container = container();
        let running = State::Running { pid: 1, since: 1 };
        container.advance(State::Lost { started: 0, finished: 0 });
        assert_eq!(container.state(), State::Created);
        container.advance(running.clone());
        container.advance(State::Created);
        assert_eq!(container.state(), running);
        container.advance(exited(3, false, None));
        container.advance(running);
        container.advance(State::Lost { started: 1, finished: 2 });
        assert_eq!(container.state().exit_code(), Some(3));
    }

    #[test]
    fn ends_have_the_reasons_that_the_kubelet_knows() {
        for (state, code, reason) in [
            (exited(0, false, None), 0, "Completed"),
            (exited(3, false, None), 3, "Error"),
            (exited(137, true, None), 137, "OOMKilled"),
            (exited(0, true, None), 0, "OOMKilled"),
            (exited(127, false, Some("no such command")), 128, "StartError"),
            (State::Lost { started: 1, finished: 2 }, 255, "Unknown"),
            (State::Running { pid: 1, since: 1 }, 0, ""),
        ] {
            let shown = Shown::from(&state);
            assert_eq!((shown.exit_code, shown.reason), (code, reason), "{state:?}");
        }
    }
}
