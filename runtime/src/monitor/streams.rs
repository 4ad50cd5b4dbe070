//! The standard streams of a container: pipes between it and its monitor.

use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::container::Stdio;
use crate::error::{Error, Result};

/// The monitor's ends of a container's pipes; empty where it has a terminal.
#[derive(Debug, Default)]
pub(super) struct Ours {
    /// Where its input is written; none where it has none.
    pub(super) stdin: Option<OwnedFd>,
    /// Where its output is read.
    pub(super) stdout: Option<OwnedFd>,
    /// Where its error output is read.
    pub(super) stderr: Option<OwnedFd>,
}

/// Makes the streams of a container. Without `input` it reads the null device; a `terminal` is made by the container itself.
pub(super) fn open(input: bool, terminal: bool) -> Result<(Stdio, Ours)> {
    if terminal {
        return Ok((Stdio::Inherit, Ours::default()));
    }
    let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(Error::system("create", "a pipe for the container"));
    let (stdin, to_container) = if input {
        let (read, write) = pipe()?;
        (read, Some(write))
    } else {
        (null_device()?, None)
    };
    let (from_stdout, stdout) = pipe()?;
    let (from_stderr, stderr) = pipe()?;
    let ours = Ours { stdin: to_container, stdout: Some(from_stdout), stderr: Some(from_stderr) };
    Ok((Stdio::Descriptors { stdin, stdout, stderr }, ours))
}

fn null_device() -> Result<OwnedFd> {
    const PATH: &str = "/dev/null";
    rustix::fs::openat(CWD, PATH, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(Error::system("open", PATH))
}
