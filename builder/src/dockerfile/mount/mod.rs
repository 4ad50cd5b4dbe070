//! `RUN --mount`: one CSV record of keys and values.
//!
//! Values may hold variables, so there are two steps: the parser reads the record and checks what it can
//! ([`MountOption`]); with the stage's variables [`MountOption::resolve`] gives the typed [`Mount`].

mod record;
mod values;

use record::record;
use values::Values;

use super::diagnostic::{excerpt_of, nearest};
use super::expand::{self, Lookup};
use super::source::Span;

/// A `--mount` as written: keys known, values not yet expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountOption {
    /// Keys in their main spelling (`dst` is `target`) with their values; `None` for a bare key.
    pub fields: Vec<MountField>,
    /// Where the flag stands.
    pub span: Span,
    /// The escape character of the file, for expanding values.
    pub escape: char,
}

/// One key of a `--mount`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountField {
    /// The key in its main spelling: `type`, `target`, `source`, `from`, `readonly`, `readwrite`, `id`, `sharing`,
    /// `mode`, `uid`, `gid`, `size`, `env`, `required`.
    pub key: &'static str,
    /// The value, unexpanded.
    pub value: Option<String>,
}

/// A mount with all values known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mount {
    /// A part of the context, a stage or an image.
    Bind {
        /// Where it appears; relative to WORKDIR, and WORKDIR itself if it was not given.
        target: String,
        /// Path inside `from`; `/` by default.
        source: String,
        /// Stage, named context or image; the build context if `None`.
        from: Option<String>,
        /// Writes are possible, seen by this RUN only and dropped.
        read_write: bool,
    },
    /// A directory that stays between builds.
    Cache {
        /// Its name in the store; the target if it was not given.
        id: String,
        /// Where it appears.
        target: String,
        /// Not writable.
        read_only: bool,
        /// Who may use it at the same time.
        sharing: CacheSharing,
        /// Where the initial content comes from.
        from: Option<String>,
        /// Path inside `from`.
        source: String,
        /// Mode of a new one.
        mode: u32,
        /// Owner of a new one.
        uid: u32,
        /// Group of a new one.
        gid: u32,
    },
    /// Memory.
    Tmpfs {
        /// Where it appears.
        target: String,
        /// Most bytes it may hold.
        size: Option<u64>,
    },
    /// A secret file or variable.
    Secret {
        /// Its name on the command line.
        id: String,
        /// The file; `None` if it is only a variable.
        target: Option<String>,
        /// The variable.
        env: Option<String>,
        /// Fail if it is missing.
        required: bool,
        /// Mode of the file.
        mode: u32,
        /// Owner of the file.
        uid: u32,
        /// Group of the file.
        gid: u32,
    },
    /// An agent's socket.
    Ssh {
        /// Its name on the command line.
        id: String,
        /// The socket's path; `None` for the next `/run/buildkit/ssh_agent.N`.
        target: Option<String>,
        /// Fail if it is missing.
        required: bool,
        /// Mode of the socket.
        mode: u32,
        /// Owner of the socket.
        uid: u32,
        /// Group of the socket.
        gid: u32,
    },
}

/// `sharing=` of a cache mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheSharing {
    /// All at once.
    #[default]
    Shared,
    /// Each its own copy while it is in use.
    Private,
    /// One after the other.
    Locked,
}

/// Why a `--mount` cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct MountError {
    /// The cause.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

impl MountError {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None }
    }

    fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

const TYPES: [&str; 5] = ["bind", "cache", "tmpfs", "secret", "ssh"];
const SHARINGS: [&str; 3] = ["shared", "private", "locked"];
/// Every spelling of a key and its main one.
const KEYS: [(&str, &str); 19] = [
    ("type", "type"),
    ("target", "target"),
    ("dst", "target"),
    ("destination", "target"),
    ("source", "source"),
    ("src", "source"),
    ("from", "from"),
    ("readonly", "readonly"),
    ("ro", "readonly"),
    ("readwrite", "readwrite"),
    ("rw", "readwrite"),
    ("id", "id"),
    ("sharing", "sharing"),
    ("mode", "mode"),
    ("uid", "uid"),
    ("gid", "gid"),
    ("size", "size"),
    ("env", "env"),
    ("required", "required"),
];

