//! `roci run`: create, start, and unless detached wait, passing signals on.

use std::os::fd::{AsFd, BorrowedFd, RawFd};

use anyhow::{Context, bail};
use clap::Args;
use nix::sys::signal::{SigSet, Signal as Name};
use runtime::container::{self, Console, Gate};
use runtime::monitor::signals::block_signals;
use runtime::process::{self, Exit, Signal};
use runtime::sys::process::wait_signal;

use super::create::Setup;
use super::log::Log;
use super::terminal;

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    setup: Setup,
    /// Return when the command was executed, and leave the container running
    #[arg(short, long)]
    detach: bool,
    /// Keep the container when its command has ended
    #[arg(long)]
    keep: bool,
    /// Descriptor of a detached mount to be the root file system
    #[arg(long, value_name = "N", hide = true)]
    rootfs_fd: Option<RawFd>,
    /// Pid of the caller: when it ends, or asks with SIGTERM or SIGINT, the container is killed and deleted
    #[arg(long, value_name = "PID", hide = true)]
    die_with: Option<u32>,
}

pub fn run(arguments: &Arguments, context: &super::Context, log: &Log) -> anyhow::Result<u8> {
    let console = match &arguments.setup.console_socket {
        Some(socket) => Console::Socket(socket.clone()),
        None if arguments.detach => Console::Absent,
        None => Console::Returned,
    };
    let mut request = arguments.setup.request(context, console, Gate::Held)?;
    if let Some(number) = arguments.rootfs_fd {
        let rootfs = runtime::sys::fd::take_inherited(number)
            .with_context(|| format!("--rootfs-fd {number}: not an open descriptor"))?;
        request.rootfs = Some(rootfs);
    }
    // From before there is a child, so that its end cannot be missed; the child starts with none blocked.
    let signals = if arguments.detach { None } else { Some(block_signals()?) };
    if let Some(caller) = arguments.die_with {
        watch(caller)?;
        request.dies_with_creator = true;
    }
    let mut created = container::create(request)?;
    log.created(&created);
    let master = created.console_master.take();
    let sized = master.as_ref().map_or(Ok(()), terminal::ready);
    if let Err(error) = sized.and_then(|()| Ok(created.start()?)) {
        // It may still wait at its gate.
        let _ = process::signal(created.process(), Signal::KILL);
        let _ = created.wait();
        let _ = created.delete();
        return Err(error);
    }
    let Some(signals) = signals else { return Ok(0) };
    let exit = match (arguments.die_with, &master) {
        (Some(_), _) => follow_until_asked(created.process(), &signals)?,
        (None, Some(master)) => terminal::follow(created.process(), created.pid, master, &signals)?,
        (None, None) => follow(created.process(), &signals)?,
    };
    if !arguments.keep {
        for failure in created.delete()? {
            log.warning(&failure.to_string());
        }
    }
    Ok(exit.code())
}

/// Waits for a child of ours, passing every signal that reaches us on to it.
pub fn follow(child: BorrowedFd<'_>, signals: &SigSet) -> anyhow::Result<Exit> {
    loop {
        match next_signal(signals)? {
            libc::SIGCHLD => {
                if let Some(exit) = process::try_wait(child.as_fd())? {
                    return Ok(exit);
                }
            }
            // The stop of a terminal's job is for its processes; ours is one, the container's is another session.
            libc::SIGTTIN | libc::SIGTTOU | libc::SIGURG => {}
            signal => drop(process::signal(child.as_fd(), Signal(signal))?),
        }
    }
}

fn next_signal(signals: &SigSet) -> anyhow::Result<i32> {
    wait_signal(signals).context("cannot wait for signals")
}

/// Has the kernel send SIGTERM when the caller ends. Signals are blocked already, so none is lost before we wait.
fn watch(caller: u32) -> anyhow::Result<()> {
    nix::sys::prctl::set_pdeathsig(Some(Name::SIGTERM)).context("cannot watch the caller")?;
    if std::os::unix::process::parent_id() != caller {
        bail!("--die-with {caller}: it has ended");
    }
    Ok(())
}

/// As [`follow`], but what asks us to end kills the container: its first process would ignore the signal itself.
fn follow_until_asked(child: BorrowedFd<'_>, signals: &SigSet) -> anyhow::Result<Exit> {
    loop {
        if let libc::SIGTERM | libc::SIGINT | libc::SIGHUP = next_signal(signals)? {
            process::signal(child.as_fd(), Signal::KILL)?;
        }
        if let Some(exit) = process::try_wait(child.as_fd())? {
            return Ok(exit);
        }
    }
}

/// Descriptors that are to be passed on have to be the caller's: a hole may be filled by one of ours, as the log.
pub fn check_preserved(count: u32) -> anyhow::Result<()> {
    for number in 3..count.saturating_add(3) {
        RawFd::try_from(number)
            .ok()
            .and_then(|number| runtime::sys::fd::require_inherited(number).ok())
            .with_context(|| format!("--preserve-fds {count}: descriptor {number} is not open"))?;
    }
    Ok(())
}
