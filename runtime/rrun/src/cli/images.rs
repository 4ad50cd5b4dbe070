//! `rrun images`: docker's columns, one row per name, newest first.

use anyhow::{Result, bail};
use clap::Args;
use image::{
    document::Timestamp,
    store::{Image, Store},
};
use serde_json::{Value, json};

use super::{Global, print};
use crate::format::{self, Template};

/// Options of `images`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Show only images of this repository, or with this name
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<String>,
    /// Show all images (there are no hidden intermediate ones: same as without)
    #[arg(short, long)]
    all: bool,
    /// Print only image ids
    #[arg(short, long)]
    quiet: bool,
    /// Print ids in full
    #[arg(long)]
    no_trunc: bool,
    /// Show manifest digests
    #[arg(long)]
    digests: bool,
    /// Print by a template of fields such as '{{.Repository}}:{{.Tag}}', 'table {{.ID}}\t{{.Size}}', or 'json'
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Show only what matches: reference=PATTERN, dangling=true|false, label=KEY[=VALUE], before=IMAGE, since=IMAGE
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,
}

enum Filter {
    Reference(String),
    Dangling(bool),
    Label(String, Option<String>),
    Before(Option<Timestamp>),
    Since(Option<Timestamp>),
}

pub fn run(global: &Global, arguments: &Arguments) -> Result<u8> {
    let store = global.store()?;
    let mut filters = Vec::new();
    for filter in &arguments.filter {
        filters.push(parse_filter(&store, filter)?);
    }
    let template = arguments.format.as_deref().map(Template::parse).transpose()?;
    let rows = rows(&store, arguments, &filters)?;
    if arguments.quiet {
        let mut ids: Vec<&str> = rows.iter().filter_map(|row| row["ID"].as_str()).collect();
        ids.dedup();
        print(&ids.iter().map(|id| format!("{id}\n")).collect::<String>())?;
        return Ok(0);
    }
    let text = match template {
        Some(template) => template.rows(&rows)?,
        None => {
            let digests = if arguments.digests { "{{.Digest}}\t" } else { "" };
            let columns = format!(
                "table {{{{.Repository}}}}\t{{{{.Tag}}}}\t{digests}{{{{.ID}}}}\t{{{{.CreatedSince}}}}\t{{{{.Size}}}}"
            );
            Template::parse(&columns)?
                .with_heads(&[("ID", "IMAGE ID"), ("CreatedSince", "CREATED")])
                .rows(&rows)?
        }
    };
    print(&text)?;
    Ok(0)
}

fn rows(store: &Store, arguments: &Arguments, filters: &[Filter]) -> Result<Vec<Value>> {
    let mut rows = Vec::new();
    for image in store.images()? {
        if !filters.iter().all(|filter| image_matches(filter, &image)) {
            continue;
        }
        let named = |name: &&image::reference::Reference| {
            arguments.name.as_deref().is_none_or(|wanted| is_called(name, wanted))
                && filters.iter().all(|filter| match filter {
                    Filter::Reference(pattern) => name_matches(name, pattern),
                    _ => true,
                })
        };
        for name in image.names.iter().filter(named) {
            rows.push(row(
                store,
                &image,
                &name.familiar_repository(),
                name.tag.as_deref(),
                arguments.no_trunc,
            ));
        }
        let by_name =
            arguments.name.is_some() || filters.iter().any(|filter| matches!(filter, Filter::Reference(_)));
        if image.names.is_empty() && !by_name {
            rows.push(row(store, &image, "<none>", None, arguments.no_trunc));
        }
    }
    Ok(rows)
}

fn row(store: &Store, image: &Image, repository: &str, tag: Option<&str>, no_trunc: bool) -> Value {
    json!({
        "Repository": repository,
        "Tag": tag.unwrap_or("<none>"),
        "ID": if no_trunc { image.id.to_string() } else { image.id.short() },
        "Digest": image.manifest.to_string(),
        "CreatedSince": format::since(image.created),
        "CreatedAt": format::moment(image.created),
        "Size": format::size(store.unpacked_size(image)),
        "Containers": "N/A",
        "SharedSize": "N/A",
        "UniqueSize": "N/A",
    })
}

fn parse_filter(store: &Store, filter: &str) -> Result<Filter> {
    let Some((key, value)) = filter.split_once('=') else {
        bail!("filter {filter:?} is not KEY=VALUE");
    };
    Ok(match key {
        "reference" => Filter::Reference(value.to_string()),
        "dangling" => match value {
            "true" | "1" => Filter::Dangling(true),
            "false" | "0" => Filter::Dangling(false),
            _ => bail!("filter dangling={value}: the value is true or false"),
        },
        "label" => match value.split_once('=') {
            Some((key, value)) => Filter::Label(key.to_string(), Some(value.to_string())),
            None => Filter::Label(value.to_string(), None),
        },
        "before" => Filter::Before(store.find(value)?.created),
        "since" => Filter::Since(store.find(value)?.created),
        _ => bail!("there is no filter {key:?} (there are reference, dangling, label, before and since)"),
    })
}

fn image_matches(filter: &Filter, image: &Image) -> bool {
    match filter {
        Filter::Reference(pattern) => image.names.iter().any(|name| name_matches(name, pattern)),
        Filter::Dangling(wanted) => image.names.is_empty() == *wanted,
        Filter::Label(key, value) => image
            .config
            .config
            .labels
            .get(key)
            .is_some_and(|label| value.as_ref().is_none_or(|value| value == label)),
        Filter::Before(time) => image.created < *time,
        Filter::Since(time) => image.created > *time,
    }
}

/// The operand: a repository, or a repository with a tag.
fn is_called(name: &image::reference::Reference, wanted: &str) -> bool {
    let Ok(parsed) = wanted.parse::<image::reference::Reference>() else { return name_matches(name, wanted) };
    let tagged = wanted.rsplit('/').next().is_some_and(|last| last.contains(':'));
    parsed.repository() == name.repository() && (!tagged || parsed.tag == name.tag)
}

/// A pattern with `*`, `?` and `[...]`, none of which crosses a slash, over the name as shown, with or without tag.
fn name_matches(name: &image::reference::Reference, pattern: &str) -> bool {
    [name.familiar(), name.familiar_repository(), name.to_string(), name.repository()]
        .iter()
        .any(|text| format::glob(pattern.as_bytes(), text.as_bytes()))
}
