//! `roci start`.

use std::path::Path;

use clap::Args;
use runtime::container::{self, Id};

#[derive(Debug, Args)]
pub struct Arguments {
    /// Name of the container
    #[arg(value_name = "ID", value_parser = super::id)]
    id: Id,
}

pub fn run(arguments: &Arguments, state_root: &Path) -> anyhow::Result<u8> {
    container::start(state_root, &arguments.id)?;
    Ok(0)
}
