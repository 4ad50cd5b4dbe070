//! The ignore file: which paths of the context do not exist for COPY and ADD.
//!
//! Every line is a pattern over the whole path, relative to the context. A pattern that matches a directory covers all
//! below it; the last line that matches a path, or a directory above it, decides. Hence a directory that is excluded
//! may hold paths that are not, and [`Matcher::may_contain_exceptions`] tells a walk when it need not look.

use std::sync::Arc;

use super::diagnostic::{Diagnostic, excerpt_of};
use super::path;
use super::pattern::{Alternatives, PatternError};
use super::source::{Source, Span};

/// The patterns of an ignore file, or of `--exclude`.
#[derive(Debug, Clone)]
pub struct Matcher {
    source: Arc<Source>,
    rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
struct Rule {
    /// A line with `!`: what it matches is not excluded.
    exception: bool,
    pattern: Alternatives,
    span: Span,
}

/// The line that excludes a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExcludedBy {
    /// `FILE:LINE`.
    pub place: String,
    /// The line as written.
    pub pattern: String,
    /// Where it stands in [`Matcher::source`].
    pub span: Span,
}

impl Matcher {
    /// Reads an ignore file; `name` is what messages call it. Gives all errors.
    pub fn parse(text: &str, name: &str) -> Result<Self, Vec<Diagnostic>> {
        let source = Source::new(name, text.strip_prefix('\u{feff}').unwrap_or(text));
        let mut rules = Vec::new();
        let mut errors = Vec::new();
        for number in 1..=source.line_count() {
            let span = source.line_span(number);
            let line = source.slice(span);
            if line.starts_with('#') || line.trim().is_empty() {
                continue;
            }
            let offset = span.start + line.len() - line.trim_start().len();
            let span = Span::new(offset, offset + line.trim().len());
            match rule(line.trim(), span) {
                Ok(rule) => rules.extend(rule),
                Err(error) => errors.push(bad_pattern(&source, span, line.trim(), &error)),
            }
        }
        if errors.is_empty() { Ok(Self { source, rules }) } else { Err(errors) }
    }

    /// Reads an ignore file's bytes; names that are not UTF-8 cannot be written in it.
    pub fn parse_bytes(bytes: &[u8], name: &str) -> Result<Self, Vec<Diagnostic>> {
        Self::parse(&String::from_utf8_lossy(bytes), name)
    }

    /// The patterns of a flag such as `--exclude`, one a line; the error names the first bad one.
    pub fn from_patterns<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, PatternError> {
        let source = Source::new("--exclude", "");
        let mut rules = Vec::new();
        for pattern in patterns {
            rules.extend(rule(pattern.trim(), Span::default())?);
        }
        Ok(Self { source, rules })
    }

    /// A matcher that excludes nothing.
    #[must_use]
    pub fn empty() -> Self {
        Self { source: Source::new("", ""), rules: Vec::new() }
    }

    /// Nothing is ever excluded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.iter().all(|rule| rule.exception)
    }

    /// The file that the patterns come from.
    #[must_use]
    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// Whether a path relative to the context is excluded. The root (an empty path) never is.
    #[must_use]
    pub fn excludes(&self, path: &[u8]) -> bool {
        self.deciding(path).is_some_and(|rule| !rule.exception)
    }

    /// [`Self::excludes`] with the line that does it.
    #[must_use]
    pub fn excluded_by(&self, path: &[u8]) -> Option<ExcludedBy> {
        let rule = self.deciding(path).filter(|rule| !rule.exception)?;
        Some(ExcludedBy {
            place: self.source.place(rule.span),
            pattern: self.source.slice(rule.span).to_owned(),
            span: rule.span,
        })
    }

    /// Whether something below an excluded directory may not be excluded, so that a walk has to look into it.
    #[must_use]
    pub fn may_contain_exceptions(&self, directory: &[u8]) -> bool {
        self.rules.iter().any(|rule| rule.exception && rule.pattern.may_match_below(directory))
    }

    /// The last rule that matches a path or a directory above it.
    fn deciding(&self, path: &[u8]) -> Option<&Rule> {
        if path.is_empty() {
            return None;
        }
        self.rules.iter().rev().find(|rule| rule.pattern.covers(path))
    }
}

