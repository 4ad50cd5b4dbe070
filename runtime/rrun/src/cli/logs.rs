//! `rrun logs`: what a container wrote, each stream to the one of ours, over rotations and as it comes.

use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use engine::{Containers, Record, State, launch};
use image::document::Timestamp;
use runtime::monitor::log::Stream;
use runtime::monitor::log::read::{Entry, Reader};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::inotify;

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
        reader => reader.with_context(|| format!("cannot read the log {}", path.display()))?,
    };
    let mut printer = Printer { arguments, inside_line: [false; 2] };
    follow(&containers, &record, &path, reader, &mut printer)?;
    Ok(0)
}

fn log_of(containers: &Containers, record: &Record) -> PathBuf {
    let of_pod = record.cri.as_ref().and_then(|cri| cri.log_path.clone());
    of_pod.unwrap_or_else(|| launch::log_file(&containers.folder(&record.id)))
}

/// Prints what there is and, if asked to, what comes until the container has ended.
fn follow(
    containers: &Containers,
    record: &Record,
    path: &Path,
    mut reader: Reader,
    printer: &mut Printer<'_>,
) -> Result<()> {
    let fail = || format!("cannot read the log {}", path.display());
    let mut changes = None;
    loop {
        // Before the log: what a container wrote is in there before it has ended.
        let lives =
            printer.arguments.follow && matches!(containers.state(&record.id)?, State::Running { .. });
        while let Some(entry) = reader.next_entry().with_context(fail)? {
            if !printer.print(&entry)? {
                return Ok(());
            }
        }
        printer.flush()?;
        if !lives {
            return Ok(());
        }
        match &changes {
            // What changed before we watched is seen in the next round.
            None => changes = Some(Changes::new(path).with_context(fail)?),
            Some(changes) => changes.wait().with_context(fail)?,
        }
    }
}

/// Wakes up when something happens in the folder of a log.
struct Changes(rustix::fd::OwnedFd);

impl Changes {
    fn new(log: &Path) -> io::Result<Changes> {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let changes = inotify::init(flags)?;
        let folder = log.parent().unwrap_or(Path::new("/"));
        let kinds = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
        inotify::add_watch(&changes, folder, kinds)?;
        Ok(Changes(changes))
    }

    /// Waits until something happened, or for a moment.
    fn wait(&self) -> io::Result<()> {
        let mut polled = [PollFd::new(&self.0, PollFlags::IN)];
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, Some(&PAUSE)))?;
        let mut buffer = [0; 4096];
        // Which it was does not matter.
        while rustix::io::read(&self.0, &mut buffer[..]).is_ok_and(|count| count > 0) {}
        Ok(())
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
