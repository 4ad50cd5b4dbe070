//! The monitor's side of the protocol: a fixed number of callers, each request answered at once or, for
//! [`Request::Wait`], at the end.

use std::os::fd::{AsFd, BorrowedFd};

use super::channel::{Connection, Listener, Received};
use super::protocol::{
    DecodeError, ErrorKind, MAX_MESSAGE, Phase, Reply, Request, VERSION, decode_request, encode_reply,
};
use crate::process::{self, Exit, Signal};
use crate::spec::from_image::TerminalSize;
use crate::terminal;

/// Callers served at the same time.
pub const CALLERS: usize = 16;

/// What requests are about.
#[derive(Debug)]
pub struct View<'a> {
    /// The container's first process.
    pub process: BorrowedFd<'a>,
    /// Its pid in our PID namespace.
    pub pid: i32,
    /// How it ended, once it was reaped.
    pub exit: Option<Exit>,
    /// The master of its terminal, if it has one.
    pub terminal: Option<BorrowedFd<'a>>,
}

/// The callers of a monitor.
#[derive(Debug, Default)]
pub struct Server {
    callers: [Option<Caller>; CALLERS],
    /// The last one turned away. Closing at once could overtake the reason: a socket that is closed with a request
    /// unread, or before it was sent, fails at the caller before the reply is seen.
    turned_away: Option<Connection>,
}

#[derive(Debug)]
struct Caller {
    connection: Connection,
    /// Sequence number of its unanswered [`Request::Wait`].
    waits: Option<u32>,
}

impl Server {
    /// Takes the next caller in; returns its slot and socket. One too many is told so and turned away.
    pub fn accept(&mut self, listener: &Listener) -> Option<(usize, BorrowedFd<'_>)> {
        // A stranger, or a caller who left already.
        let connection = listener.accept().ok().flatten()?;
        let Some(slot) = self.callers.iter().position(Option::is_none) else {
            let reply = Reply::Error { kind: ErrorKind::Busy, text: "the monitor serves too many callers" };
            let _ = connection.send(encode_reply(&reply, 1).as_bytes(), &[]);
            self.turned_away = Some(connection);
            return None;
        };
        let caller = self.callers[slot].insert(Caller { connection, waits: None });
        Some((slot, caller.connection.as_fd()))
    }

    /// Forgets a caller.
    pub fn hang_up(&mut self, slot: usize) {
        self.callers[slot] = None;
    }

    /// Reads one message of a caller and answers it. Who breaks the protocol, or does not read, is hung up on.
    pub fn serve(&mut self, slot: usize, view: &View<'_>) {
        let Some(caller) = &mut self.callers[slot] else { return };
        if !caller.serve(view) {
            self.hang_up(slot);
        }
    }

    /// Tells those who wait how the container ended.
    pub fn ended(&mut self, exit: Exit) {
        for caller in self.callers.iter_mut().flatten() {
            if let Some(sequence) = caller.waits.take() {
                caller.answer(&Reply::Exited(exit), sequence);
            }
        }
    }
}

impl Caller {
    /// False when the conversation is over.
    fn serve(&mut self, view: &View<'_>) -> bool {
        let mut buffer = [0; MAX_MESSAGE];
        // Descriptors are closed with the message: no request of this version carries any.
        let length = match self.connection.receive(&mut buffer) {
            Ok(Received::Packet(length, _)) => length,
            Ok(Received::Nothing) => return true,
            Ok(Received::End) | Err(_) => return false,
        };
        let (sequence, request) = match decode_request(&buffer[..length]) {
            Ok(decoded) => decoded,
            Err(error) => return self.refuse(&error),
        };
        match request {
            Request::Hello { version } => {
                self.answer(&Reply::Hello { version: version.min(VERSION) }, sequence)
            }
            Request::Status { .. } => self.answer(&status(view), sequence),
            Request::Signal { number, .. } => self.answer(&signal(view, number), sequence),
            Request::Resize { rows, columns, .. } => {
                self.answer(&resize(view, TerminalSize { rows, columns }), sequence)
            }
            Request::Wait { .. } => match (view.exit, self.waits) {
                (Some(exit), _) => self.answer(&Reply::Exited(exit), sequence),
                (None, Some(_)) => {
                    let text = "this caller waits already";
                    self.answer(&Reply::Error { kind: ErrorKind::Busy, text }, sequence)
                }
                (None, None) => {
                    self.waits = Some(sequence);
                    true
                }
            },
            _ => {
                let text = "a foreground monitor has one container";
                self.answer(&Reply::Error { kind: ErrorKind::Unsupported, text }, sequence)
            }
        }
    }

    fn answer(&self, reply: &Reply<'_>, sequence: u32) -> bool {
        self.connection.send(encode_reply(reply, sequence).as_bytes(), &[]).is_ok()
    }

    fn refuse(&self, error: &DecodeError) -> bool {
        let (kind, sequence) = match *error {
            DecodeError::Garbage(_) => return false,
            DecodeError::Unsupported { sequence, .. } => (ErrorKind::Unsupported, sequence),
            DecodeError::BadField { sequence, .. } => (ErrorKind::Malformed, sequence),
        };
        self.answer(&Reply::Error { kind, text: &error.to_string() }, sequence)
    }
}

