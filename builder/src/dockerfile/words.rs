//! Splitting an instruction line: keyword, builder flags, words, JSON lists, heredoc tokens.
//!
//! All functions work on the joined text of a line and give byte offsets into it.

use std::ops::Range;

use super::lexer::is_blank;

/// The instruction word and where its arguments begin.
pub fn keyword(text: &str) -> (&str, usize) {
    let length = text.find(is_blank).unwrap_or(text.len());
    (&text[..length], skip_blanks(text, length))
}

/// The first offset from `at` on that is not blank.
pub fn skip_blanks(text: &str, at: usize) -> usize {
    let rest = text.get(at..).unwrap_or("");
    at + rest.len() - rest.trim_start_matches(is_blank).len()
}

/// A word that starts with `--`.
#[derive(Debug, PartialEq, Eq)]
pub struct RawFlag {
    /// Name without `--`.
    pub name: String,
    /// What follows `=`, quotes and escapes removed.
    pub value: Option<String>,
    /// Where all of it stands.
    pub range: Range<usize>,
}

/// The flags at `at`, and where the arguments behind them begin.
pub fn flags(text: &str, mut at: usize, escape: char) -> (Vec<RawFlag>, usize) {
    let mut flags = Vec::new();
    while text.get(at..).is_some_and(|rest| rest.starts_with("--")) {
        let end = quoted_word_end(text, at, escape);
        let word = remove_quotes(&text[at..end], escape);
        if word == "--" {
            return (flags, skip_blanks(text, end));
        }
        let word = &word[2..];
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (word.to_owned(), None),
        };
        flags.push(RawFlag { name, value, range: at..end });
        at = skip_blanks(text, end);
    }
    (flags, at)
}

/// Words separated by white space only.
pub fn split_blanks(text: &str, at: usize) -> Vec<Range<usize>> {
    split(text, at, |start| text[start..].find(is_blank).map_or(text.len(), |length| start + length))
}

/// Words separated by white space outside quotes and not behind an escape.
pub fn split_quoted(text: &str, at: usize, escape: char) -> Vec<Range<usize>> {
    split(text, at, |start| quoted_word_end(text, start, escape))
}

fn split(text: &str, at: usize, end_of: impl Fn(usize) -> usize) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let mut start = skip_blanks(text, at);
    while start < text.len() {
        let end = end_of(start);
        words.push(start..end);
        start = skip_blanks(text, end);
    }
    words
}

/// Where the word at `start` ends; an unterminated quote takes all.
fn quoted_word_end(text: &str, start: usize, escape: char) -> usize {
    let mut quote = None;
    let mut escaped = false;
    for (offset, character) in text[start..].char_indices() {
        match quote {
            _ if escaped => escaped = false,
            Some('\'') if character != '\'' => {}
            _ if character == escape => escaped = true,
            Some(open) if character == open => quote = None,
            Some(_) => {}
            None if matches!(character, '\'' | '"') => quote = Some(character),
            None if is_blank(character) => return start + offset,
            None => {}
        }
    }
    text.len()
}

/// A word without its quotes and escapes; inside double quotes an escape protects any character, as flags have it.
pub fn remove_quotes(word: &str, escape: char) -> String {
    let mut out = String::with_capacity(word.len());
    let mut quote = None;
    let mut characters = word.chars();
    while let Some(character) = characters.next() {
        match quote {
            Some('\'') if character != '\'' => out.push(character),
            _ if character == escape => out.extend(characters.next()),
            Some(open) if character == open => quote = None,
            None if matches!(character, '\'' | '"') => quote = Some(character),
            _ => out.push(character),
        }
    }
    out
}

/// A quote that is opened but not closed: its character and offset.
pub fn open_quote(text: &str, at: usize, escape: char) -> Option<(char, usize)> {
    let mut quote = None;
    let mut escaped = false;
    for (offset, character) in text.get(at..)?.char_indices() {
        match quote {
            _ if escaped => escaped = false,
            Some(('\'', _)) if character != '\'' => {}
            _ if character == escape => escaped = true,
            Some((open, _)) if character == open => quote = None,
            Some(_) => {}
            None if matches!(character, '\'' | '"') => quote = Some((character, at + offset)),
            None => {}
        }
    }
    quote
}

/// What an argument that may be a JSON list is.
#[derive(Debug, PartialEq, Eq)]
pub enum Json {
    /// It does not begin with `[`.
    No,
    /// A list of strings.
    List(Vec<String>),
    /// JSON, but item `index` (from 0) is not a string.
    NotStrings {
        /// Which item.
        index: usize,
        /// What it is.
        found: &'static str,
    },
    /// It begins like a list but is not JSON: the text form. `at` is the offset of the error.
    Invalid {
        /// Offset of the error in the text.
        at: usize,
        /// What the JSON reader says.
        reason: String,
    },
}

/// Reads the arguments at `at` as a JSON list.
pub fn json(text: &str, at: usize) -> Json {
    let rest = text.get(at..).unwrap_or("");
    if !rest.starts_with('[') {
        return Json::No;
    }
    let items: Vec<serde_json::Value> = match serde_json::from_str(rest) {
        Ok(items) => items,
        Err(error) => {
            // The text is one line, unless a vertical white space made it two; the column counts bytes from 1.
            let mut offset = (at + error.column().saturating_sub(1)).min(text.len());
            while !text.is_char_boundary(offset) {
                offset -= 1;
            }
            let reason = error.to_string();
            let reason = reason.rsplit_once(" at line ").map_or(reason.as_str(), |(reason, _)| reason);
            return Json::Invalid { at: offset, reason: reason.to_owned() };
        }
    };
    let mut list = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let found = match item {
            serde_json::Value::String(text) if text.contains('\0') => "a string with a NUL character",
            serde_json::Value::String(text) => {
                list.push(text);
                continue;
            }
            serde_json::Value::Null => "null",
            serde_json::Value::Bool(_) => "a boolean",
            serde_json::Value::Number(_) => "a number",
            serde_json::Value::Array(_) => "a list",
            serde_json::Value::Object(_) => "an object",
        };
        return Json::NotStrings { index, found };
    }
    Json::List(list)
}

/// A `<<NAME` word.
#[derive(Debug, PartialEq, Eq)]
pub struct HeredocToken {
    /// Its name, quotes removed.
    pub name: String,
    /// `<<-`.
    pub strip_tabs: bool,
    /// No part of the name was quoted.
    pub expand: bool,
    /// Where it stands.
    pub range: Range<usize>,
}

/// The heredoc tokens among the words from `at` on.
pub fn heredocs(text: &str, at: usize) -> Vec<HeredocToken> {
    if !text.get(at..).is_some_and(|rest| rest.contains("<<")) {
        return Vec::new();
    }
    // The shell reads these words, hence its escape and not that of the file.
    let words = split_quoted(text, at, '\\');
    words.into_iter().filter_map(|range| heredoc_token(&text[range.clone()], range)).collect()
}

fn heredoc_token(word: &str, range: Range<usize>) -> Option<HeredocToken> {
    let rest = word.trim_start_matches(|character: char| character.is_ascii_digit()).strip_prefix("<<")?;
    let (strip_tabs, raw) = match rest.strip_prefix('-') {
        Some(raw) => (true, raw),
        None => (false, rest),
    };
    if raw.is_empty() || raw.contains('<') || open_quote(raw, 0, '\\').is_some() {
        return None;
    }
    let name = remove_quotes(raw, '\\');
    Some(HeredocToken { strip_tabs, expand: name == raw, name, range })
}
