//! The callers of a monitor: a fixed number of conversations, and what each still waits for.
//!
//! A few places are for those who come when all others are taken: by whoever is in one a container can be asked for, signalled,
//! awaited and ended, and nothing else, so readers and execs without number lock nobody out who wants to end it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::channel::{ChannelError, Connection, Listener};
use super::container::STREAMS;
use super::protocol::{ErrorKind, Exit, Reply, encode_reply};

/// Callers served at the same time with whatever they want.
const CALLERS: usize = 64;

/// Further callers, who can only see and end containers.
const RESERVED: usize = 16;

/// All places.
pub(super) const PLACES: usize = CALLERS + RESERVED;

/// A caller, even after its place was given to another one: then nothing reaches it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CallerId {
    place: usize,
    serial: u64,
}

#[cfg(test)]
impl CallerId {
    /// A caller that was never there.
    pub(super) fn nobody() -> CallerId {
        CallerId { place: 0, serial: 0 }
    }
}

/// One conversation.
#[derive(Debug)]
pub(super) struct Caller {
    serial: u64,
    /// Where its messages come from.
    pub(super) connection: Connection,
    /// Its unanswered wait or delete: sequence number, place of the container, and which of both.
    pub(super) waits: Option<(u32, usize, Wait)>,
    /// Sequence number of its watch.
    watches: Option<u32>,
    /// Its attachment.
    pub(super) attached: Option<Attached>,
    /// It has executed something, which is all that one conversation may.
    pub(super) has_executed: bool,
}

/// A caller's attachment to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attached {
    /// Its request.
    pub(super) sequence: u32,
    /// The container.
    pub(super) place: usize,
    /// The slots that it has in the container's streams, where it reads them.
    pub(super) slots: [Option<usize>; STREAMS],
}

/// What a caller waits for at a container's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// How it ended.
    Exit,
    /// That it is gone.
    Gone,
}

/// All conversations.
#[derive(Debug)]
pub(super) struct Callers {
    places: [Option<Caller>; PLACES],
    next_serial: u64,
    /// Those who could not be answered: to be forgotten like any other that leaves, with what depends on them.
    deaf: Vec<CallerId>,
    /// The last one turned away. Closing at once could overtake the reason: a socket that is closed with a request
    /// unread, or before it was sent, fails at the caller before the reply is seen.
    turned_away: Option<Connection>,
    /// A descriptor to be given up for somebody who is turned away for want of one: who cannot be accepted would wake us for
    /// ever.
    spare: Option<OwnedFd>,
}

impl Callers {
    pub(super) fn new() -> Callers {
        Callers {
            places: [const { None }; PLACES],
            next_serial: 0,
            deaf: Vec::new(),
            turned_away: None,
            spare: None,
        }
    }

    /// Takes the next caller in; returns its place and socket. One too many is told so and turned away.
    pub(super) fn accept(&mut self, listener: &Listener) -> Option<(usize, BorrowedFd<'_>)> {
        if self.spare.is_none() {
            self.spare = rustix::io::fcntl_dupfd_cloexec(listener, 3).ok();
        }
        let connection = match listener.accept() {
            Err(ChannelError::NoDescriptor) => {
                (self.spare, self.turned_away) = (None, None);
                let connection = listener.accept().ok().flatten()?;
                self.turn_away(connection, "the monitor has no descriptor left");
                return None;
            }
            // A stranger, or a caller who left already.
            accepted => accepted.ok().flatten()?,
        };
        let Some(place) = self.places.iter().position(Option::is_none) else {
            self.turn_away(connection, "the monitor serves too many callers");
            return None;
        };
        self.next_serial += 1;
        let caller = self.places[place].insert(Caller {
            serial: self.next_serial,
            connection,
            waits: None,
            watches: None,
            attached: None,
            has_executed: false,
        });
        Some((place, caller.connection.as_fd()))
    }

    fn turn_away(&mut self, connection: Connection, text: &str) {
        let reply = Reply::Error { kind: ErrorKind::Busy, text };
        let _ = connection.send(encode_reply(&reply, 1).as_bytes(), &[]);
        self.turned_away = Some(connection);
    }

    /// Is nobody there?
    pub(super) fn is_empty(&self) -> bool {
        self.places.iter().all(Option::is_none)
    }

