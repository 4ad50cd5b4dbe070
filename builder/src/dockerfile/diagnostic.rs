//! Messages with a position: what is wrong, where, and what to write instead.
//!
//! One frame for errors and warnings. On a terminal it is drawn with colours and underlines; elsewhere it is plain
//! text whose first line starts with `FILE:LINE:`, so that editors and logs can point there. Nothing from a file
//! reaches the output raw: control characters are escaped, lines of any length are cut.

use std::fmt::Write as _;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use super::source::{Source, Span};
pub use super::suggest::nearest;

/// Lines shown around the failing ones.
const CONTEXT: usize = 2;
/// Failing lines shown of a long range, at its start and at its end.
const EDGE: usize = 4;
/// Longest line shown, in characters.
const WIDTH: usize = 160;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The build goes on.
    Warning,
    /// The build cannot go on.
    Error,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The name of a check; names are what skip lists hold.
    pub name: Option<&'static str>,
    /// The cause in one sentence, lower case, no full stop.
    pub message: String,
    /// The file the labels point into; `None` for a finding that has no place.
    pub source: Option<Arc<Source>>,
    /// Places, the failing one first.
    pub labels: Vec<Label>,
    /// More facts.
    pub notes: Vec<String>,
    /// What to write instead.
    pub helps: Vec<String>,
}

/// A place and what to say about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The place.
    pub span: Span,
    /// A few words drawn beside it; may be empty.
    pub text: String,
}

/// Where a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// A file or pipe.
    Plain,
    /// A terminal of this many columns.
    Terminal {
        /// Columns.
        width: usize,
    },
}

impl Diagnostic {
    /// An error at `span`.
    #[must_use]
    pub fn error(source: &Arc<Source>, span: Span, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, Some((source, span)), message)
    }

    /// A warning of the check `name` at `span`.
    #[must_use]
    pub fn warning(
        source: &Arc<Source>,
        span: Span,
        name: Option<&'static str>,
        message: impl Into<String>,
    ) -> Self {
        let mut diagnostic = Self::new(Severity::Warning, Some((source, span)), message);
        diagnostic.name = name;
        diagnostic
    }

    /// An error that has no place in a file, such as an unknown `--target`.
    #[must_use]
    pub fn without_place(severity: Severity, message: impl Into<String>) -> Self {
        Self::new(severity, None, message)
    }

    fn new(severity: Severity, place: Option<(&Arc<Source>, Span)>, message: impl Into<String>) -> Self {
        Self {
            severity,
            name: None,
            message: message.into(),
            source: place.map(|(source, _)| source.clone()),
            labels: place.map(|(_, span)| Label { span, text: String::new() }).into_iter().collect(),
            notes: Vec::new(),
            helps: Vec::new(),
        }
    }

    /// Says a few words beside the failing place.
    #[must_use]
    pub fn label(mut self, text: impl Into<String>) -> Self {
        if let Some(label) = self.labels.first_mut() {
            label.text = text.into();
        }
        self
    }

    /// Points at another place too.
    #[must_use]
    pub fn also(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label { span, text: text.into() });
        self
    }

    /// Adds a fact.
    #[must_use]
    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }

    /// Adds what to write instead.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.helps.push(text.into());
        self
    }

    /// Adds "did you mean X?" if there is a near candidate.
    #[must_use]
    pub fn suggest<'a>(self, written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Self {
        match nearest(written, candidates) {
            Some(candidate) => {
                let help = format!("did you mean {}?", escape_control(candidate));
                self.help(help)
            }
            None => self,
        }
    }

    /// `FILE:LINE`, if it has a place.
    #[must_use]
    pub fn place(&self) -> Option<String> {
        Some(self.source.as_ref()?.place(self.labels.first()?.span))
    }

    /// The whole message, several lines, ending in a newline.
    #[must_use]
    pub fn render(&self, style: Style) -> String {
        match style {
            Style::Plain => self.render_plain(),
            Style::Terminal { width } => self.render_terminal(width),
        }
    }
}

impl Diagnostic {
    fn render_plain(&self) -> String {
        let mut out = String::new();
        if let Some(place) = self.place() {
            let _ = write!(out, "{place}: ");
        }
        let _ = write!(out, "{}", self.severity_word());
        if let Some(name) = self.name {
            let _ = write!(out, "[{name}]");
        }
        let _ = writeln!(out, ": {}", one_line(&self.message));
        if let (Some(source), Some((first, others))) = (&self.source, self.labels.split_first()) {
            excerpt(&mut out, source, first);
            for label in others {
                let _ = writeln!(out, "note: {}: {}", source.place(label.span), escape_control(&label.text));
            }
        }
        for (word, texts) in [("note", &self.notes), ("help", &self.helps)] {
            for text in texts {
                let _ = writeln!(out, "{word}: {}", escape_control(text));
            }
        }
        out
    }

