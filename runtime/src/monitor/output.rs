//! One output stream of a container, on its way to the log and to everyone who looks on.
//!
//! ```text
//!   pipe or terminal of the container --one chunk at a time--> log
//!                                                         +--> the foreground user   (waited for without limit)
//!                                                         +--> attached guests       (ROOM ahead of them, then cut off)
//! ```
//!
//! Invariants:
//!
//! - the next chunk is read only when every sink took the one before: a slow reader slows the container, as it would
//!   natively, and nothing piles up here
//! - memory is taken only while a sink is behind, and then for one chunk; everything else passes through a buffer that
//!   all outputs of a monitor share
//! - a guest has [`ROOM`] in its own pipe, which is no memory of ours. Who leaves that full makes the stream wait for
//!   [`PATIENCE`] and, beyond that, as long for each ROOM that it takes: then it is cut off. So nobody can stop a container by
//!   looking on, a reader that never reads costs it two seconds, one that trickles costs it no more in proportion, and a
//!   healthy one that was not scheduled for a moment loses nothing
//! - without sinks and log the container writes into the void: it is never stopped for want of a reader
//!
//! Readiness is edge-triggered, as for [`super::stdio::Relay`]: an event on any of the descriptors means
//! [`Output::pump`]. What goes between two descriptors and nowhere else is better off with a relay, which splices.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use super::log::{Log, Stream};
use super::stdio::{self, BUFFER, End, Progress, Stop, TURN};

/// Most sinks of one output.
pub const SINKS: usize = 8;

/// How long a guest may make the stream wait, in all and once more for each [`ROOM`] that it takes.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// What a guest may be behind before the stream waits for it, in bytes: as much as an ordinary user may give a pipe (pipe(7)).
/// A pipe that may not grow, and a socket, keep what they have.
pub const ROOM: usize = 1 << 20;

/// Who a sink belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// The user whose command the container is. When this sink breaks and there is no log, the container gets the
    /// `EPIPE` that it would get natively.
    Foreground,
    /// Somebody who looks on.
    Guest,
}

/// Why a sink is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// The stream has ended and all of it was taken.
    Ended,
    /// It takes nothing more.
    Broken,
    /// It was waited for too long.
    TooSlow,
}

/// A sink that is gone. Its descriptor is still open, so that it can be taken out of an epoll first: a copy of it that
/// somebody else holds would keep it in there.
#[derive(Debug)]
pub struct Departed {
    /// The slot that it had, free again.
    pub slot: usize,
    /// It.
    pub end: End,
    /// Why.
    pub reason: Departure,
}

/// Why nobody can be attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttachError {
    /// [`SINKS`] are there already.
    #[error("{SINKS} readers are attached to this stream already")]
    Full,
    /// Nothing will come any more.
    #[error("the stream has ended")]
    Ended,
}

#[derive(Debug)]
struct Sink {
    end: End,
    audience: Audience,
    /// How much of the waiting chunk it took.
    taken: usize,
    /// Since when it has taken nothing of it.
    blocked: Option<Instant>,
    /// How long it may still be waited for, before `blocked` is counted.
    patience: Duration,
}

/// One output stream.
#[derive(Debug)]
pub struct Output {
    stream: Stream,
    source: Option<End>,
    sinks: [Option<Sink>; SINKS],
    /// A chunk that not every sink took.
    waiting: Vec<u8>,
    departed: Vec<Departed>,
    /// How much may still be read, once nothing is waited for any more.
    rest: Option<usize>,
    finished: bool,
}

impl Output {
    /// The stream that comes out of `source`.
    pub fn new(source: End, stream: Stream) -> Output {
        Output {
            stream,
            source: Some(source),
            sinks: [const { None }; SINKS],
            waiting: Vec::new(),
            departed: Vec::new(),
            rest: None,
            finished: false,
        }
    }

    /// The slot that the next sink will have.
    pub fn free_slot(&self) -> Result<usize, AttachError> {
        if self.source.is_none() {
            return Err(AttachError::Ended);
        }
        self.sinks.iter().position(Option::is_none).ok_or(AttachError::Full)
    }

    /// Adds a sink, which gets what is read from now on; returns its slot.
    pub fn attach(&mut self, end: End, audience: Audience) -> Result<usize, AttachError> {
        let slot = self.free_slot()?;
        if audience == Audience::Guest {
            end.widen(ROOM);
        }
        let taken = self.waiting.len();
        self.sinks[slot] = Some(Sink { end, audience, taken, blocked: None, patience: PATIENCE });
        Ok(slot)
    }

