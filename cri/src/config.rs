//! What `rcri` is told: options first, then `/etc/hull/config.toml`, then defaults. Every key is also an option.
//!
//! ```toml
//! [cri]
//! listen = "unix:///run/hull/rcri.sock"
//! root = "/var/lib/hull"
//! state = "/run/hull"
//! cni-conf-dir = "/etc/cni/net.d"
//! cni-bin-dir = ["/opt/cni/bin", "/usr/lib/cni"]
//! cgroup-driver = "cgroupfs"
//! log-level = "info"
//! ```
//!
//! A key of ours that nobody knows is an error, so that a misspelt one is seen; tables of other programs are theirs.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::{Parser, ValueEnum};
use serde::Deserialize;

/// Where the configuration is when nobody says otherwise; it may be missing there.
const FILE: &str = "/etc/hull/config.toml";
/// A configuration longer than this, in bytes, is none.
const LONGEST: u64 = 1 << 20;

/// Run the pods of a kubelet.
#[derive(Debug, Default, Parser)]
#[command(name = "rcri", version, max_term_width = 110)]
pub struct Options {
    /// Configuration file [default: /etc/hull/config.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Socket to listen on [default: unix:///run/hull/rcri.sock]
    #[arg(long, value_name = "unix://PATH")]
    listen: Option<String>,
    /// Folder of images, layers, containers and pods [env: HULL_ROOT] [default: /var/lib/hull]
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Folder of what a reboot ends [env: HULL_STATE] [default: /run/hull]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Folder of network configurations [default: /etc/cni/net.d]
    #[arg(long, value_name = "DIR")]
    cni_conf_dir: Option<PathBuf>,
    /// Folder of network plugins; may be given several times [default: /opt/cni/bin, /usr/lib/cni]
    #[arg(long, value_name = "DIR")]
    cni_bin_dir: Vec<PathBuf>,
    /// Who manages cgroups [default: cgroupfs]
    #[arg(long, value_name = "DRIVER")]
    cgroup_driver: Option<CgroupDriver>,
    /// How much to tell on standard error [default: info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<LogLevel>,
}

/// Who manages cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CgroupDriver {
    /// We do, by the file system.
    Cgroupfs,
    /// systemd does.
    Systemd,
}

/// How much to tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What failed on our side.
    Error,
    /// What was refused, too.
    Warn,
    /// What was made and removed, too.
    #[default]
    Info,
    /// Every request that changes something.
    Debug,
    /// Every request.
    Trace,
}

/// The table `[cri]` of the configuration file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Keys {
    listen: Option<String>,
    root: Option<PathBuf>,
    state: Option<PathBuf>,
    cni_conf_dir: Option<PathBuf>,
    cni_bin_dir: Option<Vec<PathBuf>>,
    cgroup_driver: Option<CgroupDriver>,
    log_level: Option<LogLevel>,
}

#[derive(Debug, Default, Deserialize)]
struct Document {
    #[serde(default)]
    cri: Keys,
}

/// A checked configuration. All paths are absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The socket's path.
    pub listen: PathBuf,
    /// Folder of images, layers, containers and pods.
    pub root: PathBuf,
    /// Folder of what a reboot ends.
    pub state: PathBuf,
    /// Folder of network configurations.
    pub cni_conf_dir: PathBuf,
    /// Folders of network plugins.
    pub cni_bin_dirs: Vec<PathBuf>,
    /// How much to tell.
    pub log_level: LogLevel,
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file cannot be understood.
    #[error("cannot understand the configuration {}: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What and where.
        reason: String,
    },
    /// A value is of no use.
    #[error("{key} {value:?}: {reason}")]
    Value {
        /// The option.
        key: &'static str,
        /// What it is.
        value: String,
        /// What it should be.
        reason: &'static str,
    },
}

