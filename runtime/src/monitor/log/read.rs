//! Reading a log: entries in order, over rotated files, and again as new ones come.
//!
//! A log may be damaged (a power cut, a disk that was full) and may have been written by another runtime, so what is
//! no entry is skipped and counted. A line without its end is left alone until the rest of it is there.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::MAX_FILES;
use super::file::rotated;
use super::line::Stream;
use super::tail::Tail;

/// Longest line that can be an entry; ours have a quarter of it. Also how much is read at once.
pub(super) const LONGEST_LINE: usize = 64 << 10;

/// One entry of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// When it was written, RFC 3339. Ours have a fixed width and UTC, so they compare as text.
    pub time: &'a str,
    /// Where it was written to.
    pub stream: Stream,
    /// Whether the line goes on in the stream's next entry.
    pub partial: bool,
    /// The container's bytes, without line end.
    pub content: &'a [u8],
}

/// Reads one line of a log, its line end included; `None` if it is no entry.
pub fn parse(line: &[u8]) -> Option<Entry<'_>> {
    let line = line.strip_suffix(b"\n")?;
    let (time, rest) = split(line)?;
    let (stream, rest) = split(rest)?;
    // Nothing after the tags is an empty line of a writer that adds no space.
    let (tags, content) = split(rest).unwrap_or((rest, b""));
    let dated = (20..=35).contains(&time.len())
        && (time[4], time[7], time[10], time[13]) == (b'-', b'-', b'T', b':')
        && time.iter().all(|byte| byte.is_ascii_digit() || b"-T:.Z+".contains(byte));
    if !dated {
        return None;
    }
    Some(Entry {
        time: std::str::from_utf8(time).ok()?,
        stream: match stream {
            b"stdout" => Stream::Stdout,
            b"stderr" => Stream::Stderr,
            _ => return None,
        },
        partial: match tags.split(|&byte| byte == b':').next() {
            Some(b"P") => true,
            Some(b"F") => false,
            _ => return None,
        },
        content,
    })
}

fn split(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = memchr::memchr(b' ', text)?;
    Some((&text[..space], &text[space + 1..]))
}

/// A log being read, from its oldest entry or from one near its end.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    current: Lines,
    /// What follows the current file, oldest first.
    newer: VecDeque<File>,
    damaged: u64,
    followed: u64,
}

impl Reader {
    /// Reads everything that is kept.
    pub fn open(path: &Path) -> io::Result<Reader> {
        let mut files = open_files(path, None)?;
        let first = files.pop_front().ok_or(io::ErrorKind::NotFound)?;
        Ok(Reader {
            path: path.to_owned(),
            current: Lines::new(first, 0),
            newer: files,
            damaged: 0,
            followed: 0,
        })
    }

    /// Reads the last `lines` lines, and what comes after them. Only as much of the log is looked at as they fill.
    pub fn open_tail(path: &Path, lines: u64) -> io::Result<Reader> {
        let mut files = open_files(path, None)?;
        let mut newer = VecDeque::with_capacity(files.len());
        let mut tail = Tail::new(lines);
        let mut file = files.pop_back().ok_or(io::ErrorKind::NotFound)?;
        let mut start = tail.scan(&file)?;
        while !tail.is_complete() {
            let Some(older) = files.pop_back() else { break };
            newer.push_front(std::mem::replace(&mut file, older));
            start = tail.scan(&file)?;
        }
        Ok(Reader { path: path.to_owned(), current: Lines::new(file, start), newer, damaged: 0, followed: 0 })
    }

    /// The next entry; `None` when there is none yet. Asking again finds what was written since, also when the log
    /// was rotated in between.
    pub fn next_entry(&mut self) -> io::Result<Option<Entry<'_>>> {
        let Some(line) = self.next_line()? else { return Ok(None) };
        Ok(parse(self.current.bytes(line)))
    }

    /// Lines that were skipped because they are no entries.
    pub fn damaged(&self) -> u64 {
        self.damaged
    }

    /// Files that came since we began to read. Where more were made, some were removed before we came to them, with all
    /// their lines.
    pub fn followed(&self) -> u64 {
        self.followed
    }

    /// The next line that is an entry, in the buffer of the current file.
    fn next_line(&mut self) -> io::Result<Option<Range<usize>>> {
        loop {
            while let Some(line) = self.current.next_line()? {
                if parse(self.current.bytes(line.clone())).is_some() {
                    return Ok(Some(line));
                }
                self.damaged += 1;
            }
            match self.newer.pop_front() {
                Some(next) => self.damaged += u64::from(self.current.begin(next)),
                None => {
                    self.newer = open_files(&self.path, Some(&self.current.file))?;
                    if self.newer.is_empty() {
                        return Ok(None);
                    }
                    self.followed += self.newer.len() as u64;
                    // More may have been written to this file between our reading to its end and the rotation: it is
                    // read once more, and complete now.
                }
            }
        }
    }
}

