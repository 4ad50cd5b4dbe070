//! Copies bytes between the user's descriptors and the container's, without ever blocking the loop.
//!
//! The user's own terminal, pipes and files never enter the container: whoever can open `/proc/self/fd/0` there
//! could reach through them (reopen a log for writing, inject input into the terminal). The container holds ends
//! of pipes or of a pseudo terminal, and a [`Relay`] moves the bytes.
//!
//! Invariants:
//!
//! - the file status flags of the user's descriptors are never changed, since other processes share them: pipes
//!   and terminals are opened anew with `O_NONBLOCK`, sockets are asked per call, plain files do not block
//! - what waits inside a relay is at most [`BUFFER`] bytes; between pipes it is nothing (`splice`)
//! - a reader that went away closes the container's end too, which then gets the `EPIPE` it would get natively
//! - the end of the source closes the sink once everything before it was written (half-close)
//!
//! Readiness is edge-triggered: after an event on either end, [`Relay::pump`] goes on until the kernel says
//! `EAGAIN` or its share of a turn is used up.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use rustix::pipe::SpliceFlags;

/// Bytes a relay may hold when it cannot splice.
pub const BUFFER: usize = 32 << 10;

/// Bytes one stream may move before the others get their turn.
pub(super) const TURN: usize = 1 << 20;

/// One end of a relay.
#[derive(Debug)]
pub struct End {
    descriptor: OwnedFd,
    kind: EndKind,
    /// It is the user's own and would wait, so it is asked before each call.
    waits: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EndKind {
    Pipe,
    Terminal,
    /// The master of the container's terminal: its hang-up only means that nobody has the other side open now.
    Master,
    Socket,
    /// A plain file, or a device without readiness: always ready.
    File,
}

/// Which way bytes go through an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// It is read.
    Source,
    /// It is written.
    Sink,
}

impl End {
    /// A private, non-blocking way to what `descriptor` of the user refers to.
    pub fn of_user(descriptor: BorrowedFd<'_>, direction: Direction) -> Result<End, Errno> {
        let kind = match FileType::from_raw_mode(rustix::fs::fstat(descriptor)?.st_mode) {
            FileType::Fifo => EndKind::Pipe,
            FileType::Socket => EndKind::Socket,
            FileType::CharacterDevice if rustix::termios::isatty(descriptor) => EndKind::Terminal,
            _ => EndKind::File,
        };
        let anew = match kind {
            EndKind::Pipe | EndKind::Terminal => reopen(descriptor, direction),
            _ => Err(Errno::NXIO),
        };
        // What cannot be opened anew (a pipe without reader, a terminal of another user) is used as it is.
        let (descriptor, waits) = match anew {
            Ok(descriptor) => (descriptor, false),
            Err(_) => (
                rustix::io::fcntl_dupfd_cloexec(descriptor, 3)?,
                matches!(kind, EndKind::Pipe | EndKind::Terminal),
            ),
        };
        Ok(End { descriptor, kind, waits })
    }

    /// Our end of a pipe whose other end is the container's.
    pub fn of_pipe(descriptor: OwnedFd) -> Result<End, Errno> {
        rustix::io::ioctl_fionbio(&descriptor, true)?;
        Ok(End { descriptor, kind: EndKind::Pipe, waits: false })
    }

    /// The master of the container's terminal, which this and other ends may share.
    pub fn of_master(master: BorrowedFd<'_>) -> Result<End, Errno> {
        rustix::io::ioctl_fionbio(master, true)?;
        let descriptor = rustix::io::fcntl_dupfd_cloexec(master, 3)?;
        Ok(End { descriptor, kind: EndKind::Master, waits: false })
    }

    /// Whether this end will never take anything again, though nothing was written to find out.
    pub fn is_broken(&self) -> bool {
        // On a socket an error may be one of reading only.
        self.kind != EndKind::Socket
            && self.poll(PollFlags::empty()).is_ok_and(|ready| ready.contains(PollFlags::ERR))
    }

    /// Whether something could be written now.
    pub(super) fn has_room(&self) -> bool {
        self.poll(PollFlags::OUT).is_ok_and(|ready| !ready.is_empty())
    }

    /// Lets a pipe hold this many bytes, where that is more and we may; others stay as they are.
    pub(super) fn widen(&self, size: usize) {
        let is_smaller = |has: usize| has < size;
        if self.kind == EndKind::Pipe && rustix::pipe::fcntl_getpipe_size(self).is_ok_and(is_smaller) {
            let _ = rustix::pipe::fcntl_setpipe_size(self, size);
        }
    }

