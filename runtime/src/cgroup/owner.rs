//! Whose a cgroup is: an extended attribute of its folder, as systemd marks what it delegates.
//!
//! A path is no proof. The folder of a container that has ended may be taken over by another one that asks for the same
//! path, so neither the path nor the inode tells them apart, and whoever kills by path would kill the other.

use std::path::Path;

use rustix::fs::{XattrFlags, getxattr, setxattr};

use super::Cgroup;

/// The first cannot be forged from inside of a container; an ordinary user has only the second.
const NAMES: [&str; 2] = ["trusted.hull.owner", "user.hull.owner"];
/// Longest mark, in bytes: a container's id and a time.
const LONGEST: usize = 256;

impl Cgroup {
    /// Marks the cgroup as that of `owner`, over the mark of who had it before. False where the machine's cgroups take no
    /// attributes.
    pub fn mark(&self, owner: &str) -> bool {
        let Some(folder) = self.marked_folder() else { return false };
        NAMES.iter().any(|name| setxattr(folder, *name, owner.as_bytes(), XattrFlags::empty()).is_ok())
    }

    /// The owner that it is marked with.
    pub fn owner(&self) -> Option<String> {
        let folder = self.marked_folder()?;
        let mut mark = [0; LONGEST];
        let length = NAMES.iter().find_map(|name| getxattr(folder, *name, &mut mark).ok())?;
        Some(String::from_utf8_lossy(&mark[..length]).into_owned())
    }

    /// Where kills go: the v2 hierarchy if there is one, else the freezer.
    fn marked_folder(&self) -> Option<&Path> {
        self.version2_folder().or_else(|| self.folder_of("freezer"))
    }
}