fn status(view: &View<'_>) -> Reply<'static> {
    match view.exit {
        None => Reply::Status { phase: Phase::Running, pid: view.pid.unsigned_abs(), exit: None },
        exit => Reply::Status { phase: Phase::Stopped, pid: 0, exit },
    }
}

fn signal(view: &View<'_>, number: u32) -> Reply<'static> {
    let gone = Reply::Error { kind: ErrorKind::WrongPhase, text: "the container has ended" };
    if view.exit.is_some() {
        return gone;
    }
    match process::signal(view.process, Signal(number as i32)) {
        Ok(true) => Reply::Done,
        Ok(false) => gone,
        Err(_) => Reply::Error { kind: ErrorKind::Failed, text: "the kernel refused the signal" },
    }
}

fn resize(view: &View<'_>, size: TerminalSize) -> Reply<'static> {
    let Some(terminal) = view.terminal else {
        return Reply::Error { kind: ErrorKind::WrongPhase, text: "the container has no terminal" };
    };
    match terminal::set_size(terminal, size) {
        Ok(()) => Reply::Done,
        Err(_) => Reply::Error { kind: ErrorKind::Failed, text: "the kernel refused the size" },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::client::{Client, ClientError};
    use crate::monitor::protocol::Subject;
    use rustix::process::{Pid, PidfdFlags, getpid, pidfd_open};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    /// A monitor of a process that is this test itself, until `ends` is set.
    struct Finish<'a>(&'a AtomicBool);

    impl Drop for Finish<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Release);
        }
    }

    fn with_server(ends: &AtomicBool, talk: impl FnOnce(&std::path::Path) + Send) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pod/monitor.sock");
        let listener = Listener::bind(&path).unwrap();
        let own: Pid = getpid();
        let process = pidfd_open(own, PidfdFlags::empty()).unwrap();
        let finished = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Also when it panics: the loop below would wait for ever.
                let _finish = Finish(&finished);
                talk(&path);
            });
            let mut server = Server::default();
            while !finished.load(Ordering::Acquire) {
                server.accept(&listener);
                let exit = ends.load(Ordering::Acquire).then_some(Exit::Code(7));
                let view =
                    View { process: process.as_fd(), pid: own.as_raw_nonzero().get(), exit, terminal: None };
                for slot in 0..CALLERS {
                    server.serve(slot, &view);
                }
                if let Some(exit) = exit {
                    server.ended(exit);
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
    }

    #[test]
    fn a_caller_gets_answers_of_every_kind() {
        let ends = AtomicBool::new(false);
        with_server(&ends, |path| {
            let mut client = Client::connect(path).unwrap();
            assert_eq!(client.version(), VERSION);
            let status = client.status(None).unwrap();
            assert_eq!((status.phase, status.pid), (Phase::Running, std::process::id()));
            // SIGCONT to ourselves changes nothing.
            client.signal(Subject::First, 18, false).unwrap();
            assert!(matches!(
                client.resize(Subject::First, 1, 1),
                Err(ClientError::Refused { kind: ErrorKind::WrongPhase, .. })
            ));
            assert!(matches!(
                client.wait(None, Some(Duration::from_millis(20))),
                Err(ClientError::Silent(_))
            ));
            // Still one conversation after an answer that came too late.
            client.status(None).unwrap();
            ends.store(true, Ordering::Release);
            let mut second = Client::connect(path).unwrap();
            assert_eq!(second.wait(None, Some(Duration::from_secs(5))).unwrap(), Exit::Code(7));
            assert!(matches!(
                second.signal(Subject::First, 18, false),
                Err(ClientError::Refused { kind: ErrorKind::WrongPhase, .. })
            ));
        });
    }

    #[test]
    fn requests_of_the_future_are_refused_and_noise_is_hung_up_on() {
        with_server(&AtomicBool::new(false), |path| {
            let connection = Connection::connect(path).unwrap();
            connection.set_timeout(Some(Duration::from_secs(5))).unwrap();
            let mut packet =
                crate::monitor::protocol::encode_request(&Request::Status { container: None }, 9)
                    .as_bytes()
                    .to_vec();
            packet[6..8].copy_from_slice(&0x0300u16.to_le_bytes());
            connection.send(&packet, &[]).unwrap();
            let mut buffer = [0; MAX_MESSAGE];
            let Ok(Received::Packet(length, _)) = connection.receive(&mut buffer) else { panic!() };
            let reply = crate::monitor::protocol::decode_reply(&buffer[..length]).unwrap();
            assert!(matches!(reply, (9, Reply::Error { kind: ErrorKind::Unsupported, .. })), "{reply:?}");
            connection.send(b"GET / HTTP/1.0\r\n", &[]).unwrap();
            assert!(matches!(connection.receive(&mut buffer), Ok(Received::End)));
        });
    }

    #[test]
    fn one_caller_too_many_is_told() {
        with_server(&AtomicBool::new(false), |path| {
            let clients: Vec<_> = (0..CALLERS).map(|_| Client::connect(path).unwrap()).collect();
            assert!(matches!(Client::connect(path), Err(ClientError::Refused { kind: ErrorKind::Busy, .. })));
            drop(clients);
        });
    }
}
