//! `roci state`.

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
    let state = container::state(state_root, &arguments.id)?;
    super::output::print(&serde_json::to_string_pretty(&state)?)?;
    Ok(0)
}
