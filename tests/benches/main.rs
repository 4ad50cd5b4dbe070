//! `bench [--rounds N]`: our programs beside their peers in one run, as ratios.
//!
//! Contestants take turns within each round, so that whatever else the machine does hits all alike; what counts is the
//! median. Every latency is measured back to back and paced at 100 ms, because an idle kernel answers differently.
//! Nothing is asserted: a target that is missed stands in the table as missed. Missing peers are named as skipped.

mod contest;
mod rebuild;
mod start;
mod world;

use anyhow::{Context, bail};

use crate::contest::Row;
use crate::world::World;

fn main() -> anyhow::Result<()> {
    let rounds = rounds()?;
    let world = World::new()?;
    let mut rows = Vec::new();
    rows.extend(start::whole_program(&world, rounds)?);
    rows.extend(start::runtime_alone(&world, rounds)?);
    rows.extend(rebuild::nothing_changed(&world, rounds)?);
    print(&rows, rounds);
    Ok(())
}

fn rounds() -> anyhow::Result<usize> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => Ok(30),
        ["--rounds", number] => number.parse().with_context(|| format!("cannot read --rounds {number}")),
        _ => bail!("usage: bench [--rounds N]"),
    }
}

fn print(rows: &[Row], rounds: usize) {
    println!("\nMedians of {rounds} interleaved rounds (3 beside buildah):\n");
    println!("| what | pace | ours | peer | ratio | target | met |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for row in rows {
        println!("{row}");
    }
}
