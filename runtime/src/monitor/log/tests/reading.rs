use std::fs;
use std::io::Write;

use super::{Folder, contents, log_at, read_all};
use crate::monitor::log::CONTENT;
use crate::monitor::log::Stream::{Stderr, Stdout};
use crate::monitor::log::read::{Entry, LONGEST_LINE, Reader, parse};

const TIME: &str = "2026-08-13T07:07:37.123456789Z";

#[test]
fn lines_of_this_and_other_runtimes_are_read() {
    let entry = |stream, partial, content| Entry { time: TIME, stream, partial, content };
    for (line, expected) in [
        (format!("{TIME} stdout F hello\n"), entry(Stdout, false, &b"hello"[..])),
        (format!("{TIME} stderr P  two  spaces \n"), entry(Stderr, true, b" two  spaces ")),
        (format!("{TIME} stdout F \n"), entry(Stdout, false, b"")),
        (format!("{TIME} stdout F\n"), entry(Stdout, false, b"")),
        (format!("{TIME} stdout P:x:y a\n"), entry(Stdout, true, b"a")),
    ] {
        assert_eq!(parse(line.as_bytes()), Some(expected), "{line:?}");
    }
    assert_eq!(parse(b"2016-10-06T00:17:09.669794202+02:00 stdout F a\n").unwrap().content, b"a");
    for line in [
        "",
        "\n",
        "hello\n",
        "2026-08-13T07:07:37.123456789Z stdout F no end",
        "2026-08-13T07:07:37.123456789Z stdin F a\n",
        "2026-08-13T07:07:37.123456789Z stdout X a\n",
        "2026-08-13T07:07:37.123456789Z stdout\n",
        "2026-08-13 07:07:37.123456789Z stdout F a\n",
        "2026-08-13T\u{1b}[2J07:07:37.1Z stdout F a\n",
        "Thu stdout F a\n",
        "{\"log\":\"a\\n\",\"stream\":\"stdout\",\"time\":\"2026-08-13T07:07:37.1Z\"}\n",
    ] {
        assert_eq!(parse(line.as_bytes()), None, "{line:?}");
    }
}

#[test]
fn damage_is_skipped_and_counted() {
    let folder = Folder::new();
    let good = |text: &str| format!("{TIME} stdout F {text}\n");
    let long = format!("{TIME} stdout F {}\n", "x".repeat(3 * LONGEST_LINE));
    // What follows in a line that is too long could look like an entry, but begins in the middle of a line.
    let hidden = format!("{}{}", "y".repeat(LONGEST_LINE), good("hidden"));
    let log = ["\0\0\0\0\n", &good("one"), &long, &good("two"), &hidden, &good("three"), "half"].concat();
    fs::write(folder.path(), log).unwrap();
    let mut reader = Reader::open(&folder.path()).unwrap();
    assert_eq!(contents(&mut reader), ["one", "two", "three"]);
    assert_eq!(reader.damaged(), 3);
    for (wanted, expected) in [(0, 0..0), (1, 2..3), (2, 1..3), (3, 0..3), (9, 0..3)] {
        let mut reader = Reader::open_tail(&folder.path(), wanted).unwrap();
        assert_eq!(contents(&mut reader), ["one", "two", "three"][expected], "{wanted}");
    }
}

#[test]
fn the_last_lines_are_found_whatever_the_sizes() {
    let folder = Folder::new();
    let mut log = folder.log();
    // From none to several entries a line, and several lines or none in a block.
    let lengths = [0, 1, 100, CONTENT - 1, CONTENT, CONTENT + 1, 5 * CONTENT, 7, 30, 20_000, 3];
    let lines: Vec<String> = (0..200).map(|number| "z".repeat(lengths[number % lengths.len()])).collect();
    for line in &lines {
        log.append(Stdout, line.as_bytes());
        log.append(Stdout, b"\n");
    }
    for wanted in [0, 1, 2, 3, 10, 50, 199, 200, 201] {
        let mut reader = Reader::open_tail(&folder.path(), wanted as u64).unwrap();
        let mut joined = vec![String::new()];
        for (_, partial, content) in read_all(&mut reader) {
            joined.last_mut().unwrap().push_str(&content);
            if !partial {
                joined.push(String::new());
            }
        }
        joined.pop();
        assert_eq!(joined, lines[lines.len() - wanted.min(lines.len())..], "{wanted}");
    }
}

