//! The user's side of a process that a monitor runs: the streams in between, the terminal, and how it ends.
//!
//! The user's own descriptors never enter a container: it has ends of pipes or a terminal, and bytes are copied
//! ([`Relay`]). With a terminal the user's is raw, so every key goes to the container, which makes signals of them; without
//! one our own signals mean what they always do, and the monitor ends the process when this conversation ends.

use std::io::{stderr, stdin, stdout};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use runtime::monitor::client::Client;
use runtime::monitor::stdio::{Direction, End, Progress, Relay};
use runtime::process::Exit;
use runtime::spec::from_image::TerminalSize;
use runtime::terminal::{self, RawMode};
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;

const CLIENT: u64 = 0;
const SIGNALS: u64 = 1;
const DETACH: u64 = 2;
const FIRST_RELAY: u64 = 8;

/// Our ends of a process's streams, and the ends that are not ours.
#[derive(Debug)]
pub struct Pipes {
    /// For the container, in the order of its descriptors.
    pub theirs: [OwnedFd; 3],
    ours: [Option<OwnedFd>; 3],
}

impl Pipes {
    /// Pipes for output and error output, and for input if that is wanted.
    pub fn new(interactive: bool) -> Result<Pipes> {
        let pipe = || {
            let flags = rustix::pipe::PipeFlags::CLOEXEC;
            rustix::pipe::pipe_with(flags).context("cannot create a pipe")
        };
        let (input, to_input) = match interactive {
            true => pipe().map(|(read, write)| (read, Some(write)))?,
            false => (null_device()?, None),
        };
        let (from_output, output) = pipe()?;
        let (from_errors, errors) = pipe()?;
        Ok(Pipes { theirs: [input, output, errors], ours: [to_input, Some(from_output), Some(from_errors)] })
    }

    /// Gives up their ends, which the monitor has by now, and copies between ours and the user's.
    pub fn relays(self) -> Result<Vec<Relay>> {
        drop(self.theirs);
        let [input, output, errors] = self.ours;
        let mut relays = Vec::new();
        let failed = || "cannot prepare the standard streams";
        if let Some(input) = input {
            let source = End::of_user(stdin().as_fd(), Direction::Source).with_context(failed)?;
            relays.push(Relay::new(source, End::of_pipe(input).with_context(failed)?));
        }
        for (pipe, user) in [(output, stdout().as_fd()), (errors, stderr().as_fd())] {
            if let Some(pipe) = pipe {
                let sink = End::of_user(user, Direction::Sink).with_context(failed)?;
                relays.push(Relay::new(End::of_pipe(pipe).with_context(failed)?, sink));
            }
        }
        Ok(relays)
    }
}

/// Copies between the master of a terminal and the user's streams.
pub fn terminal_relays(master: &OwnedFd, interactive: bool) -> Result<Vec<Relay>> {
    let make = || -> Result<Vec<Relay>, Errno> {
        let mut relays = Vec::new();
        if interactive {
            let source = End::of_user(stdin().as_fd(), Direction::Source)?;
            relays.push(Relay::new(source, End::of_master(master.as_fd())?));
        }
        let sink = End::of_user(stdout().as_fd(), Direction::Sink)?;
        relays.push(Relay::new(End::of_master(master.as_fd())?, sink));
        Ok(relays)
    };
    make().context("cannot prepare the terminal")
}

/// The descriptor that is always empty and takes everything.
pub fn null_device() -> Result<OwnedFd> {
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
    rustix::fs::open("/dev/null", flags, rustix::fs::Mode::empty()).context("cannot open /dev/null")
}

/// The size of the user's terminal, by any of our streams that is one.
pub fn user_size() -> Option<TerminalSize> {
    [stdout().as_fd(), stdin().as_fd(), stderr().as_fd()].into_iter().find_map(terminal::size)
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With its process.
    Exit(Exit),
    /// We were asked to by a signal.
    Signal(i32),
    /// The user left.
    Detached,
}

/// A process being followed.
#[derive(Default)]
pub struct Session<'a> {
    /// What is copied; the first is the user's input, if any is.
    pub relays: Vec<Relay>,
    /// Whether the first of them is.
    pub has_input: bool,
    /// The user's terminal is raw meanwhile.
    pub raw: bool,
    /// It shows what comes as it is, raw or not: that comes from another terminal.
    pub from_terminal: bool,
    /// What to do when the user's terminal has another size.
    pub resized: Option<Box<dyn FnMut(TerminalSize) + 'a>>,
    /// Passes one of our signals on; without it, they end the session if the terminal's mode is changed and us otherwise.
    pub signalled: Option<Box<dyn FnMut(i32) + 'a>>,
    /// Readable when the user wants to leave.
    pub detach: Option<BorrowedFd<'a>>,
}

