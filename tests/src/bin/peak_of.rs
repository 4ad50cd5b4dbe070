//! `peak-of COMMAND...`: runs a command and prints the peak of its resident memory in KB, as the kernel tells a parent.
//!
//! A process begins with the memory of who started it, and its peak with that: so this program is small, and not the bench
//! itself.

use std::process::{Command, ExitCode, Stdio};

use nix::sys::resource::{UsageWho, getrusage};

fn main() -> ExitCode {
    match peak() {
        Ok(kilobytes) => {
            println!("{kilobytes}");
            ExitCode::SUCCESS
        }
        Err(text) => {
            eprintln!("peak-of: {text}");
            ExitCode::FAILURE
        }
    }
}

/// Of the largest process among the command and those of its descendants that were waited for (getrusage(2)).
fn peak() -> Result<i64, String> {
    let mut words = std::env::args_os().skip(1);
    let program = words.next().ok_or("usage: peak-of COMMAND...")?;
    let started = Command::new(&program).args(words).stdout(Stdio::null()).status();
    let status = started.map_err(|error| format!("cannot start {}: {error}", program.display()))?;
    if !status.success() {
        return Err(format!("{} ended with {status}", program.display()));
    }
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).map_err(|errno| format!("getrusage: {errno}"))?;
    let (own, children) = (own_peak()?, usage.max_rss());
    if children <= own {
        return Err(format!("what has less than our own {own} KB cannot be measured"));
    }
    Ok(children)
}

/// Of this program since its start; getrusage(2) would count who started it.
fn own_peak() -> Result<i64, String> {
    const PATH: &str = "/proc/self/status";
    let status = std::fs::read_to_string(PATH).map_err(|error| format!("cannot read {PATH}: {error}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().map_err(|_| format!("{PATH} has no VmHWM"))
}
