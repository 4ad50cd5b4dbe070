//! The socket below [`super::protocol`]: packets with descriptors between processes of one user.
//!
//! Invariants: the socket is a path, never abstract, mode 0600 below a folder of mode 0700; both ends check that
//! the other belongs to the same user or to root; a packet that was cut, or that carries more descriptors than
//! [`MAX_DESCRIPTORS`], is refused and everything received with it is closed.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use thiserror::Error;

use super::protocol::MAX_MESSAGE;

/// Most descriptors one message may carry.
pub const MAX_DESCRIPTORS: usize = 4;

/// Callers that may queue before the monitor accepts them.
const BACKLOG: i32 = 16;

/// How long a monitor may take to make room for a caller or for what a caller says.
const PATIENCE: Duration = Duration::from_secs(10);

/// A failed socket operation.
#[derive(Debug, Error)]
pub enum ChannelError {
    /// Nobody listens: the monitor is gone, or was never there.
    #[error("no monitor answers at {}", path.display())]
    NoMonitor {
        /// The socket.
        path: PathBuf,
    },
    /// Somebody listens and takes nothing.
    #[error("the monitor at {} does not answer", path.display())]
    Late {
        /// The socket.
        path: PathBuf,
    },
    /// The other end belongs to somebody else.
    #[error("the other end of the monitor socket belongs to user {uid}")]
    Stranger {
        /// Its user id.
        uid: u32,
    },
    /// A packet longer than [`MAX_MESSAGE`] or with too many descriptors.
    #[error(
        "a monitor message is longer than {MAX_MESSAGE} bytes or carries more than {MAX_DESCRIPTORS} descriptors"
    )]
    Oversized,
    /// This process has no descriptor left for a caller.
    #[error("the monitor has no descriptor left")]
    NoDescriptor,
    /// A system call failed.
    #[error("cannot {operation} the monitor socket {}: {errno}", path.display())]
    System {
        /// What was tried.
        operation: &'static str,
        /// The socket, where it has a path.
        path: PathBuf,
        /// Why not.
        errno: Errno,
    },
}

/// A listening socket; its file is removed with [`Listener::remove`].
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    path: PathBuf,
}

