//! Starts under a memory limit of less than some runtimes take themselves: what they do in the container's name is charged to
//! it.

use anyhow::Context;
use runtime::spec::from_image::{ContainerSettings, container_spec};
use serde_json::json;

use super::Runtime;
use crate::contest::quiet;
use crate::interrupt;
use crate::table::{Amount, Row, Target};
use crate::world::World;

/// The limit, in bytes.
const LIMIT: u64 = 512 << 10;
const STARTS: usize = 100;

/// How many containers come to run `true` and end well: with the config.json that `rrun run` makes, and with that of
/// `roci spec`.
pub(super) fn rows(ours: &Runtime, world: &World) -> anyhow::Result<Vec<Row>> {
    let settings = ContainerSettings::new(&"0".repeat(64), vec!["true".to_owned()]);
    let of_rrun = serde_json::to_value(container_spec(&settings))?;
    let of_spec = own_spec(ours, world)?;
    let mut rows = Vec::new();
    for (name, config) in [("rrun run", of_rrun), ("roci spec", of_spec)] {
        let bundle = world.bundle_of(&format!("limited {name}"), config, |config| {
            config["process"]["args"] = json!(["true"]);
            config["process"]["terminal"] = json!(false);
            config["linux"]["cgroupsPath"] = json!(format!("/{}", world.id(0)));
            config["linux"]["resources"]["memory"] = json!({"limit": LIMIT, "swap": LIMIT});
        })?;
        let mut started = 0;
        let mut failure = None;
        for run in 0..STARTS {
            interrupt::check()?;
            let id = world.id(run);
            match quiet(ours.run(&bundle, &id)) {
                Ok(()) => started += 1,
                Err(error) => {
                    ours.delete(&id);
                    failure.get_or_insert(error);
                }
            }
        }
        if let Some(error) = failure {
            println!("with the config.json of {name} and {} KiB: {error:#}", LIMIT >> 10);
        }
        rows.push(Row {
            what: format!("roci run of true in {} KiB, config of {name}", LIMIT >> 10),
            how: format!("of {STARTS} starts"),
            ours: Amount::Count(started),
            peer: None,
            target: Target::AtLeast(Amount::Count(STARTS as u64)),
        });
    }
    Ok(rows)
}

/// What `roci spec` writes.
fn own_spec(ours: &Runtime, world: &World) -> anyhow::Result<serde_json::Value> {
    let bundle = world.path().join("spec");
    std::fs::create_dir(&bundle).with_context(|| format!("cannot make {}", bundle.display()))?;
    let mut spec = ours.command("spec");
    spec.arg("--bundle").arg(&bundle);
    quiet(spec)?;
    let file = bundle.join("config.json");
    let text = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("cannot understand {}", file.display()))
}
