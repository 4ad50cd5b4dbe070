//! `rrun kill`.

use anyhow::{Context, Result};
use clap::Args;
use engine::control;
use runtime::process::Signal;

use super::{Global, each, print};
use crate::options::settings::signal;

/// Options of `kill`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Signal to send
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL", value_parser = signal)]
    signal: Signal,
    /// Names or ids of containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub fn run(global: &Global, arguments: &Arguments) -> Result<u8> {
    let containers = global.containers()?;
    each(&arguments.containers, |name| {
        let record = containers.find(name)?;
        control::kill(&containers, &record, arguments.signal)
            .with_context(|| format!("cannot kill container {name}"))?;
        print(&format!("{name}\n"))
    })
}