impl Listener {
    /// Creates the folder of `path` (0700) and listens on `path` (0600). A dead socket is replaced.
    pub fn bind(path: &Path) -> Result<Listener, ChannelError> {
        let fail = |operation| move |errno| ChannelError::System { operation, path: path.to_owned(), errno };
        let (folder_path, name) = split(path)?;
        make_folder(folder_path).map_err(fail("create the folder of"))?;
        let folder = open_folder(folder_path).map_err(fail("open the folder of"))?;
        let socket = seqpacket(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK).map_err(fail("create"))?;
        let address = address(&folder, name).map_err(fail("name"))?;
        // The mode is set on the unbound socket: the file never exists with any other.
        rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR).map_err(fail("protect"))?;
        match rustix::net::bind(&socket, &address) {
            Err(Errno::ADDRINUSE) if !is_dead(path) => return Err(fail("bind")(Errno::ADDRINUSE)),
            Err(Errno::ADDRINUSE) => {
                rustix::fs::unlinkat(&folder, name, AtFlags::empty()).map_err(fail("replace the dead"))?;
                rustix::net::bind(&socket, &address).map_err(fail("bind"))?;
            }
            result => result.map_err(fail("bind"))?,
        }
        rustix::net::listen(&socket, BACKLOG).map_err(fail("listen on"))?;
        Ok(Listener { socket, path: path.to_owned() })
    }

    /// The next caller, `None` when nobody waits. Strangers are turned away here.
    pub fn accept(&self) -> Result<Option<Connection>, ChannelError> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        match rustix::net::accept_with(&self.socket, flags) {
            Ok(socket) => {
                check_peer(&socket, &self.path)?;
                Ok(Some(Connection { socket, path: self.path.clone() }))
            }
            Err(Errno::AGAIN | Errno::CONNABORTED | Errno::INTR) => Ok(None),
            Err(Errno::MFILE | Errno::NFILE) => Err(ChannelError::NoDescriptor),
            Err(errno) => {
                Err(ChannelError::System { operation: "accept a caller on", path: self.path.clone(), errno })
            }
        }
    }

    /// Removes the socket and its folder, if nothing else is in it.
    pub fn remove(self) {
        self.unlink();
    }

    /// Removes the socket's file, and its folder if nothing else is in it; who is connected stays so.
    pub fn unlink(&self) {
        let _ = rustix::fs::unlink(&self.path);
        if let Some(folder) = self.path.parent() {
            let _ = rustix::fs::rmdir(folder);
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// One end of a conversation.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
    path: PathBuf,
}

/// What one [`Connection::receive`] brought.
#[derive(Debug)]
pub enum Received {
    /// A packet of this many bytes, with its descriptors in order.
    Packet(usize, [Option<OwnedFd>; MAX_DESCRIPTORS]),
    /// Nothing waits (non-blocking sockets only), or the time ran out.
    Nothing,
    /// The other end is gone.
    End,
}

impl Connection {
    /// Two ends of a conversation between processes of ours; the first does not block.
    pub fn pair() -> Result<(Connection, Connection), ChannelError> {
        let path = PathBuf::from("(worker)");
        let fail = |errno| ChannelError::System { operation: "create", path: path.clone(), errno };
        let flags = SocketFlags::CLOEXEC;
        let (one, other) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).map_err(fail)?;
        let first = Connection { socket: one, path: path.clone() };
        first.set_nonblocking()?;
        Ok((first, Connection { socket: other, path }))
    }

    /// Connects to the monitor at `path`; the connection blocks. One that takes no callers is not waited for for ever, and
    /// neither is one that reads nothing.
    pub fn connect(path: &Path) -> Result<Connection, ChannelError> {
        Connection::connect_within(path, PATIENCE)
    }

    fn connect_within(path: &Path, patience: Duration) -> Result<Connection, ChannelError> {
        let fail = |operation| move |errno| ChannelError::System { operation, path: path.to_owned(), errno };
        let (folder_path, name) = split(path)?;
        let gone = || ChannelError::NoMonitor { path: path.to_owned() };
        let folder = match open_folder(folder_path) {
            Ok(folder) => folder,
            Err(Errno::NOENT) => return Err(gone()),
            Err(error) => return Err(fail("open the folder of")(error)),
        };
        let socket = seqpacket(SocketFlags::CLOEXEC).map_err(fail("create"))?;
        set_socket_timeout(&socket, Timeout::Send, Some(patience)).map_err(fail("configure"))?;
        match rustix::net::connect(&socket, &address(&folder, name).map_err(fail("name"))?) {
            Ok(()) => {}
            // Its queue of callers is full, and it takes none.
            Err(Errno::AGAIN) => return Err(ChannelError::Late { path: path.to_owned() }),
            Err(Errno::NOENT | Errno::CONNREFUSED) => return Err(gone()),
            Err(error) => return Err(fail("connect to")(error)),
        }
        check_peer(&socket, path)?;
        Ok(Connection { socket, path: path.to_owned() })
    }

    /// Sends one packet, whole or not at all, with copies of `descriptors`.
    pub fn send(&self, packet: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<(), ChannelError> {
        if packet.len() > MAX_MESSAGE || descriptors.len() > MAX_DESCRIPTORS {
            return Err(ChannelError::Oversized);
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
        }
        retry(|| {
            rustix::net::sendmsg(&self.socket, &[IoSlice::new(packet)], &mut ancillary, SendFlags::NOSIGNAL)
        })
        .map(drop)
        .map_err(|source| match source {
            Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN => {
                ChannelError::NoMonitor { path: self.path.clone() }
            }
            source => self.system("write to", source),
        })
    }

    /// Receives one packet into `buffer`.
    pub fn receive(&self, buffer: &mut [u8; MAX_MESSAGE]) -> Result<Received, ChannelError> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = retry(|| {
            rustix::net::recvmsg(
                &self.socket,
                &mut [IoSliceMut::new(buffer)],
                &mut ancillary,
                RecvFlags::CMSG_CLOEXEC,
            )
        });
        let received = match received {
            Ok(received) => received,
            Err(Errno::AGAIN) => return Ok(Received::Nothing),
            Err(Errno::CONNRESET) => return Ok(Received::End),
            Err(source) => return Err(self.system("read from", source)),
        };
        let mut descriptors = [const { None }; MAX_DESCRIPTORS];
        let mut count = 0;
        for message in ancillary.drain() {
            let RecvAncillaryMessage::ScmRights(rights) = message else { continue };
            for descriptor in rights {
                if let Some(slot) = descriptors.get_mut(count) {
                    *slot = Some(descriptor);
                }
                count += 1;
            }
        }
        if count > MAX_DESCRIPTORS || received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(ChannelError::Oversized);
        }
        // A packet of no bytes looks like the end; neither is a message.
        if received.bytes == 0 {
            return Ok(Received::End);
        }
        Ok(Received::Packet(received.bytes, descriptors))
    }

    /// Makes [`Connection::receive`] give up after `time`; `None` waits for ever.
    pub fn set_timeout(&self, time: Option<Duration>) -> Result<(), ChannelError> {
        set_socket_timeout(&self.socket, Timeout::Recv, time)
            .map_err(|source| self.system("configure", source))
    }

    /// Makes [`Connection::receive`] answer [`Received::Nothing`] instead of waiting.
    pub fn set_nonblocking(&self) -> Result<(), ChannelError> {
        rustix::io::ioctl_fionbio(&self.socket, true).map_err(|source| self.system("configure", source))
    }

    fn system(&self, operation: &'static str, errno: Errno) -> ChannelError {
        ChannelError::System { operation, path: self.path.clone(), errno }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Does nobody listen on the socket at `path` any more? One that is slow is not dead.
fn is_dead(path: &Path) -> bool {
    matches!(Connection::connect(path), Err(ChannelError::NoMonitor { .. }))
}

fn split(path: &Path) -> Result<(&Path, &str), ChannelError> {
    let name = path.file_name().and_then(|name| name.to_str());
    match (path.parent(), name) {
        (Some(folder), Some(name)) => Ok((folder, name)),
        _ => Err(ChannelError::System { operation: "name", path: path.to_owned(), errno: Errno::INVAL }),
    }
}

fn make_folder(path: &Path) -> Result<(), Errno> {
    match rustix::fs::mkdir(path, Mode::RWXU) {
        Err(Errno::NOENT) => match path.parent() {
            // The first of its kind since the boot.
            Some(parent) => {
                make_folder(parent)?;
                match rustix::fs::mkdir(path, Mode::RWXU) {
                    // Another of its kind, at the same moment.
                    Err(Errno::EXIST) => Ok(()),
                    result => result,
                }
            }
            None => Err(Errno::NOENT),
        },
        Err(Errno::EXIST) => Ok(()),
        result => result,
    }
}

fn open_folder(path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// The socket named through its folder's descriptor: a socket address holds 107 bytes, paths are longer.
fn address(folder: &OwnedFd, name: &str) -> Result<SocketAddrUnix, Errno> {
    SocketAddrUnix::new(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()))
}

fn seqpacket(flags: SocketFlags) -> Result<OwnedFd, Errno> {
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
}

fn check_peer(socket: &OwnedFd, path: &Path) -> Result<(), ChannelError> {
    let peer = rustix::net::sockopt::socket_peercred(socket).map_err(|errno| ChannelError::System {
        operation: "identify the other end of",
        path: path.to_owned(),
        errno,
    })?;
    if peer.uid == rustix::process::geteuid() || peer.uid.is_root() {
        Ok(())
    } else {
        Err(ChannelError::Stranger { uid: peer.uid.as_raw() })
    }
}

fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => continue,
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::fs::PermissionsExt;

    fn pair() -> (tempfile::TempDir, Listener, Connection, Connection) {
        let folder = tempfile::tempdir().unwrap();
        // Longer than a socket address holds.
        let path = folder.path().join("a".repeat(120)).join("monitor.sock");
        let listener = Listener::bind(&path).unwrap();
        let client = Connection::connect(&path).unwrap();
        let server = listener.accept().unwrap().unwrap();
        (folder, listener, client, server)
    }

    #[test]
    fn packets_and_descriptors_arrive() {
        let (_folder, _listener, client, server) = pair();
        let (mut reader, writer) = std::io::pipe().unwrap();
        client.send(b"one", &[writer.as_fd()]).unwrap();
        client.send(b"two", &[]).unwrap();
        drop(writer);
        let mut buffer = [0; MAX_MESSAGE];
        let Received::Packet(3, [Some(descriptor), None, None, None]) = server.receive(&mut buffer).unwrap()
        else {
            panic!("no descriptor")
        };
        std::fs::File::from(descriptor).write_all(b"through").unwrap();
        assert!(matches!(server.receive(&mut buffer), Ok(Received::Packet(3, _))));
        assert!(matches!(server.receive(&mut buffer), Ok(Received::Nothing)));
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
        drop(client);
        assert!(matches!(server.receive(&mut buffer), Ok(Received::End)));
    }

    #[test]
    fn the_socket_is_private_and_goes_with_its_folder() {
        let (folder, listener, _client, _server) = pair();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&listener.path), 0o600);
        assert_eq!(mode(listener.path.parent().unwrap()), 0o700);
        listener.remove();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_dead_socket_is_recognised_and_replaced() {
        let (_folder, listener, _client, _server) = pair();
        let path = listener.path.clone();
        assert!(matches!(Listener::bind(&path), Err(ChannelError::System { .. })));
        drop(listener);
        assert!(matches!(Connection::connect(&path), Err(ChannelError::NoMonitor { .. })));
        let _listener = Listener::bind(&path).unwrap();
        Connection::connect(&path).unwrap();
    }

    #[test]
    fn a_monitor_that_takes_no_callers_is_not_waited_for_for_ever_and_not_dead() {
        let (_folder, listener, _client, _server) = pair();
        let short = Duration::from_millis(100);
        let mut waiting = Vec::new();
        let error = loop {
            match Connection::connect_within(&listener.path, short) {
                Ok(connection) => waiting.push(connection),
                Err(error) => break error,
            }
            assert!(waiting.len() < 1000, "the queue has no end");
        };
        assert!(matches!(error, ChannelError::Late { .. }), "{error}");
    }

    #[test]
    fn what_is_too_long_is_refused_on_both_ends() {
        let (_folder, _listener, client, server) = pair();
        assert!(matches!(client.send(&[0; MAX_MESSAGE + 1], &[]), Err(ChannelError::Oversized)));
        rustix::net::send(&client.socket, &[0; MAX_MESSAGE + 1], SendFlags::empty()).unwrap();
        assert!(matches!(server.receive(&mut [0; MAX_MESSAGE]), Err(ChannelError::Oversized)));
    }

    #[test]
    fn more_descriptors_than_allowed_are_refused_and_closed() {
        let (_folder, _listener, client, server) = pair();
        let (reader, writer) = std::io::pipe().unwrap();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS + 3))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let many = [writer.as_fd(); MAX_DESCRIPTORS + 3];
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&many)));
        let packet = [IoSlice::new(b"x")];
        rustix::net::sendmsg(&client.socket, &packet, &mut ancillary, SendFlags::empty()).unwrap();
        drop(writer);
        assert!(matches!(server.receive(&mut [0; MAX_MESSAGE]), Err(ChannelError::Oversized)));
        // No copy of the writing end is left anywhere: this would wait for ever.
        assert_eq!(std::io::read_to_string(reader).unwrap(), "");
    }
}
