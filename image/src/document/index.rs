//! A list of manifests: images of a layout, or one image for several machines.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Descriptor, DocumentError, Extra, INDEX_LIMIT, MANIFEST_LIMIT, check_count, check_extra, media_type,
    null_is_default, parse,
};

/// An image index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// Its own type; `index.json` of a layout often leaves it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The manifests, or nested indexes.
    #[serde(deserialize_with = "null_is_default")]
    pub manifests: Vec<Descriptor>,
    /// Free text.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Fields we do not know.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Index {
    const WHAT: &str = "image index";

    /// An OCI index.
    pub fn new(manifests: Vec<Descriptor>) -> Index {
        Index {
            schema_version: 2,
            media_type: Some(media_type::INDEX.to_string()),
            manifests,
            annotations: BTreeMap::new(),
            extra: Extra::new(),
        }
    }

    /// Reads an index from outside. `promised` is the media type by which it was referred to.
    pub fn parse(bytes: &[u8], promised: &str) -> Result<Index, DocumentError> {
        if !media_type::is_index(promised) {
            return Err(DocumentError::Unsupported {
                what: Self::WHAT,
                media_type: promised.chars().take(120).collect(),
            });
        }
        let index: Index = parse(Self::WHAT, bytes, MANIFEST_LIMIT)?;
        check_count(Self::WHAT, index.manifests.len() as u64, INDEX_LIMIT as u64, "entries")?;
        index.check(promised)?;
        Ok(index)
    }

    /// Reads our own `index.json`, which may be larger than a stranger's.
    pub(crate) fn parse_own(bytes: &[u8], limit: u64) -> Result<Index, DocumentError> {
        let index: Index = parse(Self::WHAT, bytes, limit)?;
        index.check(media_type::INDEX)?;
        Ok(index)
    }

    fn check(&self, promised: &str) -> Result<(), DocumentError> {
        if self.schema_version != 2 {
            return Err(DocumentError::refused(
                Self::WHAT,
                format!("schema version {} is not 2", self.schema_version),
            ));
        }
        if let Some(claimed) = self.media_type.as_deref().filter(|claimed| *claimed != promised) {
            let reason = format!("it says it is {claimed:?} but was referred to as {promised:?}");
            return Err(DocumentError::refused(Self::WHAT, reason));
        }
        let known = [
            "schemaVersion",
            "mediaType",
            "manifests",
            "annotations",
            "config",
            "layers",
            "fsLayers",
            "history",
        ];
        check_extra(Self::WHAT, &self.extra, &known)?;
        self.manifests.iter().try_for_each(|descriptor| descriptor.check(Self::WHAT))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::digest::Digest;

    #[test]
    fn an_index_with_the_parts_of_a_manifest_is_refused() {
        let good =
            serde_json::to_value(Index::new(vec![Descriptor::new(media_type::MANIFEST, Digest::of(b""), 0)]))
                .unwrap();
        let read = |value: &serde_json::Value| Index::parse(value.to_string().as_bytes(), media_type::INDEX);
        assert!(read(&good).is_ok());
        for field in ["layers", "config", "Layers", "MANIFESTS"] {
            let mut confused = good.clone();
            confused[field] = json!([]);
            assert!(read(&confused).is_err(), "{field}");
        }
        let mut wide = good.clone();
        wide["manifests"] = serde_json::Value::Array(vec![good["manifests"][0].clone(); INDEX_LIMIT + 1]);
        assert!(matches!(read(&wide), Err(DocumentError::TooLarge { .. })));
    }
}
