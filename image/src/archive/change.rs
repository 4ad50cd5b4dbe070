//! `import --change`: single instructions that only set the config.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::document::ContainerConfig;

/// A change that cannot be applied.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
#[error("cannot apply change {change:?}: {reason}")]
pub struct ChangeError {
    /// As given.
    pub change: String,
    /// Why.
    pub reason: &'static str,
}

/// Applies one instruction of a Dockerfile, such as `CMD ["sh"]`, to a config.
pub(super) fn apply(config: &mut ContainerConfig, change: &str) -> Result<(), ChangeError> {
    let refused = |reason| ChangeError { change: change.to_string(), reason };
    let (instruction, rest) =
        change.trim().split_once(char::is_whitespace).ok_or(refused("it has no arguments"))?;
    let rest = rest.trim();
    match instruction.to_ascii_uppercase().as_str() {
        "CMD" => config.cmd = Some(command(rest)),
        "ENTRYPOINT" => config.entrypoint = Some(command(rest)),
        "ENV" => {
            for (name, value) in pairs(rest).map_err(refused)? {
                let prefix = format!("{name}=");
                config.env.retain(|entry| !entry.starts_with(&prefix));
                config.env.push(format!("{prefix}{value}"));
            }
        }
        "LABEL" => config.labels.extend(pairs(rest).map_err(refused)?),
        "EXPOSE" => {
            for port in words(rest).map_err(refused)? {
                config
                    .exposed_ports
                    .insert(exposed(&port).ok_or(refused("a port is NUMBER[/tcp|/udp|/sctp]"))?, json!({}));
            }
        }
        "VOLUME" => {
            let paths = list(rest).map_or_else(|| words(rest).map_err(refused), Ok)?;
            config.volumes.extend(paths.into_iter().map(|path| (path, json!({}))));
        }
        "USER" => config.user = rest.to_string(),
        "WORKDIR" if rest.starts_with('/') => config.working_dir = rest.to_string(),
        "WORKDIR" => return Err(refused("the folder has to be absolute")),
        "STOPSIGNAL" => config.stop_signal = Some(rest.to_string()),
        "ONBUILD" => config.on_build.push(rest.to_string()),
        "SHELL" => config.shell = Some(list(rest).ok_or(refused("a shell is a JSON list"))?),
        _ => {
            let reason = "there are CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, ONBUILD, SHELL, STOPSIGNAL, USER, VOLUME and WORKDIR";
            return Err(refused(reason));
        }
    }
    Ok(())
}

/// A JSON list as it is, anything else for the shell.
fn command(text: &str) -> Vec<String> {
    list(text).unwrap_or_else(|| ["/bin/sh", "-c", text].map(str::to_string).to_vec())
}

fn list(text: &str) -> Option<Vec<String>> {
    let Ok(Value::Array(values)) = serde_json::from_str(text) else { return None };
    values.into_iter().map(|value| value.as_str().map(str::to_string)).collect()
}

/// `NAME=value ...`, or the old `NAME the rest of the line`.
fn pairs(text: &str) -> Result<BTreeMap<String, String>, &'static str> {
    let words = words(text)?;
    if !words.first().is_some_and(|first| first.contains('=')) {
        let (name, value) = text.split_once(char::is_whitespace).ok_or("it has no value")?;
        return Ok(BTreeMap::from([(name.to_string(), value.trim().to_string())]));
    }
    let pair = |word: String| match word.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_string(), value.to_string())),
        _ => Err("it has to be NAME=value"),
    };
    words.into_iter().map(pair).collect()
}

/// Words, with quotes and backslashes taken off.
fn words(text: &str) -> Result<Vec<String>, &'static str> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            ('\\', None | Some('"')) => word.get_or_insert_default().extend(letters.next()),
            (letter, Some(open)) if letter == open => quote = None,
            ('"' | '\'', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (letter, None) if letter.is_whitespace() => words.extend(word.take()),
            (letter, _) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    if quote.is_some() { Err("a quote is not closed") } else { Ok(words) }
}

fn exposed(port: &str) -> Option<String> {
    let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    let valid = number.parse::<u16>().is_ok() && matches!(protocol.as_str(), "tcp" | "udp" | "sctp");
    valid.then(|| format!("{number}/{protocol}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_set_the_config() {
        let mut config =
            ContainerConfig { env: vec!["A=0".into(), "AB=1".into()], ..ContainerConfig::default() };
        for change in [
            r#"CMD ["sh", "-l"]"#,
            "entrypoint run it",
            r#"ENV A=1 B="two words""#,
            "ENV C the rest",
            "LABEL k=v",
            "EXPOSE 80 53/UDP",
            r#"VOLUME ["/a", "/b"]"#,
            "USER 1000:1000",
            "WORKDIR /srv",
            "STOPSIGNAL SIGINT",
        ] {
            apply(&mut config, change).unwrap();
        }
        assert_eq!(config.cmd.unwrap(), ["sh", "-l"]);
        assert_eq!(config.entrypoint.unwrap(), ["/bin/sh", "-c", "run it"]);
        assert_eq!(config.env, ["AB=1", "A=1", "B=two words", "C=the rest"]);
        assert_eq!(config.exposed_ports.keys().collect::<Vec<_>>(), ["53/udp", "80/tcp"]);
        assert_eq!(
            (config.labels["k"].as_str(), config.volumes.len(), config.user.as_str()),
            ("v", 2, "1000:1000")
        );
    }

    #[test]
    fn others_are_refused() {
        for change in [
            "",
            "CMD",
            "RUN x",
            "COPY a b",
            "EXPOSE x",
            "EXPOSE 1/x",
            "ENV A",
            "ENV A=\"",
            "WORKDIR x",
            "SHELL sh",
            "LABEL =x",
        ] {
            assert!(apply(&mut ContainerConfig::default(), change).is_err(), "{change}");
        }
    }
}
