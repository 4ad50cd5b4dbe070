//! `rrun start`: a container that has ended lives again, with all it changed.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use engine::{Containers, Error, Held, Record, launch, ports, root};
use runtime::monitor::client::Client;
use runtime::monitor::status_record::StatusRecord;

use super::run::attach_network;
use super::{Global, Named, each_container};
use crate::attachment::Attachment;
use crate::causes;
use crate::session::exit_code;

/// How long whoever has the container, and does not run it yet or any more, is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Options of `start`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Show the container's output and pass signals on, until it ends
    #[arg(short, long)]
    attach: bool,
    /// As --attach, and pass standard input on
    #[arg(short, long)]
    interactive: bool,
    #[command(flatten)]
    named: Named,
}

pub fn run(global: &Global, arguments: &Arguments) -> Result<u8> {
    if arguments.attach || arguments.interactive {
        let [name] = &arguments.named.containers[..] else { bail!("only one container can be attached to") };
        return start_attached(global, &global.containers()?, name, arguments.interactive);
    }
    each_container(global, &arguments.named, |containers, record, name| {
        let started = revive_and_start(global, containers, record, name);
        started.with_context(|| format!("cannot start container {name}"))?;
        Ok(name.to_owned())
    })
}

/// Starts a container again. As with docker, one that runs is as wished, also where somebody else is just starting it.
pub fn revive_and_start(global: &Global, containers: &Containers, record: &Record, name: &str) -> Result<()> {
    let ends = Instant::now() + PATIENCE;
    while !containers.state(&record.id)?.is_running() {
        match create(global, containers, record, name) {
            Ok(mut client) => return Ok(launch::start(&mut client, record)?),
            Err(error) if is_held(&error) && Instant::now() < ends => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn is_held(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(Error::Running { .. }))
}

fn start_attached(global: &Global, containers: &Containers, name: &str, interactive: bool) -> Result<u8> {
    let record = containers.find(name)?;
    let failed = || format!("cannot start container {name}");
    let mut client = create(global, containers, &record, name).with_context(failed)?;
    let attachment =
        Attachment::new(&containers.monitor(&record), &record, interactive && record.interactive)?;
    if let Err(error) = launch::start(&mut client, &record) {
        let code = error.exit_code();
        crate::report_error(&anyhow::Error::new(error).context(failed()));
        return Ok(code);
    }
    Ok(exit_code(attachment.follow(&record, !record.tty)?))
}

/// Makes everything that a container had but for its folder, up to the gate before its command.
pub fn create(global: &Global, containers: &Containers, record: &Record, name: &str) -> Result<Client> {
    record.refuse_cri(name)?;
    ports::check_free(&record.ports)?;
    let held = containers.revive(record, name)?;
    match revive(global, containers, record, &held) {
        Ok(client) => Ok(client),
        Err(error) => {
            if let Err(left) = containers.release(&held) {
                crate::report(&format!(
                    "warning: something of container {name} is left: {}",
                    causes(&left.into())
                ));
            }
            Err(error)
        }
    }
}

fn revive(global: &Global, containers: &Containers, record: &Record, held: &Held) -> Result<Client> {
    containers.release(held)?;
    let image = containers.store().image_by_manifest(&record.image)?;
    let root: OwnedFd = root::mount_again(containers.store(), &image, &held.path)?;
    attach_network(global, containers, record)?;
    // From here on it is one that never ran.
    StatusRecord::remove(&held.path).map_err(Error::from)?;
    Ok(launch::create(containers, record, held, &root)?)
}
