//! `rrun rm`.

use anyhow::{Context, Result, bail};
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
    let mut removed = try_remove(containers, arguments, name);
    for _ in 1..ATTEMPTS {
        match &removed {
            Err(error) if arguments.force && is_running(error) => {}
            _ => break,
        }
        removed = try_remove(containers, arguments, name);
    }
    match removed {
        Err(error) if is_running(&error) => bail!("it is running: stop it first, or use --force"),
        removed => removed,
    }
}

fn is_running(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(Error::Running { .. }))
}

fn try_remove(containers: &Containers, arguments: &Arguments, name: &str) -> Result<()> {
    if !arguments.force {
        containers.remove_named(name, arguments.cri)?;
        return Ok(());
    }
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
        Err(error) => return Err(error.into()),
    }
    if let Some(left) = containers.discard_named(name, arguments.cri)? {
        crate::report(&format!("warning: the network of container {name} was not released; {left}"));
    }
    Ok(())
}
