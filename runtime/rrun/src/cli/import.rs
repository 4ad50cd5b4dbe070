//! `rrun import`.

use std::{fs::File, io};

use anyhow::{Context, Result, bail};
use clap::Args;
use image::{
    archive::{self, ImportOptions},
    reference::Reference,
};

use super::{Global, print};

/// Options of `import`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Tar of a root file system, plain or compressed; - is standard input
    #[arg(value_name = "FILE")]
    file: String,
    /// Name of the image
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<String>,
    /// Instruction that sets the config, such as 'CMD ["sh"]'
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// Remark in the image's history
    #[arg(short, long)]
    message: Option<String>,
}

pub fn run(global: &Global, arguments: &Arguments) -> Result<u8> {
    let Arguments { file, name, change, message } = arguments;
    let context = || format!("cannot import {file}");
    let name = name.as_deref().map(str::parse::<Reference>).transpose().with_context(context)?;
    if file.starts_with("http://") || file.starts_with("https://") {
        bail!("cannot import {file}: addresses are not available in this version yet; fetch the file first");
    }
    let options = ImportOptions {
        name,
        changes: change.clone(),
        message: message.clone(),
        created: None,
        source: if file == "-" { "standard input".into() } else { file.clone() },
    };
    let store = global.store()?;
    let imported = match file.as_str() {
        "-" => archive::import(&store, io::stdin().lock(), &options),
        path => archive::import(&store, File::open(path).with_context(context)?, &options),
    };
    print(&format!("{}\n", imported.with_context(context)?.id))?;
    Ok(0)
}