    /// What to watch for reading, until the stream ends.
    pub fn source(&self) -> Option<BorrowedFd<'_>> {
        self.source.as_ref().map(AsFd::as_fd)
    }

    /// What to watch for writing.
    pub fn sink(&self, slot: usize) -> Option<BorrowedFd<'_>> {
        self.sinks.get(slot)?.as_ref().map(|sink| sink.end.as_fd())
    }

    /// The sinks that are gone since the last call, mostly none. To be asked after every pump.
    pub fn departed(&mut self) -> Vec<Departed> {
        std::mem::take(&mut self.departed)
    }

    /// When to pump without an event, so that a guest who takes nothing is cut.
    pub fn next_deadline(&self) -> Option<Instant> {
        let guests = self.sinks.iter().flatten().filter(|sink| sink.audience == Audience::Guest);
        guests.filter_map(|sink| sink.blocked.map(|since| since + sink.patience)).min()
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

    /// Gives a sink back.
    pub(super) fn detach(&mut self, slot: usize) -> Option<End> {
        self.sinks.get_mut(slot)?.take().map(|sink| sink.end)
    }

    /// Cuts the guests that have not taken all that there was for them; true if there was one.
    pub fn drop_slow_guests(&mut self) -> bool {
        let mut dropped = false;
        for slot in 0..SINKS {
            let is_slow = |sink: &Sink| sink.audience == Audience::Guest && sink.blocked.is_some();
            if self.sinks[slot].as_ref().is_some_and(is_slow) {
                self.depart(slot, Departure::TooSlow, true);
                dropped = true;
            }
        }
        dropped
    }

    /// Drops sinks that will never take anything again, though nothing is there to be written: for an event that
    /// reports an error.
    pub fn drop_broken(&mut self, logged: bool) {
        for slot in 0..SINKS {
            if self.sinks[slot].as_ref().is_some_and(|sink| sink.end.is_broken()) {
                self.depart(slot, Departure::Broken, logged);
            }
        }
    }

    /// Passes on what is there, until the source has no more, a sink has no room, or the turn is used up.
    ///
    /// `scratch` is used during the call only; a chunk is as long as it is, [`BUFFER`] at most.
    pub fn pump(&mut self, scratch: &mut [u8], mut log: Option<&mut Log>, now: Instant) -> Progress {
        let length = scratch.len().min(BUFFER);
        let mut moved = 0;
        while moved < TURN {
            if !self.deliver_waiting(log.is_some(), now) {
                return Progress::Waiting;
            }
            let Some(source) = &self.source else {
                self.finish(log);
                return Progress::Finished;
            };
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
                    self.deliver(chunk, log.is_some(), now);
                }
                Err(Stop::Waiting) if self.rest.is_none() => return Progress::Waiting,
                Err(_) => self.source = None,
            }
        }
        Progress::Ready
    }

    /// Offers a new chunk to all sinks, and keeps what one of them has no room for.
    fn deliver(&mut self, chunk: &[u8], logged: bool, now: Instant) {
        self.sinks.iter_mut().flatten().for_each(|sink| sink.taken = 0);
        let taken = self.offer(chunk, logged, now);
        self.waiting = chunk[taken..].to_vec();
        self.sinks.iter_mut().flatten().for_each(|sink| sink.taken -= taken);
    }

    /// Offers the rest of a chunk again; false when a sink still has no room.
    fn deliver_waiting(&mut self, logged: bool, now: Instant) -> bool {
        if !self.waiting.is_empty() {
            let waiting = std::mem::take(&mut self.waiting);
            if self.offer(&waiting, logged, now) < waiting.len() {
                self.waiting = waiting;
                return false;
            }
        }
        true
    }

    /// Lets every sink take what it can; returns how much all of them have taken now.
    fn offer(&mut self, chunk: &[u8], logged: bool, now: Instant) -> usize {
        let mut least = chunk.len();
        for slot in 0..SINKS {
            let Some(sink) = &mut self.sinks[slot] else { continue };
            match sink.take(chunk, now) {
                Ok(()) => least = least.min(sink.taken),
                Err(reason) => self.depart(slot, reason, logged),
            }
        }
        least
    }

    fn depart(&mut self, slot: usize, reason: Departure, logged: bool) {
        let Some(sink) = self.sinks[slot].take() else { return };
        if sink.audience == Audience::Foreground && reason == Departure::Broken && !logged {
            self.source = None;
        }
        self.departed.push(Departed { slot, end: sink.end, reason });
    }

    fn finish(&mut self, log: Option<&mut Log>) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        if let Some(log) = log {
            log.end(self.stream);
        }
        for slot in 0..SINKS {
            self.depart(slot, Departure::Ended, true);
        }
    }
}

impl Sink {
    /// Writes what there is room for.
    fn take(&mut self, chunk: &[u8], now: Instant) -> Result<(), Departure> {
        while self.taken < chunk.len() {
            match stdio::flush(&self.end, &chunk[self.taken..]) {
                Ok(count @ 1..) => {
                    self.taken += count;
                    self.took(count, now);
                }
                Err(Stop::Waiting) => {
                    let since = *self.blocked.get_or_insert(now);
                    let too_long = now.saturating_duration_since(since) >= self.patience;
                    return if self.audience == Audience::Guest && too_long {
                        Err(Departure::TooSlow)
                    } else {
                        Ok(())
                    };
                }
                Ok(_) | Err(_) => return Err(Departure::Broken),
            }
        }
        Ok(())
    }

    /// Counts how long it was waited for, and what it took against that.
    fn took(&mut self, count: usize, now: Instant) {
        if let Some(since) = self.blocked.take() {
            self.patience = self.patience.saturating_sub(now.saturating_duration_since(since));
        }
        let earned = PATIENCE.mul_f64(count as f64 / ROOM as f64);
        self.patience = (self.patience + earned).min(PATIENCE);
    }
}

#[cfg(test)]
mod tests;
