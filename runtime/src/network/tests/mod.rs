//! The CNI client against small shell scripts as plugins: they write down how they were called.

mod attachment;
mod config;
mod hostile;
mod verbs;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::{Attachment, NetworkConfig, Plugins, Result};

/// A namespace that is there for everyone; no test may attach IP addresses to it.
const SOME_NAMESPACE: &str = "/proc/self/ns/net";

/// What a plugin that works answers.
const RESULT: &str = r#"echo '{ "cniVersion": "1.0.0" }'"#;

/// A folder of plugins and whatever else a test needs.
struct Fakes {
    folder: tempfile::TempDir,
}

impl Fakes {
    fn new() -> Fakes {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("bin")).unwrap();
        Fakes { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A plugin that notes its call in `log` and its input in `<name>.<VERB>`, and then does what `body` says.
    fn plugin(&self, name: &str, body: &str) -> &Fakes {
        let place = self.folder.path().display();
        let script = format!(
            "#!/bin/sh\necho {name} $CNI_COMMAND >>{place}/log\ncat >{place}/{name}.$CNI_COMMAND\n\
             cd {place}\n{body}\n"
        );
        install(&self.path("bin").join(name), &script);
        self
    }

    fn plugins(&self) -> Plugins {
        Plugins::new([self.path("bin")])
    }

    /// A network of these plugins.
    fn config(&self, version: &str, plugins: &[&str]) -> NetworkConfig {
        let plugins: Vec<Value> = plugins.iter().map(|name| json!({ "type": name })).collect();
        config(&json!({ "name": "net", "cniVersion": version, "plugins": plugins }))
    }

    fn attach(&self, config: NetworkConfig) -> Attachment {
        Attachment::new("box", SOME_NAMESPACE, config, &self.plugins(), self.path("results")).unwrap()
    }

    /// The calls so far; the next question starts anew.
    fn calls(&self) -> Vec<String> {
        let log = self.path("log");
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let _ = std::fs::remove_file(log);
        text.lines().map(str::to_owned).collect()
    }

    /// What a plugin was given to read.
    fn input(&self, name: &str, verb: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.path(&format!("{name}.{verb}"))).unwrap()).unwrap()
    }

    fn cached(&self) -> Option<Value> {
        let text = std::fs::read(self.path("results/net-box-eth0")).ok()?;
        Some(serde_json::from_slice(&text).unwrap())
    }
}

fn config(document: &Value) -> NetworkConfig {
    parse(&document.to_string()).unwrap()
}

fn parse(text: &str) -> Result<NetworkConfig> {
    NetworkConfig::parse(text.as_bytes(), Path::new("/etc/cni/net.d/x.conflist"))
}

/// Writes an executable. Another process does it: were the file open for writing in this one while another test forks,
/// executing it would fail with ETXTBSY.
fn install(path: &Path, script: &str) {
    let mut writer = Command::new("/bin/sh")
        .args(["-c", r#"cat >"$0" && chmod 755 "$0""#])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    writer.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(writer.wait().unwrap().success());
}
