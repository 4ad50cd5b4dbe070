//! `rcri`: pods for a kubelet, over the Container Runtime Interface.
//!
//! Parse, logging, dispatch, exit code: 1 when it failed, 2 for a command line or configuration file that cannot be
//! understood. An error is printed here, once. What the program does is in the library.

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use cri::config::{Config, Options};

/// The command line or the configuration file is wrong.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let config = match Config::new(Options::parse()) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("rcri: {error}");
            return ExitCode::from(USAGE);
        }
    };
    cri::logging::start(config.log_level);
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rcri: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(config: Config) -> anyhow::Result<()> {
    let listen = config.listen.clone();
    cri::server::run(config).with_context(|| format!("cannot serve {}", listen.display()))
}
