//! TAP, as bats and runtime-tools write it: `ok 1 name`, `not ok 2 name`, `ok 3 name # skip why`, and text between.

/// One test point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// Whether it is as it should be.
    pub ok: bool,
    /// What is tested.
    pub name: String,
    /// Why it was not tested.
    pub skipped: Option<String>,
}

/// The points of an output; what is nested in another program's lines does not count.
pub fn points(text: &str) -> Vec<Point> {
    text.lines().filter_map(point).collect()
}

fn point(line: &str) -> Option<Point> {
    let line = line.trim_end();
    let (ok, rest) = match line.strip_prefix("not ok") {
        Some(rest) => (false, rest),
        None => (true, line.strip_prefix("ok")?),
    };
    let rest = rest.strip_prefix(' ')?;
    let text = rest.trim_start_matches(|digit: char| digit.is_ascii_digit());
    if text.len() == rest.len() {
        return None;
    }
    let text = text.trim_start().trim_start_matches("- ");
    let (name, skipped) = match text.rsplit_once("# ") {
        Some((name, directive)) => match directive.get(..4) {
            Some(word) if word.eq_ignore_ascii_case("skip") => (name.trim_end(), Some(directive[4..].trim())),
            _ => (text, None),
        },
        None => (text, None),
    };
    Some(Point { ok, name: name.to_owned(), skipped: skipped.map(str::to_owned) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(line: &str) -> Option<(bool, String, Option<String>)> {
        point(line).map(|point| (point.ok, point.name, point.skipped))
    }

    #[test]
    fn the_lines_of_bats_and_of_runtime_tools() {
        assert_eq!(told("ok 1 runc run"), Some((true, "runc run".into(), None)));
        assert_eq!(told("not ok 12 - exit status 1\r"), Some((false, "exit status 1".into(), None)));
        let why = Some("test requires systemd".into());
        assert_eq!(told("ok 3 a name # skip test requires systemd"), Some((true, "a name".into(), why)));
        assert_eq!(told("ok 4 a # SKIP"), Some((true, "a".into(), Some(String::new()))));
        assert_eq!(told("ok 5 mounts [# 123]"), Some((true, "mounts [# 123]".into(), None)));
    }

    #[test]
    fn other_lines_are_no_points() {
        for line in ["1..5", "okay", "ok", "ok then", "# not ok 1", "  ok 1 nested", "TAP version 13", ""] {
            assert_eq!(told(line), None, "{line:?}");
        }
    }
}
