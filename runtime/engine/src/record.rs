//! `container.json`: who a container is. How it lives is elsewhere ([`crate::State`]).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use image::digest::Digest;
use runtime::network::PortMapping;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::files::{self, Durability};
use crate::id::short;

/// What this program writes, and the newest that it understands.
///
/// 1: foreground containers. 2: networks, pods, restarts; a program that only knows 1 would forget to release those.
pub(crate) const VERSION: u32 = 2;

const NAME: &str = "container.json";

/// `container.json`. What version 1 did not have may be missing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Format of this file.
    pub version: u32,
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name, if it is not one of Kubernetes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Manifest of its image.
    pub image: Digest,
    /// The image as the user called it.
    pub image_name: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// When it was made, RFC 3339.
    pub created: String,
    /// Whether it goes when it has ended (`--rm`).
    pub remove: bool,
    /// Its host name; its short id where nobody chose one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Labels, its image's among them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Ports of the host that lead to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortMapping>,
    /// Ports that its image or user only mentions, as `8888/tcp`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exposed: Vec<String>,
    /// Which network it sees.
    #[serde(default)]
    pub network: NetworkMode,
    /// Lines of its `/etc/hosts` beyond its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extra_hosts: Vec<(String, IpAddr)>,
    /// Its name servers, instead of the host's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<IpAddr>,
    /// Its standard input takes what attached callers write.
    #[serde(default)]
    pub interactive: bool,
    /// It has a terminal.
    #[serde(default)]
    pub tty: bool,
    /// The signal that asks it to end; SIGTERM when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// Seconds until one that ignores the signal is killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<u64>,
    /// How its log is kept.
    #[serde(default)]
    pub log: LogSettings,
    /// What Kubernetes knows of it, if it belongs to a pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cri: Option<CriContainer>,
}

/// Which network a container sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// Only `lo`.
    #[default]
    None,
    /// The host's.
    Host,
    /// Our own network, by which it reaches the world.
    Bridge,
    /// Its pod's.
    Pod,
}

impl NetworkMode {
    /// Its name as docker prints it.
    pub fn as_str(self) -> &'static str {
        match self {
            NetworkMode::None => "none",
            NetworkMode::Host => "host",
            NetworkMode::Bridge => "bridge",
            NetworkMode::Pod => "pod",
        }
    }
}

/// How the log of a container outside of Kubernetes is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSettings {
    /// Length in bytes after which it is rotated; never when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_size: Option<u64>,
    /// How many files it has at most.
    pub max_files: u32,
}

impl Default for LogSettings {
    /// A container that floods its log fills 128 MiB and no disk.
    fn default() -> LogSettings {
        LogSettings { max_size: Some(64 << 20), max_files: 2 }
    }
}

/// What Kubernetes says of a container. What only `rcri` reads is in `config`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CriContainer {
    /// The pod's id, whose monitor it has.
    pub sandbox_id: String,
    /// Its name within the pod.
    pub name: String,
    /// How often the kubelet has made it before.
    #[serde(default)]
    pub attempt: u32,
    /// The pod's name.
    pub pod_name: String,
    /// The pod's namespace.
    pub pod_namespace: String,
    /// The pod's unique id.
    pub pod_uid: String,
    /// Its log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_path: Option<PathBuf>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Everything else.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub config: Value,
}

impl Record {
    /// A record of this version, of a container without network that stays when it has ended.
    pub fn new(id: &str, image: Digest, image_name: &str, command: &[String]) -> Record {
        Record {
            version: VERSION,
            id: id.to_owned(),
            name: None,
            image,
            image_name: image_name.to_owned(),
            command: command.to_vec(),
            created: runtime::container::now(),
            remove: false,
            hostname: None,
            labels: BTreeMap::new(),
            ports: Vec::new(),
            exposed: Vec::new(),
            network: NetworkMode::None,
            extra_hosts: Vec::new(),
            dns: Vec::new(),
            interactive: false,
            tty: false,
            stop_signal: None,
            stop_timeout: None,
            log: LogSettings::default(),
            cri: None,
        }
    }

