//! The pass over a text that reads and evaluates at once.

use std::borrow::Cow;

use super::glob::Glob;
use super::{ExpandError, Lookup, MAX_DEPTH, MAX_LENGTH, Usage};

/// What was read so far; with `split`, also as words.
#[derive(Default)]
pub(super) struct Out {
    pub(super) text: String,
    split: bool,
    pub(super) words: Vec<String>,
    word: Option<String>,
}

impl Out {
    /// A character that may separate words.
    fn push(&mut self, character: char) {
        if self.split {
            if character.is_whitespace() {
                self.finish_word();
            } else {
                self.word.get_or_insert_default().push(character);
            }
        }
        self.text.push(character);
    }

    /// Text of quotes and escapes, which never separates words.
    fn push_raw(&mut self, text: &str) {
        if self.split {
            self.word.get_or_insert_default().push_str(text);
        }
        self.text.push_str(text);
    }

    pub(super) fn finish_word(&mut self) {
        self.words.extend(self.word.take());
    }
}

/// How escapes are read up to the end of a part.
#[derive(Clone, Copy, PartialEq)]
enum Escapes {
    /// The escape goes away and protects the next character.
    Remove,
    /// Both characters stay: a pattern gives them their meaning.
    Keep,
}

pub(super) struct Reader<'a> {
    text: &'a str,
    at: usize,
    escape: char,
    /// `None`: only the syntax is read.
    lookup: Option<&'a dyn Lookup>,
    /// Quotes have a meaning.
    pub(super) quotes: bool,
    /// The part being read counts.
    active: bool,
    depth: usize,
    /// Variables without a value; without `lookup`, all.
    pub(super) used: Vec<Usage>,
    /// Those of `used` that gave an empty string because of it.
    unset: Vec<usize>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str, escape: char, lookup: Option<&'a dyn Lookup>) -> Self {
        let (used, unset) = (Vec::new(), Vec::new());
        Self { text, at: 0, escape, lookup, quotes: true, active: true, depth: 0, used, unset }
    }

    pub(super) fn top(&mut self, split: bool) -> Result<Out, ExpandError> {
        let mut out = Out { split, ..Out::default() };
        self.part(&mut out, None, Escapes::Remove)?;
        Ok(out)
    }

    /// Names without a value, in order of use.
    pub(super) fn unset(&mut self) -> Vec<String> {
        let used = &self.used;
        std::mem::take(&mut self.unset).into_iter().map(|index| used[index].name.clone()).collect()
    }

    fn peek(&self) -> Option<char> {
        self.text.get(self.at..)?.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.at += character.len_utf8();
        Some(character)
    }

    /// Reads up to `stop` (which is consumed) or the end; tells whether `stop` was found.
    fn part(&mut self, out: &mut Out, stop: Option<char>, escapes: Escapes) -> Result<bool, ExpandError> {
        loop {
            if out.text.len() > MAX_LENGTH {
                return Err(ExpandError::Length { at: self.at });
            }
            let start = self.at;
            let Some(character) = self.next() else { return Ok(false) };
            match character {
                _ if Some(character) == stop => return Ok(true),
                '\'' if self.quotes => self.single_quote(out, start)?,
                '"' if self.quotes => self.double_quote(out, start)?,
                '$' => self.dollar(out, start)?,
                _ if character == self.escape => {
                    let Some(protected) = self.next() else { continue };
                    if escapes == Escapes::Keep {
                        out.push_raw(character.encode_utf8(&mut [0; 4]));
                    }
                    out.push_raw(protected.encode_utf8(&mut [0; 4]));
                }
                _ => out.push(character),
            }
        }
    }

    fn single_quote(&mut self, out: &mut Out, start: usize) -> Result<(), ExpandError> {
        let rest = self.text.get(self.at..).unwrap_or("");
        let length = rest.find('\'').ok_or(ExpandError::Quote { quote: '\'', at: start })?;
        out.push_raw(&rest[..length]);
        self.at += length + 1;
        Ok(())
    }

    fn double_quote(&mut self, out: &mut Out, start: usize) -> Result<(), ExpandError> {
        out.push_raw("");
        loop {
            let at = self.at;
            let character = self.next().ok_or(ExpandError::Quote { quote: '"', at: start })?;
            match character {
                '"' => return Ok(()),
                '$' => {
                    let mut inner = Out::default();
                    self.dollar(&mut inner, at)?;
                    out.push_raw(&inner.text);
                }
                _ if character == self.escape => match self.peek() {
                    None => {}
                    Some(protected) if protected == '"' || protected == '$' || protected == self.escape => {
                        self.next();
                        out.push_raw(protected.encode_utf8(&mut [0; 4]));
                    }
                    Some(_) => out.push_raw(character.encode_utf8(&mut [0; 4])),
                },
                _ => out.push_raw(character.encode_utf8(&mut [0; 4])),
            }
            if out.text.len() > MAX_LENGTH {
                return Err(ExpandError::Length { at });
            }
        }
    }

    /// Reads what follows a `$`.
    fn dollar(&mut self, out: &mut Out, start: usize) -> Result<(), ExpandError> {
        let value = if self.peek() == Some('{') {
            self.next();
            self.depth += 1;
            if self.depth > MAX_DEPTH {
                return Err(ExpandError::Depth { at: start });
            }
            let value = self.braces(start)?;
            self.depth -= 1;
            value
        } else {
            let name = self.name();
            if name.is_empty() {
                out.push('$');
                return Ok(());
            }
            self.value(name, start, false).0
        };
        if out.text.len() + value.len() > MAX_LENGTH {
            return Err(ExpandError::Length { at: start });
        }
        value.chars().for_each(|character| out.push(character));
        Ok(())
    }

    /// Reads a variable's name: may be empty.
    fn name(&mut self) -> &'a str {
        let rest = self.text.get(self.at..).unwrap_or("");
        let length = match rest.chars().next() {
            Some(digit) if digit.is_ascii_digit() => {
                rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len())
            }
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => 1,
            _ => rest
                .find(|character: char| !character.is_alphanumeric() && character != '_')
                .unwrap_or(rest.len()),
        };
        self.at += length;
        &rest[..length]
    }

    /// Looks a variable up: its value (empty if unset), and whether it is set.
    fn value(&mut self, name: &str, at: usize, guarded: bool) -> (String, bool) {
        if !self.active {
            return (String::new(), true);
        }
        let value = self.lookup.and_then(|lookup| lookup.lookup(name)).map(Cow::into_owned);
        if value.is_none() {
            if !guarded {
                self.unset.push(self.used.len());
            }
            self.used.push(Usage { name: name.to_owned(), guarded, at });
        }
        let set = value.is_some();
        (value.unwrap_or_default(), set)
    }

    /// Reads what follows `${`, including the `}`.
    fn braces(&mut self, start: usize) -> Result<String, ExpandError> {
        match self.peek() {
            None => return Err(ExpandError::Brace { at: start }),
            Some('{' | '}' | ':') => return Err(ExpandError::Name { at: start }),
            Some(_) => {}
        }
        let name = self.name();
        if name.is_empty() {
            return Err(ExpandError::Name { at: start });
        }
        let modifier = self.next().ok_or(ExpandError::Brace { at: start })?;
        match modifier {
            '}' => Ok(self.value(name, start, false).0),
            '-' | '+' | '?' => self.conditional(name, modifier, false, start),
            ':' => match self.next() {
                Some(second @ ('-' | '+' | '?')) => self.conditional(name, second, true, start),
                None => Err(ExpandError::Brace { at: start }),
                Some(second) => Err(modifier_error(name, &format!(":{}", second.escape_debug()), start)),
            },
            '#' | '%' => self.trim(name, modifier, start),
            '/' => self.replace(name, start),
            '"' | '\'' => Err(ExpandError::Brace { at: start }),
            _ if modifier.is_whitespace() || modifier.is_control() => Err(ExpandError::Brace { at: start }),
            _ => Err(modifier_error(name, &modifier.to_string(), start)),
        }
    }

    /// `-`, `+` and `?`; `or_empty` is the form with the colon.
    fn conditional(
        &mut self,
        name: &str,
        operator: char,
        or_empty: bool,
        start: usize,
    ) -> Result<String, ExpandError> {
        let (value, set) = self.value(name, start, true);
        let usable = set && !(or_empty && value.is_empty());
        let takes_word = if operator == '+' { usable } else { !usable };
        let word = self.word('}', Escapes::Remove, takes_word || self.lookup.is_none(), start)?;
        match operator {
            '+' if usable => Ok(word),
            '+' => Ok(String::new()),
            '-' if usable => Ok(value),
            '-' => Ok(word),
            _ if usable || !self.active || self.lookup.is_none() => Ok(value),
            _ => {
                let message = match (word.is_empty(), set) {
                    (false, _) => word,
                    (true, true) => "is not allowed to be empty".to_owned(),
                    (true, false) => "is not allowed to be unset".to_owned(),
                };
                Err(ExpandError::Required { name: name.to_owned(), message, at: start })
            }
        }
    }

    /// `#`, `##`, `%` and `%%`.
    fn trim(&mut self, name: &str, operator: char, start: usize) -> Result<String, ExpandError> {
        let longest = self.peek() == Some(operator);
        if longest {
            self.next();
        }
        let used = self.used.len();
        let pattern = self.word('}', Escapes::Keep, true, start)?;
        let unknown = self.is_unknown(used);
        let (value, _) = self.value(name, start, false);
        if unknown {
            return Ok(value);
        }
        let glob = self.glob(&pattern, name, start)?;
        let trimmed = match operator {
            '#' => glob.trim_start(&value, longest),
            _ => glob.trim_end(&value, longest),
        };
        trimmed.ok_or(ExpandError::Length { at: start })
    }

    /// `/pattern/replacement` and `//pattern/replacement`.
    fn replace(&mut self, name: &str, start: usize) -> Result<String, ExpandError> {
        let all = self.peek() == Some('/');
        if all {
            self.next();
        }
        let used = self.used.len();
        let mut pattern = Out::default();
        if !self.part(&mut pattern, Some('/'), Escapes::Keep)? {
            return Err(ExpandError::Slash { name: name.to_owned(), at: start });
        }
        let unknown = self.is_unknown(used);
        let replacement = self.word('}', Escapes::Keep, true, start)?;
        let replacement = unescape_replacement(&replacement, self.escape);
        let (value, _) = self.value(name, start, false);
        if unknown {
            return Ok(value);
        }
        let glob = self.glob(&pattern.text, name, start)?;
        glob.replace(&value, &replacement, all, MAX_LENGTH).ok_or(ExpandError::Length { at: start })
    }

    /// Whether a pattern just read holds variables whose values are not known: then nothing can be said about it.
    fn is_unknown(&self, used_before: usize) -> bool {
        self.lookup.is_none() && self.used.len() > used_before
    }

    fn glob(&self, pattern: &str, name: &str, at: usize) -> Result<Glob, ExpandError> {
        Glob::parse(pattern, self.escape).map_err(|escaped| ExpandError::Pattern {
            name: name.to_owned(),
            escaped,
            at,
        })
    }

    /// Reads a nested word up to `stop`; if it does not count, nothing in it is looked up.
    fn word(
        &mut self,
        stop: char,
        escapes: Escapes,
        counts: bool,
        start: usize,
    ) -> Result<String, ExpandError> {
        let outer = self.active;
        self.active = outer && counts;
        let mut out = Out::default();
        let found = self.part(&mut out, Some(stop), escapes);
        self.active = outer;
        if found? { Ok(out.text) } else { Err(ExpandError::Brace { at: start }) }
    }
}

fn modifier_error(name: &str, modifier: &str, at: usize) -> ExpandError {
    ExpandError::Modifier { name: name.to_owned(), modifier: modifier.to_owned(), at }
}

/// In a replacement the escape only protects what would end it, and itself.
fn unescape_replacement(text: &str, escape: char) -> String {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if character == escape {
            match characters.peek() {
                Some(&protected) if protected == '/' || protected == '}' || protected == escape => {
                    out.push(protected);
                    characters.next();
                    continue;
                }
                _ => {}
            }
        }
        out.push(character);
    }
    out
}
