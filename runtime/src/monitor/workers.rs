//! The workers of a monitor: who is employed for what, and what comes of it.
//!
//! ```text
//!   job --> a new worker, or the container's parked executor --> outcome --> answer, container, executed process
//!                                      ^-- parked for a while <-- executed --'
//! ```

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;

use super::callers::CallerId;
use super::container::Container;
use super::event_loop::{FIRST_WORKER, Monitor};
use super::jobs::{self, Job};
use super::protocol::{ErrorKind, Reply, Request};
use super::worker::{JobFailure, Order, Outcome, Worker};
use crate::container::Id;
use crate::error::Result;
use crate::process;

/// Most jobs at the same time, and most processes that were executed and have not ended.
pub(super) const JOBS: usize = 256;

/// How long a worker may make something: as long as its caller waits for it. A frozen cgroup stops it, for example.
const STUCK: Duration = Duration::from_secs(120);

/// How long an executor is kept for the next order.
const PARKED: Duration = Duration::from_secs(3);

/// A process that was executed for a caller.
#[derive(Debug)]
pub(super) struct Executed {
    pub(super) caller: CallerId,
    pub(super) sequence: u32,
    pub(super) bound: bool,
    pub(super) pid: i32,
    pub(super) pidfd: OwnedFd,
}

impl Monitor<'_> {
    /// Kills the workers whose callers have given up: until the last maker is gone nobody knows whose children are whose.
    pub(super) fn kill_stuck(&mut self, now: Instant) {
        let stuck = |(worker, job): &&mut (Worker, Job)| {
            job.makes() && !worker.is_killed() && worker.since + STUCK <= now
        };
        for (worker, _) in self.workers.iter_mut().flatten().filter(stuck) {
            worker.kill();
            self.has_dead = true;
        }
    }

    /// Lets the executors go that have had nothing to do for a while: each is some memory.
    pub(super) fn dismiss_idle(&mut self, now: Instant) {
        for slot in &mut self.workers {
            if matches!(slot, Some((worker, Job::Parked(_))) if worker.since + PARKED <= now) {
                *slot = None;
            }
        }
    }

    /// Follows a worker until it has done its job. One that cannot be followed is ended.
    pub(super) fn employ(&mut self, mut worker: Worker, job: Job) -> Result<(), JobFailure> {
        let place = match self.workers.iter().position(Option::is_none) {
            Some(place) => place,
            None => {
                self.workers.push(None);
                self.workers.len() - 1
            }
        };
        if let Err(error) = self.watch(worker.as_fd(), FIRST_WORKER + place as u64, EventFlags::IN) {
            worker.kill();
            return Err(error.into());
        }
        self.workers[place] = Some((worker, job));
        Ok(())
    }

    /// Has something executed in the container with the first process `host`: by its parked executor, or by a new one.
    pub(super) fn execute(&mut self, id: Id, order: &Order, job: Job, host: i32) -> Result<(), JobFailure> {
        if let Some(slot) = self.workers.iter_mut().find(|slot| is_parked(slot, host))
            && let Some((worker, parked)) = slot
        {
            if worker.give(order).is_ok() {
                *parked = job;
                return Ok(());
            }
            // It was killed.
            *slot = None;
        }
        let mut worker = jobs::executor(&self.settings.state_root, id)?;
        worker.give(order)?;
        self.employ(worker, job)
    }

    /// Keeps an executor that has just executed something, if its container may need it again and has no other.
    fn park(&mut self, place: usize, mut worker: Worker, host: i32) {
        let is_host = |container: &Container| container.pid == host && container.is_alive();
        let is_wanted = self.containers.iter().flatten().any(is_host)
            && self.ending.is_none()
            && !self.workers.iter().any(|slot| is_parked(slot, host));
        if is_wanted {
            worker.since = Instant::now();
            self.workers[place] = Some((worker, Job::Parked(host)));
        }
    }

    /// Lets the executors go that the container with this first process has no use for any more.
    pub(super) fn dismiss(&mut self, host: i32) {
        self.workers.iter_mut().filter(|slot| is_parked(slot, host)).for_each(|slot| *slot = None);
    }

    /// Follows the worker that makes the container at `place`, which is not there if that fails.
    pub(super) fn employ_maker(
        &mut self,
        worker: Worker,
        place: usize,
        caller: CallerId,
        sequence: u32,
    ) -> Result<(), JobFailure> {
        let employed = self.employ(worker, Job::Make(place, caller, sequence));
        if employed.is_err() {
            // The worker may have come to making something of it.
            self.remove(place);
        }
        employed
    }

    /// When to look at the workers although none has said anything.
    pub(super) fn workers_deadline(&self) -> Option<Instant> {
        let of = |(worker, job): &(Worker, Job)| match job {
            Job::Parked(_) => Some(worker.since + PARKED),
            job if job.makes() && !worker.is_killed() => Some(worker.since + STUCK),
            _ => None,
        };
        self.workers.iter().flatten().filter_map(of).min()
    }

    /// A worker has something to say, or is gone.
    pub(super) fn take_outcome(&mut self, place: usize) -> Result<()> {
        let Some(Some((worker, _))) = self.workers.get(place) else { return Ok(()) };
        let Some(outcome) = worker.outcome() else { return Ok(()) };
        let Some((worker, job)) = self.workers[place].take() else { return Ok(()) };
        // What it made may have ended meanwhile.
        self.has_dead = true;
        match job {
            Job::Make(place, caller, sequence) => self.made(place, caller, sequence, outcome),
            Job::Exec { caller, sequence, bound, host } => {
                if matches!(outcome, Outcome::Made(_)) {
                    self.park(place, worker, host);
                }
                self.executed(caller, sequence, bound, outcome);
            }
            // It has ended.
            Job::Parked(_) | Job::Kill => {}
            Job::Answer(caller, sequence) => match outcome {
                Outcome::Failed(failure) => self.fail(caller, sequence, failure.kind, &failure.text),
                _ => drop(self.callers.answer(caller, &Reply::Done, sequence)),
            },
            Job::Remove(place) => match outcome {
                Outcome::Failed(failure) => self.forget(place, Some(&failure.text)),
                _ => self.forget(place, None),
            },
        }
        Ok(())
    }

    fn made(&mut self, place: usize, caller: CallerId, sequence: u32, outcome: Outcome) {
        let Some(Some(container)) = self.containers.get_mut(place) else { return };
        let result = match outcome {
            Outcome::Made(made) => container.made(made).map_err(JobFailure::from),
            Outcome::Failed(failure) => Err(failure),
            Outcome::Done => Err(JobFailure {
                kind: ErrorKind::Failed,
                text: "the monitor's worker made nothing".to_owned(),
            }),
        };
        let (pid, doomed, bound) = (container.pid, container.doomed, container.bound_to);
        self.had_container |= container.pidfd.is_some();
        match result.and_then(|()| Ok(self.watch_streams(place)?)) {
            Ok(()) => {
                let reply = Reply::Started { pid: pid.unsigned_abs() };
                let told = self.callers.answer(caller, &reply, sequence);
                if doomed || (bound.is_some() && !told) {
                    self.kill(place);
                }
            }
            Err(failure) => {
                self.fail(caller, sequence, failure.kind, &failure.text);
                match self.containers[place].as_mut() {
                    // It exists, so its end will be reaped.
                    Some(container) if container.pidfd.is_some() => container.kill(),
                    // A failed creation leaves nothing, and a killed worker what a removal finds.
                    _ => self.remove(place),
                }
            }
        }
    }

    fn executed(&mut self, caller: CallerId, sequence: u32, bound: bool, outcome: Outcome) {
        match outcome {
            Outcome::Made(made) => {
                let reply = Reply::Started { pid: made.pid.unsigned_abs() };
                let terminal: Vec<BorrowedFd<'_>> = made.more.iter().flatten().map(AsFd::as_fd).collect();
                let told = self.callers.answer_with(caller, &reply, sequence, &terminal);
                if bound && !told {
                    let _ = process::signal(made.pidfd.as_fd(), process::Signal::KILL);
                }
                self.execs.push(Executed { caller, sequence, bound, pid: made.pid, pidfd: made.pidfd });
            }
            Outcome::Failed(failure) => self.fail(caller, sequence, failure.kind, &failure.text),
            Outcome::Done => self.fail(caller, sequence, ErrorKind::Failed, "nothing was executed"),
        }
    }

    /// Is there so much to do, or does so much run that was executed, that this is not taken on?
    pub(super) fn is_full_for(&self, request: &Request<'_>) -> bool {
        let busy = self.workers.iter().flatten().filter(|(_, job)| !matches!(job, Job::Parked(_))).count();
        match request {
            Request::Exec(_) => busy >= JOBS || self.execs.len() >= JOBS,
            Request::Create(_) | Request::Pause(_) => busy >= JOBS,
            // The rest is done at once, or ends something.
            _ => false,
        }
    }
}

fn is_parked(slot: &Option<(Worker, Job)>, host: i32) -> bool {
    matches!(slot, Some((_, Job::Parked(parked))) if *parked == host)
}

#[cfg(test)]
mod tests {
    use super::super::event_loop::tests::monitor;
    use super::*;

    #[test]
    fn a_stuck_worker_is_killed_when_its_caller_has_given_up() {
        let mut monitor = monitor();
        let begun = Instant::now();
        let worker = Worker::start(&[], || {
            loop {
                std::thread::sleep(STUCK);
            }
        });
        let nobody = CallerId::nobody();
        monitor
            .employ(worker.unwrap(), Job::Exec { caller: nobody, sequence: 1, bound: false, host: 0 })
            .unwrap();
        monitor.kill_stuck(begun);
        assert!(!monitor.workers[0].as_ref().unwrap().0.is_killed());
        monitor.kill_stuck(Instant::now() + STUCK);
        assert!(monitor.workers[0].as_ref().unwrap().0.is_killed());
        while monitor.workers[0].is_some() {
            monitor.take_outcome(0).unwrap();
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
