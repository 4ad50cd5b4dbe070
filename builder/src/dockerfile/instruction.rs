//! What a Dockerfile says, as data.
//!
//! The parser fills these types and checks everything that does not depend on a variable's value. Text that the
//! builder expands is a [`Word`] and is kept raw, quotes and escapes included, because expansion gives them their
//! meaning; see the `expand` module. Everything else is kept in its final type.

use std::sync::Arc;

use super::diagnostic::Diagnostic;
use super::mount::MountOption;
use super::source::{Source, Span};

/// A parsed file. It has at least one stage.
#[derive(Debug, Clone)]
pub struct Dockerfile {
    /// The text that all spans point into.
    pub source: Arc<Source>,
    /// Parser directives from the top of the file.
    pub directives: Directives,
    /// `ARG`s before the first `FROM`, in order: the global scope. All commands in it are [`Command::Arg`].
    pub global_args: Vec<Instruction>,
    /// The stages in order of the file.
    pub stages: Vec<Stage>,
    /// What the parser accepted with a frown. `lint::check` gives these and all others.
    pub warnings: Vec<Diagnostic>,
}

impl Dockerfile {
    /// The character that escapes and continues lines in this file.
    #[must_use]
    pub fn escape(&self) -> char {
        self.directives.escape
    }

    /// The stage that a target or `--from` name means among the first `before` stages: the last one of that name,
    /// whatever its case.
    #[must_use]
    pub fn stage_named(&self, name: &str, before: usize) -> Option<&Stage> {
        let stages = self.stages.get(..before).unwrap_or(&self.stages);
        stages
            .iter()
            .rev()
            .find(|stage| stage.name.as_ref().is_some_and(|own| own.text.eq_ignore_ascii_case(name)))
    }
}

/// Parser directives: `# name=value` lines at the very top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directives {
    /// `syntax`: a frontend image; accepted, never fetched.
    pub syntax: Option<Word>,
    /// `escape`: backslash or backtick.
    pub escape: char,
    /// `check`: which lints are skipped, and whether findings are errors.
    pub check: CheckOptions,
}

impl Default for Directives {
    fn default() -> Self {
        Self { syntax: None, escape: '\\', check: CheckOptions::default() }
    }
}

/// The `check` directive: `skip=A,B;error=true;experimental=X`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckOptions {
    /// Skip every check.
    pub skip_all: bool,
    /// Names of checks that are skipped.
    pub skip: Vec<String>,
    /// A finding fails the check.
    pub error: bool,
    /// Run every experimental check.
    pub experimental_all: bool,
    /// Names of experimental checks that run.
    pub experimental: Vec<String>,
}

/// Raw text with its place: joined over continued lines, quotes and escapes still in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Word {
    /// The text as written.
    pub text: String,
    /// Where it stands, including what separates its continued lines.
    pub span: Span,
}

/// One build stage: a `FROM` and all up to the next.
#[derive(Debug, Clone)]
pub struct Stage {
    /// Position in the file, from 0.
    pub index: usize,
    /// The name after `AS`, lower-cased.
    pub name: Option<Word>,
    /// The `FROM` line.
    pub from: From,
    /// The instructions after `FROM`, in order.
    pub instructions: Vec<Instruction>,
    /// From `FROM` to the end of the last instruction.
    pub span: Span,
}

/// `FROM [--platform=P] IMAGE [AS NAME]`.
#[derive(Debug, Clone)]
pub struct From {
    /// Image or earlier stage; expanded in the global scope.
    pub image: Word,
    /// `--platform`; expanded in the global scope.
    pub platform: Option<Word>,
    /// The name as written, before lower-casing.
    pub alias: Option<Word>,
    /// The word `AS` as written, and the word `FROM`.
    pub as_keyword: Option<Word>,
    /// The instruction word as written.
    pub keyword: Word,
    /// The whole instruction.
    pub span: Span,
    /// Comment block directly above, without `#`.
    pub comment: Vec<String>,
}