    fn render_terminal(&self, width: usize) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut title = level.primary_title(one_line(&self.message));
        if let Some(name) = self.name {
            title = title.id(name);
        }
        let mut group = title.elements(Vec::<Snippet<'_, annotate_snippets::Annotation<'_>>>::new());
        if let Some(source) = &self.source {
            for (index, label) in self.labels.iter().enumerate() {
                let kind = if index == 0 { AnnotationKind::Primary } else { AnnotationKind::Context };
                let window = Window::around(source, label.span, if index == 0 { CONTEXT } else { 0 });
                let snippet = Snippet::source(window.text)
                    .path(escape_control(source.name()))
                    .line_start(window.first_line)
                    .fold(false)
                    .annotation(kind.span(window.start..window.end).label(escape_control(&label.text)));
                group = group.element(snippet);
            }
        }
        for note in &self.notes {
            group = group.element(Level::NOTE.message(escape_control(note)));
        }
        for help in &self.helps {
            group = group.element(Level::HELP.message(escape_control(help)));
        }
        let mut text = Renderer::styled().term_width(width.max(40)).render(&[group]);
        text.push('\n');
        text
    }

    fn severity_word(&self) -> &'static str {
        match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

/// The failing lines marked with `>>>`, some lines around them, and an underline if only a part of one line fails.
fn excerpt(out: &mut String, source: &Source, label: &Label) {
    let (first, last) = source.line_range(label.span);
    let from = first.saturating_sub(CONTEXT).max(1);
    let to = (last + CONTEXT).min(source.line_count());
    let digits = to.to_string().len().max(3);
    let mut elided = false;
    for line in from..=to {
        if line >= first + EDGE && line + EDGE <= last && last - first > 2 * EDGE {
            if !elided {
                let _ = writeln!(out, "{:>digits$} | ...", "");
            }
            elided = true;
            continue;
        }
        let span = source.line_span(line);
        let mark = if (first..=last).contains(&line) { ">>>" } else { "   " };
        let text = cut(source.slice(span));
        let _ = writeln!(out, "{}", format!("{line:>digits$} | {mark} {text}").trim_end());
        if first == last && line == first {
            underline(out, source, label, span, digits);
        }
    }
}

fn underline(out: &mut String, source: &Source, label: &Label, line: Span, digits: usize) {
    let end = label.span.end.min(line.end);
    let before = source.slice(Span::new(line.start, label.span.start));
    let marked = escape_control(source.slice(Span::new(label.span.start, end))).chars().count();
    let whole = before.trim().is_empty() && end >= line.end;
    if (whole && label.text.is_empty()) || before.chars().count() + marked.min(8) > WIDTH {
        return;
    }
    let pad: String =
        escape_control(before).chars().map(|character| if character == '\t' { '\t' } else { ' ' }).collect();
    let marks = "^".repeat(marked.clamp(1, WIDTH));
    let text = format!("{:>digits$} |     {pad}{marks} {}", "", escape_control(&label.text));
    let _ = writeln!(out, "{}", text.trim_end());
}

/// A few whole lines of a source, escaped, with a span translated into them.
struct Window {
    text: String,
    first_line: usize,
    start: usize,
    end: usize,
}

impl Window {
    fn around(source: &Source, span: Span, context: usize) -> Self {
        let (first, last) = source.line_range(span);
        let last = last.min(first + 4 * EDGE);
        let first_line = first.saturating_sub(context).max(1);
        let mut window = Self { text: String::new(), first_line, start: 0, end: 0 };
        for number in first_line..=(last + context).min(source.line_count()) {
            let line = source.line_span(number);
            let at = window.text.len();
            let translate = |offset: usize| {
                at + escape_control(source.slice(Span::new(line.start, offset.clamp(line.start, line.end))))
                    .len()
            };
            if number == first {
                window.start = translate(span.start);
            }
            if number == last {
                window.end = translate(span.end).max(window.start);
            }
            window.text.push_str(&escape_control(source.slice(line)));
            window.text.push('\n');
        }
        window
    }
}

/// A line as shown: escaped, and cut where no screen would show it.
fn cut(line: &str) -> String {
    match line.char_indices().nth(WIDTH) {
        Some((at, _)) => format!("{}...", escape_control(&line[..at])),
        None => escape_control(line),
    }
}

/// Text from a file as part of a message: escaped and short.
#[must_use]
pub fn excerpt_of(text: &str) -> String {
    const SHORT: usize = 60;
    match text.char_indices().nth(SHORT) {
        Some((at, _)) => format!("{}...", escape_control(&text[..at])),
        None => escape_control(text),
    }
}

/// The message proper is one line, whatever it quotes.
fn one_line(text: &str) -> String {
    escape_control(text).replace('\n', "\\n")
}

/// Makes control characters visible, and with them characters that reorder or hide text. Tabs and newlines stay.
#[must_use]
pub fn escape_control(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\t' | '\n' => out.push(character),
            '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
            | '\u{feff}'
            | '\u{80}'..='\u{9f}' => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(character));
            }
            '\r' => out.push_str("\\r"),
            _ if character.is_control() => {
                let _ = write!(out, "\\x{:02x}", u32::from(character));
            }
            _ => out.push(character),
        }
    }
    out
}
