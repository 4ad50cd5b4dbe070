//! The loop of a monitor: everything that can happen to a running container, one event at a time.
//!
//! ```text
//!   signalfd ----> child ended / terminal resized / signal to pass on
//!   listener ----> caller --> request --> reply          (server)
//!   either end of a relay --> pump                       (stdio)
//! ```
//!
//! Invariants: nothing here blocks except the wait itself; no memory is taken in proportion to what a container or
//! a caller sends; the loop ends when the container's first process was reaped and what it wrote was passed on, or
//! when after its end a signal asks us to stop passing on.

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions};

use super::channel::Listener;
use super::server::{CALLERS, Server, View};
use super::stdio::{Progress, Relay};
use crate::error::{Error, Result};
use crate::process::{self, Exit};
use crate::terminal;

/// Most relays: standard input, output and error.
const RELAYS: usize = 3;

const SIGNALS: u64 = 0;
const LISTENER: u64 = 1;
const FIRST_RELAY: u64 = 8;
const FIRST_CALLER: u64 = 16;

/// Blocks the signals that the loop takes from its descriptor. To be called before the container exists, so that
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

/// What the loop watches.
#[derive(Debug)]
pub struct Watched<'a> {
    /// The container's first process, a child of ours.
    pub process: BorrowedFd<'a>,
    /// Its pid in our PID namespace.
    pub pid: i32,
    /// The signals of [`block_signals`].
    pub signals: &'a SigSet,
    /// Where callers knock.
    pub listener: Option<&'a Listener>,
    /// What is copied. The first may be standard input, which ends with the container.
    pub relays: Vec<Relay>,
    /// Whether the first relay is standard input.
    pub first_is_input: bool,
    /// The user's terminal and the container's, whose size follows it.
    pub terminals: Option<(Option<BorrowedFd<'a>>, BorrowedFd<'a>)>,
}

/// Runs until the container has ended; returns how.
pub fn run(watched: Watched<'_>) -> Result<Exit> {
    let mut running = Loop::new(watched)?;
    running.run()
}

struct Loop<'a> {
    epoll: rustix::fd::OwnedFd,
    signals: SignalFd,
    watched: Watched<'a>,
    ready: [bool; RELAYS],
    server: Server,
    exit: Option<Exit>,
    abandoned: bool,
}

impl<'a> Loop<'a> {
    fn new(watched: Watched<'a>) -> Result<Loop<'a>> {
        let fail = |object: &'static str| Error::system("watch", object);
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(fail("events"))?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals =
            SignalFd::with_flags(watched.signals, flags).map_err(from_nix).map_err(fail("signals"))?;
        let add = |what: BorrowedFd<'_>, token: u64, flags: EventFlags| match epoll::add(
            &epoll,
            what,
            EventData::new_u64(token),
            flags,
        ) {
            // Plain files and the null device are always ready.
            Ok(()) | Err(Errno::PERM) => Ok(()),
            Err(errno) => Err(errno),
        };
        add(signals.as_fd(), SIGNALS, EventFlags::IN).map_err(fail("signals"))?;
        if let Some(listener) = watched.listener {
            add(listener.as_fd(), LISTENER, EventFlags::IN).map_err(fail("the monitor socket"))?;
        }
        for (token, relay) in (FIRST_RELAY..).zip(&watched.relays) {
            let Some((source, sink)) = relay.ends() else { continue };
            add(source, token, EventFlags::IN | EventFlags::ET).map_err(fail("standard streams"))?;
            add(sink, token, EventFlags::OUT | EventFlags::ET).map_err(fail("standard streams"))?;
        }
        Ok(Loop {
            epoll,
            signals,
            watched,
            ready: [true; RELAYS],
            server: Server::default(),
            exit: None,
            abandoned: false,
        })
    }

