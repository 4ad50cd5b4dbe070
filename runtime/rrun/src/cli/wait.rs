//! `rrun wait`: prints the exit codes of containers when they have ended.

use anyhow::Result;
use clap::Args;
use engine::control;

use super::{Global, each, print};

/// Operands of `wait`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Names or ids of containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub fn run(global: &Global, arguments: &Arguments) -> Result<u8> {
    let containers = global.containers()?;
    each(&arguments.containers, |name| {
        let record = containers.find(name)?;
        print(&format!("{}\n", control::wait(&containers, &record)?))
    })
}
