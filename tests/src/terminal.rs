//! Programs on a terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::{Sandbox, eventually, program};

/// A terminal and `rrun` on it, as the leader of a session whose terminal it is.
#[derive(Debug)]
pub struct OnTerminal {
    master: File,
    slave: OwnedFd,
    child: std::process::Child,
    seen: String,
}

impl OnTerminal {
    /// Starts `rrun` on a terminal of 33 rows and 99 columns.
    ///
    /// # Panics
    /// If there is no terminal or no `setsid`.
    pub fn start(sandbox: &Sandbox, arguments: &[&str]) -> OnTerminal {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
        grantpt(&master).expect("a terminal");
        unlockpt(&master).expect("a terminal");
        let name = ptsname(&master, Vec::new()).expect("a name").into_string().expect("a plain name");
        let master = File::from(master);
        tcsetwinsize(&master, Winsize { ws_row: 33, ws_col: 99, ws_xpixel: 0, ws_ypixel: 0 })
            .expect("a size");
        let slave = File::options().read(true).write(true).open(name).expect("the terminal");
        let end = || Stdio::from(slave.try_clone().expect("a descriptor"));
        let mut command =
            sandbox.command("setsid").args(["--ctty", "--wait"]).arg(program("rrun")).args(arguments);
        let child =
            command.inner().stdin(end()).stdout(end()).stderr(end()).spawn().expect("setsid is there");
        OnTerminal { master, slave: slave.into(), child, seen: String::new() }
    }

    /// Types.
    ///
    /// # Panics
    /// If the terminal is closed.
    pub fn send(&mut self, text: &[u8]) {
        self.master.write_all(text).expect("the terminal is open");
    }

    /// Reads until everything seen so far contains `text`.
    ///
    /// # Panics
    /// If it is not seen in time.
    pub fn expect(&mut self, text: &str) {
        let mut chunk = [0; 1000];
        while !self.seen.contains(text) {
            let mut polled = [rustix::event::PollFd::new(&self.master, rustix::event::PollFlags::IN)];
            let patience = rustix::event::Timespec { tv_sec: 20, tv_nsec: 0 };
            let ready = rustix::event::poll(&mut polled, Some(&patience)).expect("a poll");
            assert!(ready > 0, "{text:?} was never seen, only {:?}", self.seen);
            let count = self.master.read(&mut chunk).expect("the slave is open");
            self.seen.push_str(&String::from_utf8_lossy(&chunk[..count]));
        }
    }

    /// Gives the terminal another size.
    ///
    /// # Panics
    /// If it is closed.
    pub fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.master, size).expect("a size");
    }

    /// Whether keys are passed on as they are typed.
    ///
    /// # Panics
    /// If the terminal is closed.
    pub fn is_raw(&self) -> bool {
        !tcgetattr(self.slave.as_fd()).expect("a terminal").local_modes.contains(LocalModes::ICANON)
    }

    /// Waits for the end; the terminal is as it was. Returns the exit code.
    ///
    /// # Panics
    /// If it does not end, or leaves the terminal raw.
    pub fn ends(mut self) -> i32 {
        eventually("the program on the terminal ended", || {
            self.child.try_wait().expect("our child").is_some()
        });
        assert!(!self.is_raw(), "the terminal stays raw");
        self.child.wait().expect("our child").code().expect("setsid exits")
    }
}
