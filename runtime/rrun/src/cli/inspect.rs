//! `rrun inspect`: docker's JSON about images.

use anyhow::{Context, Result};
use clap::Args;
use image::{
    reference::Reference,
    store::{Image, Store},
};
use serde_json::{Value, json};

use super::{Global, each, print};
use crate::format::Template;

/// Options of `inspect`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Names or ids of images
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// Print by a template of fields such as '{{.Config.Cmd}}' or '{{json .RootFS.Layers}}', or 'json'
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
}

pub fn run(global: &Global, arguments: &Arguments) -> Result<u8> {
    let store = global.store()?;
    let template = arguments.format.as_deref().map(Template::parse).transpose()?;
    let mut found = Vec::new();
    let code = each(&arguments.images, |name| {
        let image = store.find(name).with_context(|| format!("cannot inspect {name}"))?;
        let described = describe(&store, &image)?;
        match &template {
            Some(template) => print(&template.rows(&[described])?)?,
            None => found.push(described),
        }
        Ok(())
    })?;
    if template.is_none() {
        print(&format!("{}\n", serde_json::to_string_pretty(&found)?))?;
    }
    Ok(code)
}

fn describe(store: &Store, image: &Image) -> Result<Value> {
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
