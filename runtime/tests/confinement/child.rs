//! A cloned process that runs a closure and tells its result.

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use runtime::sys::clone::{Cloned, clone3, exit_now};
use rustix::process::{WaitIdOptions, WaitIdStatus, waitid};

/// A running child.
pub struct Child {
    /// Its number.
    pub pid: i32,
    pidfd: OwnedFd,
    output: std::fs::File,
    /// Closing it tells the child to go on.
    gate: Option<OwnedFd>,
}

/// Starts a child of this single-threaded process, in a v2 cgroup if given.
///
/// The closure gets a gate that it can wait at until [`Child::finish`]; what it returns is the child's report.
pub fn start(cgroup: Option<BorrowedFd<'_>>, work: impl FnOnce(&Gate) -> String) -> Child {
    let (output, input) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let (gate, opener) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    match clone3(0, cgroup).unwrap() {
        Cloned::Child => {
            drop((output, opener));
            let gate = Gate { opened: gate, report: input };
            let code = match catch_unwind(AssertUnwindSafe(|| work(&gate))) {
                Ok(report) => {
                    gate.say(&report);
                    0
                }
                Err(_) => 101,
            };
            exit_now(code)
        }
        Cloned::Parent { pid, pidfd } => Child { pid, pidfd, output: output.into(), gate: Some(opener) },
    }
}

/// Runs a closure in a child to its end and returns its report. Panics if the child fails.
pub fn run(work: impl FnOnce() -> String) -> String {
    start(None, |_| work()).finish()
}

/// Where a child waits, and how it reports early.
pub struct Gate {
    opened: OwnedFd,
    report: OwnedFd,
}

impl Gate {
    /// Writes a part of the report now.
    pub fn say(&self, text: &str) {
        rustix::io::write(&self.report, text.as_bytes()).unwrap();
    }

    /// Waits until the parent finishes us.
    pub fn wait(&self) {
        let _ = rustix::io::read(&self.opened, &mut [0u8; 1]);
    }
}

impl Child {
    /// Waits for a part of the report.
    pub fn hear(&mut self) -> String {
        let mut bytes = [0; 4096];
        let count = self.output.read(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..count]).into_owned()
    }

    /// Opens the gate, collects the report, and reaps the child, which must have succeeded.
    pub fn finish(self) -> String {
        let (status, report) = self.end();
        assert_eq!(status.exit_status(), Some(0), "the child failed: {report}");
        report
    }

    /// As [`Child::finish`], whatever became of the child.
    pub fn end(mut self) -> (WaitIdStatus, String) {
        drop(self.gate.take());
        let mut report = String::new();
        self.output.read_to_string(&mut report).unwrap();
        let status = waitid(rustix::process::WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
        (status.unwrap().unwrap(), report)
    }
}

/// `println!` keeps its buffer over a clone; this does not.
pub fn note(text: &str) {
    let _ = std::io::stdout().write_all(format!("{text}\n").as_bytes());
}
