//! `RUN --mount`: one CSV record of keys and values.
//!
//! Values may hold variables, so there are two steps: the parser reads the record and checks what it can
//! ([`MountOption`]); with the stage's variables [`MountOption::resolve`] gives the typed [`Mount`].

use super::diagnostic::{excerpt_of, nearest};
use super::directives::boolean;
use super::expand::{self, Lookup};
use super::path;
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
        /// Where it appears; relative to WORKDIR.
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
                target: values.target("bind")?,
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

/// The expanded values of a record; the last of equal keys counts.
struct Values {
    values: Vec<(&'static str, Option<String>)>,
}

impl Values {
    fn new(option: &MountOption, lookup: &dyn Lookup) -> Result<Self, MountError> {
        let mut values: Vec<(&'static str, Option<String>)> = Vec::new();
        for field in &option.fields {
            let value = match &field.value {
                Some(value) if field.key != "from" => {
                    let expanded = expand::expand(value, option.escape, lookup)
                        .map_err(|error| MountError::new(format!("mount key {}: {error}", field.key)))?;
                    Some(expanded.text)
                }
                other => other.clone(),
            };
            values.retain(|(key, _)| *key != field.key);
            values.push((field.key, value));
        }
        Ok(Self { values })
    }

    fn get(&self, key: &str) -> Option<&Option<String>> {
        self.values.iter().find(|(other, _)| *other == key).map(|(_, value)| value)
    }

    /// A value that is there and not empty.
    fn text(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_deref().filter(|value| !value.is_empty())
    }

    fn boolean(&self, key: &str) -> Result<bool, MountError> {
        match self.get(key) {
            None => Ok(false),
            Some(None) => Ok(true),
            Some(Some(value)) => boolean(value).ok_or_else(|| {
                MountError::new(format!("mount key {key} is true or false, not {}", excerpt_of(value)))
            }),
        }
    }

    fn read_write(&self, default: bool) -> Result<bool, MountError> {
        let write = match self.get("readwrite") {
            Some(_) => self.boolean("readwrite")?,
            None => default,
        };
        Ok(if self.get("readonly").is_some() { !self.boolean("readonly")? } else { write })
    }

    fn octal(&self, key: &str, default: u32) -> Result<u32, MountError> {
        let Some(text) = self.text(key) else { return Ok(default) };
        let valid = text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
        let bits = valid.then(|| u32::from_str_radix(text, 8).ok()).flatten().filter(|bits| *bits <= 0o7777);
        bits.ok_or_else(|| {
            MountError::new(format!(
                "mount key {key} is an octal number up to 7777, not {}",
                excerpt_of(text)
            ))
        })
    }

    fn number(&self, key: &str) -> Result<u32, MountError> {
        let Some(text) = self.text(key) else { return Ok(0) };
        text.parse()
            .map_err(|_| MountError::new(format!("mount key {key} is a number, not {}", excerpt_of(text))))
    }

    fn size(&self) -> Result<Option<u64>, MountError> {
        let Some(text) = self.text("size") else { return Ok(None) };
        let lower = text.to_ascii_lowercase();
        let digits = lower.trim_end_matches(|character: char| character.is_ascii_alphabetic());
        let shift = match &lower[digits.len()..] {
            "" | "b" => 0,
            "k" | "kb" | "kib" => 10,
            "m" | "mb" | "mib" => 20,
            "g" | "gb" | "gib" => 30,
            _ => 64,
        };
        let bytes =
            digits.parse::<u64>().ok().and_then(|number| number.checked_mul(1_u64.checked_shl(shift)?));
        bytes.map(Some).ok_or_else(|| {
            MountError::new(format!("mount key size is a number with k, m or g, not {}", excerpt_of(text)))
        })
    }

    fn optional_target(&self) -> Result<Option<String>, MountError> {
        let Some(target) = self.text("target") else { return Ok(None) };
        if path::clean(target) == "/" {
            return Err(MountError::new("mount target must not be /"));
        }
        Ok(Some(target.to_owned()))
    }

    fn target(&self, kind: &str) -> Result<String, MountError> {
        self.optional_target()?.ok_or_else(|| {
            MountError::new(format!("mount type {kind} needs a target")).help("write target=PATH")
        })
    }

    fn cache(&self) -> Result<Mount, MountError> {
        let target = self.target("cache")?;
        let sharing = self.text("sharing").map(str::to_ascii_lowercase);
        let sharing = match sharing.as_deref() {
            None | Some("shared") => CacheSharing::Shared,
            Some("private") => CacheSharing::Private,
            Some("locked") => CacheSharing::Locked,
            Some(other) => {
                let help = match nearest(other, SHARINGS) {
                    Some(near) => format!("did you mean {near}?"),
                    None => format!("it is one of {}", SHARINGS.join(", ")),
                };
                return Err(
                    MountError::new(format!("unknown cache sharing {}", excerpt_of(other))).help(help)
                );
            }
        };
        Ok(Mount::Cache {
            id: self.text("id").map_or_else(|| path::clean(&target), str::to_owned),
            target,
            read_only: !self.read_write(true)?,
            sharing,
            from: self.text("from").map(str::to_owned),
            source: self.text("source").unwrap_or("/").to_owned(),
            mode: self.octal("mode", 0o755)?,
            uid: self.number("uid")?,
            gid: self.number("gid")?,
        })
    }

    fn secret(&self) -> Result<Mount, MountError> {
        let target = self.optional_target()?;
        let env = self.text("env").map(str::to_owned);
        // `source` is the older word for `id`.
        let id = match (self.text("id"), self.text("source"), &target) {
            (Some(_), Some(_), _) => {
                return Err(MountError::new("mount type secret takes id or source, not both"));
            }
            (Some(id), ..) | (None, Some(id), _) => id.to_owned(),
            (None, None, Some(target)) => path::base_name(target).to_owned(),
            (None, None, None) => {
                return Err(
                    MountError::new("mount type secret needs an id or a target").help("write id=NAME")
                );
            }
        };
        let default = || format!("/run/secrets/{id}");
        Ok(Mount::Secret {
            target: if env.is_some() { target } else { Some(target.unwrap_or_else(default)) },
            id,
            env,
            required: self.boolean("required")?,
            mode: self.octal("mode", 0o400)?,
            uid: self.number("uid")?,
            gid: self.number("gid")?,
        })
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

/// Splits one CSV record: fields may be in double quotes, in which `""` is a quote.
fn record(text: &str) -> Result<Vec<String>, MountError> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let (field, tail) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                if rest[..end].contains('"') {
                    return Err(MountError::new("a quote in the middle of a mount value")
                        .help("put the whole KEY=VALUE into quotes"));
                }
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        fields.push(field);
        match tail.strip_prefix(',') {
            Some(next) => rest = next,
            None => break,
        }
    }
    if fields.iter().any(|field| field.trim().is_empty()) {
        return Err(MountError::new("empty key in --mount").help("write --mount=type=TYPE,target=PATH"));
    }
    Ok(fields)
}

/// Reads a quoted field behind its first quote; gives what follows it.
fn quoted_field(text: &str) -> Result<(String, &str), MountError> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let end = rest.find('"').ok_or_else(|| MountError::new("unterminated quote in --mount"))?;
        field.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(next) => {
                field.push('"');
                rest = next;
            }
            None if rest.is_empty() || rest.starts_with(',') => return Ok((field, rest)),
            None => return Err(MountError::new("text behind the closing quote of a mount value")),
        }
    }
}
