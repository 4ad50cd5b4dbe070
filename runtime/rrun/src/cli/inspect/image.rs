//! Docker's JSON about an image.

use anyhow::Result;
use image::reference::Reference;
use image::store::{Image, Store};
use serde_json::{Value, json};

/// Everything about `image`.
pub fn describe(store: &Store, image: &Image) -> Result<Value> {
    let config = &image.config;
    let mut digests: Vec<String> =
        image.names.iter().map(|name| format!("{}@{}", name.familiar_repository(), image.manifest)).collect();
    digests.dedup();
    let mut described = json!({
        "Id": image.id,
        "RepoTags": image.names.iter().map(Reference::familiar).collect::<Vec<_>>(),
        "RepoDigests": digests,
        "Comment": config.history.last().and_then(|last| last.comment.clone()).unwrap_or_default(),
        "Created": config.created,
        "Author": config.author.clone().unwrap_or_default(),
        "Architecture": config.architecture,
        "Os": config.os,
        "Size": store.unpacked_size(image),
        "Config": serde_json::to_value(&config.config)?,
        "RootFS": {"Type": "layers", "Layers": config.rootfs.diff_ids},
    });
    if let Some(variant) = &config.variant {
        described["Variant"] = json!(variant);
    }
    // Templates ask for these whether or not the image sets them.
    for (field, empty) in [
        ("Env", json!([])),
        ("Cmd", Value::Null),
        ("Entrypoint", Value::Null),
        ("Labels", Value::Null),
        ("User", json!("")),
        ("WorkingDir", json!("")),
    ] {
        if described["Config"].get(field).is_none() {
            described["Config"][field] = empty;
        }
    }
    Ok(described)
}
