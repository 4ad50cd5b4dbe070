//! One output stream of a container, on its way to the log and to everyone who looks on.
//!
//! ```text
//!   pipe or terminal of the container --one chunk at a time--> log
//!                                                         +--> the foreground user   (waited for without limit)
//!                                                         +--> attached guests       (never waited for)
//!                                                               own pipe, ROOM --full--> backlog on disk --full--> cut off
//! ```
//!
//! Invariants:
//!
//! - the next chunk is read only when log and foreground user took the one before: the user's command *is* the container, so a slow
//!   pipe after it slows it, as it would natively, and loses nothing
//! - a guest never makes the stream wait. It has [`ROOM`] in its own pipe and then a backlog on disk, neither of which is memory of
//!   ours. One that is behind by both is cut off: a hole in a stream of bytes would be damage that nobody sees, an end is one that
//!   can be told
//! - the stream ends for all when it has ended; who is behind then has [`PATIENCE`] for the rest
//! - memory is taken only while the foreground user is behind, and then for one chunk; everything else passes through a buffer
//!   that all outputs of a monitor share
//! - without sinks and log the container writes into the void: it is never stopped for want of a reader
//!
//! Readiness is edge-triggered, as for [`super::stdio::Relay`]: an event on any of the descriptors means
//! [`Output::pump`]. What goes between two descriptors and nowhere else is better off with a relay, which splices.

mod backlog;

use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use self::backlog::{Backlog, Progress as Caught};
use super::log::{Log, Stream};
use super::stdio::{self, BUFFER, End, Progress, Stop, TURN};

/// Most guests of one output.
pub const GUESTS: usize = 8;

/// How long guests that are behind when the stream has ended may take for the rest.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// What a guest's own pipe is to hold, in bytes: as much as an ordinary user may give a pipe (pipe(7)). A pipe that may not grow, and
/// a socket, keep what they have.
pub const ROOM: usize = 1 << 20;

/// Why a sink is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// The stream has ended and all of it was taken.
    Ended,
    /// It takes nothing more.
    Broken,
    /// It was too far behind.
    TooSlow,
}

/// A sink that is gone. Its descriptor is still open, so that it can be taken out of an epoll first: a copy of it that
/// somebody else holds would keep it in there.
#[derive(Debug)]
pub struct Departed {
    /// The slot that it had as a guest, free again; none for the foreground user.
    pub slot: Option<usize>,
    /// It.
    pub end: End,
    /// Why.
    pub reason: Departure,
}

/// Why nobody can be attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttachError {
    /// [`GUESTS`] are there already.
    #[error("{GUESTS} readers are attached to this stream already")]
    Full,
    /// Nothing will come any more.
    #[error("the stream has ended")]
    Ended,
}

/// Somebody who looks on.
#[derive(Debug)]
struct Guest {
    end: End,
    /// Where what it does not take may wait.
    folder: Option<PathBuf>,
    /// What it has not taken, while it is behind.
    backlog: Option<Backlog>,
}

/// One output stream.
#[derive(Debug)]
pub struct Output {
    stream: Stream,
    source: Option<End>,
    /// The user whose command the container is. When this breaks and there is no log, the container gets the `EPIPE` that it
    /// would get natively.
    user: Option<End>,
    /// What the user has not taken of the last chunk.
    waiting: Vec<u8>,
    guests: [Option<Guest>; GUESTS],
    departed: Vec<Departed>,
    /// How much may still be read, once nothing is waited for any more.
    rest: Option<usize>,
    /// When guests that are behind are cut off, once the stream has ended.
    until: Option<Instant>,
    finished: bool,
}

impl Output {
    /// The stream that comes out of `source`, for the foreground `user` where there is one.
    pub fn new(source: End, stream: Stream, user: Option<End>) -> Output {
        Output {
            stream,
            source: Some(source),
            user,
            waiting: Vec::new(),
            guests: [const { None }; GUESTS],
            departed: Vec::new(),
            rest: None,
            until: None,
            finished: false,
        }
    }

    /// The slot that the next guest will have.
    pub fn free_slot(&self) -> Result<usize, AttachError> {
        if self.source.is_none() {
            return Err(AttachError::Ended);
        }
        self.guests.iter().position(Option::is_none).ok_or(AttachError::Full)
    }