    fn run(&mut self) -> Result<Exit> {
        let blank = Event { flags: EventFlags::empty(), data: EventData::new_u64(0) };
        let mut events = [blank; 16];
        loop {
            self.pump();
            if let Some(exit) = self.exit
                && (self.abandoned || self.watched.relays.iter().all(|relay| relay.ends().is_none()))
            {
                self.server.ended(exit);
                return Ok(exit);
            }
            let more = (0..self.watched.relays.len()).any(|index| self.ready[index]);
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            let count = match epoll::wait(&self.epoll, &mut events[..], more.then_some(&now)) {
                Ok(count) => count,
                Err(Errno::INTR) => 0,
                Err(errno) => return Err(Error::system("wait for", "events")(errno)),
            };
            for event in &events[..count] {
                self.handle(event.data.u64(), event.flags)?;
            }
        }
    }

    fn handle(&mut self, token: u64, flags: EventFlags) -> Result<()> {
        match token {
            SIGNALS => return self.take_signals(),
            LISTENER => {
                if let Some(listener) = self.watched.listener
                    && let Some((slot, caller)) = self.server.accept(listener)
                {
                    let data = EventData::new_u64(FIRST_CALLER + slot as u64);
                    if epoll::add(&self.epoll, caller, data, EventFlags::IN).is_err() {
                        self.server.hang_up(slot);
                    }
                }
            }
            token if token >= FIRST_CALLER => {
                let slot = (token - FIRST_CALLER) as usize;
                if slot < CALLERS {
                    let view = View {
                        process: self.watched.process,
                        pid: self.watched.pid,
                        exit: self.exit,
                        terminal: self.watched.terminals.map(|(_, container)| container),
                    };
                    self.server.serve(slot, &view);
                }
            }
            token => {
                let index = (token - FIRST_RELAY) as usize;
                if let Some(relay) = self.watched.relays.get_mut(index) {
                    self.ready[index] = true;
                    // The writing end of a pipe says so when its last reader goes, also while nothing is written.
                    if flags.contains(EventFlags::ERR) && relay.sink_is_broken() {
                        relay.close();
                    }
                }
            }
        }
        Ok(())
    }

    fn pump(&mut self) {
        for (relay, ready) in self.watched.relays.iter_mut().zip(&mut self.ready) {
            if *ready {
                *ready = relay.pump() == Progress::Ready;
            }
        }
    }

    fn take_signals(&mut self) -> Result<()> {
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
        match number {
            libc::SIGCHLD => self.reap(),
            libc::SIGWINCH => {
                if let Some((Some(user), container)) = self.watched.terminals
                    && let Some(size) = terminal::size(user)
                {
                    // A terminal that is being closed has no size to set.
                    let _ = terminal::set_size(container, size);
                }
                Ok(())
            }
            // Said by the kernel about us, not meant for the container.
            libc::SIGPIPE | libc::SIGURG => Ok(()),
            libc::SIGINT | libc::SIGTERM | libc::SIGHUP | libc::SIGQUIT if self.exit.is_some() => {
                self.abandoned = true;
                Ok(())
            }
            number => process::signal(self.watched.process, process::Signal(number)).map(drop),
        }
    }

    /// Reaps every child that ended: the container's first process, and orphans that came to us as subreaper.
    fn reap(&mut self) -> Result<()> {
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if Some(pid) == Pid::from_raw(self.watched.pid) => {
                    self.ended(match (status.exit_status(), status.terminating_signal()) {
                        (_, Some(signal)) => Exit::Signal(signal as u8),
                        (Some(code), None) => Exit::Code(code as u8),
                        (None, None) => continue,
                    });
                }
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) | Err(Errno::CHILD) => return Ok(()),
                Err(errno) => return Err(Error::system("wait for", "the container's processes")(errno)),
            }
        }
    }

    fn ended(&mut self, exit: Exit) {
        self.exit = Some(exit);
        for (index, relay) in self.watched.relays.iter_mut().enumerate() {
            if index == 0 && self.watched.first_is_input {
                relay.close();
            } else {
                relay.drain();
            }
            self.ready[index] = true;
        }
    }
}

fn from_nix(errno: nix::errno::Errno) -> Errno {
    Errno::from_raw_os_error(errno as i32)
}
