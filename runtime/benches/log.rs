//! What writing and reading a log costs, for people: `cargo bench -p runtime --bench log`.
//!
//! The log is on /dev/shm, so that the code is measured and not a disk.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on panics")]

use std::hint::black_box;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use runtime::monitor::log::read::Reader;
use runtime::monitor::log::{Log, LogSettings, Stream};
use runtime::monitor::output::Output;
use runtime::monitor::stdio::{End, Progress};
use rustix::event::{PollFd, PollFlags, poll};

/// What the monitor reads at once.
const CHUNK: usize = 32 << 10;
/// Bytes of output for each case.
const TOTAL: usize = 512 << 20;

fn main() {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = folder.path().join("log");
    for (name, line) in [
        ("1-byte lines", 1),
        ("10-byte lines", 10),
        ("100-byte lines", 100),
        ("1000-byte lines", 1000),
        ("no line end", 0),
    ] {
        let rate = write(&path, line, None);
        println!("write {name:16} {rate:6.0} MB/s");
        let _ = std::fs::remove_file(&path);
    }
    println!("write 100-byte lines, rotated at 10 MiB {:6.0} MB/s", write(&path, 100, Some(10 << 20)));
    std::fs::remove_file(&path).unwrap();
    println!("through a pipe, 100-byte lines {:6.0} MB/s", pass_on(&path));
    std::fs::remove_file(&path).unwrap();
    write(&path, 100, None);
    let started = Instant::now();
    let mut reader = Reader::open(&path).unwrap();
    let mut bytes = 0;
    while let Some(entry) = reader.next_entry().unwrap() {
        bytes += black_box(entry).content.len();
    }
    println!("read 100-byte lines    {:6.0} MB/s", megabytes(bytes, started));
    for lines in [10, 1000, 100_000] {
        let started = Instant::now();
        black_box(Reader::open_tail(&path, lines).unwrap());
        println!("find the last {lines:6} lines: {:?}", started.elapsed());
    }
}

/// As the monitor does it: a process writes to a pipe, we are told by poll.
fn pass_on(path: &Path) -> f64 {
    let (ours, mut container) = std::io::pipe().unwrap();
    let mut output = Output::new(End::of_pipe(ours.into()).unwrap(), Stream::Stdout, None);
    let mut log = Log::new(LogSettings { path: path.to_owned(), max_size: None, max_files: 1 });
    let writer = std::thread::spawn(move || {
        let lines = [&[b'x'; 100][..], b"\n"].concat().repeat(600);
        for _ in 0..TOTAL / lines.len() {
            container.write_all(&lines).unwrap();
        }
    });
    let started = Instant::now();
    let mut scratch = [0; CHUNK];
    while let progress @ (Progress::Ready | Progress::Waiting) =
        output.pump(&mut scratch, Some(&mut log), Instant::now())
    {
        if progress == Progress::Waiting {
            let source = output.source().unwrap();
            let _ = poll(&mut [PollFd::from_borrowed_fd(source, PollFlags::IN)], None);
        }
    }
    writer.join().unwrap();
    megabytes(TOTAL, started)
}

/// Megabytes of output per second; as a container's, chunks end anywhere.
fn write(path: &Path, line: usize, max_size: Option<u64>) -> f64 {
    let mut output = vec![b'x'; CHUNK * 8];
    if line > 0 {
        output.iter_mut().skip(line).step_by(line + 1).for_each(|byte| *byte = b'\n');
    }
    let settings = LogSettings { path: path.to_owned(), max_size, max_files: 3 };
    let mut log = Log::new(settings);
    let total = TOTAL.min(TOTAL / 50 * (line + 1)).max(if line == 0 { TOTAL } else { 0 });
    let started = Instant::now();
    let mut written = 0;
    for chunk in output.chunks(CHUNK).cycle() {
        if written >= total {
            break;
        }
        log.append(Stream::Stdout, chunk);
        written += chunk.len();
    }
    assert_eq!(log.lost(), 0);
    megabytes(written, started)
}

fn megabytes(bytes: usize, started: Instant) -> f64 {
    bytes as f64 / 1e6 / started.elapsed().as_secs_f64()
}