    /// Adds a guest, which gets what is read from now on; returns its slot. What it does not take may wait in an unnamed file in
    /// `folder`.
    pub fn attach(&mut self, end: End, folder: Option<PathBuf>) -> Result<usize, AttachError> {
        let slot = self.free_slot()?;
        end.widen(ROOM);
        self.guests[slot] = Some(Guest { end, folder, backlog: None });
        Ok(slot)
    }

    /// What to watch for reading, until the stream ends.
    pub fn source(&self) -> Option<BorrowedFd<'_>> {
        self.source.as_ref().map(AsFd::as_fd)
    }

    /// What to watch for writing.
    pub fn sinks(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let guests = self.guests.iter().flatten().map(|guest| guest.end.as_fd());
        self.user.iter().map(AsFd::as_fd).chain(guests)
    }

    /// The sinks that are gone since the last call, mostly none. To be asked after every pump.
    pub fn departed(&mut self) -> Vec<Departed> {
        std::mem::take(&mut self.departed)
    }

    /// When to pump without an event, so that a guest who does not take the last output is cut off.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.until.filter(|_| !self.finished)
    }

    /// Whether everything was passed on and nothing will come any more.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// Says that whoever mattered will not write to the source any more: what is in it now is still passed on, and neither
    /// is anything waited for nor what others go on writing passed on for ever.
    pub fn drain(&mut self) {
        let rest = self.source.as_ref().map_or(0, stdio::rest_of);
        self.rest.get_or_insert(rest);
    }

    /// Gives a guest's end back.
    pub(super) fn detach(&mut self, slot: usize) -> Option<End> {
        self.guests.get_mut(slot)?.take().map(|guest| guest.end)
    }

    /// Gives all sinks up without closing them.
    pub(super) fn take_sinks(&mut self) -> impl Iterator<Item = End> {
        let guests = self.guests.iter_mut().filter_map(Option::take).map(|guest| guest.end);
        self.user.take().into_iter().chain(guests)
    }

    /// Cuts the guests off that have not taken all that there was for them; true if there was one.
    pub fn drop_slow_guests(&mut self) -> bool {
        let mut dropped = false;
        for slot in 0..GUESTS {
            if self.guests[slot].as_ref().is_some_and(|guest| guest.backlog.is_some()) {
                self.depart(slot, Departure::TooSlow);
                dropped = true;
            }
        }
        dropped
    }

    /// Drops sinks that will never take anything again, though nothing is there to be written: for an event that
    /// reports an error.
    pub fn drop_broken(&mut self, logged: bool) {
        if self.user.as_ref().is_some_and(End::is_broken) {
            self.user_left(logged);
        }
        for slot in 0..GUESTS {
            if self.guests[slot].as_ref().is_some_and(|guest| guest.end.is_broken()) {
                self.depart(slot, Departure::Broken);
            }
        }
    }

    /// Passes on what is there, until the source has no more, the user has no room, or the turn is used up.
    ///
    /// `scratch` is used during the call only; a chunk is as long as it is, [`BUFFER`] at most.
    pub fn pump(&mut self, scratch: &mut [u8], mut log: Option<&mut Log>, now: Instant) -> Progress {
        let length = scratch.len().min(BUFFER);
        let more = self.serve_backlogs(&mut scratch[..length]);
        let or_more = |progress| if more { Progress::Ready } else { progress };
        let mut moved = 0;
        while moved < TURN {
            let waiting = std::mem::take(&mut self.waiting);
            if !self.offer_to_user(&waiting, log.is_some()) {
                return or_more(Progress::Waiting);
            }
            let Some(source) = &self.source else { return or_more(self.finish(log, now)) };
            match stdio::fill(source, &mut scratch[..length]) {
                Ok(count) => {
                    moved += count;
                    if let Some(rest) = &mut self.rest {
                        *rest = rest.saturating_sub(count);
                        if *rest == 0 {
                            self.source = None;
                        }
                    }
                    let chunk = &scratch[..count];
                    if let Some(log) = log.as_deref_mut() {
                        log.append(self.stream, chunk);
                    }
                    self.offer_to_guests(chunk);
                    self.offer_to_user(chunk, log.is_some());
                }
                Err(Stop::Waiting) if self.rest.is_none() => return or_more(Progress::Waiting),
                Err(_) => self.source = None,
            }
        }
        Progress::Ready
    }

    /// Lets the user take what it has room for and keeps the rest; false if there is one.
    fn offer_to_user(&mut self, chunk: &[u8], logged: bool) -> bool {
        let Some(user) = &self.user else { return true };
        match take(user, chunk) {
            Ok(taken) => {
                self.waiting = chunk[taken..].to_vec();
                self.waiting.is_empty()
            }
            Err(_) => {
                self.user_left(logged);
                true
            }
        }
    }

    fn user_left(&mut self, logged: bool) {
        let Some(end) = self.user.take() else { return };
        self.waiting = Vec::new();
        if !logged {
            self.source = None;
        }
        self.departed.push(Departed { slot: None, end, reason: Departure::Broken });
    }

    /// Gives every guest a chunk, or puts it behind what that has not taken yet.
    fn offer_to_guests(&mut self, chunk: &[u8]) {
        for slot in 0..GUESTS {
            if let Some(guest) = &mut self.guests[slot]
                && let Err(reason) = guest.offer(chunk)
            {
                self.depart(slot, reason);
            }
        }
    }

    /// Lets those who are behind catch up; true if one could take more at once.
    fn serve_backlogs(&mut self, scratch: &mut [u8]) -> bool {
        let mut more = false;
        for slot in 0..GUESTS {
            let Some(guest) = &mut self.guests[slot] else { continue };
            match guest.catch_up(scratch) {
                Ok(caught) => more |= caught == Caught::Ready,
                Err(reason) => self.depart(slot, reason),
            }
        }
        more
    }

    fn depart(&mut self, slot: usize, reason: Departure) {
        if let Some(guest) = self.guests[slot].take() {
            self.departed.push(Departed { slot: Some(slot), end: guest.end, reason });
        }
    }

    /// The stream has ended, and the user has all of it.
    fn finish(&mut self, log: Option<&mut Log>, now: Instant) -> Progress {
        if self.finished {
            return Progress::Finished;
        }
        if self.guests.iter().flatten().any(|guest| guest.backlog.is_some()) {
            if now < *self.until.get_or_insert(now + PATIENCE) {
                return Progress::Waiting;
            }
            self.drop_slow_guests();
        }
        self.finished = true;
        if let Some(log) = log {
            log.end(self.stream);
        }
        for slot in 0..GUESTS {
            self.depart(slot, Departure::Ended);
        }
        let user = self.user.take();
        self.departed.extend(user.map(|end| Departed { slot: None, end, reason: Departure::Ended }));
        Progress::Finished
    }
}

