//! What can go wrong with networks, in words that name the file, the plugin and the call.
//!
//! What a plugin wrote is foreign text: it is shortened and made printable where it enters an error.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use rustix::io::Errno;

use super::invoke::Verb;
use crate::error::Kind;

/// The result of anything in this module.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Any failure of this module.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A network configuration cannot be used.
    #[error("cannot use network configuration {}: {reason}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There are network configurations, and none can be used.
    #[error("no usable network configuration in {}: {}", folder.display(), joined(failures))]
    NoValidConfig {
        /// The folder.
        folder: PathBuf,
        /// Why not, for each file in order.
        failures: Vec<Error>,
    },
    /// A plugin's name is something else than a name (CVE-2021-20206).
    #[error("{name:?} is not the name of a network plugin: a name has letters, digits and \"_.-\" only")]
    PluginName {
        /// The text.
        name: String,
    },
    /// A plugin is not installed.
    #[error("network plugin {name:?} is not in {}: {}", listed(folders), super::plugins::hint(name))]
    PluginMissing {
        /// The plugin.
        name: String,
        /// Where it was looked for.
        folders: Vec<PathBuf>,
    },
    /// A plugin did not do what it was called for.
    #[error("network plugin {plugin:?}, {verb} of network {network:?}: {failure}")]
    Plugin {
        /// The plugin.
        plugin: String,
        /// What it was called for.
        verb: Verb,
        /// The network.
        network: String,
        /// What happened.
        failure: Failure,
    },
    /// Setting up failed, and so did undoing what had been set up: something may be left.
    #[error("{failure}; undoing it: {}", joined(undoing))]
    NotUndone {
        /// The first failure.
        failure: Box<Error>,
        /// What undoing met.
        undoing: Vec<Error>,
    },
    /// A value that plugins would misread, or that leads elsewhere as part of a path.
    #[error("{what} {value:?}: {reason}")]
    Value {
        /// What the value is for.
        what: &'static str,
        /// The value.
        value: String,
        /// The rule it breaks.
        reason: &'static str,
    },
    /// A file of ours is damaged or of a newer version.
    #[error("cannot use {}: {reason}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The network namespace is pinned already.
    #[error("network namespace {} exists already", path.display())]
    NamespaceExists {
        /// Where it is pinned.
        path: PathBuf,
    },
    /// A kernel call of ours failed.
    #[error("cannot {operation} {object}: {source}")]
    System {
        /// The operation in words.
        operation: &'static str,
        /// What it was done to.
        object: String,
        /// The cause.
        source: Errno,
    },
    /// Undoing went on to its end and this is what it met.
    #[error("{}", joined(failures))]
    Several {
        /// All failures in order.
        failures: Vec<Error>,
    },
}

/// What a plugin did instead of what it was called for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// It said why, as the specification demands.
    #[error("{message} (code {code})")]
    Refused {
        /// A number of the CNI specification, or the plugin's own from 100.
        code: u64,
        /// Its message and details.
        message: String,
    },
    /// It ended with an exit code or by a signal and did not say why in the specified way.
    #[error("it ended with {how}{}", quoted(output))]
    Ended {
        /// `exit code 3` or `signal 9`.
        how: String,
        /// The last that it wrote.
        output: String,
    },
    /// It ran longer than allowed and was killed.
    #[error("it did not end within {} and was killed{}", seconds(*patience), quoted(output))]
    TimedOut {
        /// How long it was allowed to run.
        patience: Duration,
        /// The last that it wrote.
        output: String,
    },
    /// It wrote more than any result needs and was killed.
    #[error("it wrote more than {limit} bytes and was killed")]
    TooMuchOutput {
        /// The limit.
        limit: usize,
    },
    /// It succeeded and wrote something else than a result.
    #[error("it wrote no result: {reason}{}", quoted(output))]
    NoResult {
        /// What is wrong with it.
        reason: String,
        /// What it wrote.
        output: String,
    },
    /// Its result is in another version of the specification.
    #[error("its result is of CNI version {version:?}, and {} are known", super::config::SUPPORTED)]
    Version {
        /// The version.
        version: String,
    },
    /// It could not be run.
    #[error("cannot {operation} it: {source}")]
    System {
        /// The operation in words.
        operation: &'static str,
        /// The cause.
        source: Errno,
    },
}

impl Error {
    /// What kind of failure this is, for who has to decide.
    pub fn kind(&self) -> Kind {
        match self {
            Error::Config { .. } | Error::NoValidConfig { .. } => Kind::InvalidSpec,
            Error::PluginName { .. } | Error::Value { .. } => Kind::InvalidSpec,
            Error::PluginMissing { .. } | Error::Plugin { .. } => Kind::Machine,
            Error::NotUndone { failure, .. } => failure.kind(),
            Error::NamespaceExists { .. } => Kind::Exists,
            Error::System { source: Errno::PERM | Errno::ACCESS, .. } => Kind::PermissionDenied,
            Error::Record { .. } | Error::System { .. } => Kind::Io,
            Error::Several { failures } => failures.first().map_or(Kind::Io, Error::kind),
        }
    }

    /// A failed call, for `map_err`.
    pub(super) fn system(operation: &'static str, object: impl fmt::Display) -> impl FnOnce(Errno) -> Error {
        let object = object.to_string();
        move |source| Error::System { operation, object, source }
    }

    /// One error of many, or success of none.
    pub(super) fn collect(mut failures: Vec<Error>) -> Result<()> {
        match failures.len() {
            0 => Ok(()),
            1 => Err(failures.remove(0)),
            _ => Err(Error::Several { failures }),
        }
    }
}

/// The errno behind an error of the standard library.
pub(super) fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// Foreign text for a message: at most `limit` bytes of its end, on one line, without control characters.
pub(super) fn printable(text: &[u8], limit: usize) -> String {
    let end = &text[text.len().saturating_sub(limit)..];
    let text = String::from_utf8_lossy(end);
    let words: Vec<&str> = text.split(|c: char| c.is_whitespace() || c.is_control()).collect();
    words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

fn joined(failures: &[Error]) -> String {
    failures.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn listed(folders: &[PathBuf]) -> String {
    folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn quoted(output: &str) -> String {
    if output.is_empty() { String::new() } else { format!(": {output}") }
}

fn seconds(patience: Duration) -> String {
    format!("{} s", (patience.as_millis() as f64 / 100.0).round() / 10.0)
}
