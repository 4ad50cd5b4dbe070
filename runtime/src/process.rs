//! Processes by descriptor: pidfd, start time, waiting, signals.
//!
//! A bare pid names whoever has it now. What must hold: we signal and wait only through a pidfd, and a pid that was
//! written down is believed only together with the boot it belongs to and the start time of its process.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::str::FromStr;
use std::sync::OnceLock;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions};

use crate::error::{Error, Result};

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It returned this code.
    Code(u8),
    /// This signal killed it.
    Signal(u8),
}

impl Exit {
    /// The code that shells and engines report: its own, or 128 plus the signal.
    pub fn code(self) -> u8 {
        match self {
            Exit::Code(code) => code,
            Exit::Signal(signal) => 128u8.wrapping_add(signal),
        }
    }
}

/// Waits for a child of ours to end and reaps it.
pub fn wait(pidfd: impl AsFd) -> Result<Exit> {
    loop {
        match rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED) {
            Ok(Some(status)) => return Ok(exit_of(&status)),
            Ok(None) | Err(Errno::INTR) => {}
            Err(source) => return Err(Error::system("wait for", "the container's process")(source)),
        }
    }
}

/// Reaps a child of ours if it has ended.
pub fn try_wait(pidfd: impl AsFd) -> Result<Option<Exit>> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    match rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), options) {
        Ok(status) => Ok(status.as_ref().map(exit_of)),
        Err(source) => Err(Error::system("wait for", "the container's process")(source)),
    }
}

pub(crate) fn exit_of(status: &rustix::process::WaitIdStatus) -> Exit {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Exit::Code(code as u8),
        (None, Some(signal)) => Exit::Signal(signal as u8),
        // WEXITED reports nothing but these two.
        (None, None) => Exit::Code(255),
    }
}

/// Sends a signal to a process of ours. A process that is gone is `Ok(false)`.
pub fn signal(pidfd: BorrowedFd<'_>, signal: Signal) -> Result<bool> {
    match crate::sys::process::pidfd_send_signal(pidfd, signal.0) {
        Ok(()) => Ok(true),
        Err(Errno::SRCH) => Ok(false),
        Err(source) => Err(Error::system("send a signal to", "the container's process")(source)),
    }
}

/// Opens the process `pid` if it is still the one that started at `start_time`.
pub fn open(pid: i32, start_time: u64) -> Result<Option<OwnedFd>> {
    if pid <= 0 {
        return Ok(None);
    }
    let Some(number) = Pid::from_raw(pid) else { return Ok(None) };
    let pidfd = match rustix::process::pidfd_open(number, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        // EINVAL: the number now belongs to a thread that leads no group.
        Err(Errno::SRCH | Errno::INVAL) => return Ok(None),
        Err(source) => return Err(Error::system("open process", pid.to_string())(source)),
    };
    // Read after the pidfd was opened: had the pid been reused in between, the start times would differ.
    match stat(pid)? {
        Some(stat) if stat.start_time == start_time && !stat.ended => Ok(Some(pidfd)),
        _ => Ok(None),
    }
}

/// The pid behind a pidfd, as this process sees it.
pub fn pid_of(pidfd: &OwnedFd) -> Result<i32> {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd());
    let mut buffer = [0; 512];
    let length = crate::sys::file::read_into(&path, &mut buffer).map_err(Error::system("read", &path))?;
    let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
    text.lines()
        .find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok())
        .filter(|pid| *pid > 0)
        .ok_or(Error::Record { path: path.into(), reason: "no process of ours is behind it".to_owned() })
}

/// What /proc tells of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Its start, in clock ticks since boot.
    pub start_time: u64,
    /// Whether it is a zombie or dead.
    pub ended: bool,
}

/// Reads `/proc/<pid>/stat`; `None` when there is no such process.
pub fn stat(pid: i32) -> Result<Option<Stat>> {
    let path = format!("/proc/{pid}/stat");
    let mut buffer = [0; 1024];
    match crate::sys::file::read_into(&path, &mut buffer) {
        Ok(length) => match parse_stat(&buffer[..length]) {
            Some(stat) => Ok(Some(stat)),
            None => Err(Error::Record { path: path.into(), reason: "unknown format".to_owned() }),
        },
        Err(Errno::NOENT | Errno::SRCH) => Ok(None),
        Err(source) => Err(Error::system("read", path)(source)),
    }
}

