//! A file: directives, global arguments, stages.
//!
//! Every instruction is read even after a mistake, so that one run shows all of them; what follows from a mistake
//! already told (everything below a mistyped `FROM`) is not told again.

use std::sync::Arc;

use super::command::{self, Parsed};
use super::diagnostic::Diagnostic;
use super::directives;
use super::instruction::{Command, Dockerfile, From, Instruction, Stage};
use super::lexer::Lexer;
use super::source::{Source, Span};

/// A build follows stages into each other, so their number has a limit that no real file comes near.
const MAX_STAGES: usize = 500;
/// More errors than this are counted, not shown: they come from a file that is no Dockerfile.
const MAX_ERRORS: usize = 20;

impl Dockerfile {
    /// Reads a file's text; `name` is what messages call the file. On failure gives every error found, in order of
    /// the file; at least one.
    pub fn parse(text: &str, name: &str) -> Result<Self, Vec<Diagnostic>> {
        let source = Source::new(name, text.strip_prefix('\u{feff}').unwrap_or(text));
        let (dockerfile, mut errors) = FileParser::new(&source).parse();
        if errors.is_empty() {
            return Ok(dockerfile);
        }
        errors.sort_by_key(|error| error.labels.first().map(|label| label.span.start));
        let hidden = errors.len().saturating_sub(MAX_ERRORS);
        errors.truncate(MAX_ERRORS);
        if let (Some(last), true) = (errors.last_mut(), hidden > 0) {
            last.notes.push(format!("{hidden} more errors are not shown"));
        }
        Err(errors)
    }

    /// Reads a file's bytes. Bytes that are not UTF-8 are accepted in comments only.
    pub fn parse_bytes(bytes: &[u8], name: &str) -> Result<Self, Vec<Diagnostic>> {
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => return Self::parse(text, name),
            Err(_) => String::from_utf8_lossy(bytes).into_owned(),
        };
        let wide = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
        let source = Source::new(name, text.clone());
        let at = source.text().split_inclusive('\n').try_fold(0, |at, line| {
            let harmless = line.trim_start().starts_with('#') || !line.contains('\u{fffd}');
            if harmless { Ok(at + line.len()) } else { Err(at + line.find('\u{fffd}').unwrap_or(0)) }
        });
        match at {
            Ok(_) => Self::parse(&text, name),
            Err(at) => {
                let span = Span::new(at, at + '\u{fffd}'.len_utf8());
                let error = Diagnostic::error(&source, span, "file is not UTF-8").label("not a character");
                let coding = if wide { "it looks like UTF-16: save it as UTF-8" } else { "save it as UTF-8" };
                Err(vec![error.help(coding)])
            }
        }
    }
}

/// Reads an `ONBUILD` trigger as an image's config holds it. `name` is what messages call it. The instruction's spans
/// point into the source returned with it.
pub fn parse_trigger(text: &str, name: &str) -> Result<(Arc<Source>, Instruction), Vec<Diagnostic>> {
    let source = Source::new(name, text);
    let mut parser = FileParser::new(&source);
    let mut lexer = Lexer::new(&source, 0, '\\');
    let mut found = None;
    while let Some(line) = lexer.next_line() {
        if found.is_some() {
            let error = Diagnostic::error(&source, line.whole(), "a trigger must be a single instruction");
            parser.errors.push(error);
            break;
        }
        found = command::parse(&mut parser.context(&mut lexer), &line, true);
        if found.is_none() {
            break;
        }
    }
    parser.errors.append(&mut lexer.diagnostics);
    match found {
        Some(Parsed::Instruction(instruction)) if parser.errors.is_empty() => Ok((source, *instruction)),
        _ if !parser.errors.is_empty() => Err(parser.errors),
        _ => Err(vec![Diagnostic::error(&source, Span::default(), "empty trigger")]),
    }
}

struct FileParser {
    source: Arc<Source>,
    errors: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
    global_args: Vec<Instruction>,
    stages: Vec<Stage>,
    /// Something stood before the first FROM, or a FROM was wrong: what follows is not blamed for it.
    lost: bool,
}

impl FileParser {
    fn new(source: &Arc<Source>) -> Self {
        Self {
            source: source.clone(),
            errors: Vec::new(),
            warnings: Vec::new(),
            global_args: Vec::new(),
            stages: Vec::new(),
            lost: false,
        }
    }

    fn context<'a>(&'a mut self, lexer: &'a mut Lexer) -> command::Context<'a> {
        command::Context {
            source: &self.source,
            lexer,
            errors: &mut self.errors,
            warnings: &mut self.warnings,
        }
    }

    fn parse(mut self) -> (Dockerfile, Vec<Diagnostic>) {
        let source = self.source.clone();
        let top = directives::read(&source);
        self.errors.extend(top.errors);
        self.warnings.extend(top.warnings);
        let mut lexer = Lexer::new(&source, top.end, top.directives.escape);
        let mut empty = true;
        while let Some(line) = lexer.next_line() {
            empty = false;
            let errors = self.errors.len();
            match command::parse(&mut self.context(&mut lexer), &line, false) {
                Some(Parsed::From(from)) => self.begin_stage(*from),
                Some(Parsed::Instruction(instruction)) => self.add(*instruction),
                None => self.lost |= self.stages.is_empty() && self.errors.len() > errors,
            }
        }
        self.errors.append(&mut lexer.diagnostics);
        self.warnings.extend(lexer.empty_continuations.iter().map(|span| {
            let message = "empty line inside a continued instruction; it will become an error";
            Diagnostic::warning(&source, *span, Some("NoEmptyContinuation"), message)
                .help("remove the empty line, or make it a comment")
        }));
        self.warnings.sort_by_key(|warning| warning.labels.first().map(|label| label.span.start));
        if self.stages.is_empty() && self.errors.is_empty() {
            self.errors.push(no_stage(&source, empty));
        }
        let dockerfile = Dockerfile {
            source,
            directives: top.directives,
            global_args: self.global_args,
            stages: self.stages,
            warnings: self.warnings,
        };
        (dockerfile, self.errors)
    }

    fn begin_stage(&mut self, from: From) {
        let span = from.span;
        if self.stages.len() == MAX_STAGES {
            let message = format!("more than {MAX_STAGES} stages");
            self.errors.push(Diagnostic::error(&self.source, span, message));
        }
        let name = from.alias.clone().map(|mut alias| {
            alias.text.make_ascii_lowercase();
            alias
        });
        self.stages.push(Stage { index: self.stages.len(), name, from, instructions: Vec::new(), span });
    }

    fn add(&mut self, instruction: Instruction) {
        if let Some(stage) = self.stages.last_mut() {
            stage.span = stage.span.to(instruction.span);
            stage.instructions.push(instruction);
        } else if matches!(instruction.command, Command::Arg(_)) {
            self.global_args.push(instruction);
        } else if !std::mem::replace(&mut self.lost, true) {
            let message = format!("{} before the first FROM", instruction.command.name());
            let error = Diagnostic::error(&self.source, instruction.span, message);
            self.errors.push(error.help("only ARG may come before FROM: begin the stage with FROM IMAGE"));
        }
    }
}

fn no_stage(source: &Arc<Source>, empty: bool) -> Diagnostic {
    let end = source.text().trim_end().len();
    let start = source.line_span(source.location(end).line).start;
    let message =
        if empty { "the file has no instructions" } else { "no build stage: the file has only ARG" };
    Diagnostic::error(source, Span::new(start, end), message).help("begin a stage with FROM IMAGE")
}
