//! `rrun ps`: docker's columns, one row per container, newest first. Containers and pods of Kubernetes are among them,
//! under the names that docker gave such.

mod filter;
mod row;

use anyhow::Result;
use clap::Args;
use engine::Containers;

use super::{Global, print};
use crate::format::Template;
use row::Entry;

/// Options of `ps`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Show all containers, not only those that run
    #[arg(short, long)]
    all: bool,
    /// Print only ids
    #[arg(short, long)]
    quiet: bool,
    /// Cut nothing short
    #[arg(long)]
    no_trunc: bool,
    /// Show this many of those made last, whatever they do
    #[arg(short = 'n', long, value_name = "NUMBER")]
    last: Option<usize>,
    /// Show the one made last, whatever it does
    #[arg(short, long)]
    latest: bool,
    /// Print by a template of fields such as '{{.Names}}: {{.Status}}', 'table {{.ID}}\t{{.Ports}}', or 'json'
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Show only what matches: id=, name=, label=KEY[=VALUE], status=, exited=CODE, ancestor=IMAGE, before=CONTAINER,
    /// since=CONTAINER, publish=PORT[/PROTOCOL], expose=PORT[/PROTOCOL], network=
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,
}

pub fn run(global: &Global, arguments: &Arguments) -> Result<u8> {
    let containers = global.containers()?;
    let template = arguments.format.as_deref().map(Template::parse).transpose()?;
    let filters = filter::Filters::parse(&containers, &arguments.filter)?;
    let entries = shown(&containers, arguments, &filters)?;
    if arguments.quiet {
        let id = |entry: &Entry| format!("{}\n", entry.shown_id(arguments.no_trunc));
        print(&entries.iter().map(id).collect::<String>())?;
        return Ok(0);
    }
    let rows: Vec<_> = entries.iter().map(|entry| entry.row(arguments.no_trunc)).collect();
    let heads =
        [("ID", "CONTAINER ID"), ("CreatedAt", "CREATED AT"), ("RunningFor", "CREATED"), ("Names", "NAMES")];
    let columns =
        "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}";
    let template = match template {
        Some(template) => template,
        None => Template::parse(columns)?,
    };
    print(&template.with_heads(&heads).rows(&rows)?)?;
    Ok(0)
}

fn shown(containers: &Containers, arguments: &Arguments, filters: &filter::Filters) -> Result<Vec<Entry>> {
    let mut entries = Entry::all(containers)?;
    entries.sort_by(|one, other| other.created.cmp(&one.created).then_with(|| one.id.cmp(&other.id)));
    let last = arguments.last.or(arguments.latest.then_some(1));
    // As with docker, whoever asks for a state wants to see those in it.
    let all = arguments.all || last.is_some() || filters.ask_for_state();
    entries.retain(|entry| (all || entry.state.is_running()) && filters.match_entry(entry));
    entries.truncate(last.unwrap_or(usize::MAX));
    Ok(entries)
}
