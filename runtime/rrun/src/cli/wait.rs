//! `rrun wait`: prints the exit codes of containers when they have ended.

use anyhow::Result;
use clap::Args;
use engine::control;

use super::{Global, Named, each_container};

/// Operands of `wait`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    named: Named,
}

pub fn run(global: &Global, arguments: &Arguments) -> Result<u8> {
    each_container(global, &arguments.named, |containers, record, _| {
        Ok(control::wait(containers, record)?.to_string())
    })
}
