//! Who has ended: a monitor is the parent of its containers' first processes, of what it executed, of its workers, and of
//! the orphans that come to it.

use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions};

use super::container::State;
use super::event_loop::Monitor;
use super::protocol::Reply;
use crate::error::{Error, Result};
use crate::process::{self, Exit};

impl Monitor<'_> {
    /// Reaps the children that have ended: first processes, executed ones, workers, and orphans that came to us.
    pub(super) fn reap(&mut self) -> Result<()> {
        self.has_dead = false;
        for place in 0..self.containers.len() {
            let alive = self.containers[place].as_ref().filter(|container| container.is_alive());
            if let Some(exit) = alive.map(|container| reap_one(container.pid)).transpose()?.flatten() {
                self.first_process_ended(place, exit);
            }
        }
        let mut index = 0;
        while let Some(exec) = self.execs.get(index) {
            match reap_one(exec.pid)? {
                Some(exit) => {
                    let exec = self.execs.swap_remove(index);
                    self.callers.answer(exec.caller, &Reply::Exited(exit), exec.sequence);
                }
                None => index += 1,
            }
        }
        self.reap_unknown()
    }

    /// Reaps workers and orphans. Not while a worker makes something: its child would be taken for one of them, and how it
    /// ended would be lost. The worker's result brings us back here.
    fn reap_unknown(&mut self) -> Result<()> {
        while !self.workers.iter().flatten().any(|(worker, job)| job.makes() && !worker.is_killed()) {
            let Some(pid) =
                crate::sys::process::dead_child().map_err(Error::system("wait for", "processes"))?
            else {
                break;
            };
            let is_known = self.execs.iter().any(|exec| exec.pid == pid)
                || self.containers.iter().flatten().any(|it| it.is_alive() && it.pid == pid);
            if is_known {
                // It ended since we looked.
                self.has_dead = true;
                break;
            }
            reap_one(pid)?;
        }
        Ok(())
    }

    fn first_process_ended(&mut self, place: usize, exit: Exit) {
        // Whether it executed its command has to be known before its end is told.
        if matches!(self.containers[place].as_ref().map(|it| &it.state), Some(State::Starting(..))) {
            self.gate_answered(place);
        }
        if let Some(container) = &mut self.containers[place] {
            container.ended(exit);
            let host = container.pid;
            self.dismiss(host);
        }
    }
}

/// Reaps one child that has ended.
fn reap_one(pid: i32) -> Result<Option<Exit>> {
    let Some(pid) = Pid::from_raw(pid) else { return Ok(None) };
    match rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
        Ok(status) => Ok(status.as_ref().map(process::exit_of)),
        Err(Errno::CHILD | Errno::INTR) => Ok(None),
        Err(errno) => Err(Error::system("wait for", "the container's processes")(errno)),
    }
}