/// The command name in the second field is chosen by the process and may hold spaces and parentheses, so fields
/// are counted from the last closing one.
fn parse_stat(text: &[u8]) -> Option<Stat> {
    let end = text.iter().rposition(|&byte| byte == b')')?;
    let mut fields = std::str::from_utf8(text.get(end + 2..)?).ok()?.split(' ');
    let state = fields.next()?;
    // The state is field 3, the start time field 22 (proc(5)).
    let start_time = fields.nth(18)?.parse().ok()?;
    Some(Stat { start_time, ended: matches!(state, "Z" | "X" | "x") })
}

/// This boot's id: another one means that every recorded pid is dead.
pub fn boot_id() -> Result<String> {
    const PATH: &str = "/proc/sys/kernel/random/boot_id";
    // No process sees two boots.
    static KNOWN: OnceLock<String> = OnceLock::new();
    if let Some(known) = KNOWN.get() {
        return Ok(known.clone());
    }
    let mut buffer = [0; 64];
    let length = crate::sys::file::read_into(PATH, &mut buffer).map_err(Error::system("read", PATH))?;
    let id = String::from_utf8_lossy(&buffer[..length]).trim().to_owned();
    Ok(KNOWN.get_or_init(|| id).clone())
}

/// A signal by number, real-time ones included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal(pub i32);

impl Signal {
    /// SIGKILL.
    pub const KILL: Signal = Signal(libc::SIGKILL);
    /// SIGTERM.
    pub const TERM: Signal = Signal(libc::SIGTERM);
    /// The highest real-time signal.
    const LAST: i32 = 64;
}

impl FromStr for Signal {
    type Err = Error;

    /// Accepts what runc does: a number, a name with or without `SIG`, in any case, `RTMIN+n` and `RTMAX-n`.
    fn from_str(text: &str) -> Result<Signal> {
        let refuse =
            || Error::Argument { argument: "signal".to_owned(), reason: format!("unknown signal {text:?}") };
        if let Ok(number) = text.parse::<i32>() {
            return if (0..=Signal::LAST).contains(&number) { Ok(Signal(number)) } else { Err(refuse()) };
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        if let Some(signal) = real_time(name) {
            return Ok(signal);
        }
        let name = match name {
            "IOT" => "ABRT",
            "CLD" => "CHLD",
            "POLL" => "IO",
            other => other,
        };
        format!("SIG{name}")
            .parse::<nix::sys::signal::Signal>()
            .map(|signal| Signal(signal as i32))
            .map_err(|_| refuse())
    }
}

/// 34 and 64 are what user space calls the first and last real-time signal; glibc and musl keep two below.
fn real_time(name: &str) -> Option<Signal> {
    const FIRST: i32 = 34;
    let number = match name {
        "RTMIN" => FIRST,
        "RTMAX" => Signal::LAST,
        _ => match (name.strip_prefix("RTMIN+"), name.strip_prefix("RTMAX-")) {
            (Some(offset), _) => FIRST + offset.parse::<u8>().ok()? as i32,
            (_, Some(offset)) => Signal::LAST - offset.parse::<u8>().ok()? as i32,
            _ => return None,
        },
    };
    (FIRST..=Signal::LAST).contains(&number).then_some(Signal(number))
}

impl fmt::Display for Signal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_survives_hostile_command_names() {
        let tail = "S 1 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 1 2";
        for name in ["sh", "a) R 1 (", ") Z 9 9 9", "x y"] {
            let line = format!("17 ({name}) {tail}");
            assert_eq!(parse_stat(line.as_bytes()), Some(Stat { start_time: 4242, ended: false }), "{name}");
        }
        assert_eq!(parse_stat(b"17 (sh"), None);
        assert_eq!(parse_stat(b""), None);
    }

    #[test]
    fn signals_have_names_and_numbers() {
        for (text, number) in [
            ("9", 9),
            ("KILL", 9),
            ("SIGKILL", 9),
            ("sigterm", 15),
            ("0", 0),
            ("RTMIN+3", 37),
            ("SIGRTMAX-14", 50),
            ("SIGIOT", 6),
        ] {
            assert_eq!(text.parse::<Signal>().unwrap(), Signal(number), "{text}");
        }
        for bad in ["", "SIG", "65", "-1", "NOPE", "RTMIN+99", "9 9"] {
            assert!(bad.parse::<Signal>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_pid_is_believed_only_with_its_start_time() {
        let own = std::process::id() as i32;
        let stat = stat(own).unwrap().unwrap();
        assert!(open(own, stat.start_time).unwrap().is_some());
        assert!(open(own, stat.start_time + 1).unwrap().is_none());
        assert!(open(0, 0).unwrap().is_none());
        assert!(open(-1, 0).unwrap().is_none());
    }
}