/// One instruction inside a stage (or a global `ARG`).
#[derive(Debug, Clone)]
pub struct Instruction {
    /// What it does.
    pub command: Command,
    /// The instruction word as written.
    pub keyword: Word,
    /// All of it on one line as written: continuations joined, comments dropped, heredoc bodies not included.
    pub text: String,
    /// The heredocs that the line announces, in order, whatever the command makes of them.
    pub heredocs: Vec<Heredoc>,
    /// From the instruction word to the end of its last line or heredoc terminator.
    pub span: Span,
    /// Comment block directly above, without `#`.
    pub comment: Vec<String>,
}

/// What an instruction does.
#[derive(Debug, Clone)]
pub enum Command {
    /// `RUN`.
    Run(Run),
    /// `COPY`.
    Copy(Copy),
    /// `ADD`.
    Add(Add),
    /// `ENV`; keys and values are expanded.
    Env(Pairs),
    /// `LABEL`; keys and values are expanded.
    Label(Pairs),
    /// `ARG`; defaults are expanded, each seeing those before it.
    Arg(Vec<Argument>),
    /// `WORKDIR`; expanded.
    Workdir(Word),
    /// `USER`; expanded.
    User(Word),
    /// `EXPOSE`; each is expanded with `expand_list`, then read with `port::parse`.
    Expose(Vec<Word>),
    /// `VOLUME`; each is expanded.
    Volume(Vec<Word>),
    /// `ENTRYPOINT`.
    Entrypoint(CommandLine),
    /// `CMD`.
    Cmd(CommandLine),
    /// `SHELL`; at least one item.
    Shell(Vec<String>),
    /// `STOPSIGNAL`; expanded, then checked with `signal::check`.
    Stopsignal(Word),
    /// `HEALTHCHECK`.
    Healthcheck(Healthcheck),
    /// `ONBUILD`.
    Onbuild(Onbuild),
    /// `MAINTAINER`; taken as written.
    Maintainer(Word),
}

impl Command {
    /// The instruction word in upper case.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Run(_) => "RUN",
            Self::Copy(_) => "COPY",
            Self::Add(_) => "ADD",
            Self::Env(_) => "ENV",
            Self::Label(_) => "LABEL",
            Self::Arg(_) => "ARG",
            Self::Workdir(_) => "WORKDIR",
            Self::User(_) => "USER",
            Self::Expose(_) => "EXPOSE",
            Self::Volume(_) => "VOLUME",
            Self::Entrypoint(_) => "ENTRYPOINT",
            Self::Cmd(_) => "CMD",
            Self::Shell(_) => "SHELL",
            Self::Stopsignal(_) => "STOPSIGNAL",
            Self::Healthcheck(_) => "HEALTHCHECK",
            Self::Onbuild(_) => "ONBUILD",
            Self::Maintainer(_) => "MAINTAINER",
        }
    }
}

/// A command in one of its two forms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandLine {
    /// JSON form: run as is, no shell.
    Exec(Vec<String>),
    /// Shell form: SHELL plus this one string, which the builder does not touch.
    Shell(String),
}

impl CommandLine {
    /// The arguments that run: the list itself, or `shell` and the text.
    #[must_use]
    pub fn arguments(&self, shell: &[String]) -> Vec<String> {
        match self {
            Self::Exec(list) => list.clone(),
            Self::Shell(text) => shell.iter().cloned().chain([text.clone()]).collect(),
        }
    }
}

/// `RUN`.
#[derive(Debug, Clone)]
pub struct Run {
    /// What runs.
    pub script: RunScript,
    /// `--mount`, in order.
    pub mounts: Vec<MountOption>,
    /// `--network`.
    pub network: RunNetwork,
    /// `--security`.
    pub security: RunSecurity,
    /// `--device`, in order.
    pub devices: Vec<RunDevice>,
    /// Where the flags that were given stand, for refusing one by name.
    pub flags: Vec<FlagSpan>,
}

/// What a `RUN` runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunScript {
    /// JSON or shell form. A lone heredoc without `#!` is the shell form of its content; a command line with heredocs
    /// in it is handed to the shell together with bodies and terminators.
    Command(CommandLine),
    /// A lone heredoc that starts with `#!`: its content is an executable file, run directly.
    File(Heredoc),
}

