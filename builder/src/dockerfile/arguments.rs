//! Arguments of the simple instructions: words, pairs, one string, a list.

use std::ops::Range;

use super::command::Context;
use super::diagnostic::{Diagnostic, excerpt_of, nearest};
use super::expand::{self, ExpandError};
use super::flags::Flags;
use super::instruction::{Argument, From, Heredoc, Pairs, Word};
use super::lexer::LogicalLine;
use super::source::Span;
use super::words::{self, Json};
use super::{platform, port, signal};

/// What stands behind keyword and flags.
#[derive(Debug)]
pub struct Arguments<'a> {
    /// The instruction in upper case.
    pub name: &'static str,
    pub line: &'a LogicalLine,
    /// Where the arguments begin in the line.
    pub at: usize,
    pub json: Json,
    pub flags: Flags,
    pub heredocs: Vec<Heredoc>,
    /// The whole instruction with its heredocs.
    pub span: Span,
}

impl Arguments<'_> {
    /// The text of all arguments.
    pub fn text(&self) -> &str {
        self.line.text.get(self.at..).unwrap_or("")
    }

    /// A part of the line as a word.
    pub fn word(&self, range: Range<usize>) -> Word {
        self.line.word(range.start, range.end)
    }

    /// All arguments as one word.
    pub fn all(&self) -> Word {
        self.word(self.at..self.line.text.len())
    }

    /// The one string that an instruction takes; an error if there is none.
    pub fn rest(&self, context: &mut Context<'_>, what: &str) -> Option<Word> {
        if self.text().is_empty() {
            self.missing(context, what, "");
            return None;
        }
        Some(self.all())
    }

    /// [`Self::rest`] that will be expanded.
    pub fn expanded_rest(&self, context: &mut Context<'_>, what: &str) -> Option<Word> {
        let word = self.rest(context, what)?;
        self.check_expansion(context, self.at..self.line.text.len());
        Some(word)
    }

    /// Complains that something is missing.
    pub fn missing(&self, context: &mut Context<'_>, what: &str, example: &str) {
        let error =
            Diagnostic::error(context.source, self.line.whole(), format!("{} needs {what}", self.name));
        context.error(if example.is_empty() { error } else { error.help(format!("for example {example}")) });
    }

    /// Checks that a part of the line can be expanded; tells its value if that needs no variables.
    pub fn check_expansion(&self, context: &mut Context<'_>, range: Range<usize>) -> Option<String> {
        let text = &self.line.text[range.clone()];
        match expand::usages(text, self.line.escape) {
            Ok(used) if used.is_empty() => {
                expand::expand(text, self.line.escape, &|_: &str| None).ok().map(|expanded| expanded.text)
            }
            Ok(_) => None,
            Err(error) => {
                let at = range.start + error.at();
                let end = self.line.text[at..].chars().next().map_or(at, |c| at + c.len_utf8());
                let span = self.line.span(at, end.max(range.start + 1));
                context.error(bad_expansion(context, span, &error, self.line.escape));
                None
            }
        }
    }

    /// [`Self::check_expansion`] for the value of a flag.
    pub fn check_flag(&self, context: &mut Context<'_>, word: &Word) -> Option<String> {
        match expand::usages(&word.text, self.line.escape) {
            Ok(used) if used.is_empty() => {
                let expanded = expand::expand(&word.text, self.line.escape, &|_: &str| None);
                expanded.ok().map(|expanded| expanded.text)
            }
            Ok(_) => None,
            Err(error) => {
                context.error(bad_expansion(context, word.span, &error, self.line.escape));
                None
            }
        }
    }

    /// Text that was meant as JSON but is not runs in a shell, or is split at blanks; that deserves a warning.
    pub fn warn_about_json(&self, context: &mut Context<'_>) {
        let Json::Invalid { at, reason } = &self.json else { return };
        if self.name == "SHELL" || !looks_like_json(self.text()) {
            return;
        }
        let form = match self.name {
            "RUN" | "CMD" | "ENTRYPOINT" => "this runs as shell text",
            _ => "this is taken as words",
        };
        let end = self.line.text[*at..].chars().next().map_or(*at, |character| at + character.len_utf8());
        let span = self.line.span(*at, end);
        let message = format!("invalid JSON, so {form}: {reason}");
        let mut warning = Diagnostic::warning(context.source, span, None, message);
        if self.text().contains('\'') {
            warning = warning.help("JSON has double quotes only");
        }
        context.warnings.push(warning);
    }
}

fn bad_expansion(context: &Context<'_>, span: Span, error: &ExpandError, escape: char) -> Diagnostic {
    let diagnostic = Diagnostic::error(context.source, span, error.to_string());
    match error {
        ExpandError::Quote { quote, .. } => {
            diagnostic.help(format!("close it, or write {escape}{quote} for the character itself"))
        }
        ExpandError::Brace { .. } | ExpandError::Name { .. } => diagnostic.help("write ${NAME}"),
        ExpandError::Modifier { name, .. } => diagnostic.help(format!(
            "forms are ${{{name}:-word}} ${{{name}:+word}} ${{{name}:?word}} ${{{name}#pattern}} \
             ${{{name}%pattern}} ${{{name}/pattern/text}}"
        )),
        ExpandError::Slash { name, .. } => diagnostic.help(format!("write ${{{name}/pattern/text}}")),
        _ => diagnostic,
    }
}

