//! `roci delete`.

use std::path::Path;

use clap::Args;
use runtime::container::{self, Id};

use super::log::Log;

#[derive(Debug, Args)]
pub struct Arguments {
    /// Kill it first if it runs; clear away what is half created; no error if it does not exist
    #[arg(short, long)]
    force: bool,
    /// Name of the container
    #[arg(value_name = "ID", value_parser = super::id)]
    id: Id,
}

pub fn run(arguments: &Arguments, state_root: &Path, log: &Log) -> anyhow::Result<u8> {
    for failure in container::delete(state_root, &arguments.id, arguments.force)? {
        log.warning(&failure.to_string());
    }
    Ok(0)
}
