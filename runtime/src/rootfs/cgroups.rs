//! What a mount of type cgroup shows: the container's own cgroup of every hierarchy, by bind.
//!
//! A bind of the cgroup's folder has that folder as its root, so there is no way up to the parent's limits, with or
//! without a cgroup namespace (CVE-2023-25809). It costs half the calls of a fresh mount.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags};

use super::mounts::{Spent, attach};
use crate::cgroup::{Cgroup, Hierarchies, Kind};
use crate::spec::plan::MountPlan;
use crate::sys::mount::{MountAttributes, mount_setattr};

/// The container's cgroups as they are to appear.
#[derive(Debug)]
pub enum CgroupView {
    /// Only version 2: its folder is the mount.
    Unified(PathBuf),
    /// Folders by name below a small tmpfs, and links for controllers that share one.
    PerHierarchy {
        /// Name of the place, and the container's folder on the host.
        places: Vec<(String, PathBuf)>,
        /// Names of single controllers and the place they are in.
        links: Vec<(String, String)>,
    },
}

impl CgroupView {
    /// The view of one container's cgroup.
    pub fn of(hierarchies: &Hierarchies, cgroup: &Cgroup) -> CgroupView {
        if hierarchies.is_unified()
            && let Some(folder) = cgroup.version2_folder()
        {
            return CgroupView::Unified(folder.to_owned());
        }
        let (mut places, mut links) = (Vec::new(), Vec::new());
        for hierarchy in hierarchies.all() {
            let Some(name) = hierarchy.mount().file_name().map(|name| name.to_string_lossy().into_owned())
            else {
                continue;
            };
            let folder = match hierarchy.kind() {
                Kind::V2 => cgroup.version2_folder(),
                Kind::V1(controllers) => {
                    if controllers.len() > 1 {
                        let single = controllers.iter().filter(|controller| **controller != name);
                        links.extend(single.map(|controller| (controller.clone(), name.clone())));
                    }
                    controllers.first().and_then(|first| cgroup.folder_of(first))
                }
            };
            if let Some(folder) = folder {
                places.push((name, folder.to_owned()));
            }
        }
        CgroupView::PerHierarchy { places, links }
    }

    /// Mounts the view on `target`; with `complete` only once nothing in it has to be changed any more, which takes a
    /// kernel that mounts on detached mounts.
    pub(super) fn mount(
        &self,
        mount: &MountPlan,
        target: BorrowedFd<'_>,
        complete: bool,
        spent: &mut Spent,
    ) -> Result<(), Errno> {
        // Each folder is a part of the host's mount of its hierarchy: cut off, with the asked attributes.
        let attributes = MountAttributes { propagation: libc::MS_PRIVATE, ..mount.options.attributes };
        match self {
            CgroupView::Unified(folder) => {
                let tree = clone(folder)?;
                mount_setattr(tree.as_fd(), &attributes, false)?;
                attach(tree.as_fd(), target)?;
                spent.put(tree);
            }
            CgroupView::PerHierarchy { places, links } => {
                let folder = small_tmpfs(mount)?;
                if !complete {
                    attach(folder.as_fd(), target)?;
                }
                for (name, source) in places {
                    rustix::fs::mkdirat(&folder, name.as_str(), Mode::from_raw_mode(0o755))?;
                    let tree = clone(source)?;
                    // By name, for nobody else has been in this folder.
                    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
                    rustix::mount::move_mount(&tree, "", &folder, name.as_str(), flags)?;
                    spent.put(tree);
                }
                for (name, target) in links {
                    rustix::fs::symlinkat(target.as_str(), &folder, name.as_str())?;
                }
                // The folder and all in it at once: nobody could have seen them before.
                mount_setattr(folder.as_fd(), &attributes, true)?;
                if complete {
                    attach(folder.as_fd(), target)?;
                }
                spent.put(folder);
            }
        }
        Ok(())
    }
}

/// The folder that holds the hierarchies' places; written once by us and never needed to be again.
fn small_tmpfs(mount: &MountPlan) -> Result<OwnedFd, Errno> {
    let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(&context, "mode", "755")?;
    rustix::mount::fsconfig_create(&context)?;
    let attributes = mount.options.attributes.set & !u64::from(MountAttrFlags::MOUNT_ATTR_RDONLY.bits());
    let attributes = MountAttrFlags::from_bits_retain(attributes as u32);
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

fn clone(source: &Path) -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    rustix::mount::open_tree(CWD, source, flags)
}
