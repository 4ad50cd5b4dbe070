//! `rrun inspect`: docker's JSON about containers and images.

mod container;
mod image;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use engine::{Containers, Kind};
use serde_json::Value;

use super::{Global, each, print};
use crate::format::Template;

/// Options of `inspect`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Names or ids of containers or images
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Print by a template of fields such as '{{.Config.Cmd}}' or '{{json .State}}', or 'json'
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Only containers, or only images; otherwise containers first
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<Type>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Type {
    Container,
    Image,
}

pub fn run(global: &Global, arguments: &Arguments) -> Result<u8> {
    let containers = global.containers()?;
    let template = arguments.format.as_deref().map(Template::parse).transpose()?;
    let mut found = Vec::new();
    let code = each(&arguments.names, |name| {
        let described =
            describe(&containers, name, arguments.kind).with_context(|| format!("cannot inspect {name}"))?;
        match &template {
            Some(template) => print(&template.rows(&[described])?)?,
            None => found.push(described),
        }
        Ok(())
    })?;
    if template.is_none() {
        print(&format!("{}\n", serde_json::to_string_pretty(&found)?))?;
    }
    Ok(code)
}

fn describe(containers: &Containers, name: &str, kind: Option<Type>) -> Result<Value> {
    let store = containers.store();
    if kind != Some(Type::Image) {
        match containers.find(name) {
            Ok(record) => return container::describe(containers, &record),
            Err(error) if kind.is_none() && error.kind() == Kind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    match store.find(name) {
        Ok(found) => image::describe(store, &found),
        Err(error) if kind.is_none() && error.kind() == ::image::error::Kind::NotFound => {
            bail!("there is no such container or image")
        }
        Err(error) => Err(error.into()),
    }
}
