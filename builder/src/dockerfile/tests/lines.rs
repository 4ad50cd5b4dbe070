//! Section "File, lines, comments": encoding, continuation, comments, directives.

use super::{outline, parse};
use crate::dockerfile::Dockerfile;

#[test]
fn lines() {
    for (text, expected) in [
        ("FROM a\nUSER b", "USER <b>"),
        ("FROM a\r\nUSER b\r\n", "USER <b>"),
        ("\u{feff}FROM a\nUSER b", "USER <b>"),
        ("from a\nuser b", "USER <b>"),
        ("  FROM a\n\t USER \t b \t", "USER <b>"),
        ("\n\n# c\n\nFROM a\n\n# c\n  # d\nUSER b\n# e", "USER <b>"),
        ("FROM a\nUSER\x0bb", "USER <b>"),
        ("FROM a\nUSER\x0cb", "USER <b>"),
        // Continuation.
        ("FROM a\nRUN b \\\n c", "RUN \"b  c\""),
        ("FROM a\nRUN b\\\nc", "RUN \"bc\""),
        ("FROM a\nRUN b \\  \t\n  c", "RUN \"b   c\""),
        ("FROM a\r\nRUN b \\\r\n  c\r\n", "RUN \"b   c\""),
        ("FROM a\nRUN b \\\n  # comment\n  c", "RUN \"b   c\""),
        ("FROM a\nRUN b \\\n# comment \\\n  c", "RUN \"b   c\""),
        ("FROM a\nRUN b \\\n\n  c", "RUN \"b   c\""),
        ("FROM a\nRUN b \\\n   \n  c", "RUN \"b   c\""),
        ("FROM a\nRUN b \\", "RUN \"b\""),
        ("FROM a\nRUN b \\\n", "RUN \"b\""),
        ("FROM a\nRUN b \\\n# c", "RUN \"b\""),
        ("FROM a\nRUN b \\\\\nUSER c", "RUN \"b \\\\\\\\\"; USER <c>"),
        ("FROM a\nRUN b # c", "RUN \"b # c\""),
        ("FROM a\nRUN \\\n  b", "RUN \"b\""),
        ("FROM a\n\\\nUSER b", "USER <b>"),
        ("FROM a\n\\\n\\\n\\\n", ""),
        ("FROM \\\n a", ""),
        ("FR\\\nOM a\nUSER b", "USER <b>"),
        ("FROM a\nENV x=1 \\\n    y=2 \\\n    # why\n    z=3", "ENV <x>=<1> <y>=<2> <z>=<3>"),
        // The escape directive.
        ("# escape=`\nFROM a\nRUN b `\n c", "RUN \"b  c\""),
        ("#escape = ` \nFROM a\nRUN b \\\nUSER c", "RUN \"b \\\\\"; USER <c>"),
        ("# escape=\\\nFROM a\nRUN b \\\n c", "RUN \"b  c\""),
        ("# comment\n# escape=`\nFROM a\nRUN b \\\n c", "RUN \"b  c\""),
        ("\n# escape=`\nFROM a\nRUN b \\\n c", "RUN \"b  c\""),
        ("# syntax=docker/dockerfile:1\n# escape=`\nFROM a\nRUN b `\n c", "RUN \"b  c\""),
        ("# ESCAPE=`\nFROM a\nRUN b `\n c", "RUN \"b  c\""),
        ("# unknown=x\n# escape=`\nFROM a\nRUN b \\\n c", "RUN \"b  c\""),
        ("#!/usr/bin/env x\n# syntax=docker/dockerfile:1\nFROM a", ""),
        // Order and emptiness.
        ("ARG b\nFROM a", ""),
        ("", "error: the file has no instructions"),
        ("\n \n# c\n", "error: the file has no instructions"),
        ("\\\n", "error: the file has no instructions"),
        ("ARG b", "error: no build stage: the file has only ARG"),
        ("RUN b\nFROM a", "error: RUN before the first FROM"),
        ("# escape=x\nFROM a", "error: invalid escape character x"),
        ("# escape=`\n# escape=`\nFROM a", "error: directive escape is given twice"),
        ("# check=skip\nFROM a", "error: check option skip has no value"),
        ("# check=foo=a\nFROM a", "error: unknown check option foo"),
        ("# check=error=maybe\nFROM a", "error: check option error must be true or false, not maybe"),
        ("# check=skip=A,B;error=true;experimental=all\nFROM a", ""),
        ("FROM a\nRUN x\0y", "error: NUL character: is this a text file?"),
        ("FROM a\nFOO x", "error: unknown instruction FOO"),
        ("FROM a\n// x", "error: unknown instruction //"),
    ] {
        assert_eq!(outline(text), expected, "{text:?}");
    }
}

