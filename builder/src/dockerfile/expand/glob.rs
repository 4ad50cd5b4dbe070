//! Patterns of `${v#p}`, `${v%p}` and `${v/p/r}`: `*`, `?` and escapes, no brackets.
//!
//! Matching walks all states of the pattern at once, so its work is at most pattern length times value length per
//! start; the total is bounded, and a match that would exceed the bound gives `None`.

/// Steps of matching before giving up.
const MAX_STEPS: usize = 1 << 24;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Token {
    Any,
    One,
    Literal(char),
}

/// A pattern ready to match.
#[derive(Debug)]
pub struct Glob {
    tokens: Vec<Token>,
}

impl Glob {
    /// Reads a pattern; the error is a character that cannot be escaped.
    pub fn parse(pattern: &str, escape: char) -> Result<Self, char> {
        let mut tokens = Vec::new();
        let mut characters = pattern.chars();
        while let Some(character) = characters.next() {
            let token = match character {
                '*' if tokens.last() == Some(&Token::Any) => continue,
                '*' => Token::Any,
                '?' => Token::One,
                _ if character == escape || character == '\\' => match characters.next() {
                    None => break,
                    Some(literal @ ('*' | '?' | '\\' | '/' | '}')) => Token::Literal(literal),
                    Some(literal) if literal == escape => Token::Literal(literal),
                    Some(other) => return Err(other),
                },
                _ => Token::Literal(character),
            };
            tokens.push(token);
        }
        Ok(Self { tokens })
    }

    /// The value without its shortest or longest matching prefix.
    pub fn trim_start(&self, value: &str, longest: bool) -> Option<String> {
        let characters: Vec<char> = value.chars().collect();
        let length = self.matched(&characters, longest, &mut 0)?.unwrap_or(0);
        Some(characters[length..].iter().collect())
    }

    /// The value without its shortest or longest matching suffix.
    pub fn trim_end(&self, value: &str, longest: bool) -> Option<String> {
        let reversed = Self { tokens: self.tokens.iter().rev().copied().collect() };
        let characters: Vec<char> = value.chars().rev().collect();
        let length = reversed.matched(&characters, longest, &mut 0)?.unwrap_or(0);
        Some(characters[length..].iter().rev().collect())
    }

    /// The value with its first match, or all of them, replaced; matches are as long as possible.
    pub fn replace(&self, value: &str, replacement: &str, all: bool, limit: usize) -> Option<String> {
        if self.tokens.is_empty() {
            return Some(value.to_owned());
        }
        let characters: Vec<char> = value.chars().collect();
        let mut out = String::new();
        let (mut at, mut steps) = (0, 0);
        if characters.is_empty() {
            let matches = self.matched(&characters, true, &mut steps)?.is_some();
            return Some(if matches { replacement.to_owned() } else { String::new() });
        }
        while at < characters.len() {
            match self.matched(&characters[at..], true, &mut steps)? {
                Some(length) if length > 0 => {
                    out.push_str(replacement);
                    at += length;
                    if !all {
                        break;
                    }
                }
                _ => {
                    out.push(characters[at]);
                    at += 1;
                }
            }
            if out.len() > limit {
                return None;
            }
        }
        out.extend(&characters[at..]);
        Some(out)
    }

    /// Length of the shortest or longest match at the start, inner `None` if there is none; outer `None` if it would
    /// take too many steps.
    fn matched(&self, characters: &[char], longest: bool, steps: &mut usize) -> Option<Option<usize>> {
        let goal = self.tokens.len();
        let mut states = vec![false; goal + 1];
        self.enter(&mut states, 0);
        let mut found = states[goal].then_some(0);
        for (index, &character) in characters.iter().enumerate() {
            if found.is_some() && !longest {
                break;
            }
            let mut next = vec![false; goal + 1];
            let mut alive = false;
            for (state, token) in self.tokens.iter().enumerate() {
                if !states[state] {
                    continue;
                }
                match token {
                    Token::Any => self.enter(&mut next, state),
                    Token::Literal(literal) if *literal != character => continue,
                    Token::One | Token::Literal(_) => self.enter(&mut next, state + 1),
                }
                alive = true;
            }
            *steps += goal + 1;
            if *steps > MAX_STEPS {
                return None;
            }
            if !alive {
                break;
            }
            states = next;
            if states[goal] {
                found = Some(index + 1);
            }
        }
        Some(found)
    }

    /// Marks a state and those behind a `*`, which may match nothing.
    fn enter(&self, states: &mut [bool], state: usize) {
        states[state] = true;
        if self.tokens.get(state) == Some(&Token::Any) {
            states[state + 1] = true;
        }
    }
}
