//! Builder flags of an instruction, checked against the flags it knows.

use std::sync::Arc;

use super::diagnostic::{Diagnostic, excerpt_of};
use super::directives::boolean;
use super::instruction::{FlagSpan, Word};
use super::lexer::LogicalLine;
use super::source::{Source, Span};
use super::words::{self, RawFlag};

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `--x`, `--x=true`, `--x=false`.
    Boolean,
    /// `--x=TEXT`, once.
    Text,
    /// `--x=TEXT`, any number of times.
    List,
}

/// A flag that an instruction knows.
pub type Known = (&'static str, Kind);

/// The flags of one instruction.
#[derive(Debug)]
pub struct Flags {
    given: Vec<(&'static str, Word, Kind)>,
}

impl Flags {
    /// Checks raw flags; mistakes go to `errors`, and what is right is kept.
    pub fn check(
        source: &Arc<Source>,
        line: &LogicalLine,
        instruction: &str,
        raw: Vec<RawFlag>,
        known: &[Known],
        errors: &mut Vec<Diagnostic>,
    ) -> Self {
        let mut flags = Self { given: Vec::new() };
        for flag in raw {
            let span = line.span(flag.range.start, flag.range.end);
            let Some(&(name, kind)) = known.iter().find(|(name, _)| *name == flag.name) else {
                errors.push(unknown(source, span, instruction, &flag.name, known));
                continue;
            };
            let earlier = flags.given.iter().find(|(other, ..)| *other == name);
            if let (Some((_, first, _)), true) = (earlier, kind != Kind::List) {
                let message = format!("flag --{name} is given twice");
                errors.push(Diagnostic::error(source, span, message).also(first.span, "first given here"));
                continue;
            }
            let text = match (kind, flag.value) {
                (Kind::Boolean, None) => "true".to_owned(),
                (Kind::Boolean, Some(value)) if boolean(&value).is_none() => {
                    errors.push(not_boolean(source, span, name, &value));
                    continue;
                }
                (_, Some(value)) => value,
                (_, None) => {
                    errors.push(missing_value(source, span, line, name, flag.range.end));
                    continue;
                }
            };
            flags.given.push((name, Word { text, span }, kind));
        }
        flags
    }

    /// The value of a flag; none if it is empty.
    pub fn text(&self, name: &str) -> Option<Word> {
        self.given
            .iter()
            .find(|(other, ..)| *other == name)
            .map(|(_, word, _)| word.clone())
            .filter(|word| !word.text.is_empty())
    }

    /// All values of a flag.
    pub fn list(&self, name: &str) -> Vec<Word> {
        self.given.iter().filter(|(other, ..)| *other == name).map(|(_, word, _)| word.clone()).collect()
    }

    /// A boolean flag, if given.
    pub fn boolean(&self, name: &str) -> Option<bool> {
        self.text(name).and_then(|word| boolean(&word.text))
    }

    /// Where each of them stands.
    pub fn spans(&self) -> Vec<FlagSpan> {
        self.given.iter().map(|&(name, ref word, _)| FlagSpan { name, span: word.span }).collect()
    }
}

fn unknown(source: &Arc<Source>, span: Span, instruction: &str, name: &str, known: &[Known]) -> Diagnostic {
    let message = format!("unknown flag --{} for {instruction}", excerpt_of(name));
    let error = Diagnostic::error(source, span, message);
    if known.is_empty() {
        return error.help(format!("{instruction} takes no flags"));
    }
    let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
    match super::suggest::nearest(name, names.iter().copied()) {
        Some(near) => error.help(format!("did you mean --{near}?")),
        None => error.help(format!("{instruction} takes --{}", names.join(", --"))),
    }
}

fn not_boolean(source: &Arc<Source>, span: Span, name: &str, value: &str) -> Diagnostic {
    let message = match value {
        "" => format!("flag --{name} has an empty value"),
        _ => format!("flag --{name} is true or false, not {}", excerpt_of(value)),
    };
    Diagnostic::error(source, span, message).help(format!("write --{name} or --{name}=false"))
}

/// `--chown 1:1` where `--chown=1:1` is meant.
fn missing_value(source: &Arc<Source>, span: Span, line: &LogicalLine, name: &str, end: usize) -> Diagnostic {
    let error = Diagnostic::error(source, span, format!("flag --{name} needs a value after ="));
    let next = words::skip_blanks(&line.text, end);
    let corrected = format!("{}={}", &line.text[..end], &line.text[next..]);
    if next < line.text.len() && corrected.len() < 200 {
        error.help(format!("write {corrected}"))
    } else {
        error.help(format!("write --{name}=VALUE"))
    }
}
