//! What identifies a step: a digest over everything its result depends on.
//!
//! Keys are made of content, not of times or places: the layers below, the words of the instruction after expansion,
//! the environment, the digests of the files copied. Each field is written with its length, each key begins with the
//! kind of step and the version of these rules, so no two different inputs give the same bytes.

use std::fmt;

use image::digest::Digest;
use sha2::{Digest as _, Sha256};

/// Changes when the meaning of a step changes, so that older results are not taken for new ones.
const RULES: &str = "hull-step-1";

/// The key of a step or of a chain of layers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key([u8; 32]);

impl Key {
    /// The key of a step of this kind, whose inputs `fields` adds.
    pub fn of(kind: &str, fields: impl FnOnce(&mut KeyWriter)) -> Key {
        let mut writer = KeyWriter(Sha256::new());
        writer.text(RULES);
        writer.text(kind);
        fields(&mut writer);
        Key(writer.0.finalize().into())
    }

    /// The key of a root file system: its layers, lowest first.
    pub fn of_layers(diff_ids: impl IntoIterator<Item = Digest>) -> Key {
        let all: Vec<Digest> = diff_ids.into_iter().collect();
        Key::of("layers", |key| {
            key.number(all.len() as u64);
            for diff_id in &all {
                key.text(&diff_id.to_string());
            }
        })
    }

    /// Lower-case hex, the name of the file in the cache.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The raw digest.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Key({})", &self.hex()[..12])
    }
}

/// Takes the inputs of a step, in an order that the kind of step fixes.
#[derive(Debug)]
pub struct KeyWriter(Sha256);

impl KeyWriter {
    /// A field of bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    /// A field of text.
    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// A number.
    pub fn number(&mut self, number: u64) {
        self.0.update(number.to_le_bytes());
    }

    /// A list, with its length.
    pub fn list<T: AsRef<str>>(&mut self, items: &[T]) {
        self.number(items.len() as u64);
        for item in items {
            self.text(item.as_ref());
        }
    }

    /// A field that may be absent, which differs from an empty one.
    pub fn optional(&mut self, text: Option<&str>) {
        self.number(u64::from(text.is_some()));
        self.text(text.unwrap_or_default());
    }

    /// Another key.
    pub fn key(&mut self, key: &Key) {
        self.0.update(key.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_do_not_run_into_each_other() {
        let keys = [
            Key::of("run", |key| key.list(&["ab", "c"])),
            Key::of("run", |key| key.list(&["a", "bc"])),
            Key::of("run", |key| key.list(&["abc"])),
            Key::of("copy", |key| key.list(&["abc"])),
            Key::of("run", |key| key.optional(None)),
            Key::of("run", |key| key.optional(Some(""))),
        ];
        for (index, key) in keys.iter().enumerate() {
            assert!(!keys[index + 1..].contains(key), "{index}");
        }
    }

    #[test]
    fn the_order_of_layers_matters() {
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        assert_ne!(Key::of_layers([one, two]), Key::of_layers([two, one]));
        assert_ne!(Key::of_layers([one]), Key::of_layers([one, one]));
    }
}
