//! One instruction line: keyword, flags, heredocs, and then the arguments as the instruction wants them.

use std::sync::Arc;

use super::arguments::{self, Arguments};
use super::copy;
use super::diagnostic::{Diagnostic, excerpt_of, nearest};
use super::flags::{Flags, Kind, Known};
use super::instruction::{Command, From, Heredoc, Instruction, Onbuild, Word};
use super::lexer::{Lexer, LogicalLine};
use super::source::{Source, Span};
use super::words::{self, Json};
use super::{healthcheck, run};

/// What a line is.
#[derive(Debug)]
pub enum Parsed {
    /// The begin of a stage.
    From(Box<From>),
    /// Anything else.
    Instruction(Box<Instruction>),
}

/// Where the parser of a line finds its file and leaves what it finds.
#[derive(Debug)]
pub struct Context<'a> {
    pub source: &'a Arc<Source>,
    /// For the bodies of heredocs.
    pub lexer: &'a mut Lexer,
    pub errors: &'a mut Vec<Diagnostic>,
    pub warnings: &'a mut Vec<Diagnostic>,
}

impl Context<'_> {
    /// Notes an error.
    pub fn error(&mut self, error: Diagnostic) {
        self.errors.push(error);
    }
}

const NAMES: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

fn known_flags(name: &str) -> &'static [Known] {
    match name {
        "FROM" => &[("platform", Kind::Text)],
        "RUN" => &[
            ("mount", Kind::List),
            ("network", Kind::Text),
            ("security", Kind::Text),
            ("device", Kind::List),
        ],
        "COPY" => &[
            ("from", Kind::Text),
            ("chown", Kind::Text),
            ("chmod", Kind::Text),
            ("link", Kind::Boolean),
            ("parents", Kind::Boolean),
            ("exclude", Kind::List),
        ],
        "ADD" => &[
            ("chown", Kind::Text),
            ("chmod", Kind::Text),
            ("link", Kind::Boolean),
            ("exclude", Kind::List),
            ("checksum", Kind::Text),
            ("keep-git-dir", Kind::Boolean),
            ("unpack", Kind::Boolean),
        ],
        "HEALTHCHECK" => &[
            ("interval", Kind::Text),
            ("timeout", Kind::Text),
            ("start-period", Kind::Text),
            ("start-interval", Kind::Text),
            ("retries", Kind::Text),
        ],
        _ => &[],
    }
}

/// Reads a line. `trigger` is set for what stands behind `ONBUILD`. `None` if the line has errors; they are in the
/// context then.
pub fn parse(context: &mut Context<'_>, line: &LogicalLine, trigger: bool) -> Option<Parsed> {
    let (written, at) = words::keyword(&line.text);
    let keyword = line.word(0, written.len());
    let Some(name) = NAMES.into_iter().find(|name| name.eq_ignore_ascii_case(written)) else {
        context.error(unknown_instruction(context.source, line, &keyword));
        return None;
    };
    let errors = context.errors.len();
    check_characters(context, line);
    let (raw, at) = words::flags(&line.text, at, line.escape);
    let json = if takes_json(name) { words::json(&line.text, at) } else { Json::No };
    let heredocs = read_heredocs(context, line, name, at, &json);
    let before_flags = context.errors.len();
    let flags = Flags::check(context.source, line, name, raw, known_flags(name), context.errors);
    if context.errors.len() > before_flags {
        // Where arguments begin is not certain then, and complaints about them would mislead.
        return None;
    }
    if trigger && matches!(name, "ONBUILD" | "FROM" | "MAINTAINER") {
        let message = format!("{name} cannot be a trigger of ONBUILD");
        context.error(Diagnostic::error(context.source, keyword.span, message));
        return None;
    }
    if let Json::NotStrings { index, found } = json {
        let message = format!("item {} of the JSON list is {found}: strings only", index + 1);
        let span = line.span(at, line.text.len());
        context.error(
            Diagnostic::error(context.source, span, message).help("put every item into double quotes"),
        );
        return None;
    }
    let end = heredocs.last().map_or(line.whole(), |heredoc| heredoc.content_span);
    let span = line.whole().to(end);
    let arguments = Arguments { name, line, at, json, flags, heredocs, span };
    arguments.warn_about_json(context);
    if name == "FROM" {
        let from = arguments::from(context, &arguments, keyword)?;
        return (context.errors.len() == errors).then(|| Parsed::From(Box::new(from)));
    }
    let command = command(context, &arguments)?;
    let span = match &command {
        Command::Onbuild(onbuild) => span.to(onbuild.trigger.span),
        _ => span,
    };
    let instruction = Instruction {
        command,
        keyword,
        text: line.text.clone(),
        heredocs: arguments.heredocs,
        span,
        comment: line.comment.clone(),
    };
    (context.errors.len() == errors).then(|| Parsed::Instruction(Box::new(instruction)))
}

