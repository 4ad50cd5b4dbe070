//! The manifest of one image, and descriptors.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    DocumentError, Extra, LAYER_LIMIT, MANIFEST_LIMIT, Platform, check_count, check_extra, media_type,
    null_is_default, parse,
};
use crate::digest::Digest;

/// Names a piece of content by type, digest and size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// Which machine it is for (in an index).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Free text. In our own index.json it carries the names; from outside it never selects behaviour.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Fields we do not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What an image is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// Its own type; older OCI manifests leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The image config.
    pub config: Descriptor,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
    /// Free text.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Fields we do not know.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Descriptor {
    /// Without platform and annotations.
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Descriptor {
        Descriptor {
            media_type: media_type.to_string(),
            digest,
            size,
            platform: None,
            annotations: BTreeMap::new(),
            extra: Extra::new(),
        }
    }

    pub(super) fn check(&self, what: &'static str) -> Result<(), DocumentError> {
        check_extra(what, &self.extra, &["mediaType", "digest", "size", "platform", "annotations"])?;
        // `urls` makes a client fetch from a host of the image's choice.
        let foreign = |(name, value): (&String, &Value)| {
            name.eq_ignore_ascii_case("urls") && value != &Value::Array(vec![])
        };
        if self.extra.iter().any(foreign) {
            return Err(DocumentError::refused(what, "content at foreign addresses is not supported"));
        }
        Ok(())
    }
}

impl Manifest {
    const WHAT: &str = "image manifest";

    /// An OCI manifest.
    pub fn new(config: Descriptor, layers: Vec<Descriptor>) -> Manifest {
        Manifest {
            schema_version: 2,
            media_type: Some(media_type::MANIFEST.to_string()),
            config,
            layers,
            annotations: BTreeMap::new(),
            extra: Extra::new(),
        }
    }

    /// Reads a manifest. `promised` is the media type by which it was referred to.
    pub fn parse(bytes: &[u8], promised: &str) -> Result<Manifest, DocumentError> {
        if !media_type::is_manifest(promised) {
            return Err(DocumentError::Unsupported {
                what: Self::WHAT,
                media_type: promised.chars().take(120).collect(),
            });
        }
        let manifest: Manifest = parse(Self::WHAT, bytes, MANIFEST_LIMIT)?;
        manifest.check(promised)?;
        Ok(manifest)
    }

    fn check(&self, promised: &str) -> Result<(), DocumentError> {
        if self.schema_version != 2 {
            return Err(DocumentError::refused(
                Self::WHAT,
                format!("schema version {} is not 2", self.schema_version),
            ));
        }
        match &self.media_type {
            Some(claimed) if claimed != promised => {
                let reason = format!("it says it is {claimed:?} but was referred to as {promised:?}");
                return Err(DocumentError::refused(Self::WHAT, reason));
            }
            None if promised == media_type::DOCKER_MANIFEST => {
                return Err(DocumentError::refused(Self::WHAT, "it has no media type"));
            }
            _ => {}
        }
        let known = [
            "schemaVersion",
            "mediaType",
            "config",
            "layers",
            "annotations",
            "manifests",
            "fsLayers",
            "history",
        ];
        check_extra(Self::WHAT, &self.extra, &known)?;
        check_count(Self::WHAT, self.layers.len() as u64, LAYER_LIMIT as u64, "layers")?;
        self.config.check(Self::WHAT)?;
        if !media_type::is_config(&self.config.media_type) {
            let media_type = self.config.media_type.chars().take(120).collect();
            return Err(DocumentError::Unsupported { what: "image config", media_type });
        }
        for layer in &self.layers {
            layer.check(Self::WHAT)?;
            media_type::layer_compression(&layer.media_type)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document() -> Value {
        let config = Descriptor::new(media_type::CONFIG, Digest::of(b"config"), 6);
        let layer = Descriptor::new(media_type::LAYER_GZIP, Digest::of(b"layer"), 5);
        serde_json::to_value(Manifest::new(config, vec![layer])).unwrap()
    }

    fn read(document: &Value) -> Result<Manifest, DocumentError> {
        Manifest::parse(document.to_string().as_bytes(), media_type::MANIFEST)
    }

    #[test]
    fn a_manifest_keeps_what_it_does_not_know() {
        let mut with_subject = document();
        with_subject["subject"] = json!({"digest": "x"});
        let manifest = read(&with_subject).unwrap();
        assert_eq!(serde_json::to_value(&manifest).unwrap(), with_subject);
    }

    #[test]
    fn a_document_that_is_also_something_else_is_refused() {
        for (field, value) in [
            ("manifests", json!([])),
            ("Manifests", json!([])),
            ("LAYERS", json!([])),
            ("Config", json!({})),
            ("fsLayers", json!([])),
            ("mediaType", json!(media_type::INDEX)),
            ("mediaType", json!(media_type::DOCKER_MANIFEST)),
            ("schemaVersion", json!(1)),
        ] {
            let mut confused = document();
            confused[field] = value;
            assert!(read(&confused).is_err(), "{field}");
        }
        let twice = document().to_string().replacen('{', r#"{"schemaVersion":2,"#, 1);
        assert!(Manifest::parse(twice.as_bytes(), media_type::MANIFEST).is_err());
        assert!(Manifest::parse(document().to_string().as_bytes(), media_type::INDEX).is_err());
    }

    #[test]
    fn descriptors_are_checked() {
        for (pointer, value) in [
            ("/config/digest", json!("sha256:../../etc/passwd")),
            ("/config/digest", json!("sha512:00")),
            ("/config/size", json!(-1)),
            ("/config/mediaType", json!("application/vnd.example")),
            ("/layers/0/mediaType", json!("application/zip")),
            ("/layers/0/size", json!("5")),
        ] {
            let mut wrong = document();
            *wrong.pointer_mut(pointer).unwrap() = value;
            assert!(read(&wrong).is_err(), "{pointer}");
        }
        let mut foreign = document();
        foreign["layers"][0]["urls"] = json!(["http://example.com/layer"]);
        assert!(read(&foreign).is_err());
    }

    #[test]
    fn size_and_count_are_limited() {
        let mut many = document();
        many["layers"] = Value::Array(vec![many["layers"][0].clone(); LAYER_LIMIT + 1]);
        assert!(matches!(read(&many), Err(DocumentError::TooLarge { .. })));
        let padded = format!("{}{}", document(), " ".repeat(MANIFEST_LIMIT as usize));
        let error = Manifest::parse(padded.as_bytes(), media_type::MANIFEST).unwrap_err();
        assert!(matches!(error, DocumentError::TooLarge { .. }));
    }
}
