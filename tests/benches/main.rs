//! `bench [--rounds N] [--pods N] [start|runtime|rebuild|pods]...`: our programs beside their peers in one run, as ratios.
//! `bench functions-of PROGRAM`: see [`layout`].
//!
//! Contestants take turns within each round, so that whatever else the machine does hits all alike; what counts is the
//! median. Every latency is measured back to back and paced at 100 ms, because an idle kernel answers differently.
//! Nothing is asserted: a target that is missed stands in the table as missed. Missing peers are named as skipped.

mod contest;
mod interrupt;
mod layout;
mod pods;
mod rebuild;
mod rollup;
mod runtime;
mod start;
mod table;
mod world;

use anyhow::{Context, bail};

use crate::world::World;

/// Without names on the command line, all of them.
const CONTESTS: &[&str] = &["start", "runtime", "rebuild", "pods"];

fn main() -> anyhow::Result<()> {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    if let Some(done) = runtime::hook(&words).or_else(|| layout::hook(&words)) {
        return done;
    }
    if let [word, program] = words.as_slice()
        && word == "functions-of"
    {
        return layout::functions_of(program.as_ref());
    }
    let options = Options::parse(std::env::args().skip(1))?;
    interrupt::watch()?;
    let world = World::new()?;
    let mut rows = Vec::new();
    for contest in &options.contests {
        rows.extend(match *contest {
            "start" => start::whole_program(&world, options.rounds),
            "runtime" => runtime::all(&world, options.rounds),
            "rebuild" => rebuild::nothing_changed(&world, options.rounds),
            _ => pods::pods(&world, options.rounds, options.pods),
        }?);
    }
    tests::leaks::remove_unused_shared_cgroups();
    println!("\nMedians of {} interleaved rounds (3 beside buildah):\n", options.rounds);
    table::print(&rows);
    Ok(())
}

#[derive(Debug)]
struct Options {
    rounds: usize,
    pods: usize,
    contests: Vec<&'static str>,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<Options> {
        let mut options = Options { rounds: 30, pods: 50, contests: Vec::new() };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--rounds" => options.rounds = number(&argument, arguments.next())?,
                "--pods" => options.pods = number(&argument, arguments.next())?,
                name => match CONTESTS.iter().find(|contest| **contest == name) {
                    Some(contest) => options.contests.push(contest),
                    None => bail!(
                        "usage: bench [--rounds N] [--pods N] [{}]..., or bench functions-of PROGRAM",
                        CONTESTS.join("|")
                    ),
                },
            }
        }
        if options.contests.is_empty() {
            options.contests = CONTESTS.to_vec();
        }
        Ok(options)
    }
}

fn number(option: &str, value: Option<String>) -> anyhow::Result<usize> {
    let value = value.unwrap_or_default();
    let number = value.parse().ok().filter(|number| *number > 0);
    number.with_context(|| format!("cannot read {option} {value:?}"))
}
