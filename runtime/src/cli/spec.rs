//! `roci spec`: a config.json to start from.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use runtime::spec::template;

#[derive(Debug, Args)]
pub struct Arguments {
    /// Folder to write config.json to
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,
    /// For an ordinary user: with a user namespace in which that user is root
    #[arg(long)]
    rootless: bool,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let user = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let spec = template(arguments.rootless.then_some(user));
    let path = arguments.bundle.join("config.json");
    let mut text = serde_json::to_string_pretty(&spec)?;
    text.push('\n');
    // One that is there already was somebody's work.
    std::fs::File::create_new(&path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot create {}", path.display()))?;
    Ok(0)
}
