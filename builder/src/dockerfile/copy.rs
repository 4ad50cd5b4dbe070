//! Arguments of COPY and ADD.

use super::arguments::Arguments;
use super::command::Context;
use super::diagnostic::{Diagnostic, excerpt_of};
use super::expand;
use super::instruction::{Add, Copy, FileSource, Files, Word};
use super::mode;
use super::words::{self, Json};

/// COPY.
pub fn copy(context: &mut Context<'_>, arguments: &Arguments<'_>) -> Option<Copy> {
    let from = arguments.flags.text("from");
    if let Some(word) = &from
        && !expand::usages(&word.text, arguments.line.escape).is_ok_and(|used| used.is_empty())
    {
        let message = format!("--from={} cannot hold a variable", excerpt_of(&word.text));
        let error = Diagnostic::error(context.source, word.span, message);
        let help = format!("define a stage FROM {} AS NAME, and use --from=NAME", excerpt_of(&word.text));
        context.error(error.help(help));
    }
    let files = files(context, arguments)?;
    for source in &files.sources {
        if let FileSource::Path(word) = source
            && source_kind(&word.text) == SourceKind::Url
        {
            let error = Diagnostic::error(context.source, word.span, "COPY cannot fetch a URL");
            context.error(error.help("use ADD"));
        }
    }
    Some(Copy { files, from, parents: arguments.flags.boolean("parents").unwrap_or(false) })
}

/// ADD.
pub fn add(context: &mut Context<'_>, arguments: &Arguments<'_>) -> Option<Add> {
    let checksum = arguments.flags.text("checksum");
    let files = files(context, arguments)?;
    if let Some(word) = &checksum {
        arguments.check_flag(context, word);
        let source = files.sources.iter().find_map(|source| match source {
            FileSource::Path(word) => Some(word),
            FileSource::Heredoc(_) => None,
        });
        let remote = source
            .is_some_and(|word| word.text.contains('$') || source_kind(&word.text) != SourceKind::Local);
        if files.sources.len() != 1 || !remote {
            let error =
                Diagnostic::error(context.source, word.span, "--checksum needs a single remote source");
            context.error(error.help("it is for one URL or git repository"));
        }
    }
    let flag = |name: &str| arguments.flags.boolean(name);
    Some(Add { files, checksum, keep_git_dir: flag("keep-git-dir").unwrap_or(false), unpack: flag("unpack") })
}

fn files(context: &mut Context<'_>, arguments: &Arguments<'_>) -> Option<Files> {
    let chown = arguments.flags.text("chown");
    let chmod = arguments.flags.text("chmod");
    if let Some(word) = &chown {
        arguments.check_flag(context, word);
    }
    if let Some(word) = &chmod
        && let Some(value) = arguments.check_flag(context, word)
        && let Err(message) = mode::parse(&value)
    {
        context.error(Diagnostic::error(context.source, word.span, message));
    }
    let mut sources = sources(context, arguments);
    let destination = sources.pop();
    let (false, Some(destination)) = (sources.is_empty(), destination) else {
        let example = format!("{} SOURCE /destination", arguments.name);
        arguments.missing(context, "at least one source and a destination", &example);
        return None;
    };
    let destination = match destination {
        FileSource::Path(word) => word,
        FileSource::Heredoc(heredoc) => {
            let message = "a heredoc cannot be the destination";
            let error = Diagnostic::error(context.source, heredoc.span, message);
            context.error(error.help("add a destination at the end of the line"));
            return None;
        }
    };
    Some(Files {
        sources,
        destination,
        chown,
        chmod,
        link: arguments.flags.boolean("link").unwrap_or(false),
        excludes: arguments.flags.list("exclude"),
        flags: arguments.flags.spans(),
    })
}

/// All words, the destination last.
fn sources(context: &mut Context<'_>, arguments: &Arguments<'_>) -> Vec<FileSource> {
    if let Json::List(list) = &arguments.json {
        let span = arguments.all().span;
        let words = list.iter().map(|text| Word { text: text.clone(), span });
        let words: Vec<Word> = words.collect();
        words.iter().for_each(|word| drop(arguments.check_flag(context, word)));
        return words.into_iter().map(FileSource::Path).collect();
    }
    let mut sources = Vec::new();
    for range in words::split_blanks(&arguments.line.text, arguments.at) {
        let word = arguments.word(range.clone());
        match arguments.heredocs.iter().find(|heredoc| heredoc.span == word.span) {
            Some(heredoc) => {
                if let (true, Err(error)) = (heredoc.expand, expand::heredoc_usages(&heredoc.content)) {
                    let message = format!("in heredoc {}: {error}", excerpt_of(&heredoc.name));
                    context.error(Diagnostic::error(context.source, heredoc.content_span, message));
                }
                sources.push(FileSource::Heredoc(heredoc.clone()));
            }
            None => {
                arguments.check_expansion(context, range);
                sources.push(FileSource::Path(word));
            }
        }
    }
    sources
}

/// What a source of ADD is, by its text after expansion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    /// A path or pattern in the context.
    Local,
    /// `http://` or `https://`.
    Url,
    /// A git repository.
    Git,
}

/// Tells paths from URLs and git repositories.
#[must_use]
pub fn source_kind(source: &str) -> SourceKind {
    let lower = source.get(..12).unwrap_or(source).to_ascii_lowercase();
    if lower.starts_with("git@") || lower.starts_with("git://") || lower.starts_with("ssh://") {
        return SourceKind::Git;
    }
    if lower.starts_with("http://") || lower.starts_with("https://") {
        let path = source.split(['#', '?']).next().unwrap_or(source);
        return if path.ends_with(".git") { SourceKind::Git } else { SourceKind::Url };
    }
    SourceKind::Local
}
