//! `ps --filter`: several values of one key are alternatives, labels and different keys must all match.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use engine::{Containers, State};
use image::digest::Digest;
use image::document::Timestamp;
use runtime::network::PortMapping;

use super::row::Entry;
use crate::options::publish::exposed;

/// Docker's words for states; those that no container of ours is ever in match nothing.
const STATES: &[&str] = &["created", "running", "exited", "paused", "restarting", "removing", "dead"];

/// One condition.
#[derive(Debug)]
enum Filter {
    Id(String),
    Name(String),
    Label(String, Option<String>),
    Status(String),
    Exited(u8),
    Ancestor(Option<Digest>),
    Before(Option<Timestamp>),
    Since(Option<Timestamp>),
    Publish(Vec<String>),
    Expose(Vec<String>),
    Network(String),
}

/// All conditions, by their keys.
#[derive(Debug, Default)]
pub struct Filters(BTreeMap<String, Vec<Filter>>);

impl Filters {
    pub fn parse(containers: &Containers, texts: &[String]) -> Result<Filters> {
        let mut filters = Filters::default();
        for text in texts {
            let Some((key, value)) = text.split_once('=') else { bail!("filter {text:?} is not KEY=VALUE") };
            // Every label must match; of all else one is enough.
            let group = if key == "label" { text } else { key };
            let filter = parse(containers, key, value).with_context(|| format!("filter {text}"))?;
            filters.0.entry(group.to_owned()).or_default().push(filter);
        }
        Ok(filters)
    }

    pub fn ask_for_state(&self) -> bool {
        ["status", "exited"].iter().any(|key| self.0.contains_key(*key))
    }

    pub fn match_entry(&self, entry: &Entry) -> bool {
        self.0.values().all(|group| group.iter().any(|filter| filter.matches(entry)))
    }
}

fn parse(containers: &Containers, key: &str, value: &str) -> Result<Filter> {
    let made = |name: &str| -> Result<Option<Timestamp>> { Ok(containers.find(name)?.created.parse().ok()) };
    let ports = |text: &str| -> Result<Vec<String>> {
        Ok(exposed(text).map_err(anyhow::Error::msg)?.texts().collect())
    };
    Ok(match key {
        "id" => Filter::Id(value.to_owned()),
        "name" => Filter::Name(value.to_owned()),
        "label" => match value.split_once('=') {
            Some((key, value)) => Filter::Label(key.to_owned(), Some(value.to_owned())),
            None => Filter::Label(value.to_owned(), None),
        },
        "status" if STATES.contains(&value) => Filter::Status(value.to_owned()),
        "status" => bail!("expected one of {}", STATES.join(", ")),
        "exited" => Filter::Exited(value.parse().context("expected an exit code")?),
        // An image that is not there has no containers.
        "ancestor" => Filter::Ancestor(containers.store().find(value).ok().map(|image| image.manifest)),
        "before" => Filter::Before(made(value)?),
        "since" => Filter::Since(made(value)?),
        "publish" => Filter::Publish(ports(value)?),
        "expose" => Filter::Expose(ports(value)?),
        "network" => Filter::Network(value.to_owned()),
        _ => bail!(
            "there is no such filter (there are id, name, label, status, exited, ancestor, before, since, publish, expose \
             and network)"
        ),
    })
}

impl Filter {
    fn matches(&self, entry: &Entry) -> bool {
        match self {
            Filter::Id(start) => entry.id.starts_with(start.as_str()),
            Filter::Name(pattern) => name_matches(&entry.name, pattern),
            Filter::Label(key, value) => {
                entry.labels.get(key).is_some_and(|label| value.as_ref().is_none_or(|value| value == label))
            }
            Filter::Status(word) => entry.state_word() == word,
            Filter::Exited(code) => {
                !matches!(entry.state, State::Exited { started: 0, .. })
                    && entry.state.exit_code() == Some(*code)
            }
            Filter::Ancestor(manifest) => manifest.is_some() && entry.manifest == *manifest,
            Filter::Before(time) => entry.created < *time,
            Filter::Since(time) => entry.created > *time,
            Filter::Publish(ports) => entry.ports.iter().any(|port| publishes(port, ports)),
            Filter::Expose(ports) => {
                entry.exposed.iter().any(|port| ports.contains(port))
                    || entry.ports.iter().any(|port| ports.contains(&inside(port)))
            }
            Filter::Network(name) => entry.network.as_str() == name,
        }
    }
}

/// A part of the name; `^` and `$` stand for its ends, as people know them from docker's patterns.
fn name_matches(name: &str, pattern: &str) -> bool {
    // Docker's names once began with a slash, which scripts still say.
    let pattern = pattern.strip_prefix('/').unwrap_or(pattern);
    let (from_start, rest) = match pattern.strip_prefix('^') {
        Some(rest) => (true, rest.strip_prefix('/').unwrap_or(rest)),
        None => (false, pattern),
    };
    match (from_start, rest.strip_suffix('$')) {
        (true, Some(whole)) => name == whole,
        (false, Some(end)) => name.ends_with(end),
        (true, None) => name.starts_with(rest),
        (false, None) => name.contains(rest),
    }
}

fn inside(port: &PortMapping) -> String {
    format!("{}/{}", port.container_port, port.protocol)
}

fn publishes(port: &PortMapping, wanted: &[String]) -> bool {
    wanted.contains(&inside(port)) || wanted.contains(&format!("{}/{}", port.host_port, port.protocol))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_in_part_unless_anchored() {
        for (pattern, expected) in [
            ("web", true),
            ("eb", true),
            ("^web", true),
            ("^/web-1$", true),
            ("1$", true),
            ("^eb", false),
            ("^web$", false),
            ("db", false),
        ] {
            assert_eq!(name_matches("web-1", pattern), expected, "{pattern}");
        }
    }
}
