//! Freeing what containers left whose monitor was killed, or whose machine was restarted.

use runtime::monitor::status_record::StatusRecord;

use crate::containers::{Containers, network_file};
use crate::error::{Error, Result};
use crate::folder::{self, Held};
use crate::record::Record;

impl Containers {
    /// Everything of dead containers with `--rm`, and the processes, cgroups, runtime records and networks of the
    /// others, whose end is then on record as unknown. What somebody else is looking at is left to them, and so is a
    /// folder whose record cannot be read: it may be of a newer version. Goes on after a failure and returns the first.
    pub fn sweep(&self) -> Result<()> {
        let mut result = Ok(());
        let mut dead = folder::dead(&self.folder)?;
        // Plugins may take their time: what has no network is let go first.
        dead.sort_by_key(|held| network_file(&held.path).exists());
        for held in dead {
            let freed = match Record::read(&held.path) {
                Err(_) => Ok(()),
                Ok(Some(record)) if !record.remove => self.bury(&held),
                Ok(_) => self.remove(held),
            };
            result = result.and(freed);
        }
        result
    }

    /// Frees what builds left that were killed together with their runtime.
    pub fn sweep_builds(&self) -> Result<()> {
        let abandoned = |bundle: &std::path::Path| self.store.is_abandoned(bundle);
        Ok(runtime::container::delete_abandoned(&self.runtime_state(), abandoned)?)
    }

    /// Frees what is left of a container that stays, and writes down that nobody saw its end.
    pub fn bury(&self, held: &Held) -> Result<()> {
        let traces = [self.runtime_state().join(&held.id), network_file(&held.path), self.socket(&held.id)];
        let left = traces.iter().any(|path| path.exists());
        let status = StatusRecord::read(&held.path)?.filter(|status| !status.has_ended());
        if left || status.is_some() {
            self.release(held)?;
        }
        match status {
            Some(status) => status.lost().write(&held.path).map_err(Error::from),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::State;
    use crate::containers::tests::{containers, record};
    use crate::record::VERSION;

    #[test]
    fn the_living_are_left_alone_and_the_dead_are_freed() {
        let (_root, containers) = containers();
        let alive = containers.create(&Record { remove: true, ..record("a") }).unwrap();
        drop(containers.create(&Record { remove: true, ..record("b") }).unwrap());
        drop(containers.create(&record("c")).unwrap());
        std::fs::create_dir(containers.folder.join("d".repeat(64))).unwrap();
        let newer = containers.create(&Record { version: VERSION + 1, remove: true, ..record("e") }).unwrap();
        drop(newer);
        containers.sweep().unwrap();
        let mut left = folder::names(&containers.folder).unwrap();
        left.sort();
        assert_eq!(left, ["a".repeat(64), "c".repeat(64), "e".repeat(64)]);
        drop(alive);
    }

    #[test]
    fn an_end_that_nobody_saw_is_written_down_once() {
        let (_root, containers) = containers();
        let id = "a".repeat(64);
        let held = containers.create(&record("a")).unwrap();
        StatusRecord::running(1).unwrap().write(&held.path).unwrap();
        containers.sweep().unwrap();
        assert!(containers.state(&id).unwrap().is_running());
        drop(held);
        assert!(matches!(containers.state(&id).unwrap(), State::Lost { finished: 0, .. }));
        containers.sweep().unwrap();
        let lost = containers.state(&id).unwrap();
        assert!(matches!(lost, State::Lost { finished: 1.., .. }));
        containers.sweep().unwrap();
        assert_eq!(containers.state(&id).unwrap(), lost);
    }
}
