//! The folder of one case, which is its `TMPDIR`, and the removal of what the case left there.
//!
//! All three suites keep the runtime's state below their temporary folder, or can be told to. So the containers of a case
//! are found there and nowhere else, and nobody else's are touched.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ::tests::leaks;
use anyhow::Context;
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, kill_process};

use crate::cgroups;
use crate::folders::folders;
use crate::session::{self, Session};

/// What the suites call the folder of the runtime's state.
const STATE_FOLDERS: [&str; 2] = ["state", "runtime"];
/// How deep below the temporary folder that folder is.
const DEPTH: usize = 4;
/// How long the removal of one container may take.
const REMOVAL: Duration = Duration::from_secs(20);

/// A folder that goes with its containers and mounts.
#[derive(Debug)]
pub struct Scratch {
    folder: tempfile::TempDir,
    runtime: PathBuf,
}

impl Scratch {
    /// A folder that processes of other users may pass through: containers with user namespaces need it.
    pub fn new(runtime: &Path) -> anyhow::Result<Scratch> {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::Builder::new().prefix("hull-case-").tempdir_in("/tmp").context("no folder")?;
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))
            .context("cannot open the folder to others")?;
        Ok(Scratch { folder, runtime: runtime.into() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    fn delete_containers(&self) {
        for state in state_folders(self.path(), DEPTH) {
            for container in folders(&state) {
                let Some(id) = container.file_name() else { continue };
                let mut delete = std::process::Command::new(&self.runtime);
                delete.arg("--root").arg(&state).args(["delete", "--force"]).arg(id);
                let _ = session::run(delete, Session::Plain, REMOVAL);
            }
        }
    }
}

/// Ends the processes whose arguments name a folder, with their cgroups: those of containers whose state a case took away
/// itself, so that no runtime knows them any more.
fn end_processes_of(folder: &Path) {
    for process in leaks::processes_with(&folder.to_string_lossy()) {
        let cgroups = cgroups::of_container(process);
        if let Some(process) = Pid::from_raw(process) {
            // Fails only when it has ended by now.
            let _ = kill_process(process, Signal::KILL);
        }
        cgroups::remove(cgroups);
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.delete_containers();
        end_processes_of(self.path());
        cgroups::clear();
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
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn what_names_the_folder_goes_with_it() {
        let scratch = Scratch::new(Path::new("/bin/true")).unwrap();
        let folder = scratch.path().display().to_string();
        let mut left = std::process::Command::new("sh")
            .args(["-c", "read nothing", &folder])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        drop(scratch);
        assert_eq!(left.wait().unwrap().signal(), Some(9));
    }
}
