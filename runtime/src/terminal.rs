//! Terminals: raw mode of the user's, size of the container's.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::termios::{OptionalActions, OutputModes, Termios, Winsize};

use crate::spec::from_image::TerminalSize;

/// The user's terminal in raw mode; dropping it puts back what was.
///
/// In raw mode every key, `^C` too, goes to the container's terminal, which makes signals of them there.
#[derive(Debug)]
pub struct RawMode {
    terminal: OwnedFd,
    before: Termios,
}

impl RawMode {
    /// Puts `terminal` into raw mode. What was typed ahead is kept for the container.
    pub fn enter(terminal: impl AsFd) -> Result<RawMode, Errno> {
        RawMode::change(terminal, Termios::make_raw)
    }

    /// Has `terminal` show what comes as it is, and leaves its keys alone: what a container's terminal shows has its line
    /// ends already.
    pub fn show_as_is(terminal: impl AsFd) -> Result<RawMode, Errno> {
        RawMode::change(terminal, |modes| modes.output_modes.remove(OutputModes::OPOST))
    }

    fn change(terminal: impl AsFd, change: impl FnOnce(&mut Termios)) -> Result<RawMode, Errno> {
        let terminal = rustix::io::fcntl_dupfd_cloexec(terminal, 3)?;
        let before = rustix::termios::tcgetattr(&terminal)?;
        let mut raw = before.clone();
        change(&mut raw);
        rustix::termios::tcsetattr(&terminal, OptionalActions::Drain, &raw)?;
        Ok(RawMode { terminal, before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // A terminal that hung up needs nothing back.
        let _ = rustix::termios::tcsetattr(&self.terminal, OptionalActions::Drain, &self.before);
    }
}

/// Stops the container's terminal from adding a carriage return to each line, as runc does for one that it copies: where
/// the copy ends in a terminal that one adds its own, and elsewhere nobody wants it.
pub fn pass_lines_as_they_are(master: impl AsFd) -> Result<(), Errno> {
    let mut modes = rustix::termios::tcgetattr(&master)?;
    modes.output_modes.remove(OutputModes::ONLCR);
    rustix::termios::tcsetattr(&master, OptionalActions::Now, &modes)
}

/// The size of `terminal`, `None` where it is no terminal or does not know.
pub fn size(terminal: impl AsFd) -> Option<TerminalSize> {
    let size = rustix::termios::tcgetwinsize(terminal).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some(TerminalSize { rows: size.ws_row, columns: size.ws_col })
}

/// Gives `terminal` a size; its foreground processes get SIGWINCH if that is news.
pub fn set_size(terminal: impl AsFd, size: TerminalSize) -> Result<(), Errno> {
    let size = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(terminal, size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pty::{OpenptFlags, grantpt, openpt, unlockpt};
    use rustix::termios::LocalModes;

    #[test]
    fn raw_mode_is_undone_and_sizes_arrive() {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let echo = || rustix::termios::tcgetattr(&master).unwrap().local_modes.contains(LocalModes::ECHO);
        assert!(echo());
        let raw = RawMode::enter(&master).unwrap();
        assert!(!echo());
        drop(raw);
        assert!(echo());
        assert_eq!(size(&master), None);
        set_size(&master, TerminalSize { rows: 24, columns: 80 }).unwrap();
        assert_eq!(size(&master), Some(TerminalSize { rows: 24, columns: 80 }));
    }
}
