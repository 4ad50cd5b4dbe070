//! One pattern of an ignore file: parts between slashes, `**` for any number of them.
//!
//! Paths are bytes, since file names are; `?` and brackets take one UTF-8 character, or one byte where there is none.

/// Most parts between slashes: a path of the kernel could have more, a project has not.
const MAX_PARTS: usize = 120;
/// Most patterns that one line may mean.
const MAX_ALTERNATIVES: usize = 64;

/// Why a pattern is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Nothing behind `!`.
    #[error("nothing follows !")]
    Empty,
    /// A bracket that is not closed, is empty, or holds a range that runs backwards.
    #[error("a bracket is not closed, is empty, or holds a backward range")]
    Class,
    /// A backslash with nothing behind it.
    #[error("it ends with a backslash")]
    Escape,
    /// Too many `**` inside of names.
    #[error("too many ** inside of names")]
    Stars,
    /// Too many slashes.
    #[error("it has more than {MAX_PARTS} parts")]
    Length,
}

/// What one line means: `a**b` is `ab` or `a*/**/b`, everything else is a single pattern.
#[derive(Debug, Clone)]
pub struct Alternatives(Vec<Pattern>);

impl Alternatives {
    /// Reads a clean pattern without a leading slash.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let mut patterns = vec![Vec::new()];
        for component in text.split('/') {
            let mut next = Vec::new();
            for variant in component_variants(component)? {
                for pattern in &patterns {
                    let mut longer: Vec<Part> = pattern.clone();
                    longer.extend(variant.iter().cloned());
                    next.push(longer);
                }
            }
            if next.len() > MAX_ALTERNATIVES {
                return Err(PatternError::Stars);
            }
            patterns = next;
        }
        patterns.into_iter().map(Pattern::new).collect::<Result<_, _>>().map(Self)
    }

    /// The pattern matches the path or a directory above it.
    pub fn covers(&self, path: &[u8]) -> bool {
        self.0.iter().any(|pattern| pattern.covers(path))
    }

    /// The pattern may match something below `directory`.
    pub fn may_match_below(&self, directory: &[u8]) -> bool {
        self.0.iter().any(|pattern| pattern.may_match_below(directory))
    }
}

#[derive(Debug, Clone)]
struct Pattern {
    parts: Vec<Part>,
    /// All parts are literal: then this is the whole pattern.
    literal: Option<Vec<u8>>,
    /// Bits of the parts that are `**`, without one at the end. No two are neighbours.
    stars: u128,
    has_stars: bool,
}

#[derive(Debug, Clone, PartialEq)]
enum Part {
    /// `**`.
    Stars,
    Literal(Vec<u8>),
    /// `*` and then only literal bytes, the most frequent of all.
    Suffix(Vec<u8>),
    Glob(Vec<Token>),
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Any,
    One,
    Byte(u8),
    Class { negated: bool, ranges: Vec<(char, char)> },
}

impl Pattern {
    fn new(mut parts: Vec<Part>) -> Result<Self, PatternError> {
        parts.dedup_by(|a, b| *a == Part::Stars && *b == Part::Stars);
        let names: Option<Vec<&[u8]>> = parts.iter().map(Part::literal).collect();
        let literal = names.map(|names| names.join(&b'/'));
        let has_stars = parts.contains(&Part::Stars);
        if parts.len() > MAX_PARTS {
            return Err(PatternError::Length);
        }
        let inner = parts.iter().take(parts.len().saturating_sub(1)).enumerate();
        let stars = inner.filter(|(_, part)| **part == Part::Stars).map(|(at, _)| 1 << at).sum();
        Ok(Self { parts, literal, stars, has_stars })
    }

    fn covers(&self, path: &[u8]) -> bool {
        if let Some(literal) = &self.literal {
            return path
                .strip_prefix(literal.as_slice())
                .is_some_and(|rest| matches!(rest.first(), None | Some(b'/')));
        }
        if !self.has_stars {
            let mut names = path.split(|&byte| byte == b'/');
            return self.parts.iter().all(|part| names.next().is_some_and(|name| part.matches(name)));
        }
        self.reach(path).1
    }

    fn may_match_below(&self, directory: &[u8]) -> bool {
        let (reached, covered) = self.reach(directory);
        reached || covered
    }

    /// Walks the path's names through the parts, all states at once as bits. Gives whether something below the path
    /// may still match, and whether the path or a directory above it matched.
    fn reach(&self, path: &[u8]) -> (bool, bool) {
        let goal = 1_u128 << self.parts.len();
        let mut states = self.skip_stars(1);
        for name in path.split(|&byte| byte == b'/') {
            let mut next = 0;
            let mut left = states;
            while left != 0 {
                let state = left.trailing_zeros() as usize;
                left &= left - 1;
                match &self.parts[state] {
                    // At the end it takes at least one name, which this was.
                    Part::Stars if state + 1 == self.parts.len() => return (true, true),
                    Part::Stars => next |= 1 << state,
                    part if part.matches(name) => next |= 2 << state,
                    _ => {}
                }
            }
            states = self.skip_stars(next);
            if states & goal != 0 {
                return (true, true);
            }
            if states == 0 {
                return (false, false);
            }
        }
        (true, false)
    }

    /// `**` may stand for nothing, except at the end.
    fn skip_stars(&self, states: u128) -> u128 {
        states | (states & self.stars) << 1
    }
}

impl Part {
    fn literal(&self) -> Option<&[u8]> {
        match self {
            Self::Literal(name) => Some(name),
            _ => None,
        }
    }

    fn matches(&self, name: &[u8]) -> bool {
        match self {
            Self::Stars => true,
            Self::Literal(literal) => literal == name,
            Self::Suffix(suffix) => name.ends_with(suffix),
            Self::Glob(tokens) => glob(tokens, name),
        }
    }
}

