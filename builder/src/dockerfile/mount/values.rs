//! The values of one `--mount`, expanded and typed.

use super::{CacheSharing, Mount, MountError, MountOption, SHARINGS};
use crate::dockerfile::diagnostic::{excerpt_of, nearest};
use crate::dockerfile::directives::boolean;
use crate::dockerfile::expand::{self, Lookup};
use crate::dockerfile::path;

/// The expanded values of a record; the last of equal keys counts.
pub(super) struct Values {
    pub(super) values: Vec<(&'static str, Option<String>)>,
}

impl Values {
    pub(super) fn new(option: &MountOption, lookup: &dyn Lookup) -> Result<Self, MountError> {
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
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_deref().filter(|value| !value.is_empty())
    }

    pub(super) fn boolean(&self, key: &str) -> Result<bool, MountError> {
        match self.get(key) {
            None => Ok(false),
            Some(None) => Ok(true),
            Some(Some(value)) => boolean(value).ok_or_else(|| {
                MountError::new(format!("mount key {key} is true or false, not {}", excerpt_of(value)))
            }),
        }
    }

    pub(super) fn read_write(&self, default: bool) -> Result<bool, MountError> {
        let write = match self.get("readwrite") {
            Some(_) => self.boolean("readwrite")?,
            None => default,
        };
        Ok(if self.get("readonly").is_some() { !self.boolean("readonly")? } else { write })
    }

    pub(super) fn octal(&self, key: &str, default: u32) -> Result<u32, MountError> {
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

    pub(super) fn number(&self, key: &str) -> Result<u32, MountError> {
        let Some(text) = self.text(key) else { return Ok(0) };
        text.parse()
            .map_err(|_| MountError::new(format!("mount key {key} is a number, not {}", excerpt_of(text))))
    }

    pub(super) fn size(&self) -> Result<Option<u64>, MountError> {
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

    pub(super) fn optional_target(&self) -> Result<Option<String>, MountError> {
        let Some(target) = self.text("target") else { return Ok(None) };
        if path::clean(target) == "/" {
            return Err(MountError::new("mount target must not be /"));
        }
        Ok(Some(target.to_owned()))
    }

    pub(super) fn target(&self, kind: &str) -> Result<String, MountError> {
        self.optional_target()?.ok_or_else(|| {
            MountError::new(format!("mount type {kind} needs a target")).help("write target=PATH")
        })
    }

    pub(super) fn cache(&self) -> Result<Mount, MountError> {
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

    pub(super) fn secret(&self) -> Result<Mount, MountError> {
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
