//! `rrun restart`.

use anyhow::{Context, Result, bail};
use clap::Args;

use super::stop::Ending;
use super::{Global, each, print, start};

/// Options of `restart`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    ending: Ending,
    /// Names or ids of containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub fn run(global: &Global, arguments: &Arguments) -> Result<u8> {
    let containers = global.containers()?;
    each(&arguments.containers, |name| {
        let record = containers.find(name)?;
        record.refuse_cri(name)?;
        if record.remove {
            bail!("cannot restart container {name}: it was made with --rm and goes when it ends");
        }
        arguments.ending.apply(&containers, &record)?;
        let started = start::revive_and_start(global, &containers, &record, name);
        started.with_context(|| format!("cannot restart container {name}"))?;
        print(&format!("{name}\n"))
    })
}
