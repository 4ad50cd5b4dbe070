//! What a guest has not taken yet: a ring of bounded length in a file without a name.
//!
//! On disk rather than in memory, for a monitor is to cost the same whoever looks on. The file is there only while a guest is
//! behind, and goes with the last reference to it, however this process ends.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::monitor::stdio::{self, End, Stop, TURN};

/// Most bytes that are kept for one guest of one stream.
pub(super) const LIMIT: u64 = 32 << 20;

/// Bytes on their way to a guest, in order.
#[derive(Debug)]
pub(super) struct Backlog {
    file: OwnedFd,
    /// Bytes that were taken, of all that were ever put in.
    taken: u64,
    /// Bytes that were ever put in.
    put: u64,
}

/// How far a guest caught up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// It has taken everything.
    Level,
    /// It has no room for more.
    Waiting,
    /// It has taken its share of a turn.
    Ready,
}

impl Backlog {
    /// One without content, on the file system of `folder` (open(2), `O_TMPFILE`).
    pub(super) fn new(folder: &Path) -> Result<Backlog, Errno> {
        let flags = OFlags::TMPFILE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
        let file = rustix::fs::openat(CWD, folder, flags, Mode::RUSR | Mode::WUSR)?;
        Ok(Backlog { file, taken: 0, put: 0 })
    }

    /// Keeps `bytes`: all of them, or it fails and is of no use any more. `NOSPC` where they are too many for it or for the disk.
    pub(super) fn put(&mut self, mut bytes: &[u8]) -> Result<(), Errno> {
        if self.put - self.taken + bytes.len() as u64 > LIMIT {
            return Err(Errno::NOSPC);
        }
        while !bytes.is_empty() {
            let (place, length) = stretch(self.put, bytes.len());
            let written =
                rustix::io::retry_on_intr(|| rustix::io::pwrite(&self.file, &bytes[..length], place))?;
            self.put += written as u64;
            bytes = &bytes[written..];
        }
        Ok(())
    }

    /// Passes on what `sink` has room for, by way of `scratch`.
    pub(super) fn pass_on(&mut self, sink: &End, scratch: &mut [u8]) -> Result<Progress, Stop> {
        // Asked at every line of a container, of those who read and those who never will.
        if !sink.has_room() {
            return Ok(Progress::Waiting);
        }
        let mut moved = 0;
        while self.taken < self.put {
            if moved >= TURN {
                return Ok(Progress::Ready);
            }
            let left = usize::try_from(self.put - self.taken).unwrap_or(usize::MAX);
            let (place, length) = stretch(self.taken, left.min(scratch.len()));
            let read =
                rustix::io::retry_on_intr(|| rustix::io::pread(&self.file, &mut scratch[..length], place));
            // A disk that does not give back what was put there: the guest cannot have the rest.
            let Ok(read @ 1..) = read else { return Err(Stop::SourceEnded) };
            match stdio::flush(sink, &scratch[..read]) {
                Ok(0) => return Err(Stop::SinkBroken),
                Ok(count) => {
                    self.taken += count as u64;
                    moved += count;
                }
                Err(Stop::Waiting) => return Ok(Progress::Waiting),
                Err(stop) => return Err(stop),
            }
        }
        Ok(Progress::Level)
    }
}

/// Where in the ring byte `number` is, and how many of the `length` bytes from there on lie in one piece.
fn stretch(number: u64, length: usize) -> (u64, usize) {
    let place = number % LIMIT;
    let to_end = usize::try_from(LIMIT - place).unwrap_or(usize::MAX);
    (place, length.min(to_end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::stdio::Direction;
    use std::io::{PipeReader, Read};
    use std::os::fd::AsFd;

    /// Byte `number` of what is put in.
    fn byte(number: u64) -> u8 {
        (number % 251) as u8
    }

    fn sink() -> (PipeReader, End) {
        let (reader, writer) = std::io::pipe().unwrap();
        (reader, End::of_user(writer.as_fd(), Direction::Sink).unwrap())
    }

    #[test]
    fn bytes_come_out_as_they_went_in_around_the_end_of_the_file() {
        let mut backlog = Backlog::new(&std::env::temp_dir()).unwrap();
        let (mut reader, sink) = sink();
        let mut scratch = [0; 10_000];
        let mut seen: u64 = 0;
        let mut bytes = vec![0; 77_777];
        while backlog.put < 2 * LIMIT {
            let from = backlog.put;
            bytes.iter_mut().zip(from..).for_each(|(place, number)| *place = byte(number));
            backlog.put(&bytes).unwrap();
            loop {
                let progress = backlog.pass_on(&sink, &mut scratch).unwrap();
                let mut read = vec![0; rustix::io::ioctl_fionread(&reader).unwrap() as usize];
                reader.read_exact(&mut read).unwrap();
                assert!(read.iter().zip(seen..).all(|(has, number)| *has == byte(number)));
                seen += read.len() as u64;
                if progress == Progress::Level {
                    break;
                }
            }
        }
        assert_eq!(seen, backlog.put);
        assert_eq!(rustix::fs::fstat(&backlog.file).unwrap().st_size.unsigned_abs(), LIMIT);
    }

    #[test]
    fn it_has_an_end_and_a_reader_that_left_is_known() {
        let mut backlog = Backlog::new(&std::env::temp_dir()).unwrap();
        let chunk = vec![b'x'; 1 << 20];
        for _ in 0..LIMIT >> 20 {
            backlog.put(&chunk).unwrap();
        }
        assert_eq!(backlog.put(b"y"), Err(Errno::NOSPC));
        let (reader, sink) = sink();
        assert_eq!(backlog.pass_on(&sink, &mut [0; 4096]), Ok(Progress::Waiting));
        drop(reader);
        assert_eq!(backlog.pass_on(&sink, &mut [0; 4096]), Err(Stop::SinkBroken));
    }

    #[test]
    fn a_file_system_that_cannot_is_an_error() {
        assert!(Backlog::new(Path::new("/proc")).is_err());
    }
}
