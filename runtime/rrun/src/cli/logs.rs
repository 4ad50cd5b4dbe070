//! `rrun logs`: what a container wrote, each stream to the one of ours, over rotations and as it comes.

use std::ffi::OsString;
use std::io::{self, ErrorKind, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use engine::{Containers, Record, State, launch};
use image::document::Timestamp;
use runtime::monitor::log::Stream;
use runtime::monitor::log::read::{Entry, Reader};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::inotify;
use rustix::io::Errno;

use super::{Global, OutputClosed};
use crate::options::moment::moment;

/// How long to sleep at most when nothing seems to happen: a container may end without a word.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// Options of `logs`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Go on until the container ends
    #[arg(short, long)]
    follow: bool,
    /// Print only the last lines
    #[arg(short = 'n', long, value_name = "NUMBER|all", default_value = "all", value_parser = tail)]
    tail: Tail,
    /// Print the time of each line
    #[arg(short, long)]
    timestamps: bool,
    /// Print only what was written since a time (2026-01-02T13:23:37Z) or so long ago (10m)
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Timestamp>,
    /// Print only what was written before a time or so long ago
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Timestamp>,
    /// Name or id of a container
    #[arg(value_name = "CONTAINER")]
    container: String,
}

/// How many lines from the end.
#[derive(Clone, Copy, Debug)]
enum Tail {
    All,
    Last(u64),
}

fn tail(text: &str) -> Result<Tail, String> {
    match text {
        "all" => Ok(Tail::All),
        // As docker has it.
        text if text.starts_with('-') => Ok(Tail::All),
        text => text.parse().map(Tail::Last).map_err(|_| "expected a number or all".to_owned()),
    }
}

pub fn run(global: &Global, arguments: &Arguments) -> Result<u8> {
    let containers = global.containers()?;
    let record = containers.find(&arguments.container)?;
    let path = log_of(&containers, &record);
    let fail = || format!("cannot read the log {}", path.display());
    // Before it is opened: what happens in between is not missed.
    let changes = match arguments.follow {
        true => Changes::new(&path).map(Some).with_context(fail)?,
        false => None,
    };
    let opened = match arguments.tail {
        Tail::All => Reader::open(&path),
        Tail::Last(lines) => Reader::open_tail(&path, lines),
    };
    let reader = match opened {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if containers.state(&record.id)?.is_running() {
                bail!(
                    "container {} keeps no log: it runs in the foreground and with --rm",
                    arguments.container
                );
            }
            // It was never started.
            return Ok(0);
        }
        reader => reader.with_context(fail)?,
    };
    let mut printer = Printer { arguments, inside_line: [false; 2] };
    follow(&containers, &record, &path, changes, reader, &mut printer)?;
    Ok(0)
}

fn log_of(containers: &Containers, record: &Record) -> PathBuf {
    let of_pod = record.cri.as_ref().and_then(|cri| cri.log_path.clone());
    of_pod.unwrap_or_else(|| launch::log_file(&containers.folder(&record.id)))
}

/// Prints what there is and, where we watch for changes, what comes until the container has ended.
fn follow(
    containers: &Containers,
    record: &Record,
    path: &Path,
    mut changes: Option<Changes>,
    mut reader: Reader,
    printer: &mut Printer<'_>,
) -> Result<()> {
    let fail = || format!("cannot read the log {}", path.display());
    // The files that were there before are the reader's.
    changes.iter_mut().try_for_each(Changes::forget).with_context(fail)?;
    loop {
        // Before the log: what a container wrote is in there before it has ended.
        let lives = changes.is_some() && matches!(containers.state(&record.id)?, State::Running { .. });
        while let Some(entry) = reader.next_entry().with_context(fail)? {
            if !printer.print(&entry)? {
                return Ok(());
            }
        }
        printer.flush()?;
        let Some(changes) = &mut changes else { return Ok(()) };
        if changes.has_more_than(reader.followed()) {
            crate::report("warning: lines were lost: the log was rotated faster than they were read");
        }
        if !lives {
            return Ok(());
        }
        changes.wait().with_context(fail)?;
    }
}

/// What happens in the folder of a log.
struct Changes {
    events: OwnedFd,
    /// The log's file.
    name: OsString,
    /// How often a file of that name was made.
    made: u64,
    /// How many of those are known to be lost.
    lost: u64,
}

impl Changes {
    fn new(log: &Path) -> io::Result<Changes> {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let events = inotify::init(flags)?;
        let folder = log.parent().unwrap_or(Path::new("/"));
        let kinds = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
        inotify::add_watch(&events, folder, kinds)?;
        let name = log.file_name().unwrap_or_default().to_owned();
        Ok(Changes { events, name, made: 0, lost: 0 })
    }

    /// What happened so far does not count.
    fn forget(&mut self) -> io::Result<()> {
        self.take()?;
        self.made = 0;
        Ok(())
    }

    /// Waits until something happened, or for a moment.
    fn wait(&mut self) -> io::Result<()> {
        let mut polled = [PollFd::new(&self.events, PollFlags::IN)];
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, Some(&PAUSE)))?;
        self.take()
    }

    fn take(&mut self) -> io::Result<()> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.events, &mut buffer);
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno.into()),
            };
            let is_log = event.file_name().is_some_and(|name| name.to_bytes() == self.name.as_bytes());
            let makes = inotify::ReadFlags::CREATE | inotify::ReadFlags::MOVED_TO;
            self.made += u64::from(is_log && event.events().intersects(makes));
        }
    }

    /// Were more files made than a reader that is at the end came to? Each is told once.
    fn has_more_than(&mut self, followed: u64) -> bool {
        let lost = self.made.saturating_sub(followed);
        let more = lost > self.lost;
        self.lost = self.lost.max(lost);
        more
    }
}

struct Printer<'a> {
    arguments: &'a Arguments,
    /// For each stream: the last entry did not end its line.
    inside_line: [bool; 2],
}

impl Printer<'_> {
    /// False when nothing that follows is wanted.
    fn print(&mut self, entry: &Entry<'_>) -> Result<bool> {
        let Arguments { since, until, timestamps, .. } = self.arguments;
        if since.is_some() || until.is_some() {
            let time: Option<Timestamp> = entry.time.parse().ok();
            if until.is_some() && time > *until {
                return Ok(false);
            }
            if time < *since {
                return Ok(true);
            }
        }
        let (inside_line, stream) = (&mut self.inside_line[entry.stream as usize], entry.stream);
        let mut line = Vec::with_capacity(entry.content.len() + 40);
        if *timestamps && !*inside_line {
            line.extend_from_slice(entry.time.as_bytes());
            line.push(b' ');
        }
        line.extend_from_slice(entry.content);
        if !entry.partial {
            line.push(b'\n');
        }
        *inside_line = entry.partial;
        match stream {
            Stream::Stdout => io::stdout().write_all(&line),
            Stream::Stderr => io::stderr().write_all(&line),
        }
        .context(OutputClosed)?;
        Ok(true)
    }

    fn flush(&self) -> Result<()> {
        io::stdout().flush().context(OutputClosed)
    }
}
