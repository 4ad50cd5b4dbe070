//! Where the terminal's master goes: to a console socket, or to the caller.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::request::Console;
use crate::error::{Error, Result};
use crate::init::send_with;

/// A receiver of the terminal, connected before anything is created.
#[derive(Debug)]
pub(super) enum Receiver {
    /// There is no terminal.
    Nobody,
    /// The caller of the library.
    Caller,
    /// An engine behind a socket.
    Socket(OwnedFd),
}

/// Connects to a socket that a caller listens on for descriptors. One with as many callers waiting as it takes is an error, as
/// with runc: nobody may be there to accept any.
pub(super) fn connect(path: &Path) -> Result<OwnedFd> {
    let fail = |operation| Error::system(operation, path.to_string_lossy());
    let address = SocketAddrUnix::new(path).map_err(fail("use"))?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .map_err(fail("open a socket for"))?;
    rustix::net::connect(&socket, &address).map_err(fail("connect to"))?;
    rustix::io::ioctl_fionbio(&socket, false).map_err(fail("use"))?;
    Ok(socket)
}

/// Sends the first process's descriptor to a socket (`--pidfd-socket`).
pub(super) fn send_pidfd(socket: Option<&OwnedFd>, pidfd: &OwnedFd) -> Result<()> {
    let Some(socket) = socket else { return Ok(()) };
    send_with(socket.as_fd(), b"pidfd", Some(pidfd.as_fd()))
        .map_err(Error::system("send", "the process to the pidfd socket"))
}

impl Receiver {
    /// Checks that what the process wants and what the caller offers go together.
    pub(super) fn open(console: &Console, terminal: bool) -> Result<Receiver> {
        match (console, terminal) {
            (Console::Absent, false) | (Console::Returned, false) => Ok(Receiver::Nobody),
            (Console::Returned, true) => Ok(Receiver::Caller),
            (Console::Absent, true) => Err(Error::Argument {
                argument: "--console-socket".to_owned(),
                reason: "cannot allocate tty if runc will detach without setting console socket".to_owned(),
            }),
            (Console::Socket(_), false) => Err(Error::Argument {
                argument: "--console-socket".to_owned(),
                reason: "cannot use console socket if runc will not detach or allocate tty".to_owned(),
            }),
            (Console::Socket(path), true) => Ok(Receiver::Socket(connect(path)?)),
        }
    }

    /// Hands the master to whom it belongs. Engines read the name that comes with it and ignore it.
    pub(super) fn hand_over(&self, master: Option<&OwnedFd>) -> Result<()> {
        match (self, master) {
            (Receiver::Socket(socket), Some(master)) => {
                send_with(socket.as_fd(), b"/dev/ptmx", Some(master.as_fd()))
                    .map_err(Error::system("send", "the terminal to the console socket"))
            }
            _ => Ok(()),
        }
    }

    /// Does the caller get it?
    pub(super) fn is_returned(&self) -> bool {
        matches!(self, Receiver::Caller)
    }
}
