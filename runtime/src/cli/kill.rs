//! `roci kill`.

use std::path::Path;

use clap::Args;
use runtime::container::{self, Id, Target};
use runtime::process::Signal;

#[derive(Debug, Args)]
pub struct Arguments {
    /// Send the signal to every process of the container
    #[arg(short, long)]
    all: bool,
    /// Name of the container
    #[arg(value_name = "ID", value_parser = super::id)]
    id: Id,
    /// Signal, by name or number
    #[arg(value_name = "SIGNAL", default_value = "TERM", allow_hyphen_values = true)]
    signal: Signal,
}

pub fn run(arguments: &Arguments, state_root: &Path) -> anyhow::Result<u8> {
    let target = if arguments.all { Target::All } else { Target::First };
    container::kill(state_root, &arguments.id, arguments.signal, target)?;
    Ok(0)
}
