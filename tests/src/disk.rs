//! A disk that is full soon.

use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::Sandbox;

/// A memory file system of a fixed size below a sandbox. Make it after the sandbox, so that it goes before it.
#[derive(Debug)]
pub struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// A disk of `bytes`.
    ///
    /// # Panics
    /// If it cannot be mounted; a test that uses one needs root.
    pub fn new(sandbox: &Sandbox, bytes: u64) -> SmallDisk {
        let path = sandbox.folder("small-disk");
        let data =
            std::ffi::CString::new(format!("size={bytes},mode=700")).expect("no zero byte in a number");
        mount("hull-test", &path, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, Some(data.as_c_str()))
            .unwrap_or_else(|error| panic!("cannot mount a small disk at {}: {error}", path.display()));
        SmallDisk { path }
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Fills it up, leaving about `left` bytes, and returns the file that does so.
    ///
    /// # Panics
    /// If its free space cannot be read or used.
    pub fn fill(&self, left: u64) -> PathBuf {
        let facts = rustix::fs::statvfs(&self.path).expect("the disk is mounted");
        let free = facts.f_bavail * facts.f_frsize;
        let file = self.path.join("ballast");
        std::fs::write(&file, vec![0; usize::try_from(free.saturating_sub(left)).expect("a small disk")])
            .unwrap_or_else(|error| panic!("cannot fill {}: {error}", file.display()));
        file
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = unmount(&self.path, UnmountFlags::DETACH);
    }
}
