//! `rrun rm`.

use anyhow::{Context, Result, anyhow};
use clap::Args;
use engine::{Containers, Error, force};

use super::{Global, each, print};

/// How often a container that lives again is ended again.
const ATTEMPTS: u32 = 20;

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

/// Somebody may start it again between our ending and our removing it: then it is ended once more.
fn remove(containers: &Containers, arguments: &Arguments, name: &str) -> Result<()> {
    for _ in 1..ATTEMPTS {
        match try_remove(containers, arguments, name) {
            Err(Error::Running { .. }) if arguments.force => {}
            removed => return removed.map_err(refused),
        }
    }
    try_remove(containers, arguments, name).map_err(refused)
}

fn refused(error: Error) -> anyhow::Error {
    match error {
        Error::Running { .. } => anyhow!("it is running: stop it first, or use --force"),
        error => error.into(),
    }
}

fn try_remove(containers: &Containers, arguments: &Arguments, name: &str) -> Result<(), Error> {
    if arguments.force {
        match containers.find(name) {
            Ok(record) => {
                if !arguments.cri {
                    record.refuse_cri(name)?;
                }
                force::end(containers, &record)?;
                if !containers.folder(&record.id).exists() {
                    // It went with its end.
                    return Ok(());
                }
            }
            // One whose record is damaged has no monitor that we could find.
            Err(Error::Damaged { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    if !arguments.force {
        return containers.remove_named(name, arguments.cri).map(drop);
    }
    if let Some(left) = containers.discard_named(name, arguments.cri)? {
        crate::report(&format!("warning: the network of container {name} was not released; {left}"));
    }
    Ok(())
}
