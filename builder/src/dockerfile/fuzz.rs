//! Entry points for fuzzing: foreign bytes in, a panic out if an invariant of this module does not hold.

use super::diagnostic::{Diagnostic, Style};
use super::expand;
use super::ignore::Matcher;
use super::instruction::{Command, Dockerfile, FileSource, Instruction};
use super::lint;
use super::mount::Mount;
use super::source::{Source, Span};

/// Parses bytes as a Dockerfile, and on success expands, lints and prints what came out.
pub fn dockerfile(bytes: &[u8]) {
    match Dockerfile::parse_bytes(bytes, "Dockerfile") {
        Err(errors) => {
            assert!(!errors.is_empty(), "a failure without a cause");
            errors.iter().for_each(check_diagnostic);
        }
        Ok(file) => {
            assert!(!file.stages.is_empty(), "a file without a stage");
            lint::check_alone(&file).iter().for_each(check_diagnostic);
            for stage in &file.stages {
                check_span(&file.source, stage.span);
                check_span(&file.source, stage.from.image.span);
                stage.instructions.iter().for_each(|instruction| check_instruction(&file, instruction));
            }
            file.global_args.iter().for_each(|instruction| check_instruction(&file, instruction));
        }
    }
}

/// Parses bytes as an ignore file: the first line is a path, the rest patterns.
pub fn ignore_file(bytes: &[u8]) {
    let (path, patterns) = match bytes.iter().position(|&byte| byte == b'\n') {
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
        None => (bytes, bytes),
    };
    match Matcher::parse_bytes(patterns, ".dockerignore") {
        Err(errors) => errors.iter().for_each(check_diagnostic),
        Ok(matcher) => {
            let excluded = matcher.excludes(path);
            assert_eq!(excluded, matcher.excluded_by(path).is_some(), "two answers for one path");
            assert!(!(excluded && matcher.is_empty()), "an empty matcher excludes");
            // Whatever is kept below an excluded directory must be found by a walk that prunes.
            let parents =
                path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| &path[..at]);
            for parent in parents {
                if !excluded && matcher.excludes(parent) {
                    assert!(matcher.may_contain_exceptions(parent), "a walk would miss an exception");
                }
            }
        }
    }
}

/// Expands bytes as a word, as a list and as a heredoc.
pub fn expansion(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let lookup = |name: &str| (name.len() % 2 == 1).then(|| format!("{name} a/b*c"));
    for escape in ['\\', '`'] {
        let checked = expand::usages(&text, escape);
        let expanded = expand::expand(&text, escape, &lookup);
        if let Err(error) = &checked {
            assert!(error.at() <= text.len(), "an error outside of the text");
            assert!(expanded.is_err(), "an expansion of what cannot be read");
        }
        let list = expand::expand_list(&text, escape, &lookup);
        assert_eq!(expanded.is_ok(), list.is_ok(), "a word and a list differ");
    }
    let _ = expand::expand_heredoc(&text, &lookup);
}

fn check_instruction(file: &Dockerfile, instruction: &Instruction) {
    let source = &file.source;
    check_span(source, instruction.span);
    check_span(source, instruction.keyword.span);
    assert!(instruction.span.end > instruction.span.start, "an instruction without text");
    for heredoc in &instruction.heredocs {
        check_span(source, heredoc.span);
        check_span(source, heredoc.content_span);
    }
    match &instruction.command {
        Command::Run(run) => {
            for mount in &run.mounts {
                check_span(source, mount.span);
                let resolved: Result<Mount, _> = mount.resolve(&|name: &str| Some(name.to_owned()));
                drop(resolved);
            }
        }
        Command::Copy(copy) => check_files(source, &copy.files.sources, copy.files.destination.span),
        Command::Add(add) => check_files(source, &add.files.sources, add.files.destination.span),
        Command::Env(pairs) | Command::Label(pairs) => {
            assert!(!pairs.pairs.is_empty(), "no pairs");
            for (key, value) in &pairs.pairs {
                check_span(source, key.span);
                check_span(source, value.span);
            }
        }
        Command::Onbuild(onbuild) => check_instruction(file, &onbuild.trigger),
        Command::Shell(list) => assert!(!list.is_empty(), "an empty SHELL"),
        _ => {}
    }
}

fn check_files(source: &Source, sources: &[FileSource], destination: Span) {
    assert!(!sources.is_empty(), "no sources");
    check_span(source, destination);
    for file in sources {
        match file {
            FileSource::Path(word) => check_span(source, word.span),
            FileSource::Heredoc(heredoc) => check_span(source, heredoc.span),
        }
    }
}

fn check_diagnostic(diagnostic: &Diagnostic) {
    assert!(!diagnostic.message.is_empty(), "a finding that says nothing");
    let source = diagnostic.source.as_ref();
    for label in &diagnostic.labels {
        if let Some(source) = source {
            check_span(source, label.span);
        }
    }
    for style in [Style::Plain, Style::Terminal { width: 80 }] {
        let text = diagnostic.render(style);
        assert!(text.ends_with('\n'), "a message without an end");
        let raw =
            |c: char| c.is_control() && !matches!(c, '\n' | '\t') && (style == Style::Plain || c != '\x1b');
        assert!(!text.contains(raw), "a control character in a message");
    }
}

fn check_span(source: &Source, span: Span) {
    assert!(source.text().get(span.range()).is_some(), "span {span:?} is not within the text");
}
