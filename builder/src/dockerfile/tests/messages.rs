//! How messages look; what they say is in the files under `fixtures/dockerfiles`.

use super::parse;
use crate::dockerfile::{Diagnostic, Severity, Source, Span, Style};

#[test]
fn a_plain_message_has_place_excerpt_and_help() {
    let errors = parse("FROM a\nUSER b\nCOPY --form=x a b\nUSER c\nUSER d\nUSER e").unwrap_err();
    let expected = "\
Dockerfile:3: error: unknown flag --form for COPY
  1 |     FROM a
  2 |     USER b
  3 | >>> COPY --form=x a b
    |          ^^^^^^^^
  4 |     USER c
  5 |     USER d
help: did you mean --from?
";
    assert_eq!(errors[0].render(Style::Plain), expected);
}

#[test]
fn a_terminal_gets_colours_and_no_more_control_characters() {
    let errors = parse("FROM a\nCOPY --f\x1b[31m=x a b").unwrap_err();
    let plain = errors[0].render(Style::Plain);
    assert!(!plain.contains('\x1b'), "{plain}");
    assert!(plain.contains("--f\\x1b[31m"), "{plain}");
    let terminal = errors[0].render(Style::Terminal { width: 80 });
    assert!(!terminal.contains("\x1b[31m"), "{terminal}");
    assert!(terminal.contains("Dockerfile:2:6"), "{terminal}");
    assert!(terminal.contains("\\x1b[31m"), "{terminal}");
}

#[test]
fn tricks_with_characters_are_made_visible() {
    for (hidden, shown) in [
        ("\u{202e}", "\\u{202e}"),
        ("\u{200b}", "\\u{200b}"),
        ("\u{feff}", "\\u{feff}"),
        ("\u{9b}", "\\u{9b}"),
        ("\x07", "\\x07"),
        ("\x7f", "\\x7f"),
    ] {
        let errors = parse(&format!("FROM a\nUSER{hidden} b")).unwrap_err();
        for style in [Style::Plain, Style::Terminal { width: 80 }] {
            let text = errors[0].render(style);
            assert!(text.contains(shown) && !text.contains(hidden), "{text}");
        }
    }
    let source = Source::new("evil\x1b[2Jname", "FROM a");
    let text = Diagnostic::error(&source, Span::new(0, 4), "bad\x1b[0m").note("a\x1bb").help("c\x1bd");
    assert!(!text.render(Style::Plain).contains('\x1b'));
}

#[test]
fn long_things_are_cut() {
    let errors = parse(&format!("FROM a\nENV {} b={}", "k".repeat(5000), "v".repeat(50_000))).map(|_| ());
    assert!(errors.is_ok());
    let errors = parse(&format!("FROM a\nENV a=b {}", "k".repeat(50_000))).unwrap_err();
    assert!(errors[0].render(Style::Plain).len() < 800);
    assert!(errors[0].message.len() < 120);
    let body = "line\n".repeat(1000);
    let errors = parse(&format!("FROM a\nRUN <<E\n{body}")).unwrap_err();
    let text = errors[0].render(Style::Plain);
    assert!(text.starts_with("Dockerfile:2-1002: error: "), "{text}");
    assert!(text.lines().count() < 20 && text.contains(" | ..."), "{text}");
}

#[test]
fn parts_of_a_message() {
    let source = Source::new("Dockerfile", "FROM a\nCMD x\nCMD y\n");
    let warning = Diagnostic::warning(&source, Span::new(7, 12), Some("Name"), "message")
        .label("here")
        .also(Span::new(13, 18), "there")
        .note("fact")
        .help("advice")
        .suggest("CDM", ["CMD", "RUN"]);
    let expected = "\
Dockerfile:2: warning[Name]: message
  1 |     FROM a
  2 | >>> CMD x
    |     ^^^^^ here
  3 |     CMD y
note: Dockerfile:3: there
note: fact
help: advice
help: did you mean CMD?
";
    assert_eq!(warning.render(Style::Plain), expected);
    let terminal = warning.render(Style::Terminal { width: 80 });
    for part in ["Name", "message", "here", "there", "fact", "advice", "did you mean CMD?"] {
        assert!(terminal.contains(part), "{part} is missing in {terminal}");
    }
    let bare = Diagnostic::without_place(Severity::Error, "no such target x").help("did you mean y?");
    assert_eq!(bare.render(Style::Plain), "error: no such target x\nhelp: did you mean y?\n");
    assert!(bare.render(Style::Terminal { width: 10 }).contains("no such target x"));
}

#[test]
fn spans_outside_of_the_text_are_survived() {
    let source = Source::new("Dockerfile", "FROM ä\n");
    for (start, end) in [(0, 999), (998, 999), (6, 6), (5, 6), (6, 7), (7, 8), (8, 8)] {
        let error = Diagnostic::error(&source, Span::new(start, end), "x").label("y");
        for style in [Style::Plain, Style::Terminal { width: 80 }] {
            assert!(error.render(style).contains("Dockerfile:1"), "{start}..{end}");
        }
    }
    let empty = Source::new("Dockerfile", "");
    let text = Diagnostic::error(&empty, Span::default(), "x").render(Style::Terminal { width: 80 });
    assert!(text.contains('x'));
}