    /// Fails like a call that would wait, where the descriptor itself waits instead.
    fn ask(&self, readiness: PollFlags) -> Result<(), Errno> {
        match self.waits && self.poll(readiness)?.is_empty() {
            true => Err(Errno::AGAIN),
            false => Ok(()),
        }
    }

    /// What of this is so now, or wrong.
    fn poll(&self, wanted: PollFlags) -> Result<PollFlags, Errno> {
        let mut polled = [PollFd::new(self, wanted)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        rustix::event::poll(&mut polled, Some(&now))?;
        Ok(polled[0].revents())
    }

    fn read(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        self.ask(PollFlags::IN)?;
        match self.kind {
            EndKind::Socket => {
                rustix::net::recv(&self.descriptor, buffer, RecvFlags::DONTWAIT).map(|(length, _)| length)
            }
            _ => rustix::io::read(&self.descriptor, buffer),
        }
    }

    fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        self.ask(PollFlags::OUT)?;
        // As much as there is room for in a pipe that has any.
        const PIPE_BUF: usize = 4096;
        let bytes = if self.waits { &bytes[..bytes.len().min(PIPE_BUF)] } else { bytes };
        match self.kind {
            EndKind::Socket => {
                rustix::net::send(&self.descriptor, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)
            }
            _ => rustix::io::write(&self.descriptor, bytes),
        }
    }
}

impl AsFd for End {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// What a turn of copying ended with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// An end would block; an event will say when to go on.
    Waiting,
    /// The turn is used up; call again after the others.
    Ready,
    /// Nothing will ever be copied again; both ends are closed.
    Finished,
}

/// One direction of copying.
#[derive(Debug)]
pub struct Relay {
    ends: Option<(End, End)>,
    way: Way,
    /// How much may still be copied, once nothing is waited for any more.
    rest: Option<usize>,
}

#[derive(Debug)]
enum Way {
    Splice,
    Copy { buffer: Box<[u8; BUFFER]>, start: usize, end: usize },
}

/// Why a step of copying moved nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// Until an event says that there is more to read, or room to write.
    Waiting,
    /// The source has nothing more.
    SourceEnded,
    /// The sink takes nothing more.
    SinkBroken,
    /// These two ends take no splice.
    CannotSplice,
}

impl Relay {
    /// Copies from `source` to `sink`.
    pub fn new(source: End, sink: End) -> Relay {
        let splices = |end: &End| matches!(end.kind, EndKind::Pipe | EndKind::File);
        let one_is_pipe = source.kind == EndKind::Pipe || sink.kind == EndKind::Pipe;
        let way = if one_is_pipe && splices(&source) && splices(&sink) { Way::Splice } else { Way::copy() };
        Relay { ends: Some((source, sink)), way, rest: None }
    }

    /// The source and the sink, while both are open.
    pub fn ends(&self) -> Option<(BorrowedFd<'_>, BorrowedFd<'_>)> {
        self.ends.as_ref().map(|(source, sink)| (source.as_fd(), sink.as_fd()))
    }

    /// Says that whoever mattered will not write to the source any more: what is in it now is still copied, and neither is
    /// anything waited for nor what others go on writing copied for ever.
    pub fn drain(&mut self) {
        let buffered = match &self.way {
            Way::Splice => 0,
            Way::Copy { start, end, .. } => end - start,
        };
        let source = self.ends.as_ref().map_or(0, |(source, _)| rest_of(source));
        self.rest.get_or_insert(buffered + source);
    }

    /// Whether the sink will never take anything again, though nothing was written to find out.
    pub fn sink_is_broken(&self) -> bool {
        self.ends.as_ref().is_none_or(|(_, sink)| sink.is_broken())
    }

    /// Closes both ends.
    pub fn close(&mut self) {
        self.ends = None;
    }

    /// Something happened at an end. The writing end of a pipe says so when its last reader goes, also while nothing is
    /// written: then there is nothing to copy any more. True if so.
    pub fn is_cut_off(&self, is_error: bool) -> bool {
        is_error && self.sink_is_broken()
    }

    /// Copies until an end would block, the source ends, the sink breaks, or the turn is used up.
    pub fn pump(&mut self) -> Progress {
        let progress = self.copy();
        if progress == Progress::Finished {
            self.close();
        }
        progress
    }

    /// As [`Relay::pump`], but leaves it to the caller to take the ends when it is finished.
    pub(super) fn copy(&mut self) -> Progress {
        let mut moved = 0;
        while moved < TURN {
            let Some((source, sink)) = &self.ends else { return Progress::Finished };
            match self.way.step(source, sink) {
                Ok(count) => {
                    moved += count;
                    if let Some(rest) = &mut self.rest {
                        *rest = rest.saturating_sub(count);
                    }
                }
                Err(Stop::CannotSplice) => self.way = Way::copy(),
                Err(Stop::SourceEnded | Stop::SinkBroken) => return Progress::Finished,
                Err(Stop::Waiting) if self.rest.is_some() && self.is_empty() => return Progress::Finished,
                Err(Stop::Waiting) => return Progress::Waiting,
            }
            if self.rest == Some(0) {
                return Progress::Finished;
            }
        }
        Progress::Ready
    }

