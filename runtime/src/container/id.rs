//! The name of a container: checked once, then carried as proof.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// A container id. It becomes a file name and a cgroup name, so it can be neither a path nor hidden.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(String);

/// Longest accepted id: what leaves room in a file name for our suffixes.
const LONGEST: usize = 200;

impl Id {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Id {
    type Err = Error;

    fn from_str(text: &str) -> Result<Id> {
        let refuse = |reason| Err(Error::ContainerId { id: text.to_owned(), reason });
        if text.is_empty() {
            return refuse("it is empty");
        }
        if text.len() > LONGEST {
            return refuse("it is longer than 200 characters");
        }
        if text.starts_with('.') || text.starts_with('-') {
            return refuse("it starts with a dot or a dash");
        }
        if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+-.".contains(&byte)) {
            return refuse("only letters, digits and _ + - . are allowed");
        }
        Ok(Id(text.to_owned()))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_file_names_and_nothing_else() {
        for good in ["a", "box_1", "0123abc", "x.y-z+w", &"a".repeat(200)] {
            assert_eq!(good.parse::<Id>().unwrap().as_str(), good);
        }
        for bad in ["", ".", "..", "a/b", "../x", "-f", "a b", "a\nb", "ä", "a\0", &"a".repeat(201)] {
            assert!(bad.parse::<Id>().is_err(), "{bad:?}");
        }
    }
}
