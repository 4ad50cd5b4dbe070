//! Contestants taking turns, and what comes out as rows of the table.

use std::fmt;
use std::io::{Read, Seek};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::interrupt;
use crate::table::{Amount, Row, Target};

/// How rounds follow each other.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// As fast as they go.
    BackToBack,
    /// With 100 ms of idleness before each run.
    Paced,
}

impl Pace {
    /// Both, in the order of the table.
    pub const ALL: [Pace; 2] = [Pace::BackToBack, Pace::Paced];

    fn wait(self) {
        if let Pace::Paced = self {
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Pace::BackToBack => "back to back",
            Pace::Paced => "100 ms apart",
        })
    }
}

/// What takes part: told the number of the run, it does its work and says how long that took, in all and in parts.
pub struct Contestant<'a> {
    name: String,
    work: Box<dyn FnMut(usize) -> anyhow::Result<Vec<Duration>> + 'a>,
}

impl fmt::Debug for Contestant<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Contestant").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<'a> Contestant<'a> {
    /// Work in this process that counts as a whole.
    pub fn work(name: &str, mut work: impl FnMut(usize) -> anyhow::Result<()> + 'a) -> Contestant<'a> {
        Contestant::timed(name, move |run| {
            let start = Instant::now();
            work(run)?;
            Ok(vec![start.elapsed()])
        })
    }

    /// Work of which only some counts: it says how long that took, and then its parts, always the same number of them.
    pub fn timed(
        name: &str,
        work: impl FnMut(usize) -> anyhow::Result<Vec<Duration>> + 'a,
    ) -> Contestant<'a> {
        Contestant { name: name.to_owned(), work: Box::new(work) }
    }

    /// A command, made anew for each run; that it fails ends the bench with what it said.
    pub fn command(name: &str, mut command: impl FnMut(usize) -> Command + 'a) -> Contestant<'a> {
        Contestant::work(name, move |run| quiet(command(run)))
    }

    /// Whether it works here at all; if not, says so by name.
    pub fn take_part(mut self) -> Option<Contestant<'a>> {
        match (self.work)(usize::MAX) {
            Ok(_) => Some(self),
            Err(error) => {
                println!("skipped: {}: {error:#}", self.name);
                None
            }
        }
    }
}

/// Runs a command whose output nobody wants unless it fails.
pub fn quiet(mut command: Command) -> anyhow::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).output();
    let output = output.with_context(|| format!("cannot start {program}"))?;
    if !output.status.success() {
        bail!(
            "{program} ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    Ok(())
}

/// As [`quiet`], for a command that leaves a process behind: what that says is nobody's, and nobody waits for its end.
pub fn quiet_and_leave(mut command: Command) -> anyhow::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let said = tempfile::tempfile().context("cannot make a temporary file")?;
    let errors = said.try_clone().context("cannot share a temporary file")?;
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors).status();
    let status = status.with_context(|| format!("cannot start {program}"))?;
    if !status.success() {
        let mut said = said;
        let mut text = String::new();
        said.rewind().and_then(|()| said.read_to_string(&mut text)).context("cannot read what it said")?;
        bail!("{program} ended with {status}: {}", text.trim_end());
    }
    Ok(())
}

/// The median times of each contestant, in their order: in all, then of each part.
fn medians(
    contestants: &mut [Contestant<'_>],
    rounds: usize,
    pace: Pace,
) -> anyhow::Result<Vec<Vec<Duration>>> {
    let mut times = vec![Vec::<Vec<Duration>>::new(); contestants.len()];
    for round in 0..rounds {
        // Another one begins each round: nobody always runs after the same neighbour.
        for turn in 0..contestants.len() {
            let index = (round + turn) % contestants.len();
            let contestant = &mut contestants[index];
            interrupt::check()?;
            pace.wait();
            let run =
                (contestant.work)(round).with_context(|| format!("{}, round {round}", contestant.name))?;
            times[index].resize(run.len(), Vec::new());
            for (all, time) in times[index].iter_mut().zip(run) {
                all.push(time);
            }
        }
    }
    Ok(times.into_iter().map(|parts| parts.into_iter().map(median).collect()).collect())
}

/// The middle one.
pub fn median<T: Ord + Copy + Default>(mut amounts: Vec<T>) -> T {
    amounts.sort();
    amounts.get(amounts.len() / 2).copied().unwrap_or_default()
}

/// The rows of a contest: the first contestant is ours, each further one has its target ratio.
pub fn compare(
    what: &str,
    contestants: Vec<Contestant<'_>>,
    targets: &[f64],
    rounds: usize,
) -> anyhow::Result<Vec<Row>> {
    compare_parts(&[what], contestants, targets, rounds)
}

/// As [`compare`], with names for the whole and for each part, in the order in which contestants tell their times.
pub fn compare_parts(
    whats: &[&str],
    contestants: Vec<Contestant<'_>>,
    targets: &[f64],
    rounds: usize,
) -> anyhow::Result<Vec<Row>> {
    parts(whats, contestants, targets, Target::PartOfAbove, rounds)
}

/// As [`compare_parts`] with one peer, where each part has the target of the whole.
pub fn compare_each(
    whats: &[&str],
    contestants: Vec<Contestant<'_>>,
    target: f64,
    rounds: usize,
) -> anyhow::Result<Vec<Row>> {
    parts(whats, contestants, &[target], Target::Ratio(target), rounds)
}

fn parts(
    whats: &[&str],
    mut contestants: Vec<Contestant<'_>>,
    targets: &[f64],
    of_a_part: Target,
    rounds: usize,
) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for pace in Pace::ALL {
        let medians = medians(&mut contestants, rounds, pace)?;
        for ((peer, contestant), target) in medians.iter().zip(&contestants).skip(1).zip(targets) {
            for (part, (what, (ours, peer))) in whats.iter().zip(medians[0].iter().zip(peer)).enumerate() {
                rows.push(Row {
                    what: (*what).to_owned(),
                    how: pace.to_string(),
                    ours: Amount::Time(*ours),
                    peer: Some((contestant.name.clone(), Amount::Time(*peer))),
                    target: if part == 0 { Target::Ratio(*target) } else { of_a_part },
                });
            }
        }
    }
    Ok(rows)
}