    /// Gives the ends up without closing them.
    pub(super) fn take_ends(&mut self) -> Option<(End, End)> {
        self.ends.take()
    }

    /// Nothing is left to copy, here and in the source.
    fn is_empty(&self) -> bool {
        let Some((source, _)) = &self.ends else { return true };
        match &self.way {
            Way::Splice => rustix::io::ioctl_fionread(source).unwrap_or(0) == 0,
            // A copy waits for its source only when its buffer is empty.
            Way::Copy { start, end, .. } => start == end,
        }
    }
}

impl Way {
    fn copy() -> Way {
        Way::Copy { buffer: Box::new([0; BUFFER]), start: 0, end: 0 }
    }

    fn step(&mut self, source: &End, sink: &End) -> Result<usize, Stop> {
        match self {
            Way::Splice => splice(source, sink),
            Way::Copy { buffer, start, end } => {
                if start == end {
                    *start = 0;
                    *end = 0;
                    *end = fill(source, &mut buffer[..])?;
                }
                let count = flush(sink, &buffer[*start..*end])?;
                *start += count;
                Ok(count)
            }
        }
    }
}

fn splice(source: &End, sink: &End) -> Result<usize, Stop> {
    let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
    match rustix::pipe::splice(source, None, sink, None, TURN, flags) {
        Ok(0) => Err(Stop::SourceEnded),
        Ok(count) => Ok(count),
        Err(Errno::AGAIN) => Err(Stop::Waiting),
        Err(Errno::INTR) => Ok(0),
        // Files opened for appending and some devices take no splice; nothing was moved yet.
        Err(Errno::INVAL) => Err(Stop::CannotSplice),
        Err(_) => Err(Stop::SinkBroken),
    }
}

/// How much may be read of a source that whoever mattered has left: what a pipe holds now, and as much as may still be on its
/// way through a terminal.
pub(super) fn rest_of(source: &End) -> usize {
    const LARGEST: u64 = 1 << 20;
    let held = rustix::io::ioctl_fionread(source).unwrap_or(LARGEST);
    usize::try_from(held).unwrap_or(TURN) + 2 * BUFFER
}

/// Reads what is there.
pub(super) fn fill(source: &End, buffer: &mut [u8]) -> Result<usize, Stop> {
    loop {
        return match source.read(buffer) {
            Ok(0) => Err(Stop::SourceEnded),
            Ok(count) => Ok(count),
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => Err(Stop::Waiting),
            Err(Errno::IO) if source.kind == EndKind::Master => Err(Stop::Waiting),
            Err(_) => Err(Stop::SourceEnded),
        };
    }
}

/// Writes what there is room for.
pub(super) fn flush(sink: &End, bytes: &[u8]) -> Result<usize, Stop> {
    loop {
        return match sink.write(bytes) {
            Ok(count) => Ok(count),
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => Err(Stop::Waiting),
            Err(_) => Err(Stop::SinkBroken),
        };
    }
}

