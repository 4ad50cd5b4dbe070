use std::io::{PipeReader, PipeWriter, Read, Write};
use std::time::{Duration, Instant};

use super::backlog::LIMIT;
use super::{Departure, GUESTS, Output, PATIENCE, ROOM};
use crate::monitor::log::{Log, LogSettings, Stream};
use crate::monitor::stdio::{BUFFER, Direction, End, Progress};

/// A stream of a container, and the container's end of it.
fn stream() -> (Output, PipeWriter) {
    let (ours, container) = std::io::pipe().unwrap();
    (Output::new(End::of_pipe(ours.into()).unwrap(), Stream::Stdout, None), container)
}

/// A stream of a container, the container's end of it, and what its user reads.
fn stream_for_user() -> (Output, PipeWriter, PipeReader) {
    let (ours, container) = std::io::pipe().unwrap();
    let (reader, sink) = sink();
    (Output::new(End::of_pipe(ours.into()).unwrap(), Stream::Stdout, Some(sink)), container, reader)
}

fn sink() -> (PipeReader, End) {
    let (reader, writer) = std::io::pipe().unwrap();
    (reader, End::of_user(std::os::fd::AsFd::as_fd(&writer), Direction::Sink).unwrap())
}

/// A guest of an output: the reader behind it.
fn attach(output: &mut Output) -> PipeReader {
    let (reader, sink) = sink();
    output.attach(sink, Some(std::env::temp_dir())).unwrap();
    reader
}

/// Everything that waits in a pipe.
fn take(reader: &mut PipeReader) -> Vec<u8> {
    let length = rustix::io::ioctl_fionread(&*reader).unwrap() as usize;
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes).unwrap();
    bytes
}

/// Writes until the container would have to wait; returns how much.
fn fill(container: &mut PipeWriter) -> usize {
    rustix::io::ioctl_fionbio(&*container, true).unwrap();
    let mut written = 0;
    while let Ok(count) = container.write(&[b'.'; 4096]) {
        written += count;
    }
    written
}

fn pump(output: &mut Output, log: Option<&mut Log>, now: Instant) -> Progress {
    output.pump(&mut [0; BUFFER], log, now)
}

fn reasons(output: &mut Output) -> Vec<(Option<usize>, Departure)> {
    output.departed().into_iter().map(|departed| (departed.slot, departed.reason)).collect()
}

struct Logged(tempfile::TempDir, Log);

impl Logged {
    fn new() -> Logged {
        let folder = tempfile::tempdir().unwrap();
        let path = std::fs::canonicalize(folder.path()).unwrap().join("log");
        let log = Log::new(LogSettings { path, max_size: None, max_files: 1 });
        Logged(folder, log)
    }

    /// Its entries without times.
    fn entries(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.0.path().join("log")).unwrap_or_default();
        let lines = text.split_terminator('\n');
        lines.map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
    }
}

#[test]
fn without_readers_the_container_writes_into_the_void() {
    let (mut output, mut container) = stream();
    for _ in 0..4 {
        fill(&mut container);
        assert_eq!(pump(&mut output, None, Instant::now()), Progress::Waiting);
    }
    drop(container);
    assert_eq!(pump(&mut output, None, Instant::now()), Progress::Finished);
    assert!(output.is_finished() && output.source().is_none());
}