    pub(super) fn at(&self, place: usize) -> Option<(CallerId, &Caller)> {
        let caller = self.places.get(place)?.as_ref()?;
        Some((CallerId { place, serial: caller.serial }, caller))
    }

    /// May this caller only see and end containers?
    pub(super) fn is_restricted(&self, id: CallerId) -> bool {
        id.place >= CALLERS
    }

    pub(super) fn find(&mut self, id: CallerId) -> Option<&mut Caller> {
        self.places[id.place].as_mut().filter(|caller| caller.serial == id.serial)
    }

    /// Those who could not be answered since the last call.
    pub(super) fn take_deaf(&mut self) -> Vec<CallerId> {
        std::mem::take(&mut self.deaf)
    }

    /// Forgets a caller.
    pub(super) fn hang_up(&mut self, id: CallerId) {
        if self.find(id).is_some() {
            self.places[id.place] = None;
        }
    }

    /// Answers a caller; who does not read is hung up on by and by. False when it is not there any more.
    pub(super) fn answer(&mut self, id: CallerId, reply: &Reply<'_>, sequence: u32) -> bool {
        self.answer_with(id, reply, sequence, &[])
    }

    /// As [`Callers::answer`], with descriptors.
    pub(super) fn answer_with(
        &mut self,
        id: CallerId,
        reply: &Reply<'_>,
        sequence: u32,
        descriptors: &[BorrowedFd<'_>],
    ) -> bool {
        let Some(caller) = self.find(id) else { return false };
        let sent = caller.connection.send(encode_reply(reply, sequence).as_bytes(), descriptors).is_ok();
        if !sent {
            self.deaf.push(id);
        }
        sent
    }

    /// Ends the attachment that has this slot of a stream of the container at `place`, and tells its caller why.
    pub(super) fn cut_off(&mut self, place: usize, stream: usize, slot: usize) -> Option<Attached> {
        let has_it = |attached: &Attached| attached.place == place && attached.slots[stream] == Some(slot);
        let index = (0..PLACES).find(|index| {
            self.at(*index).is_some_and(|(_, caller)| caller.attached.as_ref().is_some_and(has_it))
        })?;
        let id = self.at(index)?.0;
        let attached = self.find(id)?.attached.take()?;
        let text = "cut off from the container's output, which was not read fast enough: attach again, or read the log";
        self.answer(id, &Reply::Error { kind: ErrorKind::TooSlow, text }, attached.sequence);
        Some(attached)
    }

    /// Starts sending a caller the ends of containers.
    pub(super) fn watch(&mut self, id: CallerId, sequence: u32) {
        if let Some(caller) = self.find(id) {
            caller.watches = Some(sequence);
        }
    }

    /// Tells all whom it concerns that the container at `place` is gone, or why something of it is `left`. `exit` is missing
    /// for one that was never started.
    pub(super) fn ended(&mut self, place: usize, container: &str, exit: Option<Exit>, left: Option<&str>) {
        let never =
            Reply::Error { kind: ErrorKind::NotFound, text: "the container was removed before it ran" };
        for index in 0..PLACES {
            let Some((id, caller)) = self.at(index) else { continue };
            let (waits, watches, attached) = (caller.waits, caller.watches, caller.attached);
            if let Some((sequence, _, wait)) = waits.filter(|(_, waited, _)| *waited == place) {
                let reply = match (wait, exit) {
                    (Wait::Gone, _) => match left {
                        Some(text) => Reply::Error { kind: ErrorKind::Failed, text },
                        None => Reply::Done,
                    },
                    (Wait::Exit, Some(exit)) => Reply::Exited(exit),
                    (Wait::Exit, None) => never,
                };
                self.answer(id, &reply, sequence);
            }
            if let Some(attached) = attached.filter(|attached| attached.place == place) {
                self.answer(id, &exit.map_or(never, Reply::Exited), attached.sequence);
            }
            if let Some((sequence, exit)) = watches.zip(exit) {
                self.answer(id, &Reply::Ended { container, exit }, sequence);
            }
            if let Some(caller) = self.find(id) {
                caller.waits = caller.waits.filter(|(_, waited, _)| *waited != place);
                caller.attached = caller.attached.filter(|attached| attached.place != place);
            }
        }
    }
}
