//! `roci events`: what a container uses, again and again, and when it runs out of memory.

use std::path::Path;
use std::time::Duration;

use clap::Args;
use runtime::cgroup::Stats;
use runtime::container::{Event, Id, Watched};
use serde::Serialize;

use super::output;

#[derive(Debug, Args)]
pub struct Arguments {
    /// Time between two looks, as 5s or 500ms
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = interval)]
    interval: Duration,
    /// Print what it uses now, and end
    #[arg(long)]
    stats: bool,
    /// Name of the container
    #[arg(value_name = "ID", value_parser = super::id)]
    id: Id,
}

pub fn run(arguments: &Arguments, state_root: &Path) -> anyhow::Result<u8> {
    let mut watched = Watched::new(state_root, &arguments.id)?;
    let id = arguments.id.as_str();
    let mut is_read = print("stats", id, Some(watched.stats()))?;
    while is_read && !arguments.stats {
        is_read = match watched.wait(arguments.interval)? {
            Event::Time => print("stats", id, Some(watched.stats()))?,
            Event::OutOfMemory => print("oom", id, None)?,
            Event::Ended => return Ok(0),
        };
    }
    Ok(0)
}

/// A line of output. The order of its fields is runc's, for readers that are no JSON parsers.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Stats>,
}

fn print(kind: &str, id: &str, data: Option<Stats>) -> anyhow::Result<bool> {
    output::print_on(&serde_json::to_string(&Line { kind, id, data })?)
}

/// A number with a unit: `ms`, `s`, `m` or `h`.
fn interval(text: &str) -> Result<Duration, String> {
    let at = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let seconds = match &text[at..] {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err("not a time such as 5s, 500ms, 1m or 1h".to_owned()),
    };
    let number: f64 = text[..at].parse().map_err(|_| "not a number with a unit".to_owned())?;
    // Beyond any machine's life, and within what clocks can count to.
    let longest = Duration::from_secs(u32::MAX.into());
    match Duration::try_from_secs_f64(number * seconds) {
        Ok(time) if (Duration::from_millis(1)..=longest).contains(&time) => Ok(time),
        _ => Err("it has to be at least 1ms, and no century".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        assert_eq!(interval("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(interval("500ms"), Ok(Duration::from_millis(500)));
        for bad in ["", "5", "s", "0s", "-1s", "5 s", "1e99h", "9999999999999999999s"] {
            assert!(interval(bad).is_err(), "{bad}");
        }
    }
}
