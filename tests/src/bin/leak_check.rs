//! `leak-check before FILE` records what is on the machine; `leak-check after FILE` fails if anything was added.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tests::leaks::{Snapshot, remove_unused_shared_cgroups};

/// How long what ends on its own may take.
const SETTLE: Duration = Duration::from_secs(5);

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["before", file] => {
            std::fs::write(file, Snapshot::take().to_text()).with_context(|| format!("cannot write {file}"))
        }
        ["after", file] => after(Path::new(file)),
        _ => bail!("usage: leak-check before|after FILE"),
    }
}

fn after(file: &Path) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let before = Snapshot::from_text(&text);
    let ends = Instant::now() + SETTLE;
    loop {
        let leaked = Snapshot::take().since(&before);
        if leaked.is_empty() {
            remove_unused_shared_cgroups();
            println!("leak check: nothing left behind");
            return Ok(());
        }
        if Instant::now() > ends {
            bail!("left behind:\n  {}", leaked.join("\n  "));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
