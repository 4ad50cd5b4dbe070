use std::io::{PipeReader, PipeWriter, Read, Write};
use std::time::{Duration, Instant};

use super::{Audience, Departure, Output, PATIENCE, ROOM, SINKS};
use crate::monitor::log::{Log, LogSettings, Stream};
use crate::monitor::stdio::{BUFFER, Direction, End, Progress};

/// A stream of a container, and the container's end of it.
fn stream() -> (Output, PipeWriter) {
    let (ours, container) = std::io::pipe().unwrap();
    (Output::new(End::of_pipe(ours.into()).unwrap(), Stream::Stdout), container)
}

/// A sink of an output, and the reader behind it.
fn attach(output: &mut Output, audience: Audience) -> PipeReader {
    let (reader, writer) = std::io::pipe().unwrap();
    let end = End::of_user(std::os::fd::AsFd::as_fd(&writer), Direction::Sink).unwrap();
    output.attach(end, audience).unwrap();
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

fn reasons(output: &mut Output) -> Vec<(usize, Departure)> {
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
    let (mut output, mut container) = stream();
    let mut logged = Logged::new();
    let mut user = attach(&mut output, Audience::Foreground);
    container.write_all(b"one\n").unwrap();
    pump(&mut output, Some(&mut logged.1), Instant::now());
    let mut guest = attach(&mut output, Audience::Guest);
    container.write_all(b"two\nhalf").unwrap();
    pump(&mut output, Some(&mut logged.1), Instant::now());
    assert_eq!(take(&mut user), b"one\ntwo\nhalf");
    assert_eq!(take(&mut guest), b"two\nhalf");
    assert_eq!(logged.entries(), ["stdout F one", "stdout F two"]);
    drop(container);
    assert_eq!(pump(&mut output, Some(&mut logged.1), Instant::now()), Progress::Finished);
    assert_eq!(pump(&mut output, Some(&mut logged.1), Instant::now()), Progress::Finished);
    assert_eq!(logged.entries(), ["stdout F one", "stdout F two", "stdout P half"]);
    assert_eq!(reasons(&mut output), [(0, Departure::Ended), (1, Departure::Ended)]);
    assert_eq!(guest.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_guest_that_takes_nothing_has_room_and_is_cut() {
    let (mut output, mut container) = stream();
    let mut logged = Logged::new();
    let mut quick = attach(&mut output, Audience::Foreground);
    let _slow = attach(&mut output, Audience::Guest);
    let start = Instant::now();
    // Its pipe takes ROOM, we one chunk, the container's pipe 64 KiB.
    let mut written = 0;
    let mut seen = Vec::new();
    for _ in 0..40 {
        written += fill(&mut container);
        pump(&mut output, Some(&mut logged.1), start);
        seen.extend(take(&mut quick));
    }
    assert!(written > ROOM && written <= ROOM + BUFFER + (64 << 10), "{written}");
    assert_eq!(output.next_deadline(), Some(start + PATIENCE));
    assert_eq!(output.waiting.len(), BUFFER);
    pump(&mut output, Some(&mut logged.1), start + PATIENCE - Duration::from_millis(1));
    assert!(reasons(&mut output).is_empty());
    pump(&mut output, Some(&mut logged.1), start + PATIENCE);
    assert_eq!(reasons(&mut output), [(1, Departure::TooSlow)]);
    assert_eq!(output.next_deadline(), None);
    seen.extend(take(&mut quick));
    assert_eq!(seen.len(), written);
    assert_eq!(output.waiting.capacity(), 0);
}

#[test]
fn a_guest_that_trickles_is_waited_for_no_longer_than_it_earns() {
    let (mut output, mut container) = stream();
    let mut slow = attach(&mut output, Audience::Guest);
    let start = Instant::now();
    let step = PATIENCE / 100;
    let (mut now, mut taken) = (start, 0);
    for round in 0.. {
        fill(&mut container);
        pump(&mut output, None, now);
        if !reasons(&mut output).is_empty() {
            break;
        }
        if output.next_deadline().is_some() {
            now += step;
            if round % 20 == 0 {
                slow.read_exact(&mut [0; 8192]).unwrap();
                taken += 8192;
            }
        }
    }
    let earned = PATIENCE.mul_f64(taken as f64 / ROOM as f64);
    assert!(taken > 0);
    assert!(now - start <= PATIENCE + earned + step, "{:?} for {taken} bytes", now - start);

    // One that takes as much as it is waited for stays.
    let mut steady = attach(&mut output, Audience::Guest);
    for _ in 0..100 {
        fill(&mut container);
        pump(&mut output, None, now);
        if output.next_deadline().is_some() {
            now += PATIENCE / 5;
            steady.read_exact(&mut vec![0; ROOM / 4]).unwrap();
        }
    }
    assert!(reasons(&mut output).is_empty());
}

#[test]
fn the_foreground_user_is_waited_for() {
    let (mut output, mut container) = stream();
    let mut user = attach(&mut output, Audience::Foreground);
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
    let (mut output, mut container) = stream();
    drop(attach(&mut output, Audience::Foreground));
    container.write_all(b"x").unwrap();
    assert_eq!(pump(&mut output, None, Instant::now()), Progress::Finished);
    assert_eq!(container.write_all(b"y").unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
    assert_eq!(reasons(&mut output), [(0, Departure::Broken)]);

    let (mut output, mut container) = stream();
    let mut logged = Logged::new();
    drop(attach(&mut output, Audience::Foreground));
    container.write_all(b"x\n").unwrap();
    assert_eq!(pump(&mut output, Some(&mut logged.1), Instant::now()), Progress::Waiting);
    container.write_all(b"y\n").unwrap();
    assert_eq!(pump(&mut output, Some(&mut logged.1), Instant::now()), Progress::Waiting);
    assert_eq!(logged.entries(), ["stdout F x", "stdout F y"]);
}

#[test]
fn a_guest_that_left_is_dropped_and_nothing_else_happens() {
    let (mut output, mut container) = stream();
    let (first, mut second) = (attach(&mut output, Audience::Guest), attach(&mut output, Audience::Guest));
    drop(first);
    // Also while nothing is written.
    output.drop_broken(false);
    assert_eq!(reasons(&mut output), [(0, Departure::Broken)]);
    container.write_all(b"x").unwrap();
    assert_eq!(pump(&mut output, None, Instant::now()), Progress::Waiting);
    assert_eq!(take(&mut second), b"x");
    assert!(output.sink(0).is_none() && output.sink(1).is_some());
    drop(second);
    container.write_all(b"x").unwrap();
    assert_eq!(pump(&mut output, None, Instant::now()), Progress::Waiting);
    assert_eq!(reasons(&mut output), [(1, Departure::Broken)]);
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
    let mut output = Output::new(source, Stream::Stdout);
    output.drain();
    while pump(&mut output, None, Instant::now()) != Progress::Finished {}
}

#[test]
fn slow_guests_are_cut_at_once_when_nobody_waits_for_them() {
    let (mut output, mut container) = stream();
    let _slow = attach(&mut output, Audience::Guest);
    let mut user = attach(&mut output, Audience::Foreground);
    let now = Instant::now();
    while output.next_deadline().is_none() {
        fill(&mut container);
        pump(&mut output, None, now);
        take(&mut user);
    }
    assert!(output.drop_slow_guests());
    assert!(!output.drop_slow_guests());
    assert_eq!(reasons(&mut output), [(0, Departure::TooSlow)]);
    output.drain();
    while pump(&mut output, None, now) != Progress::Finished {
        take(&mut user);
    }
}

#[test]
fn there_is_a_limit_of_sinks() {
    let (mut output, _container) = stream();
    let _readers: Vec<_> = (0..SINKS).map(|_| attach(&mut output, Audience::Guest)).collect();
    assert_eq!(output.attach_error(), super::AttachError::Full);
}

#[test]
fn a_busy_stream_gives_the_others_their_turn() {
    let (ours, mut container) = std::io::pipe().unwrap();
    let source =
        End::of_user(std::os::fd::AsFd::as_fd(&std::fs::File::open("/dev/zero").unwrap()), Direction::Source);
    let mut output = Output::new(source.unwrap(), Stream::Stdout);
    assert_eq!(pump(&mut output, None, Instant::now()), Progress::Ready);
    // A small buffer is a small chunk, and nothing else.
    let mut output = Output::new(End::of_pipe(ours.into()).unwrap(), Stream::Stderr);
    let mut guest = attach(&mut output, Audience::Guest);
    container.write_all(b"0123456789").unwrap();
    assert_eq!(output.pump(&mut [0; 3], None, Instant::now()), Progress::Waiting);
    assert_eq!(take(&mut guest), b"0123456789");
}

#[test]
fn a_terminal_nobody_has_open_is_no_end() {
    let terminal = nix::pty::openpty(None, None).unwrap();
    let master = End::of_master(std::os::fd::AsFd::as_fd(&terminal.master)).unwrap();
    let mut output = Output::new(master, Stream::Stdout);
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
        self.attach(End::of_pipe(writer.into()).unwrap(), Audience::Guest).unwrap_err()
    }
}
