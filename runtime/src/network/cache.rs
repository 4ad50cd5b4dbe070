//! The cached result of ADD, which CHECK and DEL pass to the plugins as `prevResult`.
//!
//! Folder, name and format are libcni's (`cniCacheV1`), so that its tools find ours. Unlike there, the file is written
//! after each plugin and not after the last: when we are killed in between, DEL still tells the plugins which
//! addresses were given. It is not synced: a damaged or missing one means DEL without `prevResult`, which plugins must
//! bear.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::attachment::Attachment;
use super::error::{Error, Result};
use super::files::{self, Durability};

const KIND: &str = "cniCacheV1";
/// A result, a configuration in base64, and arguments.
const LARGEST: u64 = 8 << 20;

/// Where the result of an attachment is kept.
pub(super) fn path(attachment: &Attachment) -> PathBuf {
    let network = attachment.config.name();
    let name = format!("{network}-{}-{}", attachment.container_id, attachment.interface);
    attachment.cache_folder.join(name)
}

/// Keeps `result`.
pub(super) fn store(attachment: &Attachment, result: &Value) -> Result<()> {
    let path = path(attachment);
    let mut entry = json!({
        "kind": KIND,
        "containerId": attachment.container_id,
        "config": STANDARD.encode(attachment.config.text()),
        "ifName": attachment.interface,
        "networkName": attachment.config.name(),
        "netns": attachment.netns,
        "cniArgs": attachment.args,
        "result": result,
    });
    if !attachment.capabilities.is_empty() {
        entry["capabilityArgs"] = attachment.capabilities.clone().into();
    }
    let bytes = serde_json::to_vec(&entry)
        .map_err(|error| Error::Record { path: path.clone(), reason: error.to_string() })?;
    files::make_folder(&attachment.cache_folder)?;
    files::replace(&path, &bytes, Durability::Eventual)
}

/// The result kept, if there is one that can be read.
pub(super) fn load(attachment: &Attachment) -> Option<Value> {
    let bytes = files::read(&path(attachment), LARGEST).ok()??;
    let mut entry: Value = serde_json::from_slice(&bytes).ok()?;
    let ours = entry["kind"] == KIND && entry["containerId"] == attachment.container_id.as_str();
    (ours && entry["result"].is_object()).then(|| entry["result"].take())
}

/// Where the plugins of an attachment take their turns.
pub(super) fn turn(attachment: &Attachment) -> PathBuf {
    path(attachment).with_added_extension("call")
}

/// Forgets the result, when the last turn is over.
pub(super) fn remove(attachment: &Attachment) -> Result<()> {
    files::remove(&path(attachment))?;
    files::remove(&turn(attachment))
}
