//! The folder of one case, which is its `TMPDIR`, and the end of all that the case left on the machine.
//!
//! All three suites keep the runtime's state below their temporary folder, or can be told to, so the containers of a case are
//! found there. Of those whose state the case took away itself no runtime knows any more: what still runs is found as what
//! came to this process, and the cgroups by what was in them. Nobody else's are touched.

use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use ::tests::leaks;
use anyhow::Context;
use rustix::mount::{UnmountFlags, unmount};

use crate::cgroups::Cgroups;
use crate::folders::folders;
use crate::orphans;
use crate::session::{self, Ended, Session};

/// What the suites call the folder of the runtime's state.
const STATE_FOLDERS: [&str; 2] = ["state", "runtime"];
/// How deep below the temporary folder that folder is.
const DEPTH: usize = 4;
/// How long the removal of one container may take.
const REMOVAL: Duration = Duration::from_secs(20);
/// What is killed takes its moment to end, and to leave its cgroups.
const PATIENCE: Duration = Duration::from_secs(5);

/// A folder that goes with all that was started for its case. Only one at a time, for each thread.
#[derive(Debug)]
pub struct Scratch {
    folder: tempfile::TempDir,
    runtime: PathBuf,
    cgroups: Cgroups,
}

impl Scratch {
    /// A folder that processes of other users may pass through: containers with user namespaces need it.
    pub fn new(runtime: &Path) -> anyhow::Result<Scratch> {
        let folder = tempfile::Builder::new().prefix("hull-case-").tempdir_in("/tmp").context("no folder")?;
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))
            .context("cannot open the folder to others")?;
        Ok(Scratch { folder, runtime: runtime.into(), cgroups: Cgroups::before_a_case() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A program in it.
    pub fn script(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let script = self.path().join(name);
        let file = std::fs::File::options().write(true).create_new(true).mode(0o755).open(&script);
        let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
        written.with_context(|| format!("cannot write {}", script.display()))?;
        Ok(script)
    }

    /// Runs a program of the case to its end or for `limit`.
    pub fn run(&mut self, command: Command, session: Session, limit: Duration) -> anyhow::Result<Ended> {
        session::run(command, session, limit, &mut |process| self.cgroups.note(process))
    }

    fn delete_containers(&mut self) {
        for state in state_folders(self.path(), DEPTH) {
            for container in folders(&state) {
                let Some(id) = container.file_name() else { continue };
                let mut delete = Command::new(&self.runtime);
                delete.arg("--root").arg(&state).args(["delete", "--force"]).arg(id);
                let _ = self.run(delete, Session::Plain, REMOVAL);
            }
        }
    }

    /// Ends the processes that the case left, and removes its cgroups.
    fn end_the_rest(&mut self) {
        let until = Instant::now() + PATIENCE;
        loop {
            let running = orphans::kill(&mut |process| self.cgroups.note(process));
            let cgroups = self.cgroups.remove();
            orphans::reap(None, &mut |process| self.cgroups.note(process));
            if running == 0 && cgroups.is_empty() {
                return;
            }
            if Instant::now() > until {
                if running > 0 {
                    eprintln!("{running} processes that this case left do not end");
                }
                return cgroups.iter().for_each(|cgroup| eprintln!("{} cannot be removed", cgroup.display()));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.delete_containers();
        self.end_the_rest();
        // The folder is removed with all that is in it, and must not lead to what somebody mounted there.
        for mount in leaks::mounts_below(self.path()) {
            let _ = unmount(mount, UnmountFlags::DETACH);
        }
        if !leaks::mounts_below(self.path()).is_empty() {
            eprintln!("{} has mounts that cannot be removed", self.path().display());
            self.folder.disable_cleanup(true);
        }
    }
}

/// The folders of state below `folder`.
fn state_folders(folder: &Path, depth: usize) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for below in folders(folder) {
        if below.file_name().is_some_and(|name| STATE_FOLDERS.iter().any(|state| name == *state)) {
            found.push(below);
        } else if depth > 1 {
            found.extend(state_folders(&below, depth - 1));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_goes_with_it() {
        let scratch = Scratch::new(Path::new("/bin/true")).unwrap();
        let mut left = Command::new("sleep").arg("1000").spawn().unwrap();
        drop(scratch);
        assert!(left.wait().is_err(), "it was ended, and reaped");
    }
}