impl Guest {
    /// Takes a chunk, or has it kept.
    fn offer(&mut self, chunk: &[u8]) -> Result<(), Departure> {
        let taken = match self.backlog {
            Some(_) => 0,
            None => take(&self.end, chunk).map_err(|_| Departure::Broken)?,
        };
        let rest = &chunk[taken..];
        if rest.is_empty() {
            return Ok(());
        }
        let folder = self.folder.as_ref().ok_or(Departure::TooSlow)?;
        let backlog = match self.backlog.take() {
            None => Backlog::new(folder).ok(),
            there => there,
        };
        // A disk that has no room for it is no reason to wait either.
        let mut backlog = backlog.ok_or(Departure::TooSlow)?;
        backlog.put(rest).map_err(|_| Departure::TooSlow)?;
        self.backlog = Some(backlog);
        Ok(())
    }

    /// Takes what was kept for it, as far as it has room.
    fn catch_up(&mut self, scratch: &mut [u8]) -> Result<Caught, Departure> {
        let Some(backlog) = &mut self.backlog else { return Ok(Caught::Level) };
        let caught = backlog.pass_on(&self.end, scratch).map_err(|stop| match stop {
            Stop::SourceEnded => Departure::TooSlow,
            _ => Departure::Broken,
        })?;
        if caught == Caught::Level {
            self.backlog = None;
        }
        Ok(caught)
    }
}

/// Writes what there is room for; returns how much that was.
fn take(sink: &End, chunk: &[u8]) -> Result<usize, Stop> {
    let mut taken = 0;
    while taken < chunk.len() {
        match stdio::flush(sink, &chunk[taken..]) {
            Ok(0) => return Err(Stop::SinkBroken),
            Ok(count) => taken += count,
            Err(Stop::Waiting) => break,
            Err(stop) => return Err(stop),
        }
    }
    Ok(taken)
}

#[cfg(test)]
mod tests;
