//! Variables: `$name` and all forms of `${name...}`, quotes and escapes.

use std::borrow::Cow;

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
