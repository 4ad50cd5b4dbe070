//! Hashing beside the work: one thread decompresses and hashes while another one writes files, or one reads files
//! while another one hashes. With several layers at once every processor is busy anyway; this is for a single one.

use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

use crate::digest::{Digest, Hasher};

/// Bytes handed over at a time, and how many such pieces may wait.
const PIECE: usize = 256 << 10;
const WAITING: usize = 4;

/// Lets another thread read `source` while `work` uses what came out of it. Returns the source too, if `work` has seen
/// its end; else there is nothing to say about it.
pub(super) fn read_ahead<R: Read + Send, T>(
    source: R,
    work: impl FnOnce(&mut dyn Read) -> T,
) -> (T, Option<R>) {
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(WAITING);
        let reading = scope.spawn(move || read_all(source, &sender));
        let mut ahead = Ahead { receiver, piece: Vec::new(), at: 0 };
        let result = work(&mut ahead);
        // A reader that still has something to hand over finds nobody, and stops.
        drop(ahead);
        (result, reading.join().unwrap_or_default())
    })
}

fn read_all<R: Read>(mut source: R, sender: &SyncSender<io::Result<Vec<u8>>>) -> Option<R> {
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        // Not the size of one read: a decompressor gives little at a time.
        match source.by_ref().take(PIECE as u64).read_to_end(&mut piece) {
            Ok(0) => return Some(source),
            Ok(_) => sender.send(Ok(piece)).ok()?,
            Err(error) => {
                let _ = sender.send(Err(error));
                return None;
            }
        }
    }
}

/// What another thread has read.
struct Ahead {
    receiver: Receiver<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    at: usize,
}

impl Read for Ahead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.piece.len() {
            // The other end is gone when its source has ended.
            let Ok(piece) = self.receiver.recv() else { return Ok(0) };
            (self.piece, self.at) = (piece?, 0);
        }
        let count = buffer.len().min(self.piece.len() - self.at);
        buffer[..count].copy_from_slice(&self.piece[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

/// Gives `work` a writer whose bytes are hashed: by another thread as soon as there are enough of them. Returns digest
/// and number of the bytes.
pub(super) fn hash_beside<T>(work: impl FnOnce(&mut dyn Write) -> T) -> (T, Digest, u64) {
    std::thread::scope(|scope| {
        let mut beside = Beside { scope, piece: Vec::new(), count: 0, thread: None };
        let result = work(&mut beside);
        let (digest, count) = beside.finish();
        (result, digest, count)
    })
}

struct Beside<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    piece: Vec<u8>,
    count: u64,
    thread: Option<(SyncSender<Vec<u8>>, ScopedJoinHandle<'scope, Hasher>)>,
}

impl Beside<'_, '_> {
    fn hand_over(&mut self) -> io::Result<()> {
        let (sender, _) = self.thread.get_or_insert_with(|| {
            let (sender, receiver) = sync_channel::<Vec<u8>>(WAITING);
            let hashing = self.scope.spawn(move || {
                let mut hasher = Hasher::new();
                receiver.iter().for_each(|piece| hasher.update(&piece));
                hasher
            });
            (sender, hashing)
        });
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        sender.send(piece).map_err(|_| io::Error::other("the thread that hashes is gone"))
    }

    fn finish(mut self) -> (Digest, u64) {
        let mut hasher = match self.thread.take() {
            None => Hasher::new(),
            Some((sender, hashing)) => {
                drop(sender);
                // It cannot panic; if it did, the digest is that of something else and matches nothing.
                hashing.join().unwrap_or_default()
            }
        };
        hasher.update(&self.piece);
        (hasher.finish(), self.count)
    }
}

impl Write for Beside<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.piece.len() + bytes.len() > PIECE {
            self.hand_over()?;
        }
        self.piece.extend_from_slice(bytes);
        self.count += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_arrive_whole_and_errors_too() {
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|value| (value % 251) as u8).collect();
        let (read, source) = read_ahead(&bytes[..], |ahead| {
            let mut out = Vec::new();
            ahead.read_to_end(&mut out).map(|_| out)
        });
        assert_eq!((read.unwrap(), source), (bytes.clone(), Some(&[][..])));
        // One that stops early leaves no thread waiting.
        let (_, source) = read_ahead(&bytes[..], |ahead| ahead.read(&mut [0; 10]).unwrap());
        assert_eq!(source, None);
        let broken = Read::chain(&bytes[..10], zstd::Decoder::new(&b"none"[..]).unwrap());
        let (read, source) = read_ahead(broken, |ahead| io::copy(ahead, &mut io::sink()));
        assert!(read.is_err() && source.is_none());
    }

    #[test]
    fn the_digest_is_that_of_all_bytes_however_they_come() {
        let bytes = vec![7; 3_000_000];
        for step in [1000, 512, 300_000, 3_000_000] {
            let (_, digest, count) =
                hash_beside(|out| bytes.chunks(step).for_each(|chunk| out.write_all(chunk).unwrap()));
            assert_eq!((digest, count), (Digest::of(&bytes), 3_000_000));
        }
        assert_eq!(hash_beside(|_| ()).1, Digest::of(b""));
    }
}
