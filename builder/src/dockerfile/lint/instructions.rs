//! Instructions that are deprecated, useless, or say something else than was meant.

use super::Findings;
use crate::dockerfile::expand;
use crate::dockerfile::instruction::{Command, CommandLine, Instruction, Pairs, Stage};
use crate::dockerfile::{platform, port};

pub(super) fn check(findings: &mut Findings<'_>) {
    let file = findings.file;
    for instruction in &file.global_args {
        secrets(findings, instruction);
        description(findings, instruction);
    }
    // What a stage hands to those based on it: SHELL was set, WORKDIR is absolute.
    let mut handed_on: Vec<(bool, bool)> = Vec::new();
    for stage in &file.stages {
        let base = findings.earlier[stage.index].base;
        let state = base.and_then(|base| handed_on.get(base)).copied().unwrap_or_default();
        handed_on.push(forms(findings, stage, state));
        from_platform(findings, stage);
        repeated(findings, stage);
        stage_description(findings, stage);
        for instruction in &stage.instructions {
            secrets(findings, instruction);
            description(findings, instruction);
            simple(findings, instruction);
        }
    }
}

/// JSONArgsRecommended and WorkdirRelativePath, which depend on what came before.
fn forms(findings: &mut Findings<'_>, stage: &Stage, state: (bool, bool)) -> (bool, bool) {
    let (mut shell_set, mut workdir_absolute) = state;
    for instruction in &stage.instructions {
        let comment = &instruction.comment;
        match &instruction.command {
            Command::Shell(_) => shell_set = true,
            Command::Cmd(CommandLine::Shell(_)) | Command::Entrypoint(CommandLine::Shell(_))
                if !shell_set =>
            {
                let name = instruction.command.name();
                let message = format!("the shell form of {name} hides signals from the program");
                findings.add("JSONArgsRecommended", instruction.span, comment, message, |finding| {
                    finding.help(format!("write {name} [\"PROGRAM\", \"ARGUMENT\"]"))
                });
            }
            Command::Workdir(word) if word.text.starts_with(['/', '$', '"', '\'']) => workdir_absolute = true,
            Command::Workdir(word) if !workdir_absolute => {
                let message = format!("WORKDIR {} is relative to whatever the base image has", word.text);
                findings.add("WorkdirRelativePath", word.span, comment, message, |finding| {
                    finding.help("begin with an absolute WORKDIR")
                });
            }
            _ => {}
        }
    }
    (shell_set, workdir_absolute)
}

/// RedundantTargetPlatform, FromPlatformFlagConstDisallowed.
fn from_platform(findings: &mut Findings<'_>, stage: &Stage) {
    let Some(word) = &stage.from.platform else { return };
    let comment = &stage.from.comment;
    if matches!(word.text.as_str(), "$TARGETPLATFORM" | "${TARGETPLATFORM}") {
        let message = "--platform=$TARGETPLATFORM is the default";
        findings.add("RedundantTargetPlatform", word.span, comment, message, |finding| finding);
    }
    let constant = expand::usages(&word.text, findings.file.escape()).is_ok_and(|used| used.is_empty());
    let named_after_it = platform::parse(&word.text).is_ok_and(|platform| {
        let name = stage.name.as_ref().map_or("", |name| name.text.as_str());
        name.contains(&platform.os)
            || (!platform.architecture.is_empty() && name.contains(&platform.architecture))
    });
    if constant && !named_after_it {
        let message = format!("--platform={} is constant: the image is the same for every target", word.text);
        findings.add("FromPlatformFlagConstDisallowed", word.span, comment, message, |finding| finding);
    }
}

/// MultipleInstructionsDisallowed.
fn repeated(findings: &mut Findings<'_>, stage: &Stage) {
    for name in ["CMD", "ENTRYPOINT", "HEALTHCHECK"] {
        let all: Vec<&Instruction> =
            stage.instructions.iter().filter(|instruction| instruction.command.name() == name).collect();
        for pair in all.windows(2) {
            let message = format!("{name} is given again later: this one has no effect");
            findings.add(
                "MultipleInstructionsDisallowed",
                pair[0].span,
                &pair[0].comment,
                message,
                |finding| finding.also(pair[1].span, format!("the later {name}")),
            );
        }
    }
}

