//! Callers that are attached to a container: what they get, and what they cannot do to it and to each other.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use runtime::monitor::client::Client;
use runtime::monitor::protocol::{Attach, CreateFlags, ErrorKind, Exit, Streams};

use crate::common::{Bundle, wait_for};
use crate::world::{PATIENCE, World, anonymous_of, eventually, parent_of, pipe, text_of};

/// How long what takes seconds may take on a busy machine.
const MINUTES: Duration = Duration::from_secs(120);

#[test]
fn attached_callers_see_what_is_written_and_write_what_is_read() {
    let world = World::new(&["cat"], &["--standalone"]);
    let mut client = world.client();
    world.create(&mut client, CreateFlags { stdin: true, stdin_once: true, ..CreateFlags::default() });
    client.start(&world.bundle.id).unwrap();
    let mut attached = world.client();
    let (stdin, input) = pipe();
    let (output, stdout) = pipe();
    let streams = Streams { stdin: true, stdout: true, stderr: false };
    let attach = Attach { container: &world.bundle.id, streams };
    attached.attach(attach, &[stdin.as_fd(), stdout.as_fd()]).unwrap();
    drop((stdin, stdout));
    let mut input = fs::File::from(input);
    input.write_all(b"hello\n").unwrap();
    let mut output = fs::File::from(output);
    let mut bytes = [0; 6];
    output.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"hello\n");
    // Its input ends with the caller's, and so does cat.
    drop(input);
    assert_eq!(attached.session_exit(PATIENCE).unwrap(), Exit::Code(0));
    assert_eq!(world.logged(), "stdout F hello\n");
}

#[test]
fn a_reader_that_takes_nothing_is_cut_off_and_told() {
    let world = World::new(&["busybox", "yes", "line"], &["--standalone"]);
    let mut client = world.client();
    world.create(&mut client, CreateFlags::default());
    let mut attached = world.client();
    let (unread, stdout) = pipe();
    let (errors, stderr) = pipe();
    let streams = Streams { stdin: false, stdout: true, stderr: true };
    let attach = Attach { container: &world.bundle.id, streams };
    attached.attach(attach, &[stdout.as_fd(), stderr.as_fd()]).unwrap();
    drop((stdout, stderr));
    client.start(&world.bundle.id).unwrap();
    let refused = attached.session_exit(Some(MINUTES)).unwrap_err();
    assert_eq!(refused.refusal(), Some(ErrorKind::TooSlow), "{refused}");
    // What it was sent before is whole, and then there is an end, on the other stream as well.
    let text = text_of(unread);
    assert!(text.len() > 512 << 10, "its pipe took {} bytes", text.len());
    assert!(text.split_terminator('\n').rev().skip(1).all(|line| line == "line"));
    assert_eq!(text_of(errors), "");
    let length = || fs::metadata(world.log()).unwrap().len();
    let then = length();
    eventually("the container goes on", || length() > then);
    // Its conversation may begin anew.
    let (_output, stdout) = pipe();
    let one = Attach { container: &world.bundle.id, streams: Streams { stdout: true, ..Streams::default() } };
    attached.attach(one, &[stdout.as_fd()]).unwrap();
    client.delete(&world.bundle.id).unwrap();
    eventually("the monitor ends with its container", || world.is_clear());
}

