//! `roci list`.

use std::path::Path;

use clap::{Args, ValueEnum};
use runtime::container;

use super::log::Log;
use super::output;

#[derive(Debug, Args)]
pub struct Arguments {
    /// How to print
    #[arg(short, long, value_enum, default_value = "table", value_name = "FORMAT")]
    format: Format,
    /// Print only the names
    #[arg(short, long)]
    quiet: bool,
}

/// How several things are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A line for each, in columns
    Table,
    /// A JSON document
    Json,
}

pub fn run(arguments: &Arguments, given: bool, state_root: &Path, log: &Log) -> anyhow::Result<u8> {
    // The default one is made by the first container; one that somebody named and that is not there is a slip.
    anyhow::ensure!(
        !given || state_root.is_dir(),
        "cannot list {}: no such file or directory",
        state_root.display()
    );
    if arguments.quiet {
        let ids = container::ids(state_root)?;
        print_lines(ids.iter().map(ToString::to_string).collect())?;
        return Ok(0);
    }
    let (states, failures) = container::list(state_root)?;
    // One that is broken must not hide the others.
    for failure in failures {
        log.warning(&failure.to_string());
    }
    if arguments.format == Format::Json {
        output::print(&serde_json::to_string(&states)?)?;
        return Ok(0);
    }
    let mut rows = vec![["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned)];
    rows.extend(states.into_iter().map(|state| {
        let bundle = state.bundle.display().to_string();
        [state.id, state.pid.to_string(), state.status.to_string(), bundle, state.created, state.owner]
    }));
    print_lines(columns(&rows))?;
    Ok(0)
}

/// Aligns rows, three spaces between columns.
fn columns<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
    const LEAST: usize = 12;
    let width = |column: usize| {
        let widest = rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        (widest + 3).max(LEAST)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<String>().trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

fn print_lines(lines: Vec<String>) -> anyhow::Result<()> {
    if lines.is_empty() { Ok(()) } else { output::print(&lines.join("\n")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_fit_the_widest() {
        let rows = [["ID", "B"], ["a-long-identifier", "x"]].map(|row| row.map(str::to_owned));
        assert_eq!(columns(&rows), ["ID                  B", "a-long-identifier   x"]);
    }
}
