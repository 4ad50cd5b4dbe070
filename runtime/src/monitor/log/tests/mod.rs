//! Tests of the writer and the reader of logs.

mod reading;
mod writing;

use std::fs;
use std::path::{Path, PathBuf};

use super::read::Reader;
use super::{Log, LogSettings, Stream};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    /// The log's path, without links on the way.
    fn path(&self) -> PathBuf {
        fs::canonicalize(self.0.path()).unwrap().join("log")
    }

    fn log(&self) -> Log {
        log_at(&self.path(), None, 1)
    }
}

fn log_at(path: &Path, max_size: Option<u64>, max_files: u32) -> Log {
    Log::new(LogSettings { path: path.to_owned(), max_size, max_files })
}

/// The entries of a file without their times: `stdout F hello`.
fn entries(path: &Path) -> Vec<String> {
    let text = String::from_utf8(fs::read(path).unwrap()).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "half a line: {text:?}");
    text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
}

/// What a reader finds: stream, whether the line goes on, content.
fn read_all(reader: &mut Reader) -> Vec<(Stream, bool, String)> {
    let mut all = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        all.push((entry.stream, entry.partial, String::from_utf8_lossy(entry.content).into_owned()));
    }
    all
}

/// The same, content alone.
fn contents(reader: &mut Reader) -> Vec<String> {
    read_all(reader).into_iter().map(|(_, _, content)| content).collect()
}