/// Which keys a type takes.
fn keys_of(kind: &str) -> &'static [&'static str] {
    match kind {
        "cache" => &[
            "type",
            "id",
            "target",
            "readonly",
            "readwrite",
            "sharing",
            "from",
            "source",
            "mode",
            "uid",
            "gid",
        ],
        "tmpfs" => &["type", "target", "size"],
        "secret" => &["type", "id", "source", "target", "env", "required", "mode", "uid", "gid"],
        "ssh" => &["type", "id", "target", "required", "mode", "uid", "gid"],
        _ => &["type", "target", "source", "from", "readonly", "readwrite"],
    }
}

impl MountOption {
    /// Reads the value of `--mount`. What needs no variables is checked completely.
    pub fn parse(value: &str, span: Span, escape: char) -> Result<Self, MountError> {
        let mut option = Self { fields: Vec::new(), span, escape };
        let mut variables = false;
        for field in record(value)? {
            let (key, value) = match field.split_once('=') {
                Some((key, value)) => (key, Some(value.to_owned())),
                None => (field.as_str(), None),
            };
            let lower = key.trim().to_ascii_lowercase();
            let Some(&(_, main)) = KEYS.iter().find(|(name, _)| *name == lower) else {
                return Err(unknown_key(&lower, option.literal("type").unwrap_or("bind")));
            };
            if value.is_none() && !matches!(main, "readonly" | "readwrite" | "required") {
                return Err(MountError::new(format!("mount key {main} needs a value"))
                    .help(format!("write {main}=VALUE")));
            }
            let used = value.as_deref().map_or(Ok(Vec::new()), |value| expand::usages(value, escape));
            let used = used.map_err(|error| MountError::new(format!("mount key {main}: {error}")))?;
            variables |= !used.is_empty();
            if main == "from" && !used.is_empty() {
                return Err(MountError::new("mount key from cannot hold a variable")
                    .help("define a stage FROM the variable AS a name, and use that name"));
            }
            option.fields.push(MountField { key: main, value });
        }
        if !variables {
            option.resolve(&|_: &str| None)?;
        }
        Ok(option)
    }

    /// The stage, named context or image that `from=` names.
    #[must_use]
    pub fn from(&self) -> Option<&str> {
        self.literal("from").filter(|from| !from.is_empty())
    }

    /// The mount with its variables expanded.
    pub fn resolve(&self, lookup: &dyn Lookup) -> Result<Mount, MountError> {
        let values = Values::new(self, lookup)?;
        let kind = values.text("type").unwrap_or("bind").to_ascii_lowercase();
        let kind = kind.as_str();
        if !TYPES.contains(&kind) {
            let help = match nearest(kind, TYPES) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("types are {}", TYPES.join(", ")),
            };
            return Err(MountError::new(format!("unknown mount type {}", excerpt_of(kind))).help(help));
        }
        for (key, _) in &values.values {
            if !keys_of(kind).contains(key) {
                return Err(MountError::new(format!("mount type {kind} has no key {key}"))
                    .help(format!("it takes {}", keys_of(kind).join(", "))));
            }
        }
        match kind {
            "cache" => values.cache(),
            "tmpfs" => Ok(Mount::Tmpfs { target: values.target("tmpfs")?, size: values.size()? }),
            "secret" => values.secret(),
            "ssh" => Ok(Mount::Ssh {
                id: values.text("id").unwrap_or("default").to_owned(),
                target: values.optional_target()?,
                required: values.boolean("required")?,
                mode: values.octal("mode", 0o600)?,
                uid: values.number("uid")?,
                gid: values.number("gid")?,
            }),
            _ => Ok(Mount::Bind {
                target: values.optional_target()?.unwrap_or_else(|| ".".to_owned()),
                source: values.text("source").unwrap_or("/").to_owned(),
                from: values.text("from").map(str::to_owned),
                read_write: values.read_write(false)?,
            }),
        }
    }

    fn literal(&self, key: &str) -> Option<&str> {
        self.fields.iter().rev().find(|field| field.key == key)?.value.as_deref()
    }
}

fn unknown_key(key: &str, kind: &str) -> MountError {
    let error = MountError::new(format!("unknown mount key {}", excerpt_of(key)));
    if matches!(key, "z" | "u") {
        return error
            .help("SELinux and ownership options z, Z and U are not part of the Dockerfile language");
    }
    match nearest(key, KEYS.iter().map(|(name, _)| *name)) {
        Some(near) => error.help(format!("did you mean {near}?")),
        None => error.help(format!("mount type {kind} takes {}", keys_of(kind).join(", "))),
    }
}
