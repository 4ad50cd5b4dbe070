//! `rrun rm`.

use anyhow::Result;
use clap::Args;
use engine::Containers;

use super::{Global, each, print};

/// Options of `rm`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Names or ids of containers that have ended
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub fn run(global: &Global, arguments: &Arguments) -> Result<u8> {
    let store = global.store()?;
    let containers = Containers::new(&store, &global.state());
    each(&arguments.containers, |name| {
        containers.remove_named(name, false)?;
        print(&format!("{name}\n"))
    })
}
