//! Checks of texts that a request brings and that end up in files, paths or other programs' variables.

use crate::error::{Error, Result};

/// Longest name of anything. Kubernetes' own limit is 253.
const LONGEST_NAME: usize = 1024;

/// A name: there, of reasonable length, and printable.
pub fn name<'a>(field: &str, value: &'a str) -> Result<&'a str> {
    if value.is_empty() {
        return Err(Error::invalid(field, "it is empty"));
    }
    if value.len() > LONGEST_NAME {
        return Err(Error::invalid(field, format!("it is longer than {LONGEST_NAME} bytes")));
    }
    printable(field, value)?;
    Ok(value)
}

/// A text that stays on its line, whatever reads it (CVE-2022-4318, CVE-2022-0811).
pub fn printable(field: &str, value: &str) -> Result<()> {
    match value.chars().any(char::is_control) {
        true => Err(Error::invalid(field, "it has control characters")),
        false => Ok(()),
    }
}

/// A word of a configuration line: printable and without spaces.
pub fn word(field: &str, value: &str) -> Result<()> {
    name(field, value)?;
    match value.contains(char::is_whitespace) {
        true => Err(Error::invalid(field, format!("{value:?} has spaces"))),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_cannot_be_broken() {
        assert!(name("f", "web-1.x_y").is_ok());
        for bad in ["", "a\nb", "a\0", "\u{9b}", &"x".repeat(LONGEST_NAME + 1)] {
            assert!(name("f", bad).is_err(), "{bad:?}");
        }
        assert!(name("f", "two words").is_ok());
        assert!(word("f", "two words").is_err());
    }
}
