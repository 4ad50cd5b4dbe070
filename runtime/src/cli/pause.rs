//! `roci pause` and `roci resume`.

use std::path::Path;

use clap::Args;
use runtime::container::{self, Id};

#[derive(Debug, Args)]
pub struct Arguments {
    /// Name of the container
    #[arg(value_name = "ID", value_parser = super::id)]
    id: Id,
}

pub fn pause(arguments: &Arguments, state_root: &Path) -> anyhow::Result<u8> {
    container::pause(state_root, &arguments.id)?;
    Ok(0)
}

pub fn resume(arguments: &Arguments, state_root: &Path) -> anyhow::Result<u8> {
    container::resume(state_root, &arguments.id)?;
    Ok(0)
}
