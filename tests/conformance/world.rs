//! What every suite needs to know: the runtime, where the suites are, where what they print goes.

use std::path::{Path, PathBuf};

use anyhow::Context;

/// The runtime under test and its surroundings.
#[derive(Debug)]
pub struct World {
    runtime: PathBuf,
    peers: PathBuf,
    output: PathBuf,
    only: String,
}

impl World {
    /// Makes the folder for what the cases print.
    pub fn new(runtime: &Path, peers: &Path, output: &Path, only: &str) -> anyhow::Result<World> {
        std::fs::create_dir_all(output).with_context(|| format!("cannot make {}", output.display()))?;
        let output = output.canonicalize().with_context(|| format!("cannot find {}", output.display()))?;
        Ok(World { runtime: runtime.into(), peers: peers.into(), output, only: only.into() })
    }

    /// The runtime's absolute path.
    pub fn runtime(&self) -> &Path {
        &self.runtime
    }

    /// Where a suite was installed.
    pub fn share(&self, suite: &str) -> PathBuf {
        self.peers.join("share").join(suite)
    }

    /// The search path of a case: first the programs of the peers.
    pub fn path(&self) -> std::ffi::OsString {
        let mut path = self.peers.join("bin").into_os_string();
        path.push(":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        path
    }

    /// Where what the cases print is kept.
    pub fn output(&self) -> &Path {
        &self.output
    }

    /// Keeps what a case printed.
    pub fn keep(&self, case: &str, text: &[u8]) -> anyhow::Result<()> {
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "-._".contains(letter);
        let name: String = case.chars().map(|letter| if plain(letter) { letter } else { '_' }).collect();
        let file = self.output.join(format!("{name}.txt"));
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
    }

    /// Whether the user wants this case.
    pub fn wants(&self, case: &str) -> bool {
        case.contains(&self.only)
    }
}
