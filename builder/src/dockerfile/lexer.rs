//! Lines: from a file's text to instruction lines, with continuations joined and comments dropped.
//!
//! The lexer knows nothing of instructions. The parser pulls one [`LogicalLine`] after the other, and where a line
//! announces a heredoc it pulls the body with [`Lexer::heredoc_body`] before it asks for the next line. Each byte of
//! the file is looked at a fixed number of times.

use std::sync::Arc;

use super::diagnostic::Diagnostic;
use super::instruction::Word;
use super::source::{Source, Span};

/// Longest physical line, bytes, without its line end.
pub const MAX_LINE: usize = 65535;

/// White space between words.
pub fn is_blank(character: char) -> bool {
    matches!(character, '\t' | '\x0b' | '\x0c' | '\r' | ' ')
}

/// One instruction line as the parser sees it.
#[derive(Debug)]
pub struct LogicalLine {
    /// Continued lines joined, both ends trimmed; never empty.
    pub text: String,
    /// Pairs of offset in `text` and offset in the source, one for each piece of `text`.
    pieces: Vec<(usize, usize)>,
    /// Comment lines directly above, without `#`.
    pub comment: Vec<String>,
    /// The escape character of the file.
    pub escape: char,
}

impl LogicalLine {
    /// A line that stands somewhere else than in a file, such as the text behind `ONBUILD`.
    pub fn part(&self, start: usize) -> Self {
        let text = self.text.get(start..).unwrap_or("").to_owned();
        let mut pieces = vec![(0, self.offset(start))];
        pieces.extend(
            self.pieces.iter().filter(|piece| piece.0 > start).map(|&(here, there)| (here - start, there)),
        );
        Self { text, pieces, comment: Vec::new(), escape: self.escape }
    }

    /// Where a byte of `text` stands in the source.
    pub fn offset(&self, at: usize) -> usize {
        let index = self.pieces.partition_point(|&(here, _)| here <= at).saturating_sub(1);
        let (here, there) = self.pieces.get(index).copied().unwrap_or_default();
        there + at.saturating_sub(here)
    }

    /// Where a part of `text` stands in the source, including what separates its pieces.
    pub fn span(&self, start: usize, end: usize) -> Span {
        if end <= start {
            let at = self.offset(start);
            return Span::new(at, at);
        }
        // The last byte decides: its successor may already stand on the next line.
        Span::new(self.offset(start), self.offset(end - 1) + 1)
    }

    /// Where the whole line stands.
    pub fn whole(&self) -> Span {
        self.span(0, self.text.len())
    }

    /// A part of `text` with its place.
    pub fn word(&self, start: usize, end: usize) -> Word {
        Word { text: self.text.get(start..end).unwrap_or("").to_owned(), span: self.span(start, end) }
    }
}

/// Reads lines of a source one after the other.
#[derive(Debug)]
pub struct Lexer {
    source: Arc<Source>,
    /// Offset of the first byte not yet read.
    at: usize,
    escape: char,
    /// What went wrong so far.
    pub diagnostics: Vec<Diagnostic>,
    /// Blank lines that stood inside continued instructions.
    pub empty_continuations: Vec<Span>,
}

/// A heredoc's body as read.
#[derive(Debug)]
pub struct Body {
    /// Content lines with their line ends.
    pub content: String,
    /// Content and terminator.
    pub span: Span,
    /// A line that is the terminator but for white space around it, if the terminator itself is missing.
    pub near_miss: Option<Span>,
    /// The terminator was found.
    pub terminated: bool,
}

impl Lexer {
    /// Starts reading at `at`, behind the parser directives.
    pub fn new(source: &Arc<Source>, at: usize, escape: char) -> Self {
        let (diagnostics, empty_continuations) = (Vec::new(), Vec::new());
        Self { source: source.clone(), at, escape, diagnostics, empty_continuations }
    }

