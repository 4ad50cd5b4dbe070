//! Variables: `$name` and all forms of `${name...}`, quotes and escapes.
//!
//! One pass reads and evaluates. A branch that is not taken (`w` of `${v:-w}` while `v` is set) is still read, so that
//! its mistakes show, but it asks for no values and raises no `${v:?}`. Nesting, length and matching work are bounded:
//! a file from a stranger can neither exhaust the stack nor the memory.

use std::borrow::Cow;

mod glob;
mod reader;

use reader::Reader;

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