/// Matches one name. On a mismatch only the last `*` takes one more character: earlier ones need not change.
fn glob(tokens: &[Token], name: &[u8]) -> bool {
    let (mut token, mut at) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        let step = match tokens.get(token) {
            Some(Token::Any) => {
                retry = Some((token + 1, at));
                token += 1;
                continue;
            }
            None if at == name.len() => return true,
            None => None,
            Some(one) => take(one, &name[at..]),
        };
        match (step, &mut retry) {
            (Some(length), _) => {
                token += 1;
                at += length;
            }
            (None, Some((after, from))) if *from < name.len() => {
                *from += character(&name[*from..]).1;
                (token, at) = (*after, *from);
            }
            (None, _) => return false,
        }
    }
}

/// How many bytes a token other than `*` takes, if it matches.
fn take(token: &Token, rest: &[u8]) -> Option<usize> {
    if rest.is_empty() {
        return None;
    }
    match token {
        Token::Byte(byte) => (rest[0] == *byte).then_some(1),
        Token::Class { negated, ranges } => {
            let (found, length) = character(rest);
            let inside = found.is_some_and(|c| ranges.iter().any(|&(low, high)| (low..=high).contains(&c)));
            (inside != *negated).then_some(length)
        }
        Token::One | Token::Any => Some(character(rest).1),
    }
}

/// The first character of some bytes and its length; a byte that begins no character counts as one.
fn character(bytes: &[u8]) -> (Option<char>, usize) {
    let length = match bytes.first() {
        Some(0xf0..) => 4,
        Some(0xe0..) => 3,
        Some(0xc0..) => 2,
        _ => 1,
    };
    let text = bytes.get(..length).and_then(|bytes| std::str::from_utf8(bytes).ok());
    match text.and_then(|text| text.chars().next()) {
        Some(found) => (Some(found), length),
        None => (None, 1),
    }
}

/// The parts that a component means; two ways to read it for each `**` inside of a name.
fn component_variants(component: &str) -> Result<Vec<Vec<Part>>, PatternError> {
    if component == "**" {
        return Ok(vec![vec![Part::Stars]]);
    }
    if let Some(rest) = component.strip_prefix("**") {
        let mut variants = component_variants(rest.trim_start_matches('*'))?;
        variants.iter_mut().for_each(|variant| variant.insert(0, Part::Stars));
        return Ok(variants);
    }
    let Some((head, tail)) = split_stars(component) else { return Ok(vec![vec![part(component)?]]) };
    let with_star = part(&format!("{head}*"))?;
    if tail.is_empty() {
        return Ok(vec![vec![with_star]]);
    }
    if component.matches("**").count() > 5 {
        return Err(PatternError::Stars);
    }
    let mut variants = component_variants(&format!("{head}{tail}"))?;
    for below in component_variants(tail)? {
        variants.push([with_star.clone(), Part::Stars].into_iter().chain(below).collect());
    }
    Ok(variants)
}

/// Splits at the first `**` that is neither escaped nor in brackets.
fn split_stars(component: &str) -> Option<(&str, &str)> {
    let mut bracket = false;
    let mut escaped = false;
    for (at, character) in component.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '[' => bracket = true,
            ']' => bracket = false,
            '*' if !bracket && component[at + 1..].starts_with('*') => {
                return Some((&component[..at], component[at..].trim_start_matches('*')));
            }
            _ => {}
        }
    }
    None
}

fn part(text: &str) -> Result<Part, PatternError> {
    let mut tokens = Vec::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '*' if tokens.last() == Some(&Token::Any) => {}
            '*' => tokens.push(Token::Any),
            '?' => tokens.push(Token::One),
            '[' => tokens.push(class(&mut characters)?),
            '\\' => push(&mut tokens, characters.next().ok_or(PatternError::Escape)?),
            _ => push(&mut tokens, character),
        }
    }
    if let Some(name) = bytes(&tokens) {
        return Ok(Part::Literal(name));
    }
    match tokens.split_first() {
        Some((Token::Any, rest)) => Ok(bytes(rest).map_or(Part::Glob(tokens), Part::Suffix)),
        _ => Ok(Part::Glob(tokens)),
    }
}

/// Tokens as bytes, if they are nothing else.
fn bytes(tokens: &[Token]) -> Option<Vec<u8>> {
    let byte = |token: &Token| match token {
        Token::Byte(byte) => Some(*byte),
        _ => None,
    };
    tokens.iter().map(byte).collect()
}

fn push(tokens: &mut Vec<Token>, character: char) {
    tokens.extend(character.encode_utf8(&mut [0; 4]).bytes().map(Token::Byte));
}

/// Reads a bracket behind its `[`.
fn class(characters: &mut std::str::Chars<'_>) -> Result<Token, PatternError> {
    let negated = characters.as_str().starts_with('^');
    if negated {
        characters.next();
    }
    let mut ranges = Vec::new();
    loop {
        let low = match characters.next().ok_or(PatternError::Class)? {
            ']' if ranges.is_empty() => return Err(PatternError::Class),
            ']' => return Ok(Token::Class { negated, ranges }),
            '\\' => characters.next().ok_or(PatternError::Class)?,
            low => low,
        };
        let mut high = low;
        if characters.as_str().starts_with('-') && !characters.as_str().starts_with("-]") {
            characters.next();
            high = match characters.next().ok_or(PatternError::Class)? {
                '\\' => characters.next().ok_or(PatternError::Class)?,
                high => high,
            };
        }
        if high < low {
            return Err(PatternError::Class);
        }
        ranges.push((low, high));
    }
}
