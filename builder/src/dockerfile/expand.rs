//! Variables: `$name` and all forms of `${name...}`, quotes and escapes.
//!
//! One pass reads and evaluates. A branch that is not taken (`w` of `${v:-w}` while `v` is set) is still read, so that
//! its mistakes show, but it asks for no values and raises no `${v:?}`. Nesting, length and matching work are bounded:
//! a file from a stranger can neither exhaust the stack nor the memory.

use std::borrow::Cow;

use super::glob::Glob;

/// Deepest nesting of `${...}`.
const MAX_DEPTH: usize = 64;
/// Longest result, bytes. Linux takes 128 KiB in one variable; this is well above.
const MAX_LENGTH: usize = 1 << 20;

/// Where values come from.
pub trait Lookup {
    /// The value of a variable, `None` if it is not set.
    fn lookup(&self, name: &str) -> Option<Cow<'_, str>>;
}

impl<F: Fn(&str) -> Option<String>> Lookup for F {
    fn lookup(&self, name: &str) -> Option<Cow<'_, str>> {
        self(name).map(Cow::Owned)
    }
}

/// The result of an expansion.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expanded {
    /// The text with variables replaced, quotes and escapes removed.
    pub text: String,
    /// Names that had no value and gave an empty string, in order of use.
    pub unset: Vec<String>,
}

/// The result of [`expand_list`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExpandedList {
    /// The words that white space outside quotes makes of the result.
    pub words: Vec<String>,
    /// Names that had no value and gave an empty string, in order of use.
    pub unset: Vec<String>,
}

/// A variable that a text uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// Its name.
    pub name: String,
    /// The form says itself what happens if the variable is not set (`:-`, `+`, `?` ...).
    pub guarded: bool,
    /// Offset of the `$` in the text, bytes.
    pub at: usize,
}

/// Why a text cannot be expanded. Offsets count bytes of the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    /// A quote without its twin.
    #[error("unterminated {quote} quote")]
    Quote {
        /// The quote.
        quote: char,
        /// Where it stands.
        at: usize,
    },
    /// `${` without `}`.
    #[error("missing }} of ${{...}}")]
    Brace {
        /// Where the `$` stands.
        at: usize,
    },
    /// `${}`, `${:...}`, `${{` and other things that do not begin with a name.
    #[error("bad substitution: ${{ must be followed by a variable name")]
    Name {
        /// Where the `$` stands.
        at: usize,
    },
    /// `${name` and then something unknown.
    #[error("unsupported modifier {modifier} in ${{{name}...}}")]
    Modifier {
        /// The variable.
        name: String,
        /// What follows the name.
        modifier: String,
        /// Where the `$` stands.
        at: usize,
    },
    /// `${name/pattern` without the second `/`.
    #[error("missing / between pattern and replacement in ${{{name}/...}}")]
    Slash {
        /// The variable.
        name: String,
        /// Where the `$` stands.
        at: usize,
    },
    /// A pattern escapes a character that has no special meaning.
    #[error("invalid escape \\{escaped} in the pattern of ${{{name}...}}: only *, ? and \\ can be escaped")]
    Pattern {
        /// The variable.
        name: String,
        /// The character behind the backslash.
        escaped: char,
        /// Where the `$` stands.
        at: usize,
    },
    /// `${name:?message}` and no value.
    #[error("{name}: {message}")]
    Required {
        /// The variable.
        name: String,
        /// The text of the file, or what is missing.
        message: String,
        /// Where the `$` stands.
        at: usize,
    },
    /// More nesting than anybody writes.
    #[error("variables are nested more than {MAX_DEPTH} levels deep")]
    Depth {
        /// Where the `$` stands.
        at: usize,
    },
    /// A result larger than any variable can be, or more matching work than is reasonable.
    #[error("the value becomes too large (limit 1 MiB)")]
    Length {
        /// Where in the text it happened.
        at: usize,
    },
}

impl ExpandError {
    /// Where in the text it happened, bytes.
    #[must_use]
    pub fn at(&self) -> usize {
        match self {
            Self::Quote { at, .. }
            | Self::Brace { at }
            | Self::Name { at }
            | Self::Modifier { at, .. }
            | Self::Slash { at, .. }
            | Self::Pattern { at, .. }
            | Self::Required { at, .. }
            | Self::Depth { at }
            | Self::Length { at } => *at,
        }
    }
}

/// Expands one word. `escape` is the file's escape character.
pub fn expand(word: &str, escape: char, lookup: &dyn Lookup) -> Result<Expanded, ExpandError> {
    let mut reader = Reader::new(word, escape, Some(lookup));
    let text = reader.top(false)?.text;
    Ok(Expanded { text, unset: reader.unset() })
}

/// Expands text whose result is split at white space outside quotes (EXPOSE).
pub fn expand_list(word: &str, escape: char, lookup: &dyn Lookup) -> Result<ExpandedList, ExpandError> {
    let mut reader = Reader::new(word, escape, Some(lookup));
    let mut out = reader.top(true)?;
    out.finish_word();
    Ok(ExpandedList { words: out.words, unset: reader.unset() })
}

/// Expands the content of a heredoc of COPY or ADD: quotes are ordinary characters, the escape is always a backslash.
pub fn expand_heredoc(content: &str, lookup: &dyn Lookup) -> Result<Expanded, ExpandError> {
    let mut reader = Reader::new(content, '\\', Some(lookup));
    reader.quotes = false;
    let text = reader.top(false)?.text;
    Ok(Expanded { text, unset: reader.unset() })
}

/// Checks the syntax of a word without any values, and tells which variables it uses.
pub fn usages(word: &str, escape: char) -> Result<Vec<Usage>, ExpandError> {
    let mut reader = Reader::new(word, escape, None);
    reader.top(false)?;
    Ok(reader.used)
}

/// [`usages`] for the content of a heredoc.
pub fn heredoc_usages(content: &str) -> Result<Vec<Usage>, ExpandError> {
    let mut reader = Reader::new(content, '\\', None);
    reader.quotes = false;
    reader.top(false)?;
    Ok(reader.used)
}

/// What was read so far; with `split`, also as words.
#[derive(Default)]
struct Out {
    text: String,
    split: bool,
    words: Vec<String>,
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

    fn finish_word(&mut self) {
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

struct Reader<'a> {
    text: &'a str,
    at: usize,
    escape: char,
    /// `None`: only the syntax is read.
    lookup: Option<&'a dyn Lookup>,
    /// Quotes have a meaning.
    quotes: bool,
    /// The part being read counts.
    active: bool,
    depth: usize,
    /// Variables without a value; without `lookup`, all.
    used: Vec<Usage>,
    /// Those of `used` that gave an empty string because of it.
    unset: Vec<usize>,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str, escape: char, lookup: Option<&'a dyn Lookup>) -> Self {
        let (used, unset) = (Vec::new(), Vec::new());
        Self { text, at: 0, escape, lookup, quotes: true, active: true, depth: 0, used, unset }
    }

    fn top(&mut self, split: bool) -> Result<Out, ExpandError> {
        let mut out = Out { split, ..Out::default() };
        self.part(&mut out, None, Escapes::Remove)?;
        Ok(out)
    }

    /// Names without a value, in order of use.
    fn unset(&mut self) -> Vec<String> {
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
