//! Signals to a monitor: of its children's ends, and what is meant for a foreground container.

use nix::sys::signal::{SigSet, Signal};

use super::event_loop::{Mode, Monitor};
use crate::error::{Error, Result};
use crate::namespaces::from_nix;
use crate::process;
use crate::terminal;

/// Blocks the signals that the loop takes from its descriptor. To be called before a container exists, so that
/// its end cannot be missed and no signal leaves it without its monitor; its process starts with none blocked.
pub fn block_signals() -> Result<SigSet> {
    let mut signals = SigSet::all();
    // Faults of our own, and the stops of a background job that uses its terminal, keep their meaning.
    for own in [
        Signal::SIGSEGV,
        Signal::SIGBUS,
        Signal::SIGFPE,
        Signal::SIGILL,
        Signal::SIGABRT,
        Signal::SIGTRAP,
        Signal::SIGSYS,
        Signal::SIGTTIN,
        Signal::SIGTTOU,
    ] {
        signals.remove(own);
    }
    signals.thread_block().map_err(from_nix).map_err(Error::system("block", "signals"))?;
    Ok(signals)
}

impl Monitor<'_> {
    pub(super) fn take_signals(&mut self) -> Result<()> {
        loop {
            let info = match self.signals.read_signal() {
                Ok(Some(info)) => info,
                Ok(None) => return Ok(()),
                Err(nix::errno::Errno::EINTR) => continue,
                Err(errno) => return Err(Error::system("read", "signals")(from_nix(errno))),
            };
            self.take_signal(info.ssi_signo as i32)?;
        }
    }

    fn take_signal(&mut self, number: i32) -> Result<()> {
        if number == libc::SIGCHLD {
            self.has_dead = true;
            return Ok(());
        }
        // A detached monitor outlives whatever the session that it came from is told.
        let Some(Some(container)) =
            self.containers.first().filter(|_| self.settings.mode == Mode::Foreground)
        else {
            return Ok(());
        };
        match number {
            libc::SIGWINCH => {
                if let (Some(user), Some(container)) = (self.user_terminal, &container.terminal)
                    && let Some(size) = terminal::size(user)
                {
                    // A terminal that is being closed has no size to set.
                    let _ = terminal::set_size(container, size);
                }
            }
            // Said by the kernel about us, not meant for the container.
            libc::SIGPIPE | libc::SIGURG => {}
            libc::SIGINT | libc::SIGTERM | libc::SIGHUP | libc::SIGQUIT if container.exit.is_some() => {
                self.abandoned = true;
            }
            // What cannot be passed on must not end the container.
            number => drop(container.signal(process::Signal(number))),
        }
        Ok(())
    }
}
