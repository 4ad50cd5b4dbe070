//! `roci ps`: the processes of a container, as the host's ps shows them.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};
use clap::Args;
use runtime::container::{self, Id};

use super::list::Format;
use super::output;

#[derive(Debug, Args)]
pub struct Arguments {
    /// How to print
    #[arg(short, long, value_enum, default_value = "table", value_name = "FORMAT")]
    format: Format,
    /// Name of the container
    #[arg(value_name = "ID", value_parser = super::id)]
    id: Id,
    /// Options of ps, which has to show the column PID (default: -ef)
    #[arg(value_name = "PS OPTIONS", trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

pub fn run(arguments: &Arguments, state_root: &Path) -> anyhow::Result<u8> {
    let processes = container::processes(state_root, &arguments.id)?;
    if arguments.format == Format::Json {
        output::print(&serde_json::to_string(&processes)?)?;
        return Ok(0);
    }
    let mut command = Command::new("ps");
    if arguments.options.is_empty() {
        command.arg("-ef");
    }
    let done = command
        .args(&arguments.options)
        .output()
        .context("cannot run ps; install it (package procps) or use --format json")?;
    if !done.status.success() {
        bail!("ps failed: {}", String::from_utf8_lossy(&done.stderr).trim());
    }
    output::print(&rows_of(&String::from_utf8_lossy(&done.stdout), &processes)?)?;
    Ok(0)
}

/// The header and the rows whose column PID is one of `processes`.
fn rows_of(table: &str, processes: &[i32]) -> anyhow::Result<String> {
    let mut lines = table.lines();
    let header = lines.next().unwrap_or_default();
    let column = header
        .split_ascii_whitespace()
        .position(|title| title == "PID")
        .context("ps printed no column PID, by which processes are told apart; leave its options out")?;
    let belongs = |line: &&str| {
        let pid = line.split_ascii_whitespace().nth(column).and_then(|pid| pid.parse::<i32>().ok());
        pid.is_some_and(|pid| processes.binary_search(&pid).is_ok())
    };
    Ok(std::iter::once(header).chain(lines.filter(belongs)).collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_chosen_by_pid() {
        let table = "UID   PID  PPID CMD\nroot   12     1 12 13\nroot   13     1 sh\n";
        assert_eq!(rows_of(table, &[12]).unwrap(), "UID   PID  PPID CMD\nroot   12     1 12 13");
        assert!(rows_of("CMD\nsh\n", &[12]).is_err());
    }
}