/// Whether text that begins with `[` and is not JSON was meant as a list, and not as the shell's test.
fn looks_like_json(text: &str) -> bool {
    let inner = text[1..].trim_start();
    let quoted = inner.starts_with(['"', '\'']);
    quoted
        && (text.starts_with("[\"") || text.starts_with("['") || text.contains("\",") || text.contains("',"))
}

/// `FROM [--platform=P] IMAGE [AS NAME]`.
pub fn from(context: &mut Context<'_>, arguments: &Arguments<'_>, keyword: Word) -> Option<From> {
    let ranges = words::split_blanks(&arguments.line.text, arguments.at);
    let word = |index: usize| ranges.get(index).map(|range| arguments.word(range.clone()));
    let Some(image) = word(0) else {
        arguments.missing(context, "an image", "FROM debian:stable or FROM scratch");
        return None;
    };
    arguments.check_expansion(context, ranges[0].clone());
    let platform = arguments.flags.text("platform");
    if let Some(value) = platform.as_ref().and_then(|word| arguments.check_flag(context, word))
        && let Err(message) = platform::parse(&value)
    {
        let span = platform.as_ref().map_or(image.span, |word| word.span);
        context.error(Diagnostic::error(context.source, span, message));
    }
    let (as_keyword, alias) = (word(1), word(2));
    match (&as_keyword, &alias) {
        (None, _) => {}
        (Some(as_word), Some(alias)) if ranges.len() == 3 && as_word.text.eq_ignore_ascii_case("as") => {
            if let Some(error) = stage_name_error(context, alias) {
                context.error(error);
            }
        }
        (Some(second), _) => {
            let last = ranges.last().map_or(second.span, |range| arguments.word(range.clone()).span);
            let error = Diagnostic::error(
                context.source,
                second.span.to(last),
                "FROM takes an image, and optionally AS and one name",
            );
            context.error(error.help(format!("write FROM {} AS NAME", excerpt_of(&image.text))));
        }
    }
    Some(From {
        image,
        platform,
        alias,
        as_keyword,
        keyword,
        span: arguments.span,
        comment: arguments.line.comment.clone(),
    })
}

fn stage_name_error(context: &Context<'_>, alias: &Word) -> Option<Diagnostic> {
    let mut characters = alias.text.chars();
    let rule = "a stage name is a letter and then letters, digits, - _ .";
    let offending = match characters.next() {
        Some(first) if first.is_ascii_alphabetic() => {
            characters.find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_' | '.'))?
        }
        first => first.unwrap_or(' '),
    };
    let message = format!(
        "invalid stage name {}: {} is not allowed there",
        excerpt_of(&alias.text),
        excerpt_of(&offending.to_string())
    );
    Some(Diagnostic::error(context.source, alias.span, message).help(rule))
}

/// The pairs of ENV and LABEL.
pub fn pairs(context: &mut Context<'_>, arguments: &Arguments<'_>) -> Option<Pairs> {
    let line = arguments.line;
    let ranges = words::split_quoted(&line.text, arguments.at, line.escape);
    let Some(first) = ranges.first() else {
        arguments.missing(context, "at least one KEY=VALUE", "");
        return None;
    };
    if !line.text[first.clone()].contains('=') {
        return legacy_pair(context, arguments);
    }
    let mut pairs = Vec::with_capacity(ranges.len());
    for range in ranges {
        let Some(length) = line.text[range.clone()].find('=') else {
            // What follows is most likely the rest of the same value.
            context.error(not_a_pair(context, arguments, range));
            return None;
        };
        let equals = range.start + length;
        let name = arguments.check_expansion(context, range.start..equals);
        arguments.check_expansion(context, equals + 1..range.end);
        if name.is_some_and(|name| name.is_empty()) {
            let message = format!("{} has a blank name before =", arguments.name);
            context.error(Diagnostic::error(context.source, line.span(range.start, range.end), message));
        }
        pairs.push((arguments.word(range.start..equals), arguments.word(equals + 1..range.end)));
    }
    Some(Pairs { pairs, legacy: false })
}

fn not_a_pair(context: &Context<'_>, arguments: &Arguments<'_>, range: Range<usize>) -> Diagnostic {
    let word = arguments.word(range);
    let message = format!("{} is not KEY=VALUE", excerpt_of(&word.text));
    let error = Diagnostic::error(context.source, word.span, message);
    if word.text.starts_with('#') {
        return error.help("# begins a comment only at the start of a line");
    }
    error.help("put a value with blanks into quotes, or give the word a value with =")
}