#[test]
fn directives_are_kept() {
    let file =
        parse("# syntax = docker/dockerfile:1 \n# check=skip=A,B ; error=true\n# escape=`\nFROM a").unwrap();
    assert_eq!(file.directives.syntax.as_ref().unwrap().text, "docker/dockerfile:1");
    assert_eq!(file.source.slice(file.directives.syntax.as_ref().unwrap().span), "docker/dockerfile:1");
    assert_eq!(file.directives.check.skip, ["A", "B"]);
    assert!(file.directives.check.error);
    assert_eq!(file.escape(), '`');
    assert!(file.warnings.is_empty());
    for (reference, foreign) in [
        ("docker/dockerfile", false),
        ("docker.io/docker/dockerfile:1.7@sha256:0", false),
        ("docker/dockerfile-upstream:master", false),
        ("docker/dockerfile2", true),
        ("localhost:5000/docker/dockerfile", true),
    ] {
        let file = parse(&format!("# syntax={reference}\nFROM a")).unwrap();
        assert_eq!(!file.warnings.is_empty(), foreign, "{reference}");
    }
}

#[test]
fn comments_above_belong_to_the_instruction() {
    let text =
        "# directive=like\n\n# one\n# two\nFROM a AS b\n#\n# x here\nARG x\n# far\n\nARG y\n# gone\n#\nARG z";
    let file = parse(text).unwrap();
    assert_eq!(file.stages[0].from.comment, ["one", "two"]);
    let comments: Vec<_> = file.stages[0].instructions.iter().map(|found| found.comment.join("|")).collect();
    assert_eq!(comments, ["x here", "", ""]);
}

#[test]
fn long_lines() {
    let fits = format!("FROM a\nRUN {}\n", "x".repeat(65535 - 4));
    assert!(parse(&fits).is_ok());
    for text in [
        format!("FROM a\nRUN {}\n", "x".repeat(65536 - 4)),
        format!("FROM a\nRUN <<E\n{}\nE\n", "x".repeat(65536)),
        format!("FROM a\n# {}\n", "x".repeat(65536)),
    ] {
        let errors = parse(&text).unwrap_err();
        assert!(errors[0].message.contains("limit of 65535"), "{}", errors[0].message);
        assert!(errors[0].render(crate::dockerfile::Style::Plain).len() < 1000);
    }
    let joined = format!("FROM a\nRUN {}z\n", "xxxxxxxxxxxxxxxxxxxxxxxx\\\n".repeat(10_000));
    assert!(parse(&joined).is_ok());
}

#[test]
fn bytes_that_are_no_text() {
    assert!(Dockerfile::parse_bytes(b"# caf\xe9\nFROM a\n", "Dockerfile").is_ok());
    let errors = Dockerfile::parse_bytes(b"FROM a\nLABEL x=caf\xe9\n", "Dockerfile").unwrap_err();
    assert_eq!(
        (errors[0].place().unwrap().as_str(), errors[0].message.as_str()),
        ("Dockerfile:2", "file is not UTF-8")
    );
    let errors = Dockerfile::parse_bytes(b"\xff\xfeF\0R\0O\0M\0", "Dockerfile").unwrap_err();
    assert!(errors[0].helps[0].contains("UTF-16"));
}

#[test]
fn places() {
    let text = "FROM a\nRUN b \\\n  # c\n  d\nCOPY x \\\n  y /z\nRUN <<E\nf\nE\nUSER ü ";
    let file = parse(text).unwrap();
    let instructions = &file.stages[0].instructions;
    let places: Vec<_> = instructions.iter().map(|found| file.source.place(found.span)).collect();
    assert_eq!(places, ["Dockerfile:2-4", "Dockerfile:5-6", "Dockerfile:7-9", "Dockerfile:10"]);
    let crate::dockerfile::Command::Copy(copy) = &instructions[1].command else { panic!("not a COPY") };
    assert_eq!(file.source.slice(copy.files.destination.span), "/z");
    assert_eq!(file.source.location(copy.files.destination.span.start).column, 5);
    let crate::dockerfile::Command::User(word) = &instructions[3].command else { panic!("not a USER") };
    assert_eq!(file.source.slice(word.span), "ü");
    assert_eq!(file.source.place(file.stages[0].span), "Dockerfile:1-10");
}

#[test]
fn stages_have_a_limit() {
    assert!(parse(&"FROM scratch\n".repeat(500)).is_ok());
    let errors = parse(&"FROM scratch\n".repeat(10_000)).unwrap_err();
    assert_eq!((errors.len(), errors[0].message.as_str()), (1, "more than 500 stages"));
}
