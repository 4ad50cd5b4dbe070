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

/// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(before[j - 2] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
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
