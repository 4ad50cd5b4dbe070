//! `roci features`: what this program can do, as the specification's features document (features.md, features-linux.md).

use clap::Args;
use runtime::features::features;

use super::output;

#[derive(Debug, Args)]
pub struct Arguments {}

pub fn run() -> anyhow::Result<u8> {
    output::print(&serde_json::to_string_pretty(&features())?)?;
    Ok(0)
}
