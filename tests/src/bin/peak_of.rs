//! `peak-of COMMAND...`: runs a command and prints the peak of its resident memory in KB, as the kernel tells a parent.
//!
//! A process begins with the memory of who started it, and its peak with that: so this program is small, and not the bench
//! itself, and begins its children as a copy of itself (fork(2)), to which only what it has written belongs. What is left
//! of that is seen with a program that does nothing.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

use nix::sys::resource::{UsageWho, getrusage};
use nix::unistd::geteuid;

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
    let least = peak_with(Command::new("true"))?;
    let mut command = Command::new(program);
    command.args(words);
    let peak = peak_with(command)?;
    if peak <= least {
        return Err(format!("what has no more than the {least} KB of who starts it cannot be measured"));
    }
    Ok(peak)
}

/// The largest until now, this one among them.
fn peak_with(mut command: Command) -> Result<i64, String> {
    // Naming the user, who stays the same, is what keeps the standard library from posix_spawn(3), which shares our memory.
    command.uid(geteuid().as_raw());
    let started = command.stdout(Stdio::null()).status();
    let name = command.get_program().to_string_lossy();
    let status = started.map_err(|error| format!("cannot start {name}: {error}"))?;
    if !status.success() {
        return Err(format!("{name} ended with {status}"));
    }
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).map_err(|errno| format!("getrusage: {errno}"))?;
    Ok(usage.max_rss())
}
