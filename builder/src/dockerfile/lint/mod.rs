//! Checks: what a file may say but should not. Names are API: they stand in skip lists.
//!
//! Here are the checks that need only the file, and one that needs the ignore file. A check is skipped by the
//! directive `check=skip=NAME`, or for one instruction by the comment `# check=skip=NAME` directly above it.

mod casing;
mod instructions;
mod variables;

use std::collections::HashMap;

use super::diagnostic::Diagnostic;
use super::directives::check_options;
use super::ignore::Matcher;
use super::instruction::{Command, Dockerfile, FileSource, Instruction};
use super::source::Span;
use super::{copy, expand, path};

/// All findings about a file in its order, what the parser found included; but not UndefinedVar, which the plan of a
/// build knows better.
#[must_use]
pub fn check(file: &Dockerfile) -> Vec<Diagnostic> {
    findings(file, false)
}

/// [`check`] for a file that nobody plans to build: undefined variables are told as far as the file shows them.
#[must_use]
pub fn check_alone(file: &Dockerfile) -> Vec<Diagnostic> {
    findings(file, true)
}

/// Whether the directive of the file, or a comment above the instruction, skips a finding that others made.
#[must_use]
pub fn is_skipped(file: &Dockerfile, finding: &Diagnostic) -> bool {
    let at = finding.labels.first().map_or(0, |label| label.span.start);
    let stage = &file.stages[..file.stages.partition_point(|stage| stage.span.start <= at)];
    let comment = stage.last().map(|stage| {
        let before = stage.instructions.partition_point(|instruction| instruction.span.start <= at);
        stage.instructions[..before].last().map_or(&stage.from.comment, |instruction| &instruction.comment)
    });
    Findings::new(file).skipped(finding.name, comment.map_or(&[], Vec::as_slice))
}

fn findings(file: &Dockerfile, alone: bool) -> Vec<Diagnostic> {
    let mut findings = Findings::new(file);
    let parsed = file.warnings.iter().filter(|warning| !findings.skipped(warning.name, &[]));
    findings.list = parsed.cloned().collect();
    casing::check(&mut findings);
    instructions::check(&mut findings);
    variables::check(&mut findings, alone);
    findings.list.sort_by_key(|finding| finding.labels.first().map(|label| label.span.start));
    findings.list
}

/// CopyIgnoredFile: sources of COPY and ADD that the ignore file excludes. `name` tells how the source is looked up;
/// only literal sources from the context are checked.
#[must_use]
pub fn copy_ignored_file(file: &Dockerfile, ignore: &Matcher) -> Vec<Diagnostic> {
    const NAME: &str = "CopyIgnoredFile";
    let mut findings = Findings::new(file);
    for instruction in file.stages.iter().flat_map(|stage| &stage.instructions) {
        let files = match &instruction.command {
            Command::Copy(copy) if copy.from.is_none() => &copy.files,
            Command::Add(add) => &add.files,
            _ => continue,
        };
        for source in &files.sources {
            let FileSource::Path(word) = source else { continue };
            let literal = expand::usages(&word.text, file.escape()).is_ok_and(|used| used.is_empty());
            if !literal || copy::source_kind(&word.text) != copy::SourceKind::Local {
                continue;
            }
            let inside = path::absolute("/", &word.text);
            let Some(by) = ignore.excluded_by(inside.trim_start_matches('/').as_bytes()) else { continue };
            if ignore.may_contain_exceptions(inside.trim_start_matches('/').as_bytes()) {
                continue;
            }
            let message = format!("{} is excluded by {} ({})", word.text, by.place, by.pattern);
            findings.add(NAME, word.span, &instruction.comment, message, |finding| finding);
        }
    }
    findings.list
}

struct Findings<'a> {
    file: &'a Dockerfile,
    list: Vec<Diagnostic>,
    /// For each stage the earlier one that its FROM names, and the last earlier one of its own name. Found once for
    /// all, since a file may have any number of stages.
    earlier: Vec<Earlier>,
}

#[derive(Clone, Copy)]
struct Earlier {
    base: Option<usize>,
    namesake: Option<usize>,
}

impl<'a> Findings<'a> {
    fn new(file: &'a Dockerfile) -> Self {
        let mut names: HashMap<String, usize> = HashMap::new();
        let mut earlier = Vec::with_capacity(file.stages.len());
        for stage in &file.stages {
            let base = names.get(&stage.from.image.text.to_ascii_lowercase()).copied();
            let own = stage.name.as_ref().map(|name| name.text.clone());
            let namesake = own.and_then(|name| names.insert(name, stage.index));
            earlier.push(Earlier { base, namesake });
        }
        Self { file, list: Vec::new(), earlier }
    }

    /// Adds a finding unless it is skipped. `comment` is the comment above the instruction.
    fn add(
        &mut self,
        name: &'static str,
        span: Span,
        comment: &[String],
        message: impl Into<String>,
        more: impl FnOnce(Diagnostic) -> Diagnostic,
    ) {
        if !self.skipped(Some(name), comment) {
            self.list.push(more(Diagnostic::warning(&self.file.source, span, Some(name), message)));
        }
    }

    fn skipped(&self, name: Option<&str>, comment: &[String]) -> bool {
        let check = &self.file.directives.check;
        let listed = |list: &[String]| name.is_some_and(|name| list.iter().any(|other| other == name));
        if (check.skip_all && name.is_some()) || listed(&check.skip) {
            return true;
        }
        comment.iter().any(|line| {
            let options = line.strip_prefix("check=").and_then(|value| check_options(value).ok());
            options.is_some_and(|options| options.skip_all || listed(&options.skip))
        })
    }

    /// Whether an experimental check was asked for.
    fn experimental(&self, name: &str) -> bool {
        let check = &self.file.directives.check;
        check.experimental_all || check.experimental.iter().any(|other| other == name)
    }
}

/// All instructions of a file but FROM, in order.
fn all_instructions(file: &Dockerfile) -> impl Iterator<Item = &Instruction> {
    file.global_args.iter().chain(file.stages.iter().flat_map(|stage| &stage.instructions))
}

#[cfg(test)]
mod tests;