/// Opens the files of a log that are newer than `known`, or all of them, oldest first.
///
/// A rotation meanwhile renames upwards, so in this order a file can be met twice but none is missed, except that one
/// name may be vacant for a moment.
fn open_files(path: &Path, known: Option<&File>) -> io::Result<VecDeque<File>> {
    let mut files: VecDeque<File> = VecDeque::new();
    let mut vacant = 0;
    for number in 0..=MAX_FILES {
        let name = if number == 0 { path.to_owned() } else { rotated(path, number) };
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
        let file = match File::options().read(true).custom_flags(flags).open(name) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                vacant += 1;
                if vacant > 1 {
                    break;
                }
                continue;
            }
            Err(error) => return Err(error),
        };
        if known.is_some_and(|known| same(known, &file)) {
            break;
        }
        match files.front() {
            Some(last) if same(last, &file) => {}
            _ => files.push_front(file),
        }
    }
    Ok(files)
}

fn same(one: &File, other: &File) -> bool {
    match (one.metadata(), other.metadata()) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}

/// The lines of one file.
#[derive(Debug)]
struct Lines {
    file: File,
    buffer: Box<[u8]>,
    /// What of the buffer is not yet looked at.
    unread: Range<usize>,
    /// Where in the file the buffer ends.
    offset: u64,
    /// In the middle of a line that is too long.
    skipping: bool,
    /// The file ends in the middle of a line.
    half: bool,
}

impl Lines {
    fn new(file: File, offset: u64) -> Lines {
        let buffer = vec![0; LONGEST_LINE].into_boxed_slice();
        Lines { file, buffer, unread: 0..0, offset, skipping: false, half: false }
    }

    /// Goes on with another file; says whether something is left of this one that will never be a line.
    fn begin(&mut self, file: File) -> bool {
        let half = self.half;
        (self.file, self.unread, self.offset) = (file, 0..0, 0);
        (self.skipping, self.half) = (false, false);
        half
    }

    fn bytes(&self, line: Range<usize>) -> &[u8] {
        &self.buffer[line]
    }

    /// The next line with its end, empty for one that is too long; `None` at the end of the file.
    fn next_line(&mut self) -> io::Result<Option<Range<usize>>> {
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.buffer[self.unread.clone()]) {
                let line = self.unread.start..self.unread.start + at + 1;
                self.unread.start = line.end;
                return Ok(Some(if std::mem::take(&mut self.skipping) { 0..0 } else { line }));
            }
            if self.unread.len() == self.buffer.len() {
                self.skipping = true;
                self.unread = 0..0;
            }
            if self.fill()? == 0 {
                // Read again next time: a writer that met a full disk takes half a line back.
                self.half = self.skipping || !self.unread.is_empty();
                self.offset -= self.unread.len() as u64;
                self.unread = 0..0;
                return Ok(None);
            }
        }
    }

    /// Reads more behind what is unread.
    fn fill(&mut self) -> io::Result<usize> {
        self.buffer.copy_within(self.unread.clone(), 0);
        self.unread = 0..self.unread.len();
        loop {
            match self.file.read_at(&mut self.buffer[self.unread.end..], self.offset) {
                Ok(count) => {
                    self.unread.end += count;
                    self.offset += count as u64;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// For the fuzzer: a log of these bytes, read as a whole and from its end, has the same entries.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    let reader = |start| {
        let memory = rustix::fs::memfd_create("log", rustix::fs::MemfdFlags::CLOEXEC).ok()?;
        let file = File::from(memory);
        file.write_all_at(bytes, 0).ok()?;
        // Without a path nothing newer is found.
        let current = Lines::new(file, start);
        Some(Reader { path: PathBuf::new(), current, newer: VecDeque::new(), damaged: 0, followed: 0 })
    };
    let count = |start| {
        let mut reader = reader(start)?;
        let mut entries = 0u64;
        while let Ok(Some(entry)) = reader.next_entry() {
            assert!(entry.content.len() < LONGEST_LINE && !entry.content.contains(&b'\n'));
            entries += 1;
        }
        Some(entries)
    };
    let (Some(all), Some(whole)) = (count(0), reader(0)) else { return };
    for wanted in [0, 1, 2, u64::MAX] {
        let mut tail = Tail::new(wanted);
        let Ok(start) = tail.scan(&whole.current.file) else { continue };
        let Some(found) = count(start) else { continue };
        assert!(found <= all && found >= wanted.min(all), "{found} of {all}, {wanted} wanted");
        assert!(wanted != 0 || found == 0);
    }
}
