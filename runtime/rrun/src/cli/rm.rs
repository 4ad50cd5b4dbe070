//! `rrun rm`.

use anyhow::{Context, Result};
use clap::Args;
use engine::{Containers, Error, control};
use runtime::process::Signal;

use super::{Global, each, print};

/// Options of `rm`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Kill what runs
    #[arg(short, long)]
    force: bool,
    /// Remove the volumes of the container that have no name, too (they are part of it: same as without)
    #[arg(short, long)]
    volumes: bool,
    /// Remove containers of Kubernetes, too
    #[arg(long)]
    cri: bool,
    /// Names or ids of containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub fn run(global: &Global, arguments: &Arguments) -> Result<u8> {
    let containers = global.unswept_containers()?;
    each(&arguments.containers, |name| {
        let removed = remove(&containers, arguments, name);
        removed.with_context(|| format!("cannot remove container {name}"))?;
        print(&format!("{name}\n"))
    })
}

fn remove(containers: &Containers, arguments: &Arguments, name: &str) -> Result<()> {
    if arguments.force {
        match containers.find(name) {
            Ok(record) => {
                if !arguments.cri {
                    record.refuse_cri(name)?;
                }
                control::stop(containers, &record, Signal::KILL, None)?;
                if !containers.folder(&record.id).exists() {
                    // It went with its end.
                    return Ok(());
                }
            }
            // One whose record is damaged has no monitor that we could find.
            Err(Error::Damaged { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    match containers.remove_named(name, arguments.cri) {
        Err(Error::Running { .. }) => anyhow::bail!("it is running: stop it first, or use --force"),
        removed => removed.map(drop).map_err(Into::into),
    }
}