#[test]
fn a_container_ends_although_a_reader_takes_nothing() {
    const LINES: usize = 4 << 20;
    let script = format!("busybox yes 0123456789abcde | head -n {LINES}; exit 3");
    let world = World::new(&["sh", "-c", &script], &["--standalone"]);
    let mut client = world.client();
    world.create(&mut client, CreateFlags::default());
    let mut attached = world.client();
    let (unread, stdout) = pipe();
    let streams = Streams { stdout: true, ..Streams::default() };
    attached.attach(Attach { container: &world.bundle.id, streams }, &[stdout.as_fd()]).unwrap();
    drop(stdout);
    let mut waiting = world.client();
    client.start(&world.bundle.id).unwrap();
    assert_eq!(waiting.wait(Some(&world.bundle.id), Some(MINUTES)).unwrap(), Exit::Code(3));
    let refused = attached.session_exit(PATIENCE).unwrap_err();
    assert_eq!(refused.refusal(), Some(ErrorKind::TooSlow), "{refused}");
    // The log has all of it, and the reader what it had room for.
    let log = fs::read(world.log()).unwrap();
    assert_eq!(log.split_inclusive(|&byte| byte == b'\n').count(), LINES);
    let text = text_of(unread);
    assert!(text.len() >= 64 << 10 && text.lines().next_back().unwrap().len() <= 15);
    assert!(text.split_terminator('\n').rev().skip(1).all(|line| line == "0123456789abcde"));
    eventually("the monitor ends with its container", || world.is_clear());
}

/// How much the container of [`each_reader_gets_all_and_none_stops_the_others`] writes: as much as is kept for a reader that is
/// not scheduled.
const MUCH: usize = 32 << 20;

#[test]
fn each_reader_gets_all_and_none_stops_the_others() {
    let script = format!("read go; busybox yes 0123456789abcde | head -c {MUCH}; exit 3");
    let mut world = World::new(&["sh", "-c", &script], &["--standalone"]);
    world.log_size = Some(8 << 20);
    let mut client = world.client();
    let pid = world.create(&mut client, CreateFlags { stdin: true, ..CreateFlags::default() });
    let monitor = parent_of(pid);
    let container = world.bundle.id.clone();
    // One that also writes; another one cannot.
    let (input, stdin) = pipe();
    let (first, stdout) = pipe();
    let mut writer = world.client();
    let both = Streams { stdin: true, stdout: true, stderr: false };
    writer.attach(Attach { container: &container, streams: both }, &[input.as_fd(), stdout.as_fd()]).unwrap();
    let mut second = world.client();
    let refused =
        second.attach(Attach { container: &container, streams: both }, &[input.as_fd(), stdout.as_fd()]);
    assert_eq!(refused.unwrap_err().refusal(), Some(ErrorKind::Busy));
    drop(stdout);
    let output = Attach { container: &container, streams: Streams { stdout: true, ..Streams::default() } };
    let attach = |client: &mut Client| {
        let (from, stdout) = pipe();
        client.attach(output, &[stdout.as_fd()]).unwrap();
        from
    };
    let second_output = attach(&mut second);
    // One that never reads, and one that is killed while it does.
    let mut deaf = world.client();
    let _unread = attach(&mut deaf);
    let mut victim = world.client();
    let victim_output = attach(&mut victim);
    let mut reader = Command::new("cat").stdin(victim_output).stdout(Stdio::null()).spawn().unwrap();
    let before = anonymous_of(monitor);

    client.start(&container).unwrap();
    let seen = AtomicUsize::new(0);
    let ends = AtomicBool::new(false);
    let most = std::thread::scope(|scope| {
        let readers = [(writer, first), (second, second_output)].map(|(mut client, output)| {
            let seen = &seen;
            scope.spawn(move || {
                let count = read_pattern(output, seen);
                (count, client.session_exit(PATIENCE).unwrap())
            })
        });
        let watch = scope.spawn(|| {
            let mut most = 0;
            while !ends.load(Ordering::Relaxed) {
                most = most.max(anonymous_of(monitor));
                std::thread::sleep(Duration::from_millis(10));
            }
            most
        });
        fs::File::from(stdin).write_all(b"go\n").unwrap();
        wait_for("a part is read", || seen.load(Ordering::Relaxed) > MUCH / 4);
        reader.kill().unwrap();
        reader.wait().unwrap();
        drop(victim);
        let exit = client.wait(Some(&container), Some(MINUTES));
        ends.store(true, Ordering::Relaxed);
        assert_eq!(exit.unwrap(), Exit::Code(3));
        for reader in readers {
            assert_eq!(reader.join().unwrap(), (MUCH, Exit::Code(3)));
        }
        watch.join().unwrap()
    });
    let refused = deaf.session_exit(PATIENCE).unwrap_err();
    assert_eq!(refused.refusal(), Some(ErrorKind::TooSlow), "{refused}");
    assert!(most <= before + 512, "{before} kB before, up to {most} kB while it passed {MUCH} bytes on");
    eventually("the monitor ends with its container", || world.is_clear());
}