    /// The next instruction line, `None` at the end of the file.
    pub fn next_line(&mut self) -> Option<LogicalLine> {
        let mut comment = Vec::new();
        loop {
            let physical = self.physical_line()?;
            let source = self.source.clone();
            let line = source.slice(physical);
            let trimmed = line.trim_start_matches(is_blank);
            if let Some(text) = trimmed.strip_prefix('#') {
                match text.trim() {
                    "" => comment.clear(),
                    text => comment.push(text.to_owned()),
                }
                continue;
            }
            if trimmed.trim_end_matches(is_blank).is_empty() {
                comment.clear();
                continue;
            }
            let start = physical.start + line.len() - trimmed.len();
            if let Some(mut logical) = self.join(start, trimmed) {
                logical.comment = std::mem::take(&mut comment);
                return Some(logical);
            }
            comment.clear();
        }
    }

    /// Joins a line with those it continues on; `None` if all of them are empty.
    fn join(&mut self, start: usize, first: &str) -> Option<LogicalLine> {
        let (head, mut continues) = strip_continuation(first, self.escape);
        let mut text = head.to_owned();
        let mut pieces = vec![(0, start)];
        let source = self.source.clone();
        while continues {
            let Some(physical) = self.physical_line() else { break };
            let line = source.slice(physical);
            let trimmed = line.trim_start_matches(is_blank);
            if trimmed.starts_with('#') {
                continue;
            }
            if trimmed.trim_end_matches(is_blank).is_empty() {
                self.empty_continuations.push(physical);
                continue;
            }
            let (content, more) = strip_continuation(line, self.escape);
            if !content.is_empty() {
                pieces.push((text.len(), physical.start));
                text.push_str(content);
            }
            continues = more;
        }
        text.truncate(text.trim_end_matches(is_blank).len());
        let cut = text.len() - text.trim_start_matches(is_blank).len();
        if text.len() == cut {
            return None;
        }
        pieces.retain(|&(here, _)| here < text.len());
        let line = LogicalLine { text, pieces, comment: Vec::new(), escape: self.escape };
        Some(if cut == 0 { line } else { line.part(cut) })
    }

    /// Reads up to the line that is `name`, which is consumed.
    pub fn heredoc_body(&mut self, name: &str, strip_tabs: bool) -> Body {
        let source = self.source.clone();
        let start = self.at;
        let mut body = Body {
            content: String::new(),
            span: Span::new(start, start),
            near_miss: None,
            terminated: false,
        };
        while let Some(physical) = self.physical_line() {
            let line = source.slice(physical);
            let with_end = source.slice(Span::new(physical.start, self.at));
            let (line, with_end) = match strip_tabs {
                true => (line.trim_start_matches('\t'), with_end.trim_start_matches('\t')),
                false => (line, with_end),
            };
            body.span.end = physical.end;
            if line == name {
                body.terminated = true;
                return body;
            }
            if body.near_miss.is_none() && !name.is_empty() && line.trim() == name {
                body.near_miss = Some(physical);
            }
            body.content.push_str(with_end);
        }
        body
    }

    /// The next line without its end; complains if it is too long.
    fn physical_line(&mut self) -> Option<Span> {
        let rest = self.source.text().get(self.at..).filter(|rest| !rest.is_empty())?;
        let length = rest.find('\n').unwrap_or(rest.len());
        let content = rest[..length].strip_suffix('\r').unwrap_or(&rest[..length]);
        let span = Span::new(self.at, self.at + content.len());
        self.at += (length + 1).min(rest.len());
        if content.len() > MAX_LINE {
            let message = format!("line of {} bytes is longer than the limit of {MAX_LINE}", content.len());
            self.diagnostics.push(Diagnostic::error(&self.source, span, message));
        }
        Some(span)
    }
}

/// The line without the escape at its end, and whether there was one. Blanks may follow it; an escape before it
/// takes its meaning away.
fn strip_continuation(line: &str, escape: char) -> (&str, bool) {
    let trimmed = line.trim_end_matches([' ', '\t']);
    match trimmed.strip_suffix(escape) {
        Some(content) if !content.ends_with(escape) => (content, true),
        _ => (line, false),
    }
}
