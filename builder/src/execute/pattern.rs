//! Patterns in source paths: one component at a time, `*`, `?`, `[..]` and `\`, as Go's `filepath.Match` has them.

/// Whether a component is a pattern.
pub fn has_wildcard(part: &str) -> bool {
    part.contains(['*', '?', '[', '\\'])
}

/// Whether `name`, which has no slash, matches `pattern`. A malformed pattern matches nothing.
///
/// Work is at most the product of both lengths: after a mismatch only the last `*` takes one character more.
pub fn matches_component(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut seen) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while seen < name.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at + 1, seen));
                at += 1;
                continue;
            }
            Some(_) => {
                if let Some(next) = one(&pattern, at, name[seen]) {
                    at = next;
                    seen += 1;
                    continue;
                }
            }
            None => {}
        }
        let Some((after, from)) = star else { return false };
        star = Some((after, from + 1));
        (at, seen) = (after, from + 1);
    }
    pattern[at..].iter().all(|rest| *rest == '*')
}

/// Matches one character against the pattern at `at`; gives where the pattern goes on.
fn one(pattern: &[char], at: usize, letter: char) -> Option<usize> {
    match pattern[at] {
        '?' => Some(at + 1),
        '\\' => (*pattern.get(at + 1)? == letter).then_some(at + 2),
        '[' => class(pattern, at + 1, letter),
        literal => (literal == letter).then_some(at + 1),
    }
}

/// A class behind its `[`.
fn class(pattern: &[char], mut at: usize, letter: char) -> Option<usize> {
    let negated = pattern.get(at) == Some(&'^');
    at += usize::from(negated);
    let mut matched = false;
    let mut empty = true;
    loop {
        if *pattern.get(at)? == ']' && !empty {
            return (matched != negated).then_some(at + 1);
        }
        empty = false;
        let (low, next) = member(pattern, at)?;
        let (high, next) = match pattern.get(next) {
            Some('-') => member(pattern, next + 1)?,
            _ => (low, next),
        };
        matched |= (low..=high).contains(&letter);
        at = next;
    }
}

fn member(pattern: &[char], at: usize) -> Option<(char, usize)> {
    match *pattern.get(at)? {
        '\\' => Some((*pattern.get(at + 1)?, at + 2)),
        '-' | ']' => None,
        letter => Some((letter, at + 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name, expected) in [
            ("*", ".hidden", true),
            ("*.c", "a.c", true),
            ("*.c", "a.cc", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("?", "ä", true),
            ("?", "", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            ("[]a]", "]", false),
            ("[\\]a]", "]", true),
            ("[a", "a", false),
            ("\\*", "*", true),
            ("\\*", "x", false),
            ("\\", "\\", false),
            ("**", "anything", true),
            ("", "", true),
            ("x", "x", true),
        ] {
            assert_eq!(matches_component(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn hostile_patterns_end() {
        let name = "a".repeat(5_000);
        assert!(!matches_component(&"a*".repeat(2_000), &format!("{name}b")[1..4_000].replace('a', "b")));
        assert!(!matches_component(&format!("{}b", "*a".repeat(1_000)), &name));
    }
}
