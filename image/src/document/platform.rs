//! Which machine an image is for.

use serde::{Deserialize, Serialize};

use super::Extra;

/// Operating system and processor, named as Go names them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// `amd64`, `arm64` ...
    pub architecture: String,
    /// `linux`.
    pub os: String,
    /// `v7`, `v8` ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Fields we do not know.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Platform {
    /// This machine's.
    pub fn host() -> Platform {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "powerpc64" => "ppc64le",
            "loongarch64" => "loong64",
            other => other,
        };
        Platform { architecture: architecture.into(), os: "linux".into(), ..Platform::default() }
    }

    /// True when an image for `self` runs on `host`.
    pub fn runs_on(&self, host: &Platform) -> bool {
        self.os == host.os && self.architecture == host.architecture
    }
}
