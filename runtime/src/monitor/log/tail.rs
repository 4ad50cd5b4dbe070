//! Finding where the last lines of a log begin, from its end: files of many gigabytes cost what is shown of them.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::read::{Entry, LONGEST_LINE, parse};

/// Counts lines backwards, over one file after the other.
///
/// A line is what a container wrote up to a line end, however many entries that took; one that has no end yet counts
/// too. Where entries of the other stream lie between those of the first line shown, its beginning may be missing.
#[derive(Debug)]
pub(super) struct Tail {
    wanted: u64,
    counted: u64,
    /// Whether earlier pieces of this stream belong to a line that was counted.
    inside: [bool; 2],
    complete: bool,
}

impl Tail {
    pub(super) fn new(wanted: u64) -> Tail {
        Tail { wanted, counted: 0, inside: [false; 2], complete: false }
    }

    /// Whether the start was found, so that no older file matters.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Looks through the next older file; returns where in it to begin.
    pub(super) fn scan(&mut self, file: &File) -> io::Result<u64> {
        let mut lines = Backwards::new(file)?;
        while let Some(end) = lines.step()? {
            if let Some(entry) = parse(lines.line())
                && !self.take(&entry)
            {
                self.complete = true;
                return Ok(end);
            }
        }
        Ok(0)
    }

    /// Whether this entry is still wanted.
    fn take(&mut self, entry: &Entry<'_>) -> bool {
        let inside = &mut self.inside[entry.stream as usize];
        let begins_line = !entry.partial || !*inside;
        if begins_line && self.counted == self.wanted {
            return false;
        }
        self.counted += u64::from(begins_line);
        *inside = true;
        true
    }
}

/// The lines of a file from the last to the first, read in blocks.
struct Backwards<'a> {
    file: &'a File,
    block: Vec<u8>,
    /// Where in the file the block begins.
    begin: u64,
    /// Where in the block the line that was returned last begins.
    end: usize,
    line: std::ops::Range<usize>,
}

impl<'a> Backwards<'a> {
    fn new(file: &'a File) -> io::Result<Backwards<'a>> {
        let begin = file.metadata()?.len();
        Ok(Backwards { file, block: Vec::with_capacity(LONGEST_LINE), begin, end: 0, line: 0..0 })
    }

    /// The line found by the last step. What is no line, or too long for an entry, is some bytes without meaning.
    fn line(&self) -> &[u8] {
        &self.block[self.line.clone()]
    }

    /// Goes to the line before; returns where in the file that line ends.
    fn step(&mut self) -> io::Result<Option<u64>> {
        loop {
            let before_end = self.end.saturating_sub(1);
            if let Some(at) = memchr::memrchr(b'\n', &self.block[..before_end]) {
                return Ok(Some(self.found(at + 1)));
            }
            if self.begin == 0 {
                return Ok((self.end > 0).then(|| self.found(0)));
            }
            if self.end == LONGEST_LINE {
                return self.skip_long_line().map(Some);
            }
            self.load(self.begin + self.end as u64)?;
        }
    }

    fn found(&mut self, start: usize) -> u64 {
        let end = self.begin + self.end as u64;
        self.line = start..self.end;
        self.end = start;
        end
    }

    /// Finds the start of a line that fills the whole block. It is no entry, so its bytes do not matter.
    fn skip_long_line(&mut self) -> io::Result<u64> {
        let end = self.begin + self.end as u64;
        self.line = 0..0;
        loop {
            self.load(self.begin)?;
            match memchr::memrchr(b'\n', &self.block) {
                Some(at) => {
                    self.end = at + 1;
                    return Ok(end);
                }
                None if self.begin == 0 => {
                    self.end = 0;
                    return Ok(end);
                }
                None => {}
            }
        }
    }

    /// Reads the block that ends at `end`. A file that shrank meanwhile is an error.
    fn load(&mut self, end: u64) -> io::Result<()> {
        let length = end.min(LONGEST_LINE as u64);
        self.block.resize(length as usize, 0);
        self.begin = end - length;
        self.end = self.block.len();
        self.file.read_exact_at(&mut self.block, self.begin)
    }
}
