//! Killing a command with all that it started.
//!
//! A command is the first process of a session, which its children are born into and leave only on purpose. Those who left
//! are found as long as their parents are known. Whoever left and lost its parent is the container's, and ends with it.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// How often is looked for processes that were born meanwhile.
const ROUNDS: u32 = 50;

/// Kills the session of `leader`, and its descendants, as far as they are in the cgroups of `container`. They are stopped first, so that none
/// can make another. What cannot be seen any more has ended.
pub fn kill(leader: u32, container: &str) {
    let Ok(leader) = i32::try_from(leader) else { return };
    let mut stopped: BTreeMap<i32, OwnedFd> = BTreeMap::new();
    for _ in 0..ROUNDS {
        let before = stopped.len();
        for pid in members(leader, &processes()) {
            if let std::collections::btree_map::Entry::Vacant(place) = stopped.entry(pid)
                && let Some(process) = open(pid, container)
            {
                let _ = pidfd_send_signal(&process, Signal::STOP);
                place.insert(process);
            }
        }
        if stopped.len() == before {
            break;
        }
    }
    for process in stopped.values() {
        let _ = pidfd_send_signal(process, Signal::KILL);
    }
}

/// A handle on a process of a container. The number may be another's by now, so the look comes after the handle: if that
/// process has ended, no signal reaches anybody.
fn open(pid: i32, container: &str) -> Option<OwnedFd> {
    let process = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    is_in(&text, container).then_some(process)
}

/// Does `/proc/<pid>/cgroup` name a cgroup of the container, or one below, in any hierarchy? They are called as it is.
fn is_in(text: &str, container: &str) -> bool {
    let mut paths = text.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    paths.any(|path| path.split('/').any(|part| part == container))
}

/// A process, its parent and its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    pid: i32,
    parent: i32,
    session: i32,
}

fn processes() -> Vec<Process> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| parse(pid, &std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)).collect()
}

/// Reads `/proc/<pid>/stat`. The name, which is anybody's text, ends with the last parenthesis.
fn parse(pid: i32, stat: &str) -> Option<Process> {
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_whitespace().skip(1);
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    Some(Process { pid, parent, session })
}

/// The processes of the session of `leader`, and all who descend from them.
fn members(leader: i32, processes: &[Process]) -> Vec<i32> {
    let mut members: Vec<i32> = processes
        .iter()
        .filter(|process| process.pid == leader || process.session == leader)
        .map(|process| process.pid)
        .collect();
    let mut done = 0;
    while let Some(&parent) = members.get(done) {
        done += 1;
        let children = processes.iter().filter(|process| process.parent == parent).map(|process| process.pid);
        let new: Vec<i32> = children.filter(|child| !members.contains(child)).collect();
        members.extend(new);
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_its_members_and_their_descendants() {
        let process = |pid, parent, session| Process { pid, parent, session };
        // 12 has left the session, 13 is its child, 14 is an orphan of the session, 20 is somebody else.
        let all = [
            process(1, 0, 1),
            process(10, 1, 10),
            process(11, 10, 10),
            process(12, 11, 12),
            process(13, 12, 12),
            process(14, 1, 10),
            process(20, 1, 20),
        ];
        let mut found = members(10, &all);
        found.sort_unstable();
        assert_eq!(found, [10, 11, 12, 13, 14]);
    }

    #[test]
    fn files_of_proc_are_understood_whatever_a_process_is_called() {
        let stat = "7 (a) R 1 2 (b)) S 3 4 5 0 -1 4194560";
        assert_eq!(parse(7, stat), Some(Process { pid: 7, parent: 3, session: 5 }));
        assert_eq!(parse(7, "nonsense"), None);
        let text = "12:pids:/kubepods/pod1/abc\n1:name=systemd:/kubepods/pod1/abc/inner\n0::/\n";
        assert!(is_in(text, "abc") && !is_in(text, "ab"));
        let own = std::fs::read_to_string("/proc/self/stat").unwrap();
        // The session's leader may live outside of this PID namespace and then has no number here; the parent has one or is 0 too.
        assert_eq!(parse(1, &own).unwrap().parent.cast_unsigned(), std::os::unix::process::parent_id());
    }
}
