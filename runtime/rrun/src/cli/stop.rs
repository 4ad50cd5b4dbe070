//! `rrun stop`: asks containers to end, and kills those that do not in time.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::Args;
use engine::{Containers, Record, control};
use runtime::process::Signal;

use super::{Global, Named, each_container};
use crate::options::settings::{patience, signal};

/// How containers are ended.
#[derive(Debug, Args)]
pub struct Ending {
    /// Signal instead of the container's own
    #[arg(short, long, value_name = "SIGNAL", value_parser = signal)]
    signal: Option<Signal>,
    /// Seconds until a container that ignores the signal is killed; -1 is never [default: its --stop-timeout, or 10]
    #[arg(
        short,
        long = "timeout",
        alias = "time",
        value_name = "SECONDS",
        value_parser = patience,
        allow_hyphen_values = true
    )]
    time: Option<Patience>,
}

/// `None` is for ever.
type Patience = Option<Duration>;

/// Options of `stop`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    ending: Ending,
    #[command(flatten)]
    named: Named,
}

pub fn run(global: &Global, arguments: &Arguments) -> Result<u8> {
    each_container(global, &arguments.named, |containers, record, name| {
        arguments.ending.apply(containers, record)?;
        Ok(name.to_owned())
    })
}

impl Ending {
    /// Ends a container; one that does not run is fine.
    pub fn apply(&self, containers: &Containers, record: &Record) -> Result<()> {
        let own = record.stop_timeout.map_or(control::STOP_TIMEOUT, Duration::from_secs);
        let patience = self.time.unwrap_or(Some(own));
        let signal = self.signal.map_or_else(|| stop_signal(record), Ok)?;
        control::stop(containers, record, signal, patience)
            .with_context(|| format!("cannot stop container {}", record.shown_name()))
    }
}

/// The signal that the container's user or image wants.
fn stop_signal(record: &Record) -> Result<Signal> {
    match &record.stop_signal {
        None => Ok(Signal::TERM),
        Some(text) => {
            signal(text).map_err(|reason| anyhow!("the stop signal of the container: {reason}; use --signal"))
        }
    }
}