    /// What people call it: its name, or docker's name for a container of Kubernetes.
    pub fn shown_name(&self) -> String {
        match (&self.name, &self.cri) {
            (Some(name), _) => name.clone(),
            (None, Some(cri)) => format!(
                "k8s_{}_{}_{}_{}_{}",
                cri.name, cri.pod_name, cri.pod_namespace, cri.pod_uid, cri.attempt
            ),
            (None, None) => short(&self.id).to_owned(),
        }
    }

    /// The name that it has for itself.
    pub fn shown_hostname(&self) -> String {
        match (&self.hostname, self.network) {
            (Some(name), _) => name.clone(),
            (None, NetworkMode::Host) => rustix::system::uname().nodename().to_string_lossy().into_owned(),
            (None, _) => short(&self.id).to_owned(),
        }
    }

    /// Replaces the record in `folder`.
    pub fn write(&self, folder: &Path) -> Result<()> {
        files::write_record(&folder.join(NAME), self, self.durability())
    }

    /// What goes when it ends need not outlive a power cut, which ends it. Neither need one of Kubernetes, which is never
    /// started again; but a record that nobody can read would stay for ever.
    pub(crate) fn durability(&self) -> Durability {
        match (self.remove, &self.cri) {
            (true, _) => Durability::Eventual,
            (false, Some(_)) => Durability::Whole,
            (false, None) => Durability::Synced,
        }
    }

    /// Reads the record in `folder`; `None` where its maker was killed before there was one. What it says of its own
    /// place counts for nothing.
    pub fn read(folder: &Path) -> Result<Option<Record>> {
        let record: Option<Record> = files::read_record(&folder.join(NAME), VERSION)?;
        let id = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        Ok(record.map(|record| Record { id: id.to_owned(), ..record }))
    }

    /// Fails if it is one of Kubernetes; `name` is what the caller calls it.
    pub fn refuse_cri(&self, name: &str) -> Result<()> {
        match &self.cri {
            Some(cri) => Err(Error::OfPod {
                name: name.to_owned(),
                pod: format!("{}/{}", cri.pod_namespace, cri.pod_name),
            }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_version_1_is_still_read() {
        let folder = tempfile::tempdir().unwrap();
        let old = format!(
            r#"{{"version":1,"id":"x","image":"{}","image_name":"busybox","command":["true"],
               "created":"2026-01-01T00:00:00Z","remove":true}}"#,
            Digest::of(b"image")
        );
        std::fs::write(folder.path().join(NAME), old).unwrap();
        let record = Record::read(folder.path()).unwrap().unwrap();
        assert_eq!(
            (record.network, record.log, record.remove),
            (NetworkMode::None, LogSettings::default(), true)
        );
        assert_eq!(record.id, folder.path().file_name().unwrap().to_str().unwrap());
    }

    #[test]
    fn all_of_it_survives_its_file() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("ab12");
        std::fs::create_dir(&folder).unwrap();
        let mut record = Record::new("ab12", Digest::of(b"image"), "busybox", &["true".to_owned()]);
        record.network = NetworkMode::Bridge;
        record.extra_hosts = vec![("db".to_owned(), "10.0.0.1".parse().unwrap())];
        record.cri = Some(CriContainer {
            name: "web".to_owned(),
            pod_name: "shop".to_owned(),
            pod_namespace: "default".to_owned(),
            pod_uid: "u-1".to_owned(),
            attempt: 2,
            config: serde_json::json!({"mounts": []}),
            ..CriContainer::default()
        });
        record.write(&folder).unwrap();
        assert_eq!(Record::read(&folder).unwrap(), Some(record.clone()));
        assert_eq!(record.shown_name(), "k8s_web_shop_default_u-1_2");
        assert!(record.refuse_cri("web").unwrap_err().to_string().contains("default/shop"));
    }
}
