//! Arguments of RUN, CMD and ENTRYPOINT.

use super::arguments::Arguments;
use super::command::Context;
use super::diagnostic::{Diagnostic, excerpt_of};
use super::directives::boolean;
use super::instruction::{CommandLine, Run, RunDevice, RunNetwork, RunScript, RunSecurity, Word};
use super::mount::MountOption;
use super::words::Json;

/// The command of CMD and ENTRYPOINT.
pub fn command_line(context: &mut Context<'_>, arguments: &Arguments<'_>) -> Option<CommandLine> {
    if let Json::List(list) = &arguments.json {
        return Some(CommandLine::Exec(list.clone()));
    }
    if arguments.text().is_empty() {
        let name = arguments.name;
        let message = format!("{name} needs a command");
        let error = Diagnostic::error(context.source, arguments.line.whole(), message);
        context.error(error.help(format!("write {name} [] to drop what the base image has")));
        return None;
    }
    Some(CommandLine::Shell(arguments.text().to_owned()))
}

/// The command and flags of RUN.
pub fn run(context: &mut Context<'_>, arguments: &Arguments<'_>) -> Option<Run> {
    let script = script(context, arguments);
    let network = choice(
        context,
        arguments,
        "network",
        [("default", RunNetwork::Default), ("none", RunNetwork::None), ("host", RunNetwork::Host)],
    );
    let security = choice(
        context,
        arguments,
        "security",
        [("sandbox", RunSecurity::Sandbox), ("insecure", RunSecurity::Insecure)],
    );
    let mut mounts = Vec::new();
    for word in arguments.flags.list("mount") {
        match MountOption::parse(&word.text, word.span, arguments.line.escape) {
            Ok(mount) => mounts.push(mount),
            Err(error) => {
                let mut diagnostic = Diagnostic::error(context.source, word.span, error.message);
                diagnostic.helps.extend(error.help);
                context.error(diagnostic);
            }
        }
    }
    let devices: Option<Vec<RunDevice>> =
        arguments.flags.list("device").iter().map(|word| device(context, word)).collect();
    Some(Run {
        script: script?,
        mounts,
        network: network.unwrap_or_default(),
        security: security.unwrap_or_default(),
        devices: devices?,
        flags: arguments.flags.spans(),
    })
}

fn script(context: &mut Context<'_>, arguments: &Arguments<'_>) -> Option<RunScript> {
    if let Json::List(list) = &arguments.json {
        if list.is_empty() {
            arguments.missing(context, "a command", "RUN [\"/bin/true\"]");
            return None;
        }
        return Some(RunScript::Command(CommandLine::Exec(list.clone())));
    }
    if arguments.text().is_empty() {
        arguments.missing(context, "a command", "RUN make install");
        return None;
    }
    let text = match arguments.heredocs.as_slice() {
        [] => arguments.text().to_owned(),
        [only] if only.span == arguments.all().span => {
            if only.content.starts_with("#!") {
                return Some(RunScript::File(only.clone()));
            }
            only.content.clone()
        }
        several => {
            let mut text = arguments.text().to_owned();
            for heredoc in several {
                text.push('\n');
                text.push_str(&heredoc.content);
                text.push_str(&heredoc.name);
            }
            text
        }
    };
    Some(RunScript::Command(CommandLine::Shell(text)))
}

/// A flag with one of a few values.
fn choice<T: Copy, const N: usize>(
    context: &mut Context<'_>,
    arguments: &Arguments<'_>,
    name: &str,
    values: [(&'static str, T); N],
) -> Option<T> {
    let word = arguments.flags.text(name)?;
    let found = values.iter().find(|(value, _)| *value == word.text);
    if found.is_none() {
        let message = format!("unknown value {} of flag --{name}", excerpt_of(&word.text));
        let names = values.map(|(value, _)| value);
        let error = Diagnostic::error(context.source, word.span, message).suggest(&word.text, names);
        context.error(if error.helps.is_empty() {
            error.help(format!("it is one of {}", names.join(", ")))
        } else {
            error
        });
    }
    found.map(|&(_, value)| value)
}

/// `NAME[,required[=BOOL]]`, the name also as `name=NAME`.
fn device(context: &mut Context<'_>, word: &Word) -> Option<RunDevice> {
    let mut device = RunDevice { name: String::new(), required: false };
    for (index, field) in word.text.split(',').enumerate() {
        match field.split_once('=') {
            Some(("name", name)) => device.name = name.to_owned(),
            Some(("required", value)) if boolean(value).is_some() => {
                device.required = boolean(value).unwrap_or(false);
            }
            None if field == "required" => device.required = true,
            _ if index == 0 => device.name = field.to_owned(),
            _ => {
                let message = format!("unknown device option {}", excerpt_of(field));
                let error = Diagnostic::error(context.source, word.span, message);
                context.error(error.help("write --device=NAME or --device=NAME,required"));
                return None;
            }
        }
    }
    if device.name.is_empty() {
        let error = Diagnostic::error(context.source, word.span, "flag --device has no device name");
        context.error(error.help("write --device=VENDOR/CLASS=NAME"));
        return None;
    }
    Some(device)
}
