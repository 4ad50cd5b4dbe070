//! What has to be remembered of one container on one network, so that anyone can undo it at any time.
//!
//! Written durably before the first plugin runs. The file stands for "something may be set up"; it goes when every
//! plugin has undone its part. The verbs are in [`super::verbs`].

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::config::NetworkConfig;
use super::error::{Error, Result};
use super::files::{self, Durability};
use super::plugins::Plugins;
use super::result::NetworkResult;
use super::{cache, capability, names, namespace};

/// The version that this program writes; a newer one is refused.
const VERSION: u32 = 1;
const LARGEST: u64 = 8 << 20;
/// The name that Kubernetes and docker give to a container's interface.
const INTERFACE: &str = "eth0";
const PATIENCE: Duration = Duration::from_secs(60);

/// One container on one network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// Format version.
    pub version: u32,
    /// The id that plugins know the container by.
    pub container_id: String,
    /// Where the container's network namespace is pinned.
    pub netns: PathBuf,
    /// The interface in the container.
    pub interface: String,
    /// `CNI_ARGS` in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<(String, String)>,
    /// Arguments by capability, as `portMappings`; a plugin gets those that it declares.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub capabilities: Map<String, Value>,
    /// The network, as it was when the container was attached.
    pub config: NetworkConfig,
    /// Where plugins are.
    pub plugin_folders: Vec<PathBuf>,
    /// Where results are kept.
    pub cache_folder: PathBuf,
    /// How long all plugins together may take for one verb.
    #[serde(default = "patience")]
    pub patience: Duration,
}

fn patience() -> Duration {
    PATIENCE
}

impl Attachment {
    /// An attachment as `eth0`, without arguments. Every plugin is looked for now, before there is anything to undo.
    pub fn new(
        container_id: impl Into<String>,
        netns: impl Into<PathBuf>,
        config: NetworkConfig,
        plugins: &Plugins,
        cache_folder: impl Into<PathBuf>,
    ) -> Result<Attachment> {
        plugins.find_all(&config)?;
        let attachment = Attachment {
            version: VERSION,
            container_id: container_id.into(),
            netns: netns.into(),
            interface: INTERFACE.to_owned(),
            args: Vec::new(),
            capabilities: Map::new(),
            config,
            plugin_folders: plugins.folders().to_vec(),
            cache_folder: cache_folder.into(),
            patience: PATIENCE,
        };
        attachment.check_values()?;
        Ok(attachment)
    }

    /// Writes the attachment so that it survives a power cut. To be done before [`Attachment::add`].
    pub fn write(&self, file: &Path) -> Result<()> {
        self.check_values()?;
        let bytes = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::Record { path: file.to_owned(), reason: error.to_string() })?;
        files::replace(file, &bytes, Durability::Synced)
    }

    /// Reads an attachment; `None` if there is none.
    pub fn read(file: &Path) -> Result<Option<Attachment>> {
        let Some(bytes) = files::read(file, LARGEST)? else { return Ok(None) };
        let refuse = |reason: String| Error::Record { path: file.to_owned(), reason };
        let version: Versioned = serde_json::from_slice(&bytes).map_err(|error| refuse(error.to_string()))?;
        if version.version > VERSION {
            return Err(refuse(format!(
                "version {} is newer than {VERSION}, which this program knows",
                version.version
            )));
        }
        let attachment: Attachment =
            serde_json::from_slice(&bytes).map_err(|error| refuse(error.to_string()))?;
        attachment.check_values()?;
        Ok(Some(attachment))
    }

    /// What ADD gave, as long as it is not undone; `None` if that is not known.
    pub fn result(&self) -> Option<NetworkResult> {
        let raw = cache::load(self)?.to_string();
        NetworkResult::parse(raw.as_bytes(), self.config.cni_version()).ok()
    }

    /// Every value that becomes part of a path or a variable is one that stays in its place, and plugins accept it.
    pub(super) fn check_values(&self) -> Result<()> {
        names::check("container id", &self.container_id)?;
        names::check_interface(&self.interface)?;
        capability::check(&self.capabilities)?;
        self.args.iter().try_for_each(|(key, value)| names::check_argument(key, value))
    }
}

/// The one field that every version has.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// Undoes the attachment in `file`: DEL of every plugin, then the namespace's pin, then the file.
///
/// A missing file is success. After a failure the file stays, and this is to be called again.
pub fn release(file: &Path) -> Result<()> {
    let Some(attachment) = Attachment::read(file)? else { return Ok(()) };
    attachment.delete()?;
    namespace::remove(&attachment.netns)?;
    files::remove(file)
}

/// Gives up the attachment in `file`, which [`release`] could not undo: its namespace goes with everything in it, and the
/// rest is forgotten. Returns what may be left, for people.
pub fn abandon(file: &Path) -> String {
    let attachment = match Attachment::read(file) {
        Ok(Some(attachment)) => attachment,
        Ok(None) => return "nothing of its network".to_owned(),
        // Whose it was is not known any more.
        Err(_) => return "whatever its network made".to_owned(),
    };
    let plugins = attachment.config.plugins().iter().map(|plugin| plugin.name.as_str());
    let plugins = plugins.collect::<Vec<_>>().join(", ");
    let (id, network) = (&attachment.container_id, attachment.config.name());
    let mut left =
        format!("addresses, interfaces and rules of {id} in network {network} (plugins {plugins})");
    // It may be gone, and what remembers the attachment is of no use to anybody.
    if namespace::remove(&attachment.netns).is_err() {
        left.push_str(&format!(", and the namespace {}", attachment.netns.display()));
    }
    let _ = cache::remove(&attachment);
    let _ = files::remove(file);
    left
}