/// `RUN --network`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RunNetwork {
    /// What the build has.
    #[default]
    Default,
    /// Own loopback only.
    None,
    /// The host's; needs permission.
    Host,
}

/// `RUN --security`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RunSecurity {
    /// As any container.
    #[default]
    Sandbox,
    /// Full capabilities, nothing masked; needs permission.
    Insecure,
}

/// `RUN --device=NAME[,required]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDevice {
    /// CDI name.
    pub name: String,
    /// Fail if there is no such device.
    pub required: bool,
}

/// A flag that was written, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlagSpan {
    /// Its name without `--`.
    pub name: &'static str,
    /// Where it stands.
    pub span: Span,
}

/// What COPY and ADD have in common. All words in it are expanded, excludes are not.
#[derive(Debug, Clone)]
pub struct Files {
    /// At least one.
    pub sources: Vec<FileSource>,
    /// Where they go; one path, relative to WORKDIR.
    pub destination: Word,
    /// `--chown`.
    pub chown: Option<Word>,
    /// `--chmod`; after expansion read with `mode::parse`.
    pub chmod: Option<Word>,
    /// `--link`.
    pub link: bool,
    /// `--exclude`, in order.
    pub excludes: Vec<Word>,
    /// Where the flags that were given stand, for refusing one by name.
    pub flags: Vec<FlagSpan>,
}

/// A source of COPY or ADD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileSource {
    /// A path or pattern (for ADD also a URL); expanded.
    Path(Word),
    /// A file given in place. Its name is [`Heredoc::name`], mode 0644.
    Heredoc(Heredoc),
}

/// `COPY`.
#[derive(Debug, Clone)]
pub struct Copy {
    /// Sources, destination and flags that ADD has too.
    pub files: Files,
    /// `--from`: stage, number, named context or image; not expanded.
    pub from: Option<Word>,
    /// `--parents`.
    pub parents: bool,
}

/// `ADD`.
#[derive(Debug, Clone)]
pub struct Add {
    /// Sources, destination and flags that COPY has too.
    pub files: Files,
    /// `--checksum`; expanded.
    pub checksum: Option<Word>,
    /// `--keep-git-dir`.
    pub keep_git_dir: bool,
    /// `--unpack`: `None` unpacks local archives only.
    pub unpack: Option<bool>,
}

/// A file written in place: `<<NAME` and the lines up to `NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// The terminator, quotes removed; as a source of COPY also the file's name.
    pub name: String,
    /// The lines with their newlines, leading tabs already gone for `<<-`.
    pub content: String,
    /// Variables in the content are expanded (COPY and ADD only): no part of the word was quoted.
    pub expand: bool,
    /// Written as `<<-`.
    pub strip_tabs: bool,
    /// The `<<NAME` token.
    pub span: Span,
    /// The content and terminator lines.
    pub content_span: Span,
}

/// The pairs of ENV or LABEL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pairs {
    /// In order of the file; at least one.
    pub pairs: Vec<(Word, Word)>,
    /// Written as `KEY rest of line`.
    pub legacy: bool,
}

/// One variable of an `ARG`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// Its name.
    pub name: Word,
    /// Its default; expanded in the scope at that point.
    pub default: Option<Word>,
}

/// `HEALTHCHECK`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Healthcheck {
    /// `HEALTHCHECK NONE`.
    None,
    /// `HEALTHCHECK [flags] CMD ...`. Durations are nanoseconds, 0 where unset, as the config holds them.
    Check {
        /// What runs.
        command: CommandLine,
        /// `--interval`, nanoseconds.
        interval: i64,
        /// `--timeout`, nanoseconds.
        timeout: i64,
        /// `--start-period`, nanoseconds.
        start_period: i64,
        /// `--start-interval`, nanoseconds.
        start_interval: i64,
        /// `--retries`.
        retries: u32,
    },
}

/// `ONBUILD`.
#[derive(Debug, Clone)]
pub struct Onbuild {
    /// What goes into the config: the rest of the line plus heredoc bodies. `parse_trigger` reads it again.
    pub text: String,
    /// The trigger, already checked.
    pub trigger: Box<Instruction>,
}