/// `ENV KEY rest of the line`.
fn legacy_pair(context: &mut Context<'_>, arguments: &Arguments<'_>) -> Option<Pairs> {
    let line = arguments.line;
    let rest = arguments.text();
    let length = rest.find(super::lexer::is_blank).unwrap_or(rest.len());
    let key = arguments.at..arguments.at + length;
    let start = words::skip_blanks(&line.text, key.end);
    if start >= line.text.len() {
        let name = excerpt_of(&line.text[key]);
        let message = format!("{} {name} has no value", arguments.name);
        let error = Diagnostic::error(context.source, line.whole(), message);
        context.error(error.help(format!("write {} {name}=VALUE", arguments.name)));
        return None;
    }
    arguments.check_expansion(context, key.clone());
    arguments.check_expansion(context, start..line.text.len());
    let pair = (arguments.word(key), arguments.word(start..line.text.len()));
    Some(Pairs { pairs: vec![pair], legacy: true })
}

/// The variables of an ARG.
pub fn args(context: &mut Context<'_>, arguments: &Arguments<'_>) -> Option<Vec<Argument>> {
    let line = arguments.line;
    let ranges = words::split_quoted(&line.text, arguments.at, line.escape);
    if ranges.is_empty() {
        arguments.missing(context, "a name", "ARG VERSION=1.0");
        return None;
    }
    let mut list = Vec::with_capacity(ranges.len());
    for range in ranges {
        let equals = line.text[range.clone()].find('=').map(|length| range.start + length);
        let name = range.start..equals.unwrap_or(range.end);
        if name.is_empty() {
            let span = line.span(range.start, range.end);
            context.error(Diagnostic::error(context.source, span, "ARG has a blank name before ="));
        }
        let default = equals.map(|equals| equals + 1..range.end);
        if let Some(default) = default.clone() {
            arguments.check_expansion(context, default);
        }
        list.push(Argument {
            name: arguments.word(name),
            default: default.map(|range| arguments.word(range)),
        });
    }
    Some(list)
}

/// `STOPSIGNAL SIGNAL`.
pub fn stopsignal(context: &mut Context<'_>, arguments: &Arguments<'_>) -> Option<Word> {
    let word = arguments.rest(context, "a signal")?;
    if let Some(value) = arguments.check_expansion(context, arguments.at..arguments.line.text.len())
        && signal::parse(&value).is_none()
    {
        let message = format!("unknown signal {}", excerpt_of(&value));
        let upper = value.to_ascii_uppercase();
        let error = Diagnostic::error(context.source, word.span, message);
        context.error(match nearest(upper.strip_prefix("SIG").unwrap_or(&upper), signal::names()) {
            Some(near) => error.help(format!("did you mean SIG{near}?")),
            None => error.help("write a name with or without SIG, RTMIN+N, or a number from 1 to 64"),
        });
    }
    Some(word)
}

/// The ports of an EXPOSE.
pub fn expose(context: &mut Context<'_>, arguments: &Arguments<'_>) -> Option<Vec<Word>> {
    let ranges = words::split_blanks(&arguments.line.text, arguments.at);
    if ranges.is_empty() {
        arguments.missing(context, "a port", "EXPOSE 8080/tcp");
        return None;
    }
    for range in &ranges {
        if let Some(value) = arguments.check_expansion(context, range.clone())
            && let Err(message) = port::parse(&value)
        {
            let span = arguments.line.span(range.start, range.end);
            context.error(Diagnostic::error(context.source, span, message));
        }
    }
    Some(ranges.into_iter().map(|range| arguments.word(range)).collect())
}

/// The paths of a VOLUME.
pub fn volume(context: &mut Context<'_>, arguments: &Arguments<'_>) -> Option<Vec<Word>> {
    let span = arguments.all().span;
    let words: Vec<Word> = if let Json::List(list) = &arguments.json {
        list.iter().map(|text| Word { text: text.trim().to_owned(), span }).collect()
    } else {
        let ranges = words::split_blanks(&arguments.line.text, arguments.at);
        ranges.into_iter().map(|range| arguments.word(range)).collect()
    };
    if words.is_empty() {
        arguments.missing(context, "a path", "VOLUME /data");
        return None;
    }
    for word in &words {
        if arguments.check_flag(context, word).is_some_and(|value| value.is_empty()) {
            context.error(Diagnostic::error(context.source, word.span, "VOLUME has an empty path"));
        }
    }
    Some(words)
}

/// `SHELL ["PROGRAM", "ARGUMENT", ...]`.
pub fn shell(context: &mut Context<'_>, arguments: &Arguments<'_>) -> Option<Vec<String>> {
    const EXAMPLE: &str = "for example SHELL [\"/bin/bash\", \"-o\", \"pipefail\", \"-c\"]";
    let message = match &arguments.json {
        Json::List(list) if !list.is_empty() => return Some(list.clone()),
        Json::List(_) => "SHELL needs at least one item".to_owned(),
        Json::Invalid { at, reason } => {
            let column = context.source.location(arguments.line.offset(*at)).column;
            format!("SHELL needs a JSON list: {reason} at column {column}")
        }
        _ => "SHELL needs a JSON list".to_owned(),
    };
    context.error(Diagnostic::error(context.source, arguments.line.whole(), message).help(EXAMPLE));
    None
}