/// Checks that look at one instruction alone.
fn simple(findings: &mut Findings<'_>, instruction: &Instruction) {
    let comment = &instruction.comment;
    match &instruction.command {
        Command::Maintainer(name) => {
            let message = "MAINTAINER is deprecated";
            let help = format!("write LABEL org.opencontainers.image.authors=\"{}\"", name.text);
            findings.add("MaintainerDeprecated", instruction.span, comment, message, |finding| {
                finding.help(help)
            });
        }
        Command::Env(pairs) | Command::Label(pairs) if pairs.legacy => legacy(findings, instruction, pairs),
        Command::Expose(words) => {
            for word in words {
                let constant =
                    expand::usages(&word.text, findings.file.escape()).is_ok_and(|used| used.is_empty());
                let Some(ports) = constant.then(|| port::parse(&word.text).ok()).flatten() else { continue };
                if ports.protocol_casing {
                    let message = format!("protocol of {} should be lower case", word.text);
                    findings.add("ExposeProtoCasing", word.span, comment, message, |finding| finding);
                }
                if ports.prefix {
                    let message =
                        format!("{} names more than a port: EXPOSE has no address or host port", word.text);
                    findings.add("ExposeInvalidFormat", word.span, comment, message, |finding| finding);
                }
            }
        }
        _ => {}
    }
}

/// LegacyKeyValueFormat.
fn legacy(findings: &mut Findings<'_>, instruction: &Instruction, pairs: &Pairs) {
    let Some((key, value)) = pairs.pairs.first() else { return };
    let name = instruction.command.name();
    let message = format!("{name} KEY VALUE is the old form");
    let quoted = if value.text.contains([' ', '\t']) && !value.text.starts_with(['"', '\'']) {
        format!("\"{}\"", value.text)
    } else {
        value.text.clone()
    };
    findings.add("LegacyKeyValueFormat", instruction.span, &instruction.comment, message, |finding| {
        let finding = finding.help(format!("write {name} {}={quoted}", key.text));
        if value.text.contains('=') {
            return finding.note(format!("all of {} is the value of {}", value.text, key.text));
        }
        finding
    });
}

/// SecretsUsedInArgOrEnv.
fn secrets(findings: &mut Findings<'_>, instruction: &Instruction) {
    let names: Vec<_> = match &instruction.command {
        Command::Arg(arguments) => arguments.iter().map(|argument| &argument.name).collect(),
        Command::Env(pairs) => pairs.pairs.iter().map(|(key, _)| key).collect(),
        _ => return,
    };
    for name in names.into_iter().filter(|name| is_secret(&name.text)) {
        let message = format!(
            "{} {} looks like a secret: it stays in the image",
            instruction.command.name(),
            name.text
        );
        findings.add("SecretsUsedInArgOrEnv", name.span, &instruction.comment, message, |finding| finding);
    }
}

fn is_secret(name: &str) -> bool {
    const SECRET: [&str; 12] = [
        "apikey",
        "auth",
        "credential",
        "credentials",
        "key",
        "pass",
        "password",
        "passwd",
        "pword",
        "secret",
        "secrets",
        "token",
    ];
    let lower = name.to_ascii_lowercase();
    let words = || lower.split(['_', '-', '.']);
    words().any(|word| SECRET.contains(&word))
        && !words().any(|word| matches!(word, "public" | "file" | "version"))
}

/// InvalidDefinitionDescription, for ARG.
fn description(findings: &mut Findings<'_>, instruction: &Instruction) {
    if let Command::Arg(arguments) = &instruction.command
        && let [argument] = arguments.as_slice()
    {
        describe(findings, &argument.name.text, "ARG", &instruction.comment, instruction.span);
    }
}

/// InvalidDefinitionDescription, for stages.
fn stage_description(findings: &mut Findings<'_>, stage: &Stage) {
    if let Some(name) = &stage.from.alias {
        describe(findings, &name.text, "FROM", &stage.from.comment, stage.from.span);
    }
}

fn describe(
    findings: &mut Findings<'_>,
    name: &str,
    what: &str,
    comment: &[String],
    span: crate::dockerfile::Span,
) {
    const NAME: &str = "InvalidDefinitionDescription";
    let described = comment
        .last()
        .is_none_or(|line| line.starts_with("check=") || line.split_whitespace().next() == Some(name));
    if !described && findings.experimental(NAME) {
        let message = format!("the comment above {what} {name} is not its description");
        findings.add(NAME, span, comment, message, |finding| {
            finding.help(format!("write # {name} DESCRIPTION, or leave an empty line"))
        });
    }
}
