//! Parser directives: `# name=value` lines at the very top of a file.
//!
//! The first line that is not a known directive ends the block; later ones are comments.

use std::sync::Arc;

use super::diagnostic::{Diagnostic, excerpt_of};
use super::instruction::{CheckOptions, Directives, Word};
use super::source::{Source, Span};

/// What the top of a file says.
#[derive(Debug)]
pub struct Top {
    /// The directives.
    pub directives: Directives,
    /// Offset behind them.
    pub end: usize,
    /// Mistakes in them.
    pub errors: Vec<Diagnostic>,
    /// Findings that do not stop a build.
    pub warnings: Vec<Diagnostic>,
}

/// Reads the directives of a file.
pub fn read(source: &Arc<Source>) -> Top {
    let mut top = Top { directives: Directives::default(), end: 0, errors: Vec::new(), warnings: Vec::new() };
    let mut seen: Vec<(&'static str, Span)> = Vec::new();
    let mut shebang = false;
    let mut at = 0;
    for line in source.text().split_inclusive('\n') {
        let start = at;
        at += line.len();
        if start == 0 && line.starts_with("#!") {
            // Behind such a line only the frontend is looked for; everything else is a comment already.
            shebang = true;
            continue;
        }
        let Some((name, value, offset)) = directive(line) else { break };
        if shebang && name != "syntax" {
            break;
        }
        let whole = Span::new(start, start + line.trim_end().len());
        let span = Span::new(start + offset, start + offset + value.len());
        top.end = if shebang { 0 } else { at };
        if let Some((_, first)) = seen.iter().find(|(other, _)| *other == name) {
            let message = format!("directive {name} is given twice");
            top.errors.push(Diagnostic::error(source, whole, message).also(*first, "first given here"));
            continue;
        }
        seen.push((name, whole));
        match name {
            "escape" => escape(source, &mut top, value, span),
            "check" => match check_options(value) {
                Ok(check) => top.directives.check = check,
                Err(message) => top.errors.push(
                    Diagnostic::error(source, span, message)
                        .help("write # check=skip=NAME,NAME;error=true;experimental=NAME"),
                ),
            },
            _ => syntax(source, &mut top, value, span),
        }
    }
    top
}

/// A known directive in a line: name, value, offset of the value.
fn directive(line: &str) -> Option<(&'static str, &str, usize)> {
    let (head, tail) = line.trim_start().strip_prefix('#')?.split_once('=')?;
    let name =
        ["syntax", "escape", "check"].into_iter().find(|name| name.eq_ignore_ascii_case(head.trim()))?;
    let value = tail.trim();
    let offset = line.len() - tail.len() + (tail.len() - tail.trim_start().len());
    (!value.is_empty()).then_some((name, value, offset))
}

fn escape(source: &Arc<Source>, top: &mut Top, value: &str, span: Span) {
    match value {
        "\\" => top.directives.escape = '\\',
        "`" => top.directives.escape = '`',
        _ => {
            let message = format!("invalid escape character {}", excerpt_of(value));
            top.errors.push(Diagnostic::error(source, span, message).help("use \\ or `"));
        }
    }
}

fn syntax(source: &Arc<Source>, top: &mut Top, value: &str, span: Span) {
    let name = value.split(['@', ' ']).next().unwrap_or(value);
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    let repository = name.split(':').next().unwrap_or(name);
    if !matches!(repository, "docker/dockerfile" | "docker/dockerfile-upstream") {
        let message = format!("frontend {} is not used: the built-in language is", excerpt_of(value));
        top.warnings.push(
            Diagnostic::warning(source, span, None, message)
                .note("instructions that only that frontend knows will be errors"),
        );
    }
    top.directives.syntax = Some(Word { text: value.to_owned(), span });
}

/// Reads the value of `check`, also as a build argument gives it.
pub fn check_options(value: &str) -> Result<CheckOptions, String> {
    let mut options = CheckOptions::default();
    for part in value.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        let Some((key, value)) = part.split_once('=') else {
            return Err(format!("check option {} has no value", excerpt_of(part)));
        };
        let names = || value.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
        match (key.trim(), value.trim()) {
            ("skip", "all") => options.skip_all = true,
            ("skip", _) => options.skip.extend(names()),
            ("experimental", "all") => options.experimental_all = true,
            ("experimental", _) => options.experimental.extend(names()),
            ("error", value) => {
                options.error = boolean(value).ok_or_else(|| {
                    format!("check option error must be true or false, not {}", excerpt_of(value))
                })?;
            }
            (key, _) => return Err(format!("unknown check option {}", excerpt_of(key))),
        }
    }
    Ok(options)
}

/// A boolean as flags and directives write it.
pub fn boolean(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "1" | "t" => Some(true),
        "false" | "0" | "f" => Some(false),
        _ => None,
    }
}
