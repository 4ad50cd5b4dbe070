//! `rrun history`: how an image was made, newest step first.

use anyhow::{Context, Result};
use clap::{ArgAction, Args};
use image::{
    document::{History, Timestamp},
    store::{Image, Store},
};
use serde_json::{Value, json};

use super::{Global, print};
use crate::format::{self, Template};

/// Options of `history`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Name or id of an image
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Print sizes and dates for people
    #[arg(short = 'H', long, action = ArgAction::Set, num_args = 0..=1, default_value_t = true, default_missing_value = "true", require_equals = true)]
    human: bool,
    /// Do not shorten ids and commands
    #[arg(long)]
    no_trunc: bool,
    /// Print only image ids
    #[arg(short, long)]
    quiet: bool,
    /// Print by a template of fields such as '{{.CreatedBy}}', or 'json'
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
}

const COLUMNS: &str = "table {{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}";
const HEADS: &[(&str, &str)] = &[("ID", "IMAGE"), ("CreatedSince", "CREATED"), ("CreatedBy", "CREATED BY")];
const SHORT_COMMAND: usize = 45;

pub fn run(global: &Global, arguments: &Arguments) -> Result<u8> {
    let store = global.store()?;
    let image = store
        .find(&arguments.image)
        .with_context(|| format!("cannot show the history of {}", arguments.image))?;
    let rows = rows(&store, &image, arguments);
    let text = match (arguments.quiet, &arguments.format) {
        (true, _) => rows.iter().filter_map(|row| row["ID"].as_str()).map(|id| format!("{id}\n")).collect(),
        (false, Some(template)) => Template::parse(template)?.rows(&rows)?,
        (false, None) => Template::parse(COLUMNS)?.with_heads(HEADS).rows(&rows)?,
    };
    print(&text)?;
    Ok(0)
}

fn rows(store: &Store, image: &Image, arguments: &Arguments) -> Vec<Value> {
    let mut layers = image.layers.iter();
    let nothing = || History { empty_layer: true, ..History::default() };
    // An image may say less about its history than it has layers.
    let said = image.config.history.iter().cloned();
    let steps = said.filter(|step| !step.empty_layer).count();
    let unsaid = (steps..image.layers.len()).map(|_| History { empty_layer: false, ..nothing() });
    let mut rows: Vec<Value> = unsaid
        .chain(image.config.history.iter().cloned())
        .map(|step| {
            let layer = if step.empty_layer { None } else { layers.next() };
            row(&step, layer.map_or(0, |layer| store.layer_size(layer)), arguments)
        })
        .collect();
    if let Some(last) = rows.last_mut() {
        last["ID"] = json!(if arguments.no_trunc { image.id.to_string() } else { image.id.short() });
    }
    rows.reverse();
    rows
}

fn row(step: &History, size: u64, arguments: &Arguments) -> Value {
    let created: Option<Timestamp> = step.created.as_deref().and_then(|created| created.parse().ok());
    let command = step.created_by.clone().unwrap_or_default().replace(char::is_control, " ");
    let command = match arguments.no_trunc || command.chars().count() <= SHORT_COMMAND {
        true => command,
        false => format!("{}…", command.chars().take(SHORT_COMMAND - 1).collect::<String>()),
    };
    json!({
        "ID": "<missing>",
        "CreatedSince": if arguments.human { format::since(created) } else { format::moment(created) },
        "CreatedAt": created.map(|created| created.to_string()).unwrap_or_default(),
        "CreatedBy": command,
        "Size": if arguments.human { format::size(size) } else { size.to_string() },
        "Comment": step.comment.clone().unwrap_or_default(),
    })
}
