//! Arguments of HEALTHCHECK.

use super::arguments::Arguments;
use super::command::Context;
use super::diagnostic::{Diagnostic, excerpt_of};
use super::duration;
use super::instruction::{CommandLine, Healthcheck};
use super::words::{self, Json};

const EXAMPLE: &str =
    "for example HEALTHCHECK --interval=30s CMD curl -f http://localhost/, or HEALTHCHECK NONE";
const MILLISECOND: i64 = 1_000_000;

/// HEALTHCHECK.
pub fn healthcheck(context: &mut Context<'_>, arguments: &Arguments<'_>) -> Option<Healthcheck> {
    let line = arguments.line;
    let (kind, _) = words::keyword(arguments.text());
    let end = arguments.at + kind.len();
    let at = words::skip_blanks(&line.text, end);
    if kind.eq_ignore_ascii_case("none") {
        if at < line.text.len() {
            let span = line.span(at, line.text.len());
            context.error(Diagnostic::error(context.source, span, "HEALTHCHECK NONE takes no arguments"));
        }
        return Some(Healthcheck::None);
    }
    if !kind.eq_ignore_ascii_case("cmd") {
        let (message, span) = match kind {
            "" => ("HEALTHCHECK needs CMD or NONE".to_owned(), line.whole()),
            _ => (
                format!("unknown type {} of HEALTHCHECK: use CMD or NONE", excerpt_of(kind)),
                line.span(arguments.at, end),
            ),
        };
        context.error(Diagnostic::error(context.source, span, message).help(EXAMPLE));
        return None;
    }
    let command = command(context, arguments, at);
    let mut duration = |name: &str| duration(context, arguments, name);
    let interval = duration("interval");
    let timeout = duration("timeout");
    let start_period = duration("start-period");
    let start_interval = duration("start-interval");
    let retries = retries(context, arguments);
    Some(Healthcheck::Check {
        command: command?,
        interval: interval?,
        timeout: timeout?,
        start_period: start_period?,
        start_interval: start_interval?,
        retries: retries?,
    })
}

fn command(context: &mut Context<'_>, arguments: &Arguments<'_>, at: usize) -> Option<CommandLine> {
    let line = arguments.line;
    let text = &line.text[at..];
    match words::json(&line.text, at) {
        Json::List(list) if !list.is_empty() => Some(CommandLine::Exec(list)),
        Json::NotStrings { index, found } => {
            let message = format!("item {} of the JSON list is {found}: strings only", index + 1);
            let error = Diagnostic::error(context.source, line.span(at, line.text.len()), message);
            context.error(error.help("put every item into double quotes"));
            None
        }
        Json::No | Json::Invalid { .. } if !text.is_empty() => Some(CommandLine::Shell(text.to_owned())),
        _ => {
            let error = Diagnostic::error(context.source, line.whole(), "HEALTHCHECK CMD needs a command")
                .help(EXAMPLE);
            context.error(error);
            None
        }
    }
}

fn duration(context: &mut Context<'_>, arguments: &Arguments<'_>, name: &str) -> Option<i64> {
    let Some(word) = arguments.flags.text(name) else { return Some(0) };
    let message = match duration::parse(&word.text) {
        Ok(0) => return Some(0),
        Ok(value) if value >= MILLISECOND => return Some(value),
        Ok(_) => format!("flag --{name} must be 0 or at least 1ms, not {}", excerpt_of(&word.text)),
        Err(reason) => format!("invalid duration {} of flag --{name}: {reason}", excerpt_of(&word.text)),
    };
    let error = Diagnostic::error(context.source, word.span, message);
    context.error(error.help("write numbers with units ns, us, ms, s, m, h, such as 30s or 1m30s"));
    None
}

fn retries(context: &mut Context<'_>, arguments: &Arguments<'_>) -> Option<u32> {
    let Some(word) = arguments.flags.text("retries") else { return Some(0) };
    match word.text.parse::<u32>() {
        Ok(number) if i32::try_from(number).is_ok() => Some(number),
        _ => {
            let message = format!("flag --retries is a number from 0 on, not {}", excerpt_of(&word.text));
            context.error(Diagnostic::error(context.source, word.span, message));
            None
        }
    }
}
