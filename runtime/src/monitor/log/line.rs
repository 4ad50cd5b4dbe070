//! Cutting output into the lines of a log.
//!
//! ```text
//! TIME STREAM TAG CONTENT\n      2026-08-13T07:07:37.123456789Z stdout F hello
//! ```
//!
//! The tag is `F` for what ends a line and `P` for a piece that goes on in the next entry of its stream. A line
//! whose content has exactly [`CONTENT`] bytes is whole, so a piece is cut only when one byte more is known.

use crate::container::timestamp::STAMP;

/// Most bytes of content in one entry.
pub const CONTENT: usize = 16 << 10;

/// Bytes before the content. Both streams have names of six letters.
pub(super) const HEADER: usize = STAMP + " stdout F ".len();

/// Where in a header the tag is.
const TAG: usize = HEADER - 2;

/// One of the two output streams of a container. A terminal's output is all [`Stream::Stdout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// The two headers that entries of one chunk of one stream can have.
pub(super) struct Headers {
    pub(super) full: [u8; HEADER],
    pub(super) partial: [u8; HEADER],
}

impl Headers {
    pub(super) fn new(time: &[u8; STAMP], stream: Stream) -> Headers {
        let mut full = [b' '; HEADER];
        full[..STAMP].copy_from_slice(time);
        full[STAMP + 1..TAG - 1].copy_from_slice(match stream {
            Stream::Stdout => b"stdout",
            Stream::Stderr => b"stderr",
        });
        full[TAG] = b'F';
        let mut partial = full;
        partial[TAG] = b'P';
        Headers { full, partial }
    }
}

/// One entry in parts, none of which is copied.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    pub(super) header: &'a [u8; HEADER],
    /// Content that was held back.
    pub(super) held: &'a [u8],
    /// Content that is new; with its own line end if the entry is full.
    pub(super) new: &'a [u8],
}

impl Line<'_> {
    /// Whether the content has no line end of its own.
    pub(super) fn needs_end(&self) -> bool {
        is_partial(self.header)
    }

    /// Bytes in the file.
    pub(super) fn length(&self) -> usize {
        HEADER + self.held.len() + self.new.len() + usize::from(self.needs_end())
    }
}

/// Whether this is the header of a piece.
pub(super) fn is_partial(header: &[u8]) -> bool {
    header.get(TAG) == Some(&b'P')
}

/// Cuts what was held back, followed by what is new, into entries.
pub(super) struct Cutter<'a> {
    headers: &'a Headers,
    held: &'a [u8],
    new: &'a [u8],
}

impl<'a> Cutter<'a> {
    /// `held` is shorter than an entry may be, and without a line end.
    pub(super) fn new(headers: &'a Headers, held: &'a [u8], new: &'a [u8]) -> Cutter<'a> {
        Cutter { headers, held, new }
    }

    /// What is too little for an entry: whether the held part is still in it, and how many new bytes.
    pub(super) fn rest(&self) -> (bool, usize) {
        (!self.held.is_empty(), self.new.len())
    }
}

impl<'a> Iterator for Cutter<'a> {
    type Item = Line<'a>;

    fn next(&mut self) -> Option<Line<'a>> {
        let room = CONTENT - self.held.len();
        let window = &self.new[..self.new.len().min(room + 1)];
        let (header, end) = match memchr::memchr(b'\n', window) {
            Some(at) => (&self.headers.full, at + 1),
            None if window.len() > room => (&self.headers.partial, room),
            None => return None,
        };
        let (new, rest) = self.new.split_at(end);
        self.new = rest;
        Some(Line { header, held: std::mem::take(&mut self.held), new })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(held: &[u8], new: &[u8]) -> (Vec<(u8, usize)>, (bool, usize)) {
        let headers = Headers::new(b"2026-08-13T07:07:37.123456789Z", Stream::Stderr);
        let mut cutter = Cutter::new(&headers, held, new);
        let lines =
            cutter.by_ref().map(|line| (line.header[TAG], line.held.len() + line.new.len())).collect();
        (lines, cutter.rest())
    }

    #[test]
    fn headers_are_those_of_the_format() {
        let headers = Headers::new(b"2026-08-13T07:07:37.123456789Z", Stream::Stdout);
        assert_eq!(&headers.full, b"2026-08-13T07:07:37.123456789Z stdout F ");
        assert_eq!(&headers.partial, b"2026-08-13T07:07:37.123456789Z stdout P ");
    }

    #[test]
    fn lines_are_whole_up_to_the_limit_and_cut_beyond_it() {
        let line = |length: usize| [vec![b'x'; length], vec![b'\n']].concat();
        assert_eq!(cut(b"", b"a\nbc\n\nd"), (vec![(b'F', 2), (b'F', 3), (b'F', 1)], (false, 1)));
        assert_eq!(cut(b"", &line(CONTENT)), (vec![(b'F', CONTENT + 1)], (false, 0)));
        assert_eq!(cut(b"", &line(CONTENT + 1)), (vec![(b'P', CONTENT), (b'F', 2)], (false, 0)));
        assert_eq!(cut(b"", &vec![b'x'; CONTENT]), (vec![], (false, CONTENT)));
        assert_eq!(cut(b"", &vec![b'x'; CONTENT + 1]), (vec![(b'P', CONTENT)], (false, 1)));
    }

    #[test]
    fn what_was_held_is_part_of_the_first_entry() {
        assert_eq!(cut(b"abc", b"\nx"), (vec![(b'F', 4)], (false, 1)));
        assert_eq!(cut(b"abc", b"d"), (vec![], (true, 1)));
        let full = vec![b'x'; CONTENT];
        assert_eq!(cut(&full, b"\n"), (vec![(b'F', CONTENT + 1)], (false, 0)));
        assert_eq!(cut(&full, b"y"), (vec![(b'P', CONTENT)], (false, 1)));
        assert_eq!(cut(&full[1..], b"yz\n"), (vec![(b'P', CONTENT), (b'F', 2)], (false, 0)));
        assert_eq!(cut(&full, b""), (vec![], (true, 0)));
    }
}
