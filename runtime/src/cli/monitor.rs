//! `roci monitor`: parent of one container, in the foreground.
//!
//! Not for people: `rrun run` prepares a container's folder and root and then becomes this program. Failures are
//! printed in the name of the program that the user called.

use std::os::fd::RawFd;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use runtime::container::Id;
use runtime::monitor::foreground::{Foreground, ForegroundError, run as run_foreground};
use runtime::sys::fd::take_inherited;

use super::log::Log;

#[derive(Debug, Args)]
pub struct Arguments {
    /// Stay the caller's process and relay its standard streams (required: there is no other way yet)
    #[arg(long, required = true)]
    foreground: bool,
    /// Name of the container
    #[arg(long, value_name = "ID", value_parser = super::id)]
    id: Id,
    /// Folder with config.json
    #[arg(long, value_name = "DIR")]
    bundle: PathBuf,
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
    /// Folder ROOT/containers/ID, to be removed after the end by way of ROOT/trash
    #[arg(long, value_name = "DIR")]
    remove: Option<PathBuf>,
    /// Program in whose name failures are printed
    #[arg(long, value_name = "NAME", default_value = "roci")]
    program: String,
}

/// The exit code is the container's, or says why it did not run; everything was printed.
pub fn run(arguments: &Arguments, state_root: PathBuf, log: &Log) -> u8 {
    match follow(arguments, state_root, log) {
        Ok(code) => code,
        Err(error) => {
            super::output::say(&format!("{}: {error}", arguments.program));
            error.downcast_ref::<ForegroundError>().map_or(125, ForegroundError::exit_code)
        }
    }
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
        bundle: arguments.bundle.clone(),
        state_root,
        rootfs,
        interactive: arguments.interactive,
        terminal: arguments.terminal,
        socket: arguments.socket.clone(),
        remove: arguments.remove.clone(),
    })?;
    log.clamped(&ended.clamped);
    for failure in &ended.left {
        super::output::say(&format!("{}: {failure}", arguments.program));
    }
    // Not sooner: who finds it free believes that nobody cares for the container any more.
    drop(lock);
    Ok(ended.exit.code())
}
