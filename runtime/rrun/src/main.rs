//! `rrun`: standalone containers and images.
//!
//! Parse, dispatch, exit code. Each verb is one file below [`cli`], a thin adapter over the libraries `image` and
//! `runtime`. An error is printed here, once, as `rrun: <operation> <object>: <cause>`. Exit codes are docker's:
//! 1 for a verb that failed, 125 for a command line that cannot be understood; `run` has more (see its file).

mod attachment;
mod cli;
mod format;
mod options;
mod session;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{Parser, error::ErrorKind};

use cli::Arguments;

/// The command line cannot be understood, or we failed before a container could run.
pub const OUR_FAILURE: u8 = 125;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    match cli::dispatch(arguments) {
        Ok(code) => ExitCode::from(code),
        // Whoever read our output has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            report_error(&error);
            ExitCode::from(1)
        }
    }
}

/// Prints help and version to standard output, anything else to standard error.
fn usage(error: &clap::Error) -> ExitCode {
    if let Some(verb) = cli::later::named_in(error) {
        report(&format!("{verb} is not available in this version yet (see rrun --help for what is)"));
        return ExitCode::from(OUR_FAILURE);
    }
    if let Some(option) = cli::later::run_option_in(error) {
        report(&format!(
            "run: {option} is not available in this version yet (see rrun run --help for what is)"
        ));
        return ExitCode::from(OUR_FAILURE);
    }
    let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if asked || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // Nothing is left to tell anybody when this fails.
        let _ = error.print();
        return if asked { ExitCode::SUCCESS } else { ExitCode::from(OUR_FAILURE) };
    }
    let text = error.render().to_string();
    report(text.strip_prefix("error: ").unwrap_or(&text).trim_end());
    ExitCode::from(OUR_FAILURE)
}

fn report_error(error: &anyhow::Error) {
    report(&causes(error));
}

/// An error with its causes, each once: some libraries say a cause in the message above it as well.
fn causes(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn report(message: &str) {
    let _ = writeln!(io::stderr(), "rrun: {message}");
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let is = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    // Only our own standard output: a pipe that breaks elsewhere is a failure.
    error.downcast_ref::<cli::OutputClosed>().is_some() && error.chain().any(is)
}
