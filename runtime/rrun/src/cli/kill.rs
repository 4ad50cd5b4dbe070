//! `rrun kill`.

use anyhow::{Context, Result};
use clap::Args;
use engine::control;
use runtime::process::Signal;

use super::{Global, Named, each_container};
use crate::options::settings::signal;

/// Options of `kill`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Signal to send
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL", value_parser = signal)]
    signal: Signal,
    #[command(flatten)]
    named: Named,
}

pub fn run(global: &Global, arguments: &Arguments) -> Result<u8> {
    each_container(global, &arguments.named, |containers, record, name| {
        let killed = control::kill(containers, record, arguments.signal);
        killed.with_context(|| format!("cannot kill container {name}"))?;
        Ok(name.to_owned())
    })
}
