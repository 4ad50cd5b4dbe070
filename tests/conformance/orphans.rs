//! What a case started and left behind. Its processes become this one's children when their parents end, so it is known whose
//! they are whatever they call themselves, and their ids are given to nobody else before they are reaped here.

use anyhow::Context;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, getpid, kill_process, set_child_subreaper, waitid,
};

/// Makes this process the parent of whatever the cases leave behind. The dead among them are gone at once then, and not when
/// the machine's init comes to it: cases wait two seconds for that. To be called by the thread that runs them.
pub fn adopt() -> anyhow::Result<()> {
    set_child_subreaper(Some(getpid())).context("cannot adopt what cases leave behind")
}

/// Reaps the dead that this thread was given: every child of it but `own`. `last_look` is at each before it goes.
pub fn reap(own: Option<Pid>, last_look: &mut dyn FnMut(Pid)) {
    for orphan in children().filter(|pid| Some(*pid) != own) {
        let dead = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        // One that lives, or is another's to wait for, stays.
        if let Ok(Some(_)) = waitid(WaitId::Pid(orphan), dead | WaitIdOptions::NOWAIT) {
            last_look(orphan);
            let _ = waitid(WaitId::Pid(orphan), dead);
        }
    }
}

/// Kills every child of this thread, to be reaped. What they leave behind comes to this process then, and is for another call.
/// Returns how many there were; `last_look` is at each.
pub fn kill(last_look: &mut dyn FnMut(Pid)) -> usize {
    let orphans = children().inspect(|orphan| {
        last_look(*orphan);
        // Fails only when it has ended by now.
        let _ = kill_process(*orphan, Signal::KILL);
    });
    orphans.count()
}

fn children() -> impl Iterator<Item = Pid> {
    let list = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    let pids: Vec<Pid> = list.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect();
    pids.into_iter()
}
