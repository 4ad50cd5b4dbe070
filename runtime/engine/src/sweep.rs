//! Freeing what containers left whose monitor was killed, or whose machine was restarted.
//!
//! Almost every verb does it in passing, so a network that cannot be released costs one of them its time, and the others not
//! before some minutes are over. Who starts or removes that container tries at once.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime};

use runtime::monitor::status_record::StatusRecord;

use crate::containers::{Containers, network_file};
use crate::error::Result;
use crate::files;
use crate::folder::{self, Held};
use crate::record::Record;

/// How long a network that could not be released is left alone.
const RETRY: Duration = Duration::from_secs(300);

/// The empty file whose time says when it was tried last.
const TRIED: &str = "network.tried";

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
                Ok(_) => self.remove_in_passing(held),
            };
            result = result.and(freed);
        }
        result
    }

    /// Frees what builds left that were killed together with their runtime.
    pub fn sweep_builds(&self) -> Result<()> {
        let abandoned = |bundle: &Path| self.store.is_abandoned(bundle);
        Ok(runtime::container::delete_abandoned(&self.runtime_state(), abandoned)?)
    }

    /// Frees what is left of a container that stays, and writes down that nobody saw its end.
    pub fn bury(&self, held: &Held) -> Result<()> {
        let traces = [self.runtime_state().join(&held.id), self.socket(&held.id)];
        let status = StatusRecord::read(&held.path)?.filter(|status| !status.has_ended());
        if traces.iter().any(|path| path.exists()) || status.is_some() {
            self.end_processes(held)?;
        }
        if let Some(status) = status {
            status.lost().write(&held.path)?;
        }
        release_in_passing(&held.path).map(drop)
    }

    fn remove_in_passing(&self, held: Held) -> Result<()> {
        self.end_processes(&held)?;
        match release_in_passing(&held.path)? {
            true => self.trash(held),
            false => Ok(()),
        }
    }
}

/// Releases the network of the container in `folder`; false if that is not tried again so soon after it failed.
fn release_in_passing(folder: &Path) -> Result<bool> {
    let (file, tried) = (network_file(folder), folder.join(TRIED));
    if !file.exists() {
        return Ok(true);
    }
    if is_recent(&tried) {
        return Ok(false);
    }
    // Before, for whoever loses patience with a plugin that hangs kills us. Where a disk is full, it is tried again sooner.
    let _ = File::create(&tried).and_then(|file| file.set_modified(SystemTime::now()));
    runtime::network::release(&file)?;
    files::remove_file(&tried)?;
    Ok(true)
}

/// A time that is still to come is one of a clock that was wrong.
fn is_recent(tried: &Path) -> bool {
    let modified = std::fs::metadata(tried).and_then(|file| file.modified());
    modified.is_ok_and(|time| time.elapsed().is_ok_and(|passed| passed < RETRY))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use runtime::network::{Attachment, NetworkConfig, Plugins};

    use super::*;
    use crate::State;
    use crate::containers::tests::{containers, containers_alone, record};
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

    /// A container whose network no plugin releases, and how often one was asked to.
    fn stuck(root: &Path, containers: &Containers, record: &Record) -> impl Fn() -> usize + use<> {
        let (plugin, calls) = (root.join("stuck"), root.join("calls"));
        std::fs::write(&plugin, format!("#!/bin/sh\necho >> {}\nexit 1\n", calls.display())).unwrap();
        std::fs::set_permissions(&plugin, PermissionsExt::from_mode(0o755)).unwrap();
        let config = br#"{"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "stuck"}]}"#;
        let config = NetworkConfig::parse(config, "test".as_ref()).unwrap();
        let plugins = Plugins::new([root.to_owned()]);
        let attachment =
            Attachment::new(&record.id, root.join("netns"), config, &plugins, root.join("cni")).unwrap();
        attachment.write(&network_file(&containers.folder(&record.id))).unwrap();
        move || std::fs::read(&calls).map_or(0, |calls| calls.len())
    }

    #[test]
    fn a_network_that_cannot_be_released_costs_one_verb_its_time_and_not_all() {
        for remove in [false, true] {
            let (root, containers) = containers_alone();
            let record = Record { remove, ..record("a") };
            let held = containers.create(&record).unwrap();
            StatusRecord::running(1).unwrap().write(&held.path).unwrap();
            let calls = stuck(root.path(), &containers, &record);
            drop(held);
            assert!(containers.sweep().unwrap_err().to_string().contains("stuck"));
            assert!(matches!(containers.state(&record.id).unwrap(), State::Lost { .. }));
            containers.sweep().unwrap();
            containers.sweep().unwrap();
            assert_eq!(calls(), 1);
            // After a while it is tried again, and whoever wants to have it gone tries at once.
            let tried = File::options().write(true).open(containers.folder(&record.id).join(TRIED)).unwrap();
            tried.set_modified(SystemTime::now() - 2 * RETRY).unwrap();
            containers.sweep().unwrap_err();
            containers.remove_named(&record.id, false).unwrap_err();
            assert_eq!(calls(), 3);
            let left = containers.discard_named(&record.id, false).unwrap().unwrap();
            assert!(left.contains("network net (plugins stuck)"), "{left}");
            assert!(containers.record(&record.id).unwrap().is_none());
        }
    }
}
