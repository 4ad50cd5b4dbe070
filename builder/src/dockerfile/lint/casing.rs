//! Upper and lower case: keywords, `AS`, stage names; and names that mean something else.

use super::{Findings, all_instructions};
use crate::dockerfile::instruction::Word;

pub(super) fn check(findings: &mut Findings<'_>) {
    keywords(findings);
    stage_names(findings);
}

/// ConsistentInstructionCasing, FromAsCasing.
fn keywords(findings: &mut Findings<'_>) {
    let file = findings.file;
    let mut words: Vec<(&Word, &[String])> = all_instructions(file)
        .map(|instruction| (&instruction.keyword, instruction.comment.as_slice()))
        .chain(file.stages.iter().map(|stage| (&stage.from.keyword, stage.from.comment.as_slice())))
        .collect();
    words.sort_by_key(|(word, _)| word.span.start);
    let upper = words.iter().filter(|(word, _)| is_upper(&word.text)).count();
    let lower = words.iter().filter(|(word, _)| is_lower(&word.text)).count();
    let (wanted, is_wanted): (_, fn(&str) -> bool) =
        if lower > upper { ("lower", is_lower) } else { ("upper", is_upper) };
    for (word, comment) in words.into_iter().filter(|(word, _)| !is_wanted(&word.text)) {
        let message = format!("instruction {} is not in {wanted} case like the others", word.text);
        findings.add("ConsistentInstructionCasing", word.span, comment, message, |finding| finding);
    }
    for from in file.stages.iter().map(|stage| &stage.from) {
        let Some(word) = &from.as_keyword else { continue };
        let (from_lower, as_lower) = (is_lower(&from.keyword.text), is_lower(&word.text));
        if from_lower != as_lower || (!from_lower && !is_upper(&word.text)) {
            let message = format!("{} and {} differ in case", from.keyword.text, word.text);
            findings.add("FromAsCasing", word.span, &from.comment, message, |finding| finding);
        }
    }
}

/// StageNameCasing, DuplicateStageName, ReservedStageName.
fn stage_names(findings: &mut Findings<'_>) {
    let file = findings.file;
    for stage in &file.stages {
        let (Some(name), Some(written)) = (&stage.name, &stage.from.alias) else { continue };
        let comment = &stage.from.comment;
        if name.text != written.text {
            let message = format!("stage name {} should be lower case", written.text);
            findings.add("StageNameCasing", written.span, comment, message, |finding| {
                finding.note(format!("FROM {} would be taken for an image", written.text))
            });
        }
        let namesake = findings.earlier[stage.index].namesake;
        if let Some(first) = namesake.and_then(|index| file.stages.get(index)) {
            let first_span = first.name.as_ref().map_or(first.from.span, |name| name.span);
            let message = format!("stage name {} is used twice", name.text);
            findings.add("DuplicateStageName", written.span, comment, message, |finding| {
                finding.also(first_span, "the earlier stage cannot be named from here on")
            });
        }
        if matches!(name.text.as_str(), "scratch" | "context") {
            let message = format!("stage name {} is reserved", name.text);
            findings.add("ReservedStageName", written.span, comment, message, |finding| finding);
        }
    }
}

fn is_upper(word: &str) -> bool {
    word.bytes().all(|byte| !byte.is_ascii_lowercase())
}

fn is_lower(word: &str) -> bool {
    word.bytes().all(|byte| !byte.is_ascii_uppercase())
}
