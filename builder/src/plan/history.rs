//! What the image's history says about each instruction (`created_by`).

use crate::dockerfile::instruction::Healthcheck;
use crate::plan::step::{CopySource, RunCommand};

/// `RUN`, with the arguments in scope in front of the command.
pub fn run(command: &RunCommand, arguments: &[(String, String)]) -> String {
    let mut text = "RUN ".to_owned();
    if !arguments.is_empty() {
        text.push_str(&format!("|{} ", arguments.len()));
        for (name, value) in arguments {
            text.push_str(&format!("{name}={value} "));
        }
    }
    match command {
        RunCommand::Arguments { list, .. } => text.push_str(&list.join(" ")),
        RunCommand::Script { name, content } => text.push_str(&format!("<<{name}\n{content}{name}")),
    }
    text
}

/// `COPY` or `ADD` with flags that change the result.
pub fn files(keyword: &str, flags: &[(&str, &str)], sources: &[CopySource], destination: &str) -> String {
    let mut text = keyword.to_owned();
    for (name, value) in flags {
        text.push_str(&format!(" --{name}={value}"));
    }
    for source in sources {
        text.push(' ');
        match source {
            CopySource::Path { path, .. } => text.push_str(path),
            CopySource::Inline { name, .. } => text.push_str(&format!("<<{name}")),
        }
    }
    format!("{text} {destination}")
}

/// A list as JSON.
pub fn json(list: &[String]) -> String {
    // A list of strings always has a JSON form.
    serde_json::to_string(list).unwrap_or_default()
}

/// `HEALTHCHECK`.
pub fn healthcheck(check: &Healthcheck, test: &[String]) -> String {
    match check {
        Healthcheck::None => "HEALTHCHECK NONE".to_owned(),
        Healthcheck::Check { .. } => format!("HEALTHCHECK {}", json(test)),
    }
}
