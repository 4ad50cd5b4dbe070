//! `rrun tag`.

use anyhow::{Context, Result};
use clap::Args;
use image::reference::Reference;

use super::Global;

/// Operands of `tag`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Name or id of an image
    #[arg(value_name = "SOURCE_IMAGE[:TAG]")]
    source: String,
    /// Its new name
    #[arg(value_name = "TARGET_IMAGE[:TAG]")]
    target: String,
}

pub fn run(global: &Global, arguments: &Arguments) -> Result<u8> {
    let Arguments { source, target } = arguments;
    let context = || format!("cannot tag {source} as {target}");
    let target: Reference = target.parse().with_context(context)?;
    global.store()?.tag(source, &target).with_context(context)?;
    Ok(0)
}
