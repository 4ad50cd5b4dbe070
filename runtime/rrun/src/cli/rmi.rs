//! `rrun rmi`.

use anyhow::{Context, Result};
use clap::Args;

use super::{Global, each, print};

/// Options of `rmi`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Names or ids of images
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// Remove even if a container uses it (its layers stay until the container is gone), or if it has several names
    #[arg(short, long)]
    force: bool,
}

pub fn run(global: &Global, arguments: &Arguments) -> Result<u8> {
    // A container whose monitor was killed no longer uses its image.
    let containers = global.unswept_containers()?;
    containers.sweep()?;
    let store = containers.store();
    each(&arguments.images, |name| {
        let removed =
            store.remove(name, arguments.force).with_context(|| format!("cannot remove image {name}"))?;
        let untagged = removed.untagged.iter().map(|name| format!("Untagged: {}\n", name.familiar()));
        let deleted = removed.deleted.iter().map(|digest| format!("Deleted: {digest}\n"));
        print(&untagged.chain(deleted).collect::<String>())
    })
}
