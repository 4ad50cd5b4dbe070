//! The text of a file and places in it.
//!
//! A [`Span`] is a range of bytes in one [`Source`]; lines and columns are computed only when somebody asks. A span
//! made by the parser always lies within the text, on character boundaries; [`Source`] clamps whatever else it gets.

use std::ops::Range;
use std::sync::Arc;

/// A range of bytes in a [`Source`], `start` inclusive and `end` exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    /// Offset of the first byte.
    pub start: usize,
    /// Offset behind the last byte.
    pub end: usize,
}

impl Span {
    /// The span from `start` up to `end`.
    #[must_use]
    pub fn new(start: usize, end: usize) -> Self {
        Self { start, end: end.max(start) }
    }

    /// The smallest span that holds both.
    #[must_use]
    pub fn to(self, other: Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    /// As a range of byte offsets.
    #[must_use]
    pub fn range(self) -> Range<usize> {
        self.start..self.end
    }
}

/// A place as people write it: both numbers count from 1, the column counts characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// Line number.
    pub line: usize,
    /// Column in characters.
    pub column: usize,
}

/// A file's name and text, shared by everything that points into it.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    name: String,
    text: String,
    /// Offset of the first byte of each line; never empty.
    lines: Vec<usize>,
}

impl Source {
    /// Takes the text of a file; `name` is what messages call it.
    #[must_use]
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        let text = text.into();
        let mut lines = vec![0];
        lines.extend(text.bytes().enumerate().filter(|&(_, byte)| byte == b'\n').map(|(at, _)| at + 1));
        if lines.len() > 1 && lines.last() == Some(&text.len()) {
            lines.pop();
        }
        Arc::new(Self { name: name.into(), text, lines })
    }

    /// What messages call this file.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The bytes under `span`; empty if the span does not lie on characters of this text.
    #[must_use]
    pub fn slice(&self, span: Span) -> &str {
        self.text.get(span.range()).unwrap_or("")
    }

    /// How many lines the text has; at least one.
    #[must_use]
    pub fn line_count(&self) -> usize {
        self.lines.len()
    }

    /// Line and column of a byte offset; offsets behind the end give the end.
    #[must_use]
    pub fn location(&self, offset: usize) -> Location {
        let offset = offset.min(self.text.len());
        let line = self.lines.partition_point(|&start| start <= offset);
        let before = self.text.as_bytes().get(self.lines[line - 1]..offset).unwrap_or(&[]);
        // Bytes that continue a character are 10xxxxxx.
        let column = before.iter().filter(|&&byte| byte & 0xC0 != 0x80).count() + 1;
        Location { line, column }
    }

    /// First and last line that `span` touches. A span that ends just behind a newline does not touch the next line.
    #[must_use]
    pub fn line_range(&self, span: Span) -> (usize, usize) {
        let first = self.location(span.start).line;
        let last = if span.end > span.start { self.location(span.end - 1).line } else { first };
        (first, last.max(first))
    }

    /// The bytes of a line (numbered from 1) without its line end; empty for a line that does not exist.
    #[must_use]
    pub fn line_span(&self, line: usize) -> Span {
        let Some(&start) = line.checked_sub(1).and_then(|index| self.lines.get(index)) else {
            return Span::new(self.text.len(), self.text.len());
        };
        let end = self.lines.get(line).copied().unwrap_or(self.text.len());
        let content = self.text[start..end].trim_end_matches('\n').trim_end_matches('\r');
        Span::new(start, start + content.len())
    }

    /// `FILE:LINE`, or `FILE:FIRST-LAST` for a span of several lines.
    #[must_use]
    pub fn place(&self, span: Span) -> String {
        let (first, last) = self.line_range(span);
        let name = super::diagnostic::escape_control(&self.name);
        if first == last { format!("{name}:{first}") } else { format!("{name}:{first}-{last}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_count_characters_from_one() {
        let source = Source::new("Dockerfile", "FROM a\r\nRUN äöx\n\nlast");
        for (offset, line, column) in [
            (0, 1, 1),
            (5, 1, 6),
            (8, 2, 1),
            (12, 2, 5),
            (14, 2, 6),
            (16, 2, 7),
            (18, 3, 1),
            (19, 4, 1),
            (99, 4, 5),
        ] {
            assert_eq!(source.location(offset), Location { line, column }, "offset {offset}");
        }
        assert_eq!(source.line_count(), 4);
        assert_eq!(source.slice(source.line_span(1)), "FROM a");
        assert_eq!(source.slice(source.line_span(9)), "");
        assert_eq!(source.place(Span::new(0, 8)), "Dockerfile:1");
        assert_eq!(source.place(Span::new(0, 9)), "Dockerfile:1-2");
        assert_eq!(Source::new("x", "").line_range(Span::new(5, 9)), (1, 1));
        assert_eq!(Source::new("x", "a\n").line_count(), 1);
    }
}