impl Config {
    /// Puts options, configuration file and defaults together.
    pub fn new(options: Options) -> Result<Config, ConfigError> {
        let keys = read(options.config.as_deref())?;
        let driver = options.cgroup_driver.or(keys.cgroup_driver).unwrap_or(CgroupDriver::Cgroupfs);
        if driver == CgroupDriver::Systemd {
            return Err(ConfigError::Value {
                key: "--cgroup-driver",
                value: "systemd".to_owned(),
                reason: "this driver is not available yet; use cgroupfs, for the kubelet too",
            });
        }
        let from_environment =
            |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let folder = |key, option: Option<PathBuf>, default: &str| {
            absolute(key, option.unwrap_or_else(|| default.into()))
        };
        let bins = Some(options.cni_bin_dir).filter(|folders| !folders.is_empty()).or(keys.cni_bin_dir);
        let bins = bins.unwrap_or_else(|| vec!["/opt/cni/bin".into(), "/usr/lib/cni".into()]);
        let listen = options.listen.or(keys.listen);
        Ok(Config {
            listen: socket_path(listen.as_deref().unwrap_or("unix:///run/hull/rcri.sock"))?,
            root: folder(
                "--root",
                options.root.or(keys.root).or_else(|| from_environment("HULL_ROOT")),
                "/var/lib/hull",
            )?,
            state: folder(
                "--state",
                options.state.or(keys.state).or_else(|| from_environment("HULL_STATE")),
                "/run/hull",
            )?,
            cni_conf_dir: folder(
                "--cni-conf-dir",
                options.cni_conf_dir.or(keys.cni_conf_dir),
                "/etc/cni/net.d",
            )?,
            cni_bin_dirs: bins
                .into_iter()
                .map(|dir| absolute("--cni-bin-dir", dir))
                .collect::<Result<_, _>>()?,
            log_level: options.log_level.or(keys.log_level).unwrap_or_default(),
        })
    }
}

fn read(path: Option<&Path>) -> Result<Keys, ConfigError> {
    use std::io::Read;
    let file = path.unwrap_or(Path::new(FILE));
    let fail = |source| ConfigError::Read { path: file.to_owned(), source };
    let opened = match std::fs::File::open(file) {
        // Only a file that somebody asked for has to be there.
        Err(error) if path.is_none() && error.kind() == ErrorKind::NotFound => return Ok(Keys::default()),
        opened => opened.map_err(fail)?,
    };
    let mut text = String::new();
    opened.take(LONGEST).read_to_string(&mut text).map_err(fail)?;
    let document: Document = toml::from_str(&text)
        .map_err(|error| ConfigError::Syntax { path: file.to_owned(), reason: error.to_string() })?;
    Ok(document.cri)
}

fn socket_path(text: &str) -> Result<PathBuf, ConfigError> {
    let refuse = |reason| ConfigError::Value { key: "--listen", value: text.to_owned(), reason };
    let path = text.strip_prefix("unix://").ok_or(refuse("it must start with unix://"))?;
    // `sun_path` has 108 bytes, one of them for the end.
    if path.len() > 107 {
        return Err(refuse("a socket's path has at most 107 bytes"));
    }
    // The kubelet takes the old way to statistics for a socket of this name.
    if path.ends_with("/crio/crio.sock") {
        return Err(refuse("the kubelet takes a socket of this name for CRI-O's"));
    }
    absolute("--listen", path.into())
}

fn absolute(key: &'static str, path: PathBuf) -> Result<PathBuf, ConfigError> {
    match path.is_absolute() {
        true => Ok(path),
        false => Err(ConfigError::Value {
            key,
            value: path.display().to_string(),
            reason: "the path must be absolute",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Options {
        let words = std::iter::once("rcri").chain(arguments.iter().copied());
        Options::try_parse_from(words).unwrap()
    }

    #[test]
    fn options_win_over_the_file_and_the_file_over_defaults() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        std::fs::write(
            &file,
            "[rrun]\nother = 1\n[cri]\nroot = \"/a\"\nstate = \"/s\"\ncni-bin-dir = [\"/p\"]\nlog-level = \"debug\"\n",
        )
        .unwrap();
        let file = file.to_str().unwrap();
        let config = Config::new(parse(&["--config", file, "--root", "/b"])).unwrap();
        assert_eq!(config.root, Path::new("/b"));
        assert_eq!(config.state, Path::new("/s"));
        assert_eq!(config.cni_bin_dirs, [Path::new("/p")]);
        assert_eq!(config.cni_conf_dir, Path::new("/etc/cni/net.d"));
        assert_eq!(config.listen, Path::new("/run/hull/rcri.sock"));
        assert_eq!(config.log_level, LogLevel::Debug);
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        std::fs::write(&file, "[cri]\nrooot = \"/a\"\n").unwrap();
        let message = |arguments: &[&str]| Config::new(parse(arguments)).unwrap_err().to_string();
        assert!(message(&["--config", file.to_str().unwrap()]).contains("rooot"));
        assert!(message(&["--config", "/nowhere/at/all"]).contains("cannot read"));
        assert!(message(&["--listen", "tcp://127.0.0.1:1"]).contains("unix://"));
        assert!(message(&["--listen", "unix://relative"]).contains("absolute"));
        assert!(message(&["--listen", "unix:///run/crio/crio.sock"]).contains("CRI-O"));
        assert!(message(&["--root", "relative"]).contains("--root"));
        assert!(message(&["--cgroup-driver", "systemd"]).contains("not available yet"));
    }
}
