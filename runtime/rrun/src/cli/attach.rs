//! `rrun attach`: a user comes to a running container.

use anyhow::{Context, Result};
use clap::{ArgAction, Args};
use engine::control;

use super::Global;
use crate::attachment::Attachment;
use crate::session::{Ended, exit_code};

/// Options of `attach`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Do not pass standard input on
    #[arg(long)]
    no_stdin: bool,
    /// Pass signals that we get on to the container
    #[arg(long, value_name = "true|false", default_value = "true", num_args = 0..=1, require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    sig_proxy: bool,
    /// Name or id of a container
    #[arg(value_name = "CONTAINER")]
    container: String,
}

pub fn run(global: &Global, arguments: &Arguments) -> Result<u8> {
    let containers = global.containers()?;
    let record = containers.find(&arguments.container)?;
    if !containers.state(&record.id)?.is_running() {
        return Err(control::not_running(&record).into());
    }
    let interactive = record.interactive && !arguments.no_stdin;
    let attachment = Attachment::new(&containers.monitor(&record), &record, interactive)
        .with_context(|| format!("cannot attach to container {}", arguments.container))?;
    // At a terminal the keys become signals in the container.
    let proxy = arguments.sig_proxy && !record.tty;
    let ended = attachment.follow(&record, proxy)?;
    if ended == Ended::Detached {
        crate::report("left the container running");
    }
    Ok(exit_code(ended))
}
