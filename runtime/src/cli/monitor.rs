//! `roci monitor`: parent of containers, in the foreground of a user or detached.
//!
//! Not for people: `rrun run` prepares a container's folder and root and then becomes this program; `rrun run -d` and `rcri`
//! leave one behind and talk to it. Failures are printed in the name of the program that the user called.

use std::os::fd::RawFd;
use std::path::PathBuf;

use anyhow::Context;
use clap::{ArgGroup, Args};
use runtime::container::Id;
use runtime::monitor::background::{self, Background, Leftovers};
use runtime::monitor::foreground::{Foreground, ForegroundError, run as run_foreground};
use runtime::monitor::log::LogSettings;
use runtime::sys::fd::take_inherited;

use super::log::Log;

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("place").required(true).args(["foreground", "detach"])))]
pub struct Arguments {
    /// Stay the caller's process and relay its standard streams
    #[arg(long)]
    foreground: bool,
    /// Leave a monitor behind that is asked for containers at its socket
    #[arg(long, requires = "socket", conflicts_with_all = ["bundle", "rootfs_fd", "lock_fd", "interactive", "terminal", "log"])]
    detach: bool,
    /// End with the first container instead of when told so
    #[arg(long, requires = "detach")]
    standalone: bool,
    /// Name of the container or pod
    #[arg(long, value_name = "ID", value_parser = super::id)]
    id: Id,
    /// Folder with config.json
    #[arg(long, value_name = "DIR", required_unless_present = "detach")]
    bundle: Option<PathBuf>,
    /// Descriptor of a detached mount to be the root file system
    #[arg(long, value_name = "N")]
    rootfs_fd: Option<RawFd>,
    /// Descriptor to keep open as long as the container exists: a lock of the caller's
    #[arg(long, value_name = "N")]
    lock_fd: Option<RawFd>,
    /// Pass standard input on
    #[arg(long)]
    interactive: bool,
    /// config.json asks for a terminal
    #[arg(long)]
    terminal: bool,
    /// Where to listen for callers
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// File that gets a copy of the output
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Length in bytes after which the log is rotated
    #[arg(long, value_name = "BYTES", requires = "log")]
    log_size: Option<u64>,
    /// Most files of the log, old ones included
    #[arg(long, value_name = "N", default_value_t = 1)]
    log_files: u32,
    /// File of the container's attachment to a network, released after its end
    #[arg(long, value_name = "FILE")]
    network: Option<PathBuf>,
    /// Folder ROOT/containers/ID, to be removed after the end by way of ROOT/trash
    #[arg(long, value_name = "DIR")]
    remove: Option<PathBuf>,
    /// Program in whose name failures are printed
    #[arg(long, value_name = "NAME", default_value = "roci")]
    program: String,
}

/// The exit code is the container's, or says why it did not run; everything was printed.
pub fn run(arguments: &Arguments, state_root: PathBuf, log: &Log) -> u8 {
    let result = match &arguments.socket {
        Some(socket) if arguments.detach => detach(arguments, state_root, socket.clone()),
        _ => follow(arguments, state_root, log),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            super::output::say(&match arguments.detach {
                // Its caller puts its own words in front, and each cause is in the message already.
                true => error.to_string(),
                false => format!("{}: {error}", arguments.program),
            });
            error.downcast_ref::<ForegroundError>().map_or(125, ForegroundError::exit_code)
        }
    }
}

/// Ends with 0 in the caller's child once somebody listens, and again in the monitor when that is done.
fn detach(arguments: &Arguments, state_root: PathBuf, socket: PathBuf) -> anyhow::Result<u8> {
    background::run(Background {
        state_root,
        socket,
        standalone: arguments.standalone,
        leftovers: leftovers(arguments),
    })?;
    Ok(0)
}

fn leftovers(arguments: &Arguments) -> Leftovers {
    Leftovers { network: arguments.network.clone(), folder: arguments.remove.clone() }
}

fn follow(arguments: &Arguments, state_root: PathBuf, log: &Log) -> anyhow::Result<u8> {
    let take = |option: &str, number: Option<RawFd>| {
        let failed = || format!("{option} {}: not an open descriptor", number.unwrap_or_default());
        number.map(take_inherited).transpose().with_context(failed)
    };
    let rootfs = take("--rootfs-fd", arguments.rootfs_fd)?;
    let lock = take("--lock-fd", arguments.lock_fd)?;
    let ended = run_foreground(Foreground {
        id: arguments.id.clone(),
        bundle: arguments.bundle.clone().context("--bundle is missing")?,
        state_root,
        rootfs,
        interactive: arguments.interactive,
        terminal: arguments.terminal,
        socket: arguments.socket.clone(),
        log: arguments.log.clone().map(|path| LogSettings {
            path,
            max_size: arguments.log_size,
            max_files: arguments.log_files,
        }),
        leftovers: leftovers(arguments),
    })?;
    ended.clamped.iter().for_each(|note| log.line("warning", note));
    for failure in &ended.left {
        super::output::say(&format!("{}: {failure}", arguments.program));
    }
    // Not sooner: who finds it free believes that nobody cares for the container any more.
    drop(lock);
    Ok(ended.exit.code())
}
