//! `rrun system check`: is the store whole?

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use image::store::CheckReport;

use super::{Global, print};

/// What can be done for the store.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Compare every image with its digests, and list what interrupted programs left
    Check(CheckArguments),
}

/// Options of `system check`.
#[derive(Debug, Args)]
pub struct CheckArguments {
    /// Remove leftovers, and take damaged images out of the store
    #[arg(long)]
    repair: bool,
}

pub fn run(global: &Global, verb: &Verb) -> Result<u8> {
    let Verb::Check(CheckArguments { repair }) = verb;
    // What a killed monitor left is freed by whoever comes next; a check is not needed for that, nor disturbed by it.
    let containers = global.unswept_containers()?;
    let store = containers.store();
    containers.sweep()?;
    containers.sweep_builds()?;
    let report =
        store.check(*repair).with_context(|| format!("cannot check the store {}", store.root().display()))?;
    print(&describe(&report))?;
    Ok(u8::from(!report.is_sound() && !repair))
}

/// One line per problem, then what is left over, then the verdict.
fn describe(report: &CheckReport) -> String {
    let mut text: String = report.problems.iter().map(|problem| format!("damaged: {problem}\n")).collect();
    if let Some(swept) = report.repaired.as_ref().filter(|swept| !swept.is_empty()) {
        let counts = [
            (swept.leases as usize, "dead lease"),
            (swept.blobs.len(), "blob"),
            (swept.layers.len(), "layer"),
            (swept.strays as usize, "stray file"),
        ];
        text.push_str(&format!("removed: {}\n", list(&counts)));
    }
    let left = &report.leftovers;
    if !left.is_empty() {
        let counts = [
            (left.leases, "dead lease"),
            (left.trash, "entry of the trash"),
            (left.blobs, "unreferenced blob"),
            (left.layers, "unreferenced layer"),
            (left.strays, "stray file"),
        ];
        text.push_str(&format!("left over, harmless, removed by --repair: {}\n", list(&counts)));
    }
    let images = count(report.images, "image");
    text.push_str(&match (report.problems.len(), report.repaired.is_some()) {
        (0, _) => format!("{images} checked, no damage\n"),
        (found, true) => format!("{images} checked, {} found and taken out\n", count(found, "problem")),
        (found, false) => {
            format!(
                "{images} checked, {} found: load or build the images again, or use --repair\n",
                count(found, "problem")
            )
        }
    });
    text
}

fn list(counts: &[(usize, &str)]) -> String {
    let nonzero: Vec<String> =
        counts.iter().filter(|(number, _)| *number > 0).map(|(number, what)| count(*number, what)).collect();
    nonzero.join(", ")
}

fn count(number: usize, what: &str) -> String {
    match (number, what) {
        (1, _) => format!("1 {what}"),
        (_, "entry of the trash") => format!("{number} entries of the trash"),
        _ => format!("{number} {what}s"),
    }
}
