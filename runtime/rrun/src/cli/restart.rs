//! `rrun restart`.

use anyhow::{Context, Result, bail};
use clap::Args;

use super::stop::Ending;
use super::{Global, Named, each_container, start};

/// Options of `restart`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    ending: Ending,
    #[command(flatten)]
    named: Named,
}

pub fn run(global: &Global, arguments: &Arguments) -> Result<u8> {
    each_container(global, &arguments.named, |containers, record, name| {
        record.refuse_cri(name)?;
        if record.remove {
            bail!("cannot restart container {name}: it was made with --rm and goes when it ends");
        }
        arguments.ending.apply(containers, record)?;
        let started = start::revive_and_start(global, containers, record, name);
        started.with_context(|| format!("cannot restart container {name}"))?;
        Ok(name.to_owned())
    })
}