fn command(context: &mut Context<'_>, arguments: &Arguments<'_>) -> Option<Command> {
    Some(match arguments.name {
        "RUN" => Command::Run(run::run(context, arguments)?),
        "COPY" => Command::Copy(copy::copy(context, arguments)?),
        "ADD" => Command::Add(copy::add(context, arguments)?),
        "ENV" => Command::Env(arguments::pairs(context, arguments)?),
        "LABEL" => Command::Label(arguments::pairs(context, arguments)?),
        "ARG" => Command::Arg(arguments::args(context, arguments)?),
        "WORKDIR" => Command::Workdir(arguments.expanded_rest(context, "a path")?),
        "USER" => Command::User(arguments.expanded_rest(context, "NAME[:GROUP] or UID[:GID]")?),
        "STOPSIGNAL" => Command::Stopsignal(arguments::stopsignal(context, arguments)?),
        "MAINTAINER" => Command::Maintainer(arguments.rest(context, "a name")?),
        "EXPOSE" => Command::Expose(arguments::expose(context, arguments)?),
        "VOLUME" => Command::Volume(arguments::volume(context, arguments)?),
        "ENTRYPOINT" => Command::Entrypoint(run::command_line(context, arguments)?),
        "CMD" => Command::Cmd(run::command_line(context, arguments)?),
        "SHELL" => Command::Shell(arguments::shell(context, arguments)?),
        "HEALTHCHECK" => Command::Healthcheck(healthcheck::healthcheck(context, arguments)?),
        _ => Command::Onbuild(onbuild(context, arguments)?),
    })
}

fn takes_json(name: &str) -> bool {
    matches!(name, "ADD" | "COPY" | "RUN" | "CMD" | "ENTRYPOINT" | "SHELL" | "VOLUME")
}

fn onbuild(context: &mut Context<'_>, arguments: &Arguments<'_>) -> Option<Onbuild> {
    let part = arguments.line.part(arguments.at);
    if part.text.is_empty() {
        arguments.missing(context, "an instruction", "ONBUILD COPY . /app");
        return None;
    }
    let trigger = match parse(context, &part, true)? {
        Parsed::Instruction(trigger) => trigger,
        Parsed::From(_) => return None,
    };
    let mut text = part.text;
    for heredoc in &trigger.heredocs {
        text.push('\n');
        text.push_str(&heredoc.content);
        text.push_str(&heredoc.name);
    }
    Some(Onbuild { text, trigger })
}

/// The bodies of the heredocs that a line announces.
fn read_heredocs(
    context: &mut Context<'_>,
    line: &LogicalLine,
    name: &str,
    at: usize,
    json: &Json,
) -> Vec<Heredoc> {
    if !matches!(name, "RUN" | "COPY" | "ADD") || matches!(json, Json::List(_) | Json::NotStrings { .. }) {
        return Vec::new();
    }
    let mut heredocs = Vec::new();
    for token in words::heredocs(&line.text, at) {
        let span = line.span(token.range.start, token.range.end);
        let body = context.lexer.heredoc_body(&token.name, token.strip_tabs);
        if !body.terminated {
            context.error(unterminated(context.source, line, &token, span, &body));
        }
        heredocs.push(Heredoc {
            name: token.name,
            content: body.content,
            expand: token.expand,
            strip_tabs: token.strip_tabs,
            span,
            content_span: body.span,
        });
    }
    heredocs
}

fn unterminated(
    source: &Arc<Source>,
    line: &LogicalLine,
    token: &words::HeredocToken,
    span: Span,
    body: &super::lexer::Body,
) -> Diagnostic {
    let name = excerpt_of(&token.name);
    let opened = source.location(span.start).line;
    let message = format!("unterminated heredoc: no line is {name}, which line {opened} announces");
    let error = Diagnostic::error(source, line.whole().to(body.span), message);
    let error = error.help(format!("end it with a line that is exactly {name}"));
    match body.near_miss {
        Some(near) if token.strip_tabs => {
            error.also(near, "this line has blanks around the word; <<- strips leading tabs only, not spaces")
        }
        Some(near) => {
            error.also(near, "this line has blanks around the word; <<- would strip leading tabs, not spaces")
        }
        None if token.name.contains(['>', '|', ';', '&', ')']) => {
            error.note(format!("the whole of {name} is the word: put a blank behind the name"))
        }
        None => error,
    }
}

fn unknown_instruction(source: &Arc<Source>, line: &LogicalLine, keyword: &Word) -> Diagnostic {
    let written = &keyword.text;
    let error =
        Diagnostic::error(source, keyword.span, format!("unknown instruction {}", excerpt_of(written)));
    if let Some(near) = nearest(written, NAMES) {
        return error.help(format!("did you mean {near}?"));
    }
    if let Some(blank) = written.chars().find(|c| c.is_whitespace() || matches!(c, '\u{200b}' | '\u{feff}')) {
        let code = u32::from(blank);
        return error.note(format!("U+{code:04X} is not white space here: replace it with a plain blank"));
    }
    let first = source.location(line.whole().start).line;
    let above = source.slice(source.line_span(first.saturating_sub(1)));
    let comment = above.trim_start().starts_with('#');
    if above.ends_with(&line.escape.to_string().repeat(2)) {
        let escape = line.escape;
        return error.note(format!(
            "the line above ends with {escape}{escape}, which does not continue it: use one {escape}"
        ));
    }
    if first > 1 && comment && above.ends_with(line.escape) {
        return error.note("the line above is a comment: it cannot be continued");
    }
    if first > 1 && !above.trim().is_empty() && !comment {
        return error.note(format!("to continue the line above, end that one with {}", line.escape));
    }
    error
}

/// A NUL can be in no argument, variable or path.
fn check_characters(context: &mut Context<'_>, line: &LogicalLine) {
    if let Some(at) = line.text.find('\0') {
        let span = line.span(at, at + 1);
        context.error(Diagnostic::error(context.source, span, "NUL character: is this a text file?"));
    }
}