#[test]
fn log_and_sinks_get_the_same_and_late_ones_what_is_new() {
    let (mut output, mut container, mut user) = stream_for_user();
    let mut logged = Logged::new();
    container.write_all(b"one\n").unwrap();
    pump(&mut output, Some(&mut logged.1), Instant::now());
    let mut guest = attach(&mut output);
    container.write_all(b"two\nhalf").unwrap();
    pump(&mut output, Some(&mut logged.1), Instant::now());
    assert_eq!(take(&mut user), b"one\ntwo\nhalf");
    assert_eq!(take(&mut guest), b"two\nhalf");
    assert_eq!(logged.entries(), ["stdout F one", "stdout F two"]);
    drop(container);
    assert_eq!(pump(&mut output, Some(&mut logged.1), Instant::now()), Progress::Finished);
    assert_eq!(pump(&mut output, Some(&mut logged.1), Instant::now()), Progress::Finished);
    assert_eq!(logged.entries(), ["stdout F one", "stdout F two", "stdout P half"]);
    assert_eq!(reasons(&mut output), [(Some(0), Departure::Ended), (None, Departure::Ended)]);
    assert_eq!(guest.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_guest_that_takes_nothing_makes_nobody_wait_and_is_cut_off() {
    let (mut output, mut container) = stream();
    let mut logged = Logged::new();
    let mut unread = attach(&mut output);
    let now = Instant::now();
    let mut written = 0;
    let gone = loop {
        let count = fill(&mut container);
        assert!(count > 0, "the container waits");
        written += count as u64;
        assert_eq!(pump(&mut output, Some(&mut logged.1), now), Progress::Waiting);
        let gone = reasons(&mut output);
        if !gone.is_empty() {
            break gone;
        }
        assert!(written <= ROOM as u64 + LIMIT);
    };
    assert_eq!(gone, [(Some(0), Departure::TooSlow)]);
    assert!(written > LIMIT);
    // What its pipe has is whole, and nothing was taken for it.
    assert!(take(&mut unread).iter().all(|byte| *byte == b'.'));
    assert_eq!((output.waiting.capacity(), output.next_deadline()), (0, None));
}

#[test]
fn a_guest_without_a_place_for_its_backlog_has_its_pipe() {
    let (mut output, mut container) = stream();
    let readers: Vec<_> = [None, Some("/proc".into())]
        .into_iter()
        .map(|folder| {
            let (reader, sink) = sink();
            output.attach(sink, folder).unwrap();
            reader
        })
        .collect();
    let mut written = 0;
    while output.guests.iter().any(Option::is_some) {
        assert!(written <= ROOM, "it is not cut off");
        written += fill(&mut container);
        pump(&mut output, None, Instant::now());
    }
    assert_eq!(reasons(&mut output), [(Some(0), Departure::TooSlow), (Some(1), Departure::TooSlow)]);
    drop(readers);
}

#[test]
fn a_guest_that_catches_up_has_lost_nothing() {
    let (mut output, mut container) = stream();
    let mut guest = attach(&mut output);
    let now = Instant::now();
    let mut seen = Vec::new();
    let mut put: u32 = 0;
    for round in 0..3 {
        for _ in 0..60 {
            let bytes: Vec<u8> = (put..put + 16_384).flat_map(u32::to_le_bytes).collect();
            container.write_all(&bytes).unwrap();
            put += 16_384;
            assert_eq!(pump(&mut output, None, now), Progress::Waiting);
        }
        assert!(output.guests[0].as_ref().unwrap().backlog.is_some(), "round {round}");
        while output.guests[0].as_ref().unwrap().backlog.is_some() {
            seen.extend(take(&mut guest));
            pump(&mut output, None, now);
        }
    }
    seen.extend(take(&mut guest));
    assert_eq!(seen.len(), 4 * put as usize);
    assert!(seen.chunks_exact(4).zip(0u32..).all(|(bytes, number)| bytes == number.to_le_bytes()));
}

#[test]
fn the_end_waits_a_little_for_guests_that_are_behind() {
    for reads in [true, false] {
        let (mut output, mut container) = stream();
        let mut guest = attach(&mut output);
        let start = Instant::now();
        let mut written = 0;
        while written < 2 * ROOM {
            written += fill(&mut container);
            pump(&mut output, None, start);
        }
        drop(container);
        assert_eq!(pump(&mut output, None, start), Progress::Waiting);
        assert_eq!(output.next_deadline(), Some(start + PATIENCE));
        if reads {
            let mut seen = 0;
            while pump(&mut output, None, start + PATIENCE / 2) != Progress::Finished {
                seen += take(&mut guest).len();
            }
            assert_eq!(seen + take(&mut guest).len(), written);
            assert_eq!(reasons(&mut output), [(Some(0), Departure::Ended)]);
        } else {
            assert_eq!(pump(&mut output, None, start + PATIENCE), Progress::Finished);
            assert_eq!(reasons(&mut output), [(Some(0), Departure::TooSlow)]);
        }
        assert_eq!(output.next_deadline(), None);
    }
}

#[test]
fn the_foreground_user_is_waited_for() {
    let (mut output, mut container, mut user) = stream_for_user();
    let start = Instant::now();
    let mut written = 0;
    for hour in 0..10 {
        written += fill(&mut container);
        assert_eq!(pump(&mut output, None, start + Duration::from_secs(3600 * hour)), Progress::Waiting);
    }
    assert_eq!(output.next_deadline(), None);
    output.drain();
    let mut seen = 0;
    while pump(&mut output, None, start) != Progress::Finished {
        seen += take(&mut user).len();
    }
    assert_eq!(seen + take(&mut user).len(), written);
}

#[test]
fn a_broken_foreground_closes_the_containers_end_unless_there_is_a_log() {
    let (mut output, mut container, user) = stream_for_user();
    drop(user);
    container.write_all(b"x").unwrap();
    assert_eq!(pump(&mut output, None, Instant::now()), Progress::Finished);
    assert_eq!(container.write_all(b"y").unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
    assert_eq!(reasons(&mut output), [(None, Departure::Broken)]);

    let (mut output, mut container, user) = stream_for_user();
    let mut logged = Logged::new();
    drop(user);
    container.write_all(b"x\n").unwrap();
    assert_eq!(pump(&mut output, Some(&mut logged.1), Instant::now()), Progress::Waiting);
    container.write_all(b"y\n").unwrap();
    assert_eq!(pump(&mut output, Some(&mut logged.1), Instant::now()), Progress::Waiting);
    assert_eq!(logged.entries(), ["stdout F x", "stdout F y"]);
}

#[test]
fn a_guest_that_left_is_dropped_and_nothing_else_happens() {
    let (mut output, mut container) = stream();
    let (first, mut second) = (attach(&mut output), attach(&mut output));
    drop(first);
    // Also while nothing is written.
    output.drop_broken(false);
    assert_eq!(reasons(&mut output), [(Some(0), Departure::Broken)]);
    container.write_all(b"x").unwrap();
    assert_eq!(pump(&mut output, None, Instant::now()), Progress::Waiting);
    assert_eq!(take(&mut second), b"x");
    assert!(output.guests[0].is_none() && output.guests[1].is_some());
    drop(second);
    container.write_all(b"x").unwrap();
    assert_eq!(pump(&mut output, None, Instant::now()), Progress::Waiting);
    assert_eq!(reasons(&mut output), [(Some(1), Departure::Broken)]);
}

#[test]
fn draining_takes_what_is_there_and_waits_for_no_writer() {
    let (mut output, mut container) = stream();
    let mut logged = Logged::new();
    container.write_all(b"last words").unwrap();
    output.drain();
    assert_eq!(pump(&mut output, Some(&mut logged.1), Instant::now()), Progress::Finished);
    assert_eq!(logged.entries(), ["stdout P last words"]);
    assert_eq!(output.attach_error(), super::AttachError::Ended);
}

#[test]
fn draining_ends_although_somebody_goes_on_writing() {
    // As a pipe whose writers are quicker than we are.
    let endless = std::fs::File::open("/dev/zero").unwrap();
    let source = End::of_user(std::os::fd::AsFd::as_fd(&endless), Direction::Source).unwrap();
    let mut output = Output::new(source, Stream::Stdout, None);
    output.drain();
    while pump(&mut output, None, Instant::now()) != Progress::Finished {}
}

#[test]
fn guests_that_are_behind_are_cut_at_once_when_nobody_waits_for_them() {
    let (mut output, mut container, mut user) = stream_for_user();
    let _unread = attach(&mut output);
    let now = Instant::now();
    while output.guests[0].as_ref().unwrap().backlog.is_none() {
        fill(&mut container);
        pump(&mut output, None, now);
        take(&mut user);
    }
    assert!(output.drop_slow_guests());
    assert!(!output.drop_slow_guests());
    assert_eq!(reasons(&mut output), [(Some(0), Departure::TooSlow)]);
    output.drain();
    while pump(&mut output, None, now) != Progress::Finished {
        take(&mut user);
    }
}

#[test]
fn there_is_a_limit_of_guests() {
    let (mut output, _container) = stream();
    let _readers: Vec<_> = (0..GUESTS).map(|_| attach(&mut output)).collect();
    assert_eq!(output.attach_error(), super::AttachError::Full);
}

#[test]
fn a_busy_stream_gives_the_others_their_turn() {
    let (ours, mut container) = std::io::pipe().unwrap();
    let source =
        End::of_user(std::os::fd::AsFd::as_fd(&std::fs::File::open("/dev/zero").unwrap()), Direction::Source);
    let mut output = Output::new(source.unwrap(), Stream::Stdout, None);
    assert_eq!(pump(&mut output, None, Instant::now()), Progress::Ready);
    // A small buffer is a small chunk, and nothing else.
    let mut output = Output::new(End::of_pipe(ours.into()).unwrap(), Stream::Stderr, None);
    let mut guest = attach(&mut output);
    container.write_all(b"0123456789").unwrap();
    assert_eq!(output.pump(&mut [0; 3], None, Instant::now()), Progress::Waiting);
    assert_eq!(take(&mut guest), b"0123456789");
}

#[test]
fn a_terminal_nobody_has_open_is_no_end() {
    let terminal = nix::pty::openpty(None, None).unwrap();
    let master = End::of_master(std::os::fd::AsFd::as_fd(&terminal.master)).unwrap();
    let mut output = Output::new(master, Stream::Stdout, None);
    let mut logged = Logged::new();
    let mut container = std::fs::File::from(terminal.slave);
    container.write_all(b"one\n").unwrap();
    drop(container);
    assert_eq!(pump(&mut output, Some(&mut logged.1), Instant::now()), Progress::Waiting);
    output.drain();
    assert_eq!(pump(&mut output, Some(&mut logged.1), Instant::now()), Progress::Finished);
    assert_eq!(logged.entries(), ["stdout F one\r"]);
}

impl Output {
    fn attach_error(&mut self) -> super::AttachError {
        let (_, writer) = std::io::pipe().unwrap();
        self.attach(End::of_pipe(writer.into()).unwrap(), None).unwrap_err()
    }
}