/// Opens what `descriptor` refers to once more, so that `O_NONBLOCK` is ours alone.
fn reopen(descriptor: BorrowedFd<'_>, direction: Direction) -> Result<OwnedFd, Errno> {
    let access = match direction {
        Direction::Source => OFlags::RDONLY,
        Direction::Sink => OFlags::WRONLY,
    };
    let flags = access | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::open(format!("/proc/self/fd/{}", descriptor.as_raw_fd()), flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, Seek, Write};

    fn user(descriptor: &impl AsFd, direction: Direction) -> End {
        End::of_user(descriptor.as_fd(), direction).unwrap()
    }

    #[test]
    fn what_cannot_be_opened_anew_is_asked_before_it_is_used() {
        let (reader, writer) = std::io::pipe().unwrap();
        let end = |descriptor: OwnedFd| End { descriptor, kind: EndKind::Pipe, waits: true };
        let (source, sink) = (end(reader.into()), end(writer.into()));
        assert_eq!(source.read(&mut [0; 10]), Err(Errno::AGAIN));
        let mut written = 0;
        while let Ok(count) = sink.write(&[1; 10_000]) {
            written += count;
        }
        assert_eq!(sink.write(b"x"), Err(Errno::AGAIN));
        let mut read = 0;
        while let Ok(count) = source.read(&mut [0; 10_000]) {
            read += count;
        }
        assert_eq!(read, written);
        drop(sink);
        assert_eq!(source.read(&mut [0; 10]), Ok(0));
    }

    #[test]
    fn a_full_sink_blocks_nobody_and_loses_nothing() {
        let (from_container, mut container) = std::io::pipe().unwrap();
        let (mut reader, stdout) = std::io::pipe().unwrap();
        let mut relay =
            Relay::new(End::of_pipe(from_container.into()).unwrap(), user(&stdout, Direction::Sink));
        let data: Vec<u8> = (0..300_000u32).map(|number| number as u8).collect();
        let writer = std::thread::spawn({
            let data = data.clone();
            move || container.write_all(&data).unwrap()
        });
        let mut seen = Vec::new();
        let mut chunk = [0; 1000];
        while seen.len() < data.len() {
            relay.pump();
            let ready = rustix::io::ioctl_fionread(&reader).unwrap() > 0;
            if ready {
                let count = reader.read(&mut chunk).unwrap();
                seen.extend_from_slice(&chunk[..count]);
            }
        }
        writer.join().unwrap();
        assert_eq!(relay.pump(), Progress::Finished);
        assert_eq!(seen, data);
        // The descriptor that others share still blocks.
        assert!(!rustix::fs::fcntl_getfl(&stdout).unwrap().contains(OFlags::NONBLOCK));
    }

    #[test]
    fn a_reader_that_left_closes_the_containers_end() {
        let (from_container, mut container) = std::io::pipe().unwrap();
        let (reader, stdout) = std::io::pipe().unwrap();
        let mut relay =
            Relay::new(End::of_pipe(from_container.into()).unwrap(), user(&stdout, Direction::Sink));
        assert_eq!(relay.pump(), Progress::Waiting);
        drop(reader);
        container.write_all(b"x").unwrap();
        assert_eq!(relay.pump(), Progress::Finished);
        let error = container.write_all(b"y").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn files_opened_for_appending_are_copied_to() {
        let (from_container, mut container) = std::io::pipe().unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        let appending = File::options().append(true).open(file.path()).unwrap();
        let mut relay =
            Relay::new(End::of_pipe(from_container.into()).unwrap(), user(&appending, Direction::Sink));
        container.write_all(b"one ").unwrap();
        assert_eq!(relay.pump(), Progress::Waiting);
        container.write_all(b"two").unwrap();
        drop(container);
        assert_eq!(relay.pump(), Progress::Finished);
        assert_eq!(std::fs::read(file.path()).unwrap(), b"one two");
    }

    #[test]
    fn the_end_of_a_file_closes_the_containers_stdin() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"input").unwrap();
        file.rewind().unwrap();
        let (mut container, to_container) = std::io::pipe().unwrap();
        let mut relay =
            Relay::new(user(&file, Direction::Source), End::of_pipe(to_container.into()).unwrap());
        assert_eq!(relay.pump(), Progress::Finished);
        let mut text = String::new();
        container.read_to_string(&mut text).unwrap();
        assert_eq!(text, "input");
    }

    #[test]
    fn sockets_are_read_and_written_without_blocking() {
        let (user_side, mut far) = std::os::unix::net::UnixStream::pair().unwrap();
        let (from_container, mut container) = std::io::pipe().unwrap();
        let mut relay =
            Relay::new(End::of_pipe(from_container.into()).unwrap(), user(&user_side, Direction::Sink));
        container.write_all(b"hello").unwrap();
        assert_eq!(relay.pump(), Progress::Waiting);
        let mut bytes = [0; 5];
        far.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"hello");
    }

    #[test]
    fn draining_takes_what_is_there_and_waits_for_nothing() {
        let (from_container, mut container) = std::io::pipe().unwrap();
        let file = tempfile::tempfile().unwrap();
        let mut relay =
            Relay::new(End::of_pipe(from_container.into()).unwrap(), user(&file, Direction::Sink));
        container.write_all(b"last words").unwrap();
        relay.drain();
        assert_eq!(relay.pump(), Progress::Finished);
        assert_eq!(file.metadata().unwrap().len(), 10);
    }

    #[test]
    fn draining_ends_although_somebody_goes_on_writing() {
        // As a pipe whose writers are quicker than we are.
        let endless = File::open("/dev/zero").unwrap();
        let file = tempfile::tempfile().unwrap();
        let mut relay = Relay::new(user(&endless, Direction::Source), user(&file, Direction::Sink));
        relay.drain();
        while relay.pump() != Progress::Finished {}
        assert!(file.metadata().unwrap().len() <= 2 << 20);
    }
}
