//! Breakpoints at the beginning of every function, each gone once it was hit (ptrace(2)).

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail, ensure};
use nix::errno::Errno;
use nix::sys::ptrace::{self, Event, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// int3, which leaves the instruction pointer behind itself.
const BREAKPOINT: u8 = 0xcc;

/// The functions of a program that is loaded where it was linked.
struct Functions<'a> {
    program: &'a Path,
    /// Their names by address.
    names: HashMap<u64, String>,
    /// Where the first and the last begin.
    bounds: [u64; 2],
    /// What is in memory from the first to the last; empty until the program has been seen.
    text: Vec<u8>,
}

/// Fails where a program has no functions to be traced, before anything is started.
pub(super) fn examine(program: &Path) -> anyhow::Result<()> {
    Functions::of(program).map(drop)
}

/// Traces a stopped process, which is about to execute the program, and what descends from it, until all have ended or
/// execute something else. The names of the functions are added to the list, which stays locked meanwhile.
pub(super) fn trace(pid: i32, program: &Path, list: &Path) -> anyhow::Result<()> {
    let mut functions = Functions::of(program)?;
    let mut list = File::options().append(true).open(list).context("cannot open the list")?;
    list.lock_shared().context("cannot lock the list")?;
    let options = Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEEXEC;
    ptrace::seize(Pid::from_raw(pid), options).context("cannot trace")?;
    kill(Pid::from_raw(pid), Signal::SIGCONT).context("cannot continue")?;
    loop {
        let status = match waitpid(None, Some(WaitPidFlag::__WALL)) {
            Ok(status) => status,
            Err(Errno::ECHILD) => return Ok(()),
            Err(errno) => return Err(errno).context("cannot wait for what is traced"),
        };
        let Some(pid) = status.pid() else { continue };
        let resumed = match status {
            WaitStatus::Stopped(_, Signal::SIGTRAP) => {
                functions.step_over(pid, &mut list)?;
                ptrace::cont(pid, None)
            }
            WaitStatus::PtraceEvent(_, _, event) if event == Event::PTRACE_EVENT_EXEC as i32 => {
                if functions.are_in(pid) {
                    functions.mark(pid)?;
                    ptrace::cont(pid, None)
                } else {
                    ptrace::detach(pid, None)
                }
            }
            WaitStatus::PtraceEvent(..) => ptrace::cont(pid, None),
            WaitStatus::Stopped(_, signal) => ptrace::cont(pid, signal),
            _ => Ok(()),
        };
        match resumed {
            // Killed meanwhile.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => return Err(errno).context("cannot continue what is traced"),
        }
    }
}

impl Functions<'_> {
    /// As its table of symbols has them, through nm(1), which writes their names as they stand in the source.
    fn of(program: &Path) -> anyhow::Result<Functions<'_>> {
        let mut nm = Command::new("nm");
        nm.args(["--demangle", "--defined-only"]).arg(program);
        let output = nm.output().context("cannot start nm")?;
        ensure!(output.status.success(), "nm: {}", String::from_utf8_lossy(&output.stderr).trim());
        let mut names = HashMap::new();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let mut words = line.splitn(3, ' ');
            let (Some(address), Some("T" | "t" | "W" | "i"), Some(name)) =
                (words.next(), words.next(), words.next())
            else {
                continue;
            };
            let address = u64::from_str_radix(address, 16).with_context(|| line.to_owned())?;
            names.insert(address, name.to_owned());
        }
        let (Some(first), Some(last)) = (names.keys().min(), names.keys().max()) else {
            bail!("{} has no symbols: build it with CARGO_PROFILE_ROCI_STRIP=none", program.display());
        };
        Ok(Functions { program, bounds: [*first, *last], names, text: Vec::new() })
    }

    /// Whether that is what the process executes, under whichever mount.
    fn are_in(&self, pid: Pid) -> bool {
        let executed = fs::read_link(format!("/proc/{pid}/exe"));
        executed.is_ok_and(|path| path.file_name() == self.program.file_name())
    }

    /// Sets all breakpoints in a process that has just executed the program.
    fn mark(&mut self, pid: Pid) -> anyhow::Result<()> {
        let [first, last] = self.bounds;
        let memory = memory(pid)?;
        let mut text = vec![0; (last - first + 1) as usize];
        memory.read_exact_at(&mut text, first).context("the program is not where it was linked")?;
        if self.text.is_empty() {
            self.text.clone_from(&text);
        }
        for address in self.names.keys() {
            text[(address - first) as usize] = BREAKPOINT;
        }
        memory.write_all_at(&text, first).context("cannot set breakpoints")
    }

    /// Writes down which function has begun, and lets it begin.
    fn step_over(&self, pid: Pid, list: &mut File) -> anyhow::Result<()> {
        let mut registers = ptrace::getregs(pid).context("cannot read the registers")?;
        let address = registers.rip - 1;
        let Some(name) = self.names.get(&address) else { return Ok(()) };
        writeln!(list, "{name}").context("cannot write the list")?;
        let original = self.text[(address - self.bounds[0]) as usize];
        memory(pid)?.write_all_at(&[original], address).context("cannot clear a breakpoint")?;
        registers.rip = address;
        ptrace::setregs(pid, registers).context("cannot set the registers")
    }
}

fn memory(pid: Pid) -> anyhow::Result<File> {
    let path = format!("/proc/{pid}/mem");
    File::options().read(true).write(true).open(&path).with_context(|| format!("cannot open {path}"))
}