/// Reads to the end, and checks that it is the lines of [`each_reader_gets_all_and_none_stops_the_others`] without a gap.
fn read_pattern(output: OwnedFd, seen: &AtomicUsize) -> usize {
    let mut output = fs::File::from(output);
    let pattern = b"0123456789abcde\n".repeat(4097);
    let mut buffer = vec![0; 64 << 10];
    let mut count = 0;
    loop {
        let length = output.read(&mut buffer).unwrap();
        if length == 0 {
            return count;
        }
        let from = count % 16;
        assert!(buffer[..length] == pattern[from..from + length], "wrong bytes after {count}");
        count += length;
        seen.fetch_max(count, Ordering::Relaxed);
    }
}

#[test]
fn who_looks_on_and_takes_nothing_delays_no_removal() {
    let world = World::new(&["busybox", "yes"], &["--standalone"]);
    let mut client = world.client();
    world.create(&mut client, CreateFlags::default());
    client.start(&world.bundle.id).unwrap();
    let mut attached = world.client();
    let (_unread, stdout) = pipe();
    let streams = Streams { stdout: true, ..Streams::default() };
    attached.attach(Attach { container: &world.bundle.id, streams }, &[stdout.as_fd()]).unwrap();
    eventually("its pipe is full", || rustix::io::ioctl_fionread(&_unread).unwrap() >= 65536);
    let begin = Instant::now();
    client.delete(&world.bundle.id).unwrap();
    assert!(begin.elapsed() < Duration::from_secs(50), "{:?}", begin.elapsed());
    eventually("the monitor ends with its container", || world.is_clear());
}

#[test]
fn an_attachment_is_whole_or_none_and_one_of_a_conversation() {
    let mut bundle = Bundle::new(&["sleep", "100"]);
    bundle.set("/process/terminal", true.into());
    let world = World::of(bundle, &["--standalone"]);
    let mut client = world.client();
    world.create(&mut client, CreateFlags { terminal: true, ..CreateFlags::default() });
    client.start(&world.bundle.id).unwrap();
    let mut attached = world.client();
    let (output, stdout) = pipe();
    // Both streams of a terminal are one.
    let both = Streams { stdin: false, stdout: true, stderr: true };
    let attach = Attach { container: &world.bundle.id, streams: both };
    let refused = attached.attach(attach, &[stdout.as_fd(), stdout.as_fd()]).unwrap_err();
    assert!(refused.to_string().contains("no such stream"), "{refused}");
    drop(stdout);
    assert_eq!(text_of(output), "", "nobody has the other stream");
    let one = Streams { stdout: true, ..Streams::default() };
    let attach = Attach { container: &world.bundle.id, streams: one };
    let (_output, stdout) = pipe();
    attached.attach(attach, &[stdout.as_fd()]).unwrap();
    let again = attached.attach(attach, &[stdout.as_fd()]).unwrap_err();
    assert_eq!(again.refusal(), Some(ErrorKind::Busy), "{again}");
    let mut others: Vec<Client> = (0..8).map(|_| world.client()).collect();
    let full = others.iter_mut().find_map(|other| other.attach(attach, &[stdout.as_fd()]).err()).unwrap();
    assert!(full.to_string().contains("8 readers"), "{full}");
    client.delete(&world.bundle.id).unwrap();
    assert_eq!(attached.session_exit(PATIENCE).unwrap(), Exit::Signal(9));
}