#[test]
fn a_line_that_has_no_end_yet_is_one_of_the_last() {
    let folder = Folder::new();
    let mut log = folder.log();
    log.append(Stdout, b"one\ntwo\n");
    log.append(Stderr, &[b'e'; CONTENT + 1]);
    log.append(Stdout, b"three\n");
    let tail = |lines| read_all(&mut Reader::open_tail(&folder.path(), lines).unwrap());
    assert_eq!(tail(1), [(Stdout, false, "three".to_owned())]);
    assert_eq!(tail(2).len(), 2);
    assert_eq!(tail(2)[0].0, Stderr);
    assert_eq!(tail(3)[0].2, "two");
}

#[test]
fn rotated_files_are_one_log() {
    let folder = Folder::new();
    let mut log = log_at(&folder.path(), Some(1000), 10);
    for number in 0..100 {
        log.append(Stdout, format!("line {number}\n").as_bytes());
    }
    assert!(folder.path().with_file_name("log.4").exists());
    let all: Vec<_> = (0..100).map(|number| format!("line {number}")).collect();
    assert_eq!(contents(&mut Reader::open(&folder.path()).unwrap()), all);
    for wanted in [0, 1, 17, 18, 19, 20, 50, 99, 100, 1000] {
        let mut reader = Reader::open_tail(&folder.path(), wanted as u64).unwrap();
        assert_eq!(contents(&mut reader), all[all.len() - wanted.min(all.len())..], "{wanted}");
    }
    // In the middle of a rotation one name is vacant.
    fs::rename(folder.path(), folder.path().with_file_name("aside")).unwrap();
    assert_eq!(contents(&mut Reader::open(&folder.path()).unwrap())[0], "line 0");
}

#[test]
fn who_follows_sees_every_line_over_any_number_of_rotations() {
    let folder = Folder::new();
    let mut log = log_at(&folder.path(), Some(300), 50);
    log.append(Stdout, b"before\n");
    let mut reader = Reader::open_tail(&folder.path(), 0).unwrap();
    assert!(contents(&mut reader).is_empty());
    let (mut seen, mut written) = (Vec::new(), Vec::new());
    for round in 0..30 {
        for number in 0..round {
            written.push(format!("round {round} line {number}"));
            log.append(Stdout, format!("round {round} line {number}\n").as_bytes());
        }
        seen.extend(contents(&mut reader));
    }
    assert_eq!(seen, written);
    assert_eq!(reader.damaged(), 0);
}

#[test]
fn a_half_line_is_read_when_it_is_whole() {
    let folder = Folder::new();
    let mut file = fs::File::options().create(true).append(true).open(folder.path()).unwrap();
    let mut reader = Reader::open(&folder.path()).unwrap();
    write!(file, "{TIME} stdout F he").unwrap();
    assert!(contents(&mut reader).is_empty());
    writeln!(file, "llo").unwrap();
    assert_eq!(contents(&mut reader), ["hello"]);
    // Taken back, as after a full disk, and something else in its place.
    let length = file.metadata().unwrap().len();
    write!(file, "{TIME} stdout F lost").unwrap();
    assert!(contents(&mut reader).is_empty());
    file.set_len(length).unwrap();
    writeln!(file, "{TIME} stdout F kept").unwrap();
    assert_eq!(contents(&mut reader), ["kept"]);
    assert_eq!(reader.damaged(), 0);
}

#[test]
fn a_missing_log_is_an_error() {
    let error = Reader::open(&Folder::new().path()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
}
