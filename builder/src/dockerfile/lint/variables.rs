//! Variables that nobody defines, and base image names that come out empty.
//!
//! The environment of a base image is not known here, so in a stage that has one only a name close to a declared one
//! is told; from scratch all names are known.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::Findings;
use crate::dockerfile::diagnostic::nearest;
use crate::dockerfile::expand::{self, Usage};
use crate::dockerfile::instruction::{Command, FileSource, Instruction, Stage, Word};

/// Variables that the builder presets in the global scope.
pub const PLATFORM_ARGUMENTS: [&str; 11] = [
    "TARGETPLATFORM",
    "TARGETOS",
    "TARGETOSVERSION",
    "TARGETARCH",
    "TARGETVARIANT",
    "TARGETSTAGE",
    "BUILDPLATFORM",
    "BUILDOS",
    "BUILDOSVERSION",
    "BUILDARCH",
    "BUILDVARIANT",
];

/// UndefinedArgInFrom and InvalidDefaultArgInFrom; `alone` adds UndefinedVar.
pub(super) fn check(findings: &mut Findings<'_>, alone: bool) {
    let file = findings.file;
    let globals = Globals::of(findings);
    // Names known at the end of each stage, and whether they are all.
    let mut known: Vec<(BTreeSet<String>, bool)> = Vec::new();
    for stage in &file.stages {
        globals.check_from(findings, stage);
        if !alone {
            continue;
        }
        let base = findings.earlier[stage.index].base;
        let mut scope = match base.and_then(|base| known.get(base)) {
            Some(inherited) => inherited.clone(),
            None => (BTreeSet::from(["PATH".to_owned()]), stage.from.image.text == "scratch"),
        };
        for instruction in &stage.instructions {
            check_instruction(findings, instruction, &mut scope);
        }
        known.push(scope);
    }
}

/// The global scope with its defaults.
struct Globals {
    values: Vec<(String, Option<String>)>,
}

impl Globals {
    fn of(findings: &Findings<'_>) -> Self {
        let mut globals = Self { values: Vec::new() };
        for instruction in &findings.file.global_args {
            let Command::Arg(arguments) = &instruction.command else { continue };
            for argument in arguments {
                let default = argument.default.as_ref().and_then(|word| {
                    expand::expand(&word.text, findings.file.escape(), &|name: &str| globals.value(name)).ok()
                });
                globals.values.push((argument.name.text.clone(), default.map(|expanded| expanded.text)));
            }
        }
        globals
    }

    fn value(&self, name: &str) -> Option<String> {
        let own = self.values.iter().rev().find(|(other, _)| other == name);
        // Any value does: it is not the platform that makes a name bad.
        let preset = PLATFORM_ARGUMENTS.contains(&name).then(|| "linux".to_owned());
        own.and_then(|(_, value)| value.clone()).or(preset)
    }

    fn declares(&self, name: &str) -> bool {
        PLATFORM_ARGUMENTS.contains(&name) || self.values.iter().any(|(other, _)| other == name)
    }

    /// UndefinedArgInFrom, InvalidDefaultArgInFrom.
    fn check_from(&self, findings: &mut Findings<'_>, stage: &Stage) {
        let from = &stage.from;
        let escape = findings.file.escape();
        let mut undefined = false;
        for word in from.platform.iter().chain([&from.image]) {
            for usage in unguarded(word, escape) {
                if self.declares(&usage.name) {
                    continue;
                }
                undefined = true;
                let message =
                    format!("FROM uses ${}, which no ARG before the first FROM declares", usage.name);
                let names = self.values.iter().map(|(name, _)| name.as_str());
                let help = match nearest(&usage.name, names.chain(PLATFORM_ARGUMENTS)) {
                    Some(near) => format!("did you mean {near}?"),
                    None => format!("declare ARG {} before the first FROM", usage.name),
                };
                findings.add("UndefinedArgInFrom", word.span, &from.comment, message, |finding| {
                    finding.help(help)
                });
            }
        }
        let used = expand::usages(&from.image.text, escape).unwrap_or_default();
        if undefined || used.is_empty() {
            return;
        }
        let lookup = |name: &str| self.value(name);
        if let Ok(expanded) = expand::expand(&from.image.text, escape, &lookup)
            && !is_plausible(&expanded.text)
        {
            let message =
                format!("with the default values of its ARGs, {} is no image name", from.image.text);
            findings.add("InvalidDefaultArgInFrom", from.image.span, &from.comment, message, |finding| {
                finding.note(format!("it becomes \"{}\"", expanded.text)).help("give the ARG a default value")
            });
        }
    }
}

