//! One start of the machine.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::Context;

/// What runs it.
pub const PROGRAM: &str = "qemu-system-x86_64";
/// How guest.sh begins its last line.
const ENDED: &str = "machine: ended";
/// For everything; a third of it is usual.
const LIMIT: Duration = Duration::from_secs(25 * 60);
/// Without a line: a test hangs, or the machine does.
const SILENCE: Duration = Duration::from_secs(5 * 60);
/// Lines of the kernel's and systemd's own words that are shown when the machine did not get to its end.
const CONSOLE_LINES: usize = 40;

/// A machine that goes with its value.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        // Fails only where it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts it with the disk of the tests and prints what they print. True if all of them passed.
pub fn run(base: &Path, disk: &Path, scratch: &Path) -> anyhow::Result<bool> {
    let console = scratch.join("console");
    let mut machine = Machine(command(base, disk, &console).spawn().context("cannot start qemu")?);
    let output = machine.0.stdout.take().context("qemu has no output")?;
    let (send, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
            if send.send(line).is_err() {
                break;
            }
        }
    });
    match follow(&lines) {
        Ok(passed) => Ok(passed),
        Err(reason) => {
            let text = std::fs::read(&console).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(CONSOLE_LINES)..]
                .iter()
                .for_each(|line| println!("console: {line}"));
            Err(reason)
        }
    }
}

/// Prints lines until the last one, which says whether all passed.
fn follow(lines: &Receiver<String>) -> anyhow::Result<bool> {
    let started = Instant::now();
    loop {
        let left = LIMIT.saturating_sub(started.elapsed());
        let line = lines.recv_timeout(left.min(SILENCE));
        match line {
            Ok(line) => {
                println!("{line}");
                if let Some(code) = line.strip_prefix(ENDED) {
                    return Ok(code.trim().is_empty());
                }
            }
            Err(RecvTimeoutError::Disconnected) => anyhow::bail!("the machine ended before its tests did"),
            Err(RecvTimeoutError::Timeout) if left <= SILENCE => {
                anyhow::bail!(
                    "the machine hangs: its tests did not end within {} minutes",
                    LIMIT.as_secs() / 60
                )
            }
            Err(RecvTimeoutError::Timeout) => {
                anyhow::bail!("the machine hangs: no line from it for {} minutes", SILENCE.as_secs() / 60)
            }
        }
    }
}

/// The kernel and systemd speak on the first serial port, the tests on the second.
fn command(base: &Path, disk: &Path, console: &Path) -> Command {
    let drive = |path: &Path, rest: &str| format!("file={},if=virtio,format=raw,{rest}", path.display());
    // It ends with us, whatever way we end.
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", PROGRAM])
        .args(["-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", "2048"])
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
        .arg("-kernel")
        .arg(base.join("kernel"))
        .arg("-initrd")
        .arg(base.join("initrd"))
        .args(["-append", "console=ttyS0 quiet mitigations=off panic=-1 systemd.unit=hull-tests.service"])
        // What is written to it goes to a file of qemu's own that has no name.
        .args(["-drive", &drive(&base.join("root.img"), "snapshot=on,cache=unsafe")])
        .args(["-drive", &drive(disk, "readonly=on")])
        .args(["-serial", &format!("file:{}", console.display()), "-serial", "stdio"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command
}