/// The rule of a trimmed line; `None` for one without effect.
fn rule(line: &str, span: Span) -> Result<Option<Rule>, PatternError> {
    let (exception, pattern) = match line.strip_prefix('!') {
        Some(pattern) => (true, pattern.trim()),
        None => (false, line),
    };
    if pattern.is_empty() {
        return if exception { Err(PatternError::Empty) } else { Ok(None) };
    }
    let clean = path::clean(pattern);
    let clean = clean.strip_prefix('/').unwrap_or(&clean);
    if clean.is_empty() || clean == "." {
        // The root of the context is not excluded by naming it.
        return Ok(None);
    }
    Ok(Some(Rule { exception, pattern: Alternatives::parse(clean)?, span }))
}

fn bad_pattern(source: &Arc<Source>, span: Span, line: &str, error: &PatternError) -> Diagnostic {
    let diagnostic = Diagnostic::error(source, span, format!("bad pattern {}: {error}", excerpt_of(line)));
    match error {
        PatternError::Empty => diagnostic.help("write a pattern behind !"),
        PatternError::Class => diagnostic.help("close the bracket, or write \\[ for the character itself"),
        PatternError::Escape => diagnostic.help("write \\\\ for a backslash at the end"),
        PatternError::Length => diagnostic,
        PatternError::Stars => diagnostic.help("** is for whole parts of a path: a/**/b"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matcher(text: &str) -> Matcher {
        Matcher::parse(text, ".dockerignore").unwrap()
    }

    #[test]
    fn single_patterns() {
        for (pattern, excluded, kept) in [
            ("a", "a a/b a/b/c", "b ab ba b/a aa"),
            ("/a", "a a/b", "b/a"),
            ("a/", "a a/b", "b/a"),
            ("./a", "a", "b/a"),
            ("a/b", "a/b a/b/c", "a b a/c x/a/b"),
            ("a/../b", "b", "a"),
            ("*", "a .a a/b", ""),
            ("*.o", "x.o .o x.o/y", "a/x.o x.c o"),
            ("*/*.o", "a/x.o", "x.o a/b/x.o"),
            ("?", "a ä", "ab a?"),
            ("a?c", "abc a.c aäc", "ac abbc a/c"),
            ("[a-c]x", "ax bx cx", "dx x"),
            ("[^a-c]x", "dx", "ax bx"),
            ("[!a]", "! a", "b"),
            ("[a\\-c]", "a - c", "b"),
            ("\\*", "*", "a"),
            ("a\\?b", "a?b", "axb"),
            ("**", "a a/b", ""),
            ("**/x", "x a/x a/b/x x/y a/x/y", "ax xa y"),
            ("**/*.go", "x.go a/x.go a/b/.go", "x.c"),
            ("a/**", "a/b a/b/c", "a b"),
            ("a/**/b", "a/b a/x/b a/x/y/b a/b/c", "a b ab a/x"),
            ("**/a/**", "a/b x/a/b", "a x/a"),
            ("a**b", "ab ax/b a/b a/x/b", "axb a"),
            ("a**", "a ax a/b ax/y", "b"),
            ("**b", "b x/b", "ab"),
            ("a*b*c", "abc aXbYc", "ab acb"),
            ("*a*a*a*", "aaa xaxaxa", "aa"),
            ("a b", "a b", "a"),
            ("#a", "", "a #a"),
            ("*a/*b", "a/b xa/yb/c", "a xa/y b"),
            ("**/a/**/b/**", "a/b/c x/a/y/b/z", "a/b b/a/c x/a/y/b"),
            (" #a", "#a", "a"),
            (".", "", "a"),
            ("/", "", "a"),
            ("..", "", "a"),
            ("../a", "", "a"),
            ("ä", "ä", "a"),
        ] {
            let matcher = matcher(pattern);
            let paths = |list: &'static str| match pattern {
                "a b" => vec![list],
                _ => list.split(' ').filter(|path| !path.is_empty()).collect::<Vec<_>>(),
            };
            for path in paths(excluded) {
                assert!(matcher.excludes(path.as_bytes()), "{pattern} must exclude {path}");
            }
            for path in paths(kept) {
                assert!(!matcher.excludes(path.as_bytes()), "{pattern} must keep {path}");
            }
            assert!(!matcher.excludes(b""), "{pattern} must keep the root");
        }
    }

    #[test]
    fn the_last_matching_line_wins() {
        for (text, excluded, kept) in [
            ("*\n!a", "b b/a", "a a/b"),
            ("!a\n*", "a b", ""),
            ("*.md\n!README*.md\nREADME-secret.md", "x.md README-secret.md", "README.md README-x.md"),
            ("*.md\nREADME-secret.md\n!README*.md", "x.md", "README.md README-secret.md"),
            ("a\n!a/b", "a a/c", "a/b a/b/c"),
            ("a\n!/a/b/", "a a/c", "a/b"),
            ("a\n!a/**/x\na/y", "a a/z a/y/x", "a/x a/b/x"),
            ("# comment\n\n  a  \r\nb", "a b", "c # comment"),
            ("\u{feff}a", "a", ""),
            ("a\n! a", "", "a"),
        ] {
            let matcher = matcher(text);
            for path in excluded.split(' ').filter(|path| !path.is_empty()) {
                assert!(matcher.excludes(path.as_bytes()), "{text:?} must exclude {path}");
            }
            for path in kept.split(' ').filter(|path| !path.is_empty()) {
                assert!(!matcher.excludes(path.as_bytes()), "{text:?} must keep {path}");
            }
        }
    }

    #[test]
    fn walks_are_pruned_where_no_exception_can_be() {
        for (text, directory, may) in [
            ("*\n!a/b", "a", true),
            ("*\n!a/b", "x", false),
            ("*\n!a/b", "a/c", false),
            ("*\n!a/b", "a/b", true),
            ("*\n!a", "a", true),
            ("*\n!*/x", "b", true),
            ("*\n!*/x", "b/c", false),
            ("*\n!**/x", "a/b/c", true),
            ("*\n!a/**/x", "a/b", true),
            ("*\n!a/**/x", "b", false),
            ("*\n!*.go", "a", false),
            ("*\n!*.d/x", "a", false),
            ("*\n!*.d/x", "a.d", true),
            ("*", "a", false),
        ] {
            assert_eq!(
                matcher(text).may_contain_exceptions(directory.as_bytes()),
                may,
                "{text:?} {directory}"
            );
        }
    }

    #[test]
    fn the_line_that_excludes_is_told() {
        let matcher = matcher("# first\na\n  *.log \n!x.log\n");
        let by = matcher.excluded_by(b"y.log").unwrap();
        assert_eq!((by.place.as_str(), by.pattern.as_str()), (".dockerignore:3", "*.log"));
        assert_eq!(matcher.excluded_by(b"a/b/c").unwrap().place, ".dockerignore:2");
        assert_eq!(matcher.excluded_by(b"x.log"), None);
        assert!(!matcher.is_empty());
        assert!(Matcher::empty().is_empty());
        assert!(Matcher::from_patterns(["*.log"]).unwrap().excludes(b"a.log"));
    }

    #[test]
    fn bad_patterns_are_told_with_their_lines() {
        let errors = Matcher::parse("ok\n!\n[a\na\\\n[]\n[b-a]\n", ".dockerignore").unwrap_err();
        let places: Vec<_> = errors.iter().filter_map(Diagnostic::place).collect();
        assert_eq!(
            places,
            [".dockerignore:2", ".dockerignore:3", ".dockerignore:4", ".dockerignore:5", ".dockerignore:6"]
        );
    }

    #[test]
    fn hard_patterns_take_no_time() {
        let text = format!("{}b\n**/{}b", "*a".repeat(200), "**/a/".repeat(50));
        let path = "a".repeat(255) + &"/a".repeat(1000);
        assert!(!matcher(&text).excludes(path.as_bytes()));
    }
}