/// Whether a name could be that of an image; empty parts are what missing values leave behind.
fn is_plausible(name: &str) -> bool {
    let empty = |part: &str| part.is_empty();
    !name.split('/').any(empty)
        && !name.split(':').any(empty)
        && !name.split('@').any(empty)
        && !name.contains("/:")
}

/// UndefinedVar; then adds what the instruction itself declares.
fn check_instruction(
    findings: &mut Findings<'_>,
    instruction: &Instruction,
    scope: &mut (BTreeSet<String>, bool),
) {
    let escape = findings.file.escape();
    for (word, heredoc) in expanded_words(&instruction.command) {
        let used = match heredoc {
            true => expand::heredoc_usages(&word.text).unwrap_or_default(),
            false => unguarded(&word, escape),
        };
        for usage in used.into_iter().filter(|usage| !usage.guarded && is_name(&usage.name)) {
            if scope.0.contains(&usage.name) {
                continue;
            }
            let near = nearest(&usage.name, scope.0.iter().map(String::as_str)).map(str::to_owned);
            if near.is_none() && !scope.1 {
                continue;
            }
            let message = format!("${} is not defined", usage.name);
            findings.add("UndefinedVar", word.span, &instruction.comment, message, |finding| match near {
                Some(near) => finding.help(format!("did you mean {near}?")),
                None => finding.help(format!("declare ARG {} in this stage", usage.name)),
            });
        }
        if let (Command::Arg(_), false) = (&instruction.command, heredoc) {
            declare(&instruction.command, scope);
        }
    }
    declare(&instruction.command, scope);
}

fn declare(command: &Command, scope: &mut (BTreeSet<String>, bool)) {
    match command {
        Command::Arg(arguments) => {
            scope.0.extend(arguments.iter().map(|argument| argument.name.text.clone()))
        }
        Command::Env(pairs) => scope.0.extend(pairs.pairs.iter().map(|(key, _)| key.text.clone())),
        _ => {}
    }
}

/// The words of a command that the builder expands; `true` for the content of a heredoc.
fn expanded_words(command: &Command) -> Vec<(Cow<'_, Word>, bool)> {
    let plain = |word| (Cow::Borrowed(word), false);
    match command {
        Command::Env(pairs) | Command::Label(pairs) => {
            pairs.pairs.iter().flat_map(|(key, value)| [plain(key), plain(value)]).collect()
        }
        Command::Arg(arguments) => {
            arguments.iter().filter_map(|argument| argument.default.as_ref()).map(plain).collect()
        }
        Command::Workdir(word) | Command::User(word) | Command::Stopsignal(word) => vec![plain(word)],
        Command::Expose(words) | Command::Volume(words) => words.iter().map(plain).collect(),
        Command::Copy(copy) => file_words(&copy.files),
        Command::Add(add) => {
            file_words(&add.files).into_iter().chain(add.checksum.iter().map(plain)).collect()
        }
        _ => Vec::new(),
    }
}

fn file_words(files: &crate::dockerfile::instruction::Files) -> Vec<(Cow<'_, Word>, bool)> {
    let sources = files.sources.iter().filter_map(|source| match source {
        FileSource::Path(word) => Some((Cow::Borrowed(word), false)),
        FileSource::Heredoc(heredoc) if heredoc.expand => {
            let content = Word { text: heredoc.content.clone(), span: heredoc.content_span };
            Some((Cow::Owned(content), true))
        }
        FileSource::Heredoc(_) => None,
    });
    let flags = files.chown.iter().chain(&files.chmod).chain([&files.destination]);
    sources.chain(flags.map(|word| (Cow::Borrowed(word), false))).collect()
}

/// The variables of a word that give an empty string if they are not defined.
fn unguarded(word: &Word, escape: char) -> Vec<Usage> {
    let used = expand::usages(&word.text, escape).unwrap_or_default();
    used.into_iter().filter(|usage| !usage.guarded && is_name(&usage.name)).collect()
}

/// `$1`, `$@` and such are names too, but nobody declares them.
fn is_name(name: &str) -> bool {
    name.starts_with(|character: char| character.is_alphabetic() || character == '_')
}