impl Session<'_> {
    /// Follows the process of this conversation to its end.
    pub fn follow(mut self, client: &mut Client) -> Result<Ended> {
        let signals = self.take_signals()?;
        let _mode = if self.raw && rustix::termios::isatty(stdin()) {
            Some(RawMode::enter(stdin()).context("cannot set raw mode of the terminal")?)
        } else if self.from_terminal && rustix::termios::isatty(stdout()) {
            Some(RawMode::show_as_is(stdout()).context("cannot set the output mode of the terminal")?)
        } else {
            None
        };
        if let (Some(resized), Some(size)) = (&mut self.resized, user_size()) {
            resized(size);
        }
        let epoll = self.watch(client, &signals)?;
        self.run(client, &signals, &epoll)
    }

    /// Blocks the signals that concern us: they are read in the loop.
    fn take_signals(&self) -> Result<SignalFd> {
        let mut set = SigSet::empty();
        set.add(Signal::SIGWINCH);
        // Whatever ends us, the terminal gets back what it had.
        if self.raw || self.from_terminal || self.signalled.is_some() {
            for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT] {
                set.add(signal);
            }
        }
        if self.signalled.is_some() {
            set.add(Signal::SIGUSR1);
            set.add(Signal::SIGUSR2);
        }
        set.thread_block().context("cannot block signals")?;
        SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .context("cannot watch signals")
    }

    fn watch(&self, client: &Client, signals: &SignalFd) -> Result<OwnedFd> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).context("cannot watch events")?;
        let add = |what: BorrowedFd<'_>, token, flags| {
            match epoll::add(&epoll, what, EventData::new_u64(token), flags) {
                // Plain files and the null device are always ready.
                Ok(()) | Err(Errno::PERM) => Ok(()),
                Err(errno) => Err(errno).context("cannot watch a stream"),
            }
        };
        add(client.as_fd(), CLIENT, EventFlags::IN)?;
        add(signals.as_fd(), SIGNALS, EventFlags::IN)?;
        if let Some(detach) = self.detach {
            add(detach, DETACH, EventFlags::IN)?;
        }
        for (token, relay) in (FIRST_RELAY..).zip(&self.relays) {
            let Some((source, sink)) = relay.ends() else { continue };
            add(source, token, EventFlags::IN | EventFlags::ET)?;
            add(sink, token, EventFlags::OUT | EventFlags::ET)?;
        }
        Ok(epoll)
    }

    fn run(&mut self, client: &mut Client, signals: &SignalFd, epoll: &OwnedFd) -> Result<Ended> {
        let mut ready = vec![true; self.relays.len()];
        let mut exit = None;
        let blank = Event { flags: EventFlags::empty(), data: EventData::new_u64(0) };
        let mut events = [blank; 16];
        loop {
            for (relay, ready) in self.relays.iter_mut().zip(&mut ready).filter(|(_, ready)| **ready) {
                *ready = relay.pump() == Progress::Ready;
            }
            if let Some(exit) = exit
                && self.relays.iter().all(|relay| relay.ends().is_none())
            {
                return Ok(Ended::Exit(exit));
            }
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            let time = ready.contains(&true).then_some(&now);
            let count = match epoll::wait(epoll, &mut events[..], time) {
                Ok(count) => count,
                Err(Errno::INTR) => 0,
                Err(errno) => return Err(errno).context("cannot wait for events"),
            };
            for event in &events[..count] {
                let (token, flags) = (event.data.u64(), event.flags);
                match token {
                    CLIENT if exit.is_none() => {
                        exit = Some(client.session_exit(None)?);
                        epoll::delete(epoll, client.as_fd()).context("cannot stop watching the monitor")?;
                        self.drain();
                        ready.fill(true);
                    }
                    CLIENT => {}
                    DETACH => return Ok(Ended::Detached),
                    SIGNALS => {
                        if let Some(signal) = self.take_signal(signals)? {
                            return Ok(Ended::Signal(signal));
                        }
                    }
                    token => {
                        let index = (token - FIRST_RELAY) as usize;
                        ready[index] = true;
                        let relay = &mut self.relays[index];
                        if relay.is_cut_off(flags.contains(EventFlags::ERR)) {
                            relay.close();
                        }
                    }
                }
            }
        }
    }

    /// What was written is still copied, and nothing goes in any more.
    fn drain(&mut self) {
        for (index, relay) in self.relays.iter_mut().enumerate() {
            if index == 0 && self.has_input { relay.close() } else { relay.drain() }
        }
    }

    /// A signal that ends the session, if there was one.
    fn take_signal(&mut self, signals: &SignalFd) -> Result<Option<i32>> {
        while let Some(info) = signals.read_signal().context("cannot read signals")? {
            let number = info.ssi_signo.cast_signed();
            if number == Signal::SIGWINCH as i32 {
                if let (Some(resized), Some(size)) = (&mut self.resized, user_size()) {
                    resized(size);
                }
            } else if let Some(signalled) = &mut self.signalled {
                signalled(number);
            } else {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }
}

/// The exit code for an end.
pub fn exit_code(ended: Ended) -> u8 {
    match ended {
        Ended::Exit(exit) => exit.code(),
        Ended::Signal(number) => 128 + u8::try_from(number).unwrap_or(0),
        Ended::Detached => 0,
    }
}
