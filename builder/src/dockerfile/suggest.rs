//! The nearest known word to a mistyped one.

/// Distances from this on are not a typing mistake.
const LIMIT: usize = 3;

/// The candidate nearest to `written` with an edit distance below 3, ignoring case; the first of equals. None if
/// `written` is itself a candidate, or if nothing of the candidate would remain.
pub fn nearest<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let mut best: Option<(usize, &'a str)> = None;
    let lower: Vec<char> = written.chars().take(256).flat_map(char::to_lowercase).collect();
    for candidate in candidates {
        if candidate == written {
            return None;
        }
        let other: Vec<char> = candidate.chars().take(256).flat_map(char::to_lowercase).collect();
        if lower.len().abs_diff(other.len()) >= LIMIT {
            continue;
        }
        let distance = distance(&lower, &other);
        if distance < LIMIT
            && distance < other.len()
            && distance < lower.len().max(1)
            && best.is_none_or(|(least, _)| distance < least)
        {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Insertions, deletions and replacements that turn `a` into `b`.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_word_within_two_edits() {
        let words = ["RUN", "COPY", "ENTRYPOINT", "ENV", "EXPOSE"];
        for (written, expected) in [
            ("RNU", Some("RUN")),
            ("rnu", Some("RUN")),
            ("COPPY", Some("COPY")),
            ("CPY", Some("COPY")),
            ("ENTRYPONIT", Some("ENTRYPOINT")),
            ("EXPSOE", Some("EXPOSE")),
            ("RUN", None),
            ("run", Some("RUN")),
            ("MAKE", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, words), expected, "{written}");
        }
    }
}
