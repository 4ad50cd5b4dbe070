//! What an engine's own processes occupy: the server, and for each pod who keeps it and its pause process. What runs in
//! the pod's containers is not the engine's.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, ensure};
use tests::leaks::names_in;

use super::server::{Pod, Server};
use crate::rollup::rollup;

/// Bytes, of an engine with pods.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// Everything (PSS), divided by the number of pods.
    pub per_pod: u64,
    /// The server's part of it, divided likewise.
    pub server_per_pod: u64,
    /// What the keeper and the pause process of the median pod share with nobody's file (`Pss_Anon`).
    pub anonymous: u64,
}

/// A process as `/proc` shows it.
#[derive(Debug)]
struct Process {
    pid: u32,
    parent: u32,
    cgroup: String,
}

/// Looks at a server and its running pods.
pub fn measure(server: &Server, pods: &[Pod]) -> anyhow::Result<Memory> {
    let processes = processes();
    let mut roots = BTreeSet::from([server.pid()]);
    let mut anonymous = Vec::new();
    for pod in pods {
        let pause = processes.iter().find(|process| process.cgroup.contains(&pod.sandbox));
        let pause = pause.with_context(|| format!("pod {} has no pause process", pod.sandbox))?;
        // Who made it is a shim or a monitor, whatever its name.
        let keeper = pause.parent;
        ensure!(keeper > 1, "nobody keeps pod {}", pod.sandbox);
        roots.insert(keeper);
        anonymous.push(rollup(pause.pid, "Pss_Anon:")? + rollup(keeper, "Pss_Anon:")?);
    }
    let mut sum = 0;
    for pid in with_descendants(roots, &processes, pods) {
        sum += rollup(pid, "Pss:")?;
    }
    anonymous.sort_unstable();
    let count = pods.len() as u64;
    Ok(Memory {
        per_pod: sum / count,
        server_per_pod: rollup(server.pid(), "Pss:")? / count,
        anonymous: anonymous[anonymous.len() / 2],
    })
}

/// The roots and all their descendants but those that run in a container.
fn with_descendants(roots: BTreeSet<u32>, processes: &[Process], pods: &[Pod]) -> BTreeSet<u32> {
    let works = |process: &Process| pods.iter().any(|pod| process.cgroup.contains(&pod.container));
    let mut found = roots;
    loop {
        let before = found.len();
        let children = processes.iter().filter(|process| found.contains(&process.parent) && !works(process));
        let children: Vec<u32> = children.map(|process| process.pid).collect();
        found.extend(children);
        if found.len() == before {
            return found;
        }
    }
}

fn processes() -> Vec<Process> {
    let pids = names_in("/proc".as_ref()).filter_map(|name| name.parse().ok());
    pids.filter_map(process).collect()
}

/// `None` if it is gone.
fn process(pid: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may contain anything.
    let parent = stat.rsplit(") ").next()?.split(' ').nth(1)?.parse().ok()?;
    let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    Some(Process { pid, parent, cgroup })
}
