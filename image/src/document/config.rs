//! The image config: how a container of the image is started, and which layers it has.
//!
//! Docker's fields beyond the OCI specification (`Healthcheck`, `OnBuild`, `Shell`, `ArgsEscaped`) are typed, all
//! others kept. Nothing in here selects what the host does; it only says what runs inside.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    CONFIG_LIMIT, DocumentError, Extra, LAYER_LIMIT, Platform, Timestamp, check_count, check_extra,
    null_is_default, parse,
};
use crate::digest::Digest;

/// An image config document.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// When it was made, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Processor: `amd64` ...
    #[serde(default)]
    pub architecture: String,
    /// Processor variant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Operating system: `linux`.
    #[serde(default)]
    pub os: String,
    /// How a container is started.
    #[serde(default, deserialize_with = "null_is_default")]
    pub config: ContainerConfig,
    /// The layers by content.
    pub rootfs: RootFs,
    /// How each layer came to be.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<History>,
    /// Fields we do not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// How a container of the image is started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerConfig {
    /// `user[:group]`, names or numbers; empty is root.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// `8888/tcp` and such, as keys.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub exposed_ports: BTreeMap<String, Value>,
    /// `NAME=value`, in order.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// What runs; arguments are appended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Default arguments, or the command when there is no entry point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// Paths, as keys.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<String, Value>,
    /// Where it starts; empty is `/`.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// Free text.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Signal that asks it to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// Docker: how to ask whether it is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Docker: instructions for a build on top of this image.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub on_build: Vec<String>,
    /// Docker: the shell of shell-form instructions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
    /// Docker: `cmd` is one already escaped command line (Windows).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args_escaped: Option<bool>,
    /// Fields we do not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Docker's health check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", ...]` or `["CMD-SHELL", line]`.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    /// Nanoseconds between checks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<i64>,
    /// Nanoseconds one check may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<i64>,
    /// Nanoseconds before failures count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_period: Option<i64>,
    /// Nanoseconds between checks in the start period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_interval: Option<i64>,
    /// Failures in a row that make it unhealthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<i64>,
    /// Fields we do not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// The layers by content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Digests of the uncompressed layers, lowest first.
    #[serde(default, deserialize_with = "null_is_default")]
    pub diff_ids: Vec<Digest>,
}

/// How a layer, or a change of the config, came to be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// When, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// By which instruction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// By whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// It made no layer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
    /// Fields we do not know.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Default for RootFs {
    fn default() -> RootFs {
        RootFs { kind: "layers".into(), diff_ids: Vec::new() }
    }
}

impl ImageConfig {
    const WHAT: &str = "image config";

    /// An empty image for this machine.
    pub fn scratch() -> ImageConfig {
        let Platform { architecture, os, .. } = Platform::host();
        ImageConfig { architecture, os, ..ImageConfig::default() }
    }

    /// Reads a config.
    pub fn parse(bytes: &[u8]) -> Result<ImageConfig, DocumentError> {
        let config: ImageConfig = parse(Self::WHAT, bytes, CONFIG_LIMIT)?;
        if config.rootfs.kind != "layers" {
            return Err(DocumentError::refused(
                Self::WHAT,
                format!("rootfs type {:?} is not \"layers\"", config.rootfs.kind),
            ));
        }
        check_count(Self::WHAT, config.rootfs.diff_ids.len() as u64, LAYER_LIMIT as u64, "layers")?;
        let known = [
            "created",
            "author",
            "architecture",
            "variant",
            "os",
            "config",
            "rootfs",
            "history",
            "layers",
            "manifests",
        ];
        check_extra(Self::WHAT, &config.extra, &known)?;
        let known = [
            "User",
            "ExposedPorts",
            "Env",
            "Entrypoint",
            "Cmd",
            "Volumes",
            "WorkingDir",
            "Labels",
            "StopSignal",
            "Healthcheck",
            "OnBuild",
            "Shell",
            "ArgsEscaped",
        ];
        check_extra(Self::WHAT, &config.config.extra, &known)?;
        Ok(config)
    }

    /// The bytes to store. Fields come in one order, so equal configs have equal digests.
    pub fn to_bytes(&self) -> Vec<u8> {
        // A struct of strings, numbers and string-keyed maps always serialises.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// When it was made, if that can be read.
    pub fn created(&self) -> Option<Timestamp> {
        self.created.as_deref()?.parse().ok()
    }

    /// Which machine it is for.
    pub fn platform(&self) -> Platform {
        Platform {
            architecture: self.architecture.clone(),
            os: self.os.clone(),
            variant: self.variant.clone(),
            extra: Extra::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nulls_of_go_and_fields_of_docker_are_read_and_kept() {
        let text = json!({
            "architecture": "amd64", "os": "linux", "docker_version": "20.10", "container_config": {"Cmd": null},
            "config": {"Cmd": ["sh"], "Entrypoint": null, "Labels": null, "Volumes": null, "Env": null, "OnBuild": null,
                "Shell": ["/bin/sh", "-c"], "Healthcheck": {"Test": ["CMD", "x"], "Retries": 3}, "Domainname": ""},
            "rootfs": {"type": "layers", "diff_ids": [Digest::of(b"")]},
            "history": [{"created_by": "x", "empty_layer": true}],
        });
        let config = ImageConfig::parse(text.to_string().as_bytes()).unwrap();
        assert_eq!(config.config.cmd, Some(vec!["sh".to_string()]));
        let again: Value = serde_json::from_slice(&config.to_bytes()).unwrap();
        assert_eq!(again["docker_version"], "20.10");
        assert_eq!(again["config"]["Healthcheck"]["Retries"], 3);
        assert_eq!(again["config"]["Domainname"], "");
        assert_eq!(ImageConfig::parse(&config.to_bytes()).unwrap(), config);
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for text in [
            json!({"rootfs": {"type": "layers", "diff_ids": []}, "layers": []}),
            json!({"rootfs": {"type": "layers", "diff_ids": []}, "RootFS": {}}),
            json!({"rootfs": {"type": "layers", "diff_ids": []}, "config": {"user": "root", "User": "1"}}),
            json!({"rootfs": {"type": "tar", "diff_ids": []}}),
            json!({"rootfs": {"type": "layers", "diff_ids": ["sha256:../x"]}}),
            json!({}),
            json!([]),
        ] {
            assert!(ImageConfig::parse(text.to_string().as_bytes()).is_err(), "{text}");
        }
    }
}
