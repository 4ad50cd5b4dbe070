//! A program in a session of its own, on a terminal or without, ended when its time is over.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::orphans;

/// Between asking a session to end and ending it, so that a suite can undo what it did to the machine.
const GRACE: Duration = Duration::from_secs(5);
/// What a container that outlives its session still holds open is not waited for.
const OUTPUT_GRACE: Duration = Duration::from_secs(1);

/// Whether the program gets a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Session {
    /// Output goes to pipes and input is empty.
    Plain,
    /// A terminal that it may open as `/dev/tty`; nobody types.
    Terminal,
}

/// What became of it.
#[derive(Debug)]
pub struct Ended {
    /// How it exited; `None` if its time was over.
    pub status: Option<ExitStatus>,
    /// Standard output and standard error in the order of their arrival.
    pub output: Vec<u8>,
}

impl Ended {
    /// What it printed, as text with plain ends of lines.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).replace("\r\n", "\n")
    }
}

/// Runs `command` to its end or for `limit`. What it leaves behind and what ends meanwhile is reaped, after a `last_look`.
pub fn run(
    command: Command,
    session: Session,
    limit: Duration,
    last_look: &mut dyn FnMut(Pid),
) -> anyhow::Result<Ended> {
    let (mut reader, ends) = match session {
        Session::Plain => pipe()?,
        Session::Terminal => terminal()?,
    };
    let mut child = in_session(&command, session, &ends)?.spawn().context("cannot start setsid")?;
    drop(ends);
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 16 * 1024];
        while let Ok(count @ 1..) = reader.read(&mut buffer) {
            if send.send(buffer[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    let status = wait(&mut child, limit, last_look)?;
    let mut output = Vec::new();
    let until = Instant::now() + OUTPUT_GRACE;
    while let Ok(chunk) = receive.recv_timeout(until.saturating_duration_since(Instant::now())) {
        output.extend(chunk);
    }
    Ok(Ended { status, output })
}

/// The same command as the leader of a session, writing to `ends`.
fn in_session(command: &Command, session: Session, ends: &OwnedFd) -> anyhow::Result<Command> {
    let end = || ends.try_clone().map(Stdio::from).context("no descriptor");
    let mut leader = Command::new("setsid");
    leader.args(match session {
        Session::Plain => &["--wait"][..],
        Session::Terminal => &["--wait", "--ctty"],
    });
    leader.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => leader.env(name, value),
            None => leader.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        leader.current_dir(folder);
    }
    leader.stdin(if session == Session::Plain { Stdio::null() } else { end()? });
    leader.stdout(end()?).stderr(end()?);
    Ok(leader)
}

/// Waits, then ends what is left of the session; `None` means that the time was over.
fn wait(
    child: &mut Child,
    limit: Duration,
    last_look: &mut dyn FnMut(Pid),
) -> anyhow::Result<Option<ExitStatus>> {
    // `setsid` was started as no leader of a group, so it kept its process id: it is that of the group, too.
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("no process id")?;
    let in_time = ends(group, limit, last_look)?;
    if !in_time {
        let _ = kill_process_group(group, Signal::TERM);
        ends(group, GRACE, last_look)?;
    }
    let _ = kill_process_group(group, Signal::KILL);
    let status = child.wait().context("cannot wait")?;
    Ok(Some(status).filter(|_| in_time))
}

/// Whether a child ends in time. It is not reaped, so that its id stays its own.
fn ends(child: Pid, limit: Duration, last_look: &mut dyn FnMut(Pid)) -> anyhow::Result<bool> {
    let until = Instant::now() + limit;
    let seen = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    while waitid(WaitId::Pid(child), seen).context("cannot wait")?.is_none() {
        if Instant::now() > until {
            return Ok(false);
        }
        orphans::reap(Some(child), last_look);
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(true)
}

fn pipe() -> anyhow::Result<(File, OwnedFd)> {
    let (reader, writer) = std::io::pipe().context("no pipe")?;
    Ok((File::from(OwnedFd::from(reader)), writer.into()))
}

fn terminal() -> anyhow::Result<(File, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags).context("no terminal")?;
    grantpt(&master).and_then(|()| unlockpt(&master)).context("no terminal")?;
    let name = ptsname(&master, Vec::new()).context("a terminal without a name")?;
    let name = name.into_string().context("a terminal with a strange name")?;
    let slave = File::options().read(true).write(true).open(&name).with_context(|| format!("no {name}"))?;
    Ok((File::from(master), slave.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn run(command: Command, session: Session, limit: Duration) -> Ended {
        super::run(command, session, limit, &mut |_| ()).expect("it runs")
    }

    #[test]
    fn both_outputs_and_the_exit_are_seen() {
        let ended = run(shell("echo one; echo two >&2; exit 3"), Session::Plain, GRACE);
        assert_eq!(ended.text(), "one\ntwo\n");
        assert_eq!(ended.status.and_then(|status| status.code()), Some(3));
    }

    #[test]
    fn a_terminal_is_the_sessions_own() {
        let ended = run(shell("test -t 0 && echo seen > /dev/tty"), Session::Terminal, GRACE);
        assert_eq!(ended.text(), "seen\n");
    }

    #[test]
    fn a_hanging_session_is_ended_as_a_whole() {
        let start = Instant::now();
        let hangs = shell("sleep 1000 & sleep 1000");
        let ended = run(hangs, Session::Plain, Duration::from_millis(200));
        assert!(ended.status.is_none());
        assert!(start.elapsed() < GRACE);
    }
}
