//! Tests of the language: one table for each section of it, messages, files, and mutations of them.

mod expansion;
mod files;
mod forms;
mod lines;
mod messages;
mod mutation;

use super::instruction::{
    Argument, Command, CommandLine, FileSource, Files, Healthcheck, Heredoc, Pairs, RunScript, Word,
};
use super::{Diagnostic, Dockerfile};

fn parse(text: &str) -> Result<Dockerfile, Vec<Diagnostic>> {
    Dockerfile::parse(text, "Dockerfile")
}

/// The instructions of all stages, each in a short notation, or the first error.
fn outline(text: &str) -> String {
    match parse(text) {
        Ok(file) => {
            let instructions = file.stages.iter().flat_map(|stage| &stage.instructions);
            let lines: Vec<String> = instructions.map(|instruction| command(&instruction.command)).collect();
            lines.join("; ")
        }
        Err(errors) => format!("error: {}", errors[0].message),
    }
}

/// [`outline`] of one instruction in a stage.
fn one(line: &str) -> String {
    outline(&format!("FROM a\n{line}"))
}

fn command(command: &Command) -> String {
    let name = command.name();
    let rest = match command {
        Command::Run(run) => {
            let flags: Vec<String> = run.flags.iter().map(|flag| format!("--{} ", flag.name)).collect();
            let script = match &run.script {
                RunScript::Command(line) => command_line(line),
                RunScript::File(heredoc) => format!("file {}", self::heredoc(heredoc)),
            };
            format!("{}{script}", flags.concat())
        }
        Command::Copy(copy) => {
            let from = copy.from.as_ref().map_or(String::new(), |from| format!("from={} ", from.text));
            format!("{from}{}{}", if copy.parents { "parents " } else { "" }, files(&copy.files))
        }
        Command::Add(add) => {
            let mut flags =
                add.checksum.as_ref().map_or(String::new(), |word| format!("checksum={} ", word.text));
            if add.keep_git_dir {
                flags += "git ";
            }
            if let Some(unpack) = add.unpack {
                flags += &format!("unpack={unpack} ");
            }
            format!("{flags}{}", files(&add.files))
        }
        Command::Env(pairs) | Command::Label(pairs) => self::pairs(pairs),
        Command::Arg(arguments) => arguments.iter().map(argument).collect::<Vec<_>>().join(" "),
        Command::Workdir(word)
        | Command::User(word)
        | Command::Stopsignal(word)
        | Command::Maintainer(word) => {
            format!("<{}>", word.text)
        }
        Command::Expose(words) | Command::Volume(words) => {
            words.iter().map(angle).collect::<Vec<_>>().join(" ")
        }
        Command::Entrypoint(line) | Command::Cmd(line) => command_line(line),
        Command::Shell(list) => format!("{list:?}"),
        Command::Healthcheck(Healthcheck::None) => "NONE".to_owned(),
        Command::Healthcheck(Healthcheck::Check {
            command,
            interval,
            timeout,
            start_period,
            start_interval,
            retries,
        }) => {
            let line = command_line(command);
            format!("{interval} {timeout} {start_period} {start_interval} {retries} {line}")
        }
        Command::Onbuild(onbuild) => {
            format!("{:?} {}", onbuild.text, self::command(&onbuild.trigger.command))
        }
    };
    format!("{name} {rest}")
}

fn angle(word: &Word) -> String {
    format!("<{}>", word.text)
}

fn command_line(line: &CommandLine) -> String {
    match line {
        CommandLine::Exec(list) => format!("{list:?}"),
        CommandLine::Shell(text) => format!("{text:?}"),
    }
}

fn pairs(pairs: &Pairs) -> String {
    let list: Vec<String> =
        pairs.pairs.iter().map(|(key, value)| format!("<{}>=<{}>", key.text, value.text)).collect();
    format!("{}{}", if pairs.legacy { "legacy " } else { "" }, list.join(" "))
}

fn argument(argument: &Argument) -> String {
    let default = argument.default.as_ref().map_or(String::new(), |default| format!("=<{}>", default.text));
    format!("<{}>{default}", argument.name.text)
}

fn heredoc(heredoc: &Heredoc) -> String {
    let expand = if heredoc.expand { "" } else { "raw " };
    format!("{expand}{}:{:?}", heredoc.name, heredoc.content)
}

fn files(files: &Files) -> String {
    let mut out = String::new();
    for (name, word) in [("chown", &files.chown), ("chmod", &files.chmod)] {
        if let Some(word) = word {
            out += &format!("{name}={} ", word.text);
        }
    }
    if files.link {
        out += "link ";
    }
    for exclude in &files.excludes {
        out += &format!("exclude={} ", exclude.text);
    }
    for source in &files.sources {
        out += &match source {
            FileSource::Path(word) => format!("{} ", angle(word)),
            FileSource::Heredoc(found) => format!("{} ", heredoc(found)),
        };
    }
    format!("{out}-> {}", angle(&files.destination))
}
