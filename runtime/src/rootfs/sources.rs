//! Host paths as detached mounts: opened by the parent before the child exists.
//!
//! Each gets its attributes and propagation while nobody can see it, so there is no moment in which a read-only
//! bind can be written, and the child needs no host path: it may have no right to walk one (user namespaces).

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType};
use rustix::mount::{MountAttrFlags, OpenTreeFlags};

use super::id_map;
use crate::error::{Error, Result};
use crate::spec::plan::{IdMap, MountKind, Plan, Propagation};
use crate::sys::mount::{MountAttributes, mount_setattr};

/// The detached mounts of a container.
#[derive(Debug)]
pub struct Sources {
    /// The root file system.
    pub root: OwnedFd,
    /// One for each mount of the plan; `Some` for binds.
    pub binds: Vec<Option<Bind>>,
}

/// The source of a bind mount.
#[derive(Debug)]
pub struct Bind {
    /// The detached mount.
    pub mount: OwnedFd,
    /// Whether it is a folder.
    pub directory: bool,
}

impl Sources {
    /// Opens all sources of a plan. `root` is a passed root file system.
    pub fn open(plan: &Plan, root: Option<OwnedFd>) -> Result<Sources> {
        let inherited = inherited_propagation(plan.root.propagation);
        let root = match root {
            Some(mount) => mount,
            None => clone_tree("root.path", &plan.root.path, true)?,
        };
        // pivot_root takes no shared mount. One that shall be shared becomes so after the pivot.
        let attributes =
            MountAttributes { propagation: inherited.unwrap_or(libc::MS_SLAVE), ..Default::default() };
        mount_setattr(root.as_fd(), &attributes, inherited.is_some())
            .map_err(Error::system("set the propagation of", plan.root.path.to_string_lossy()))?;
        let mut binds = Vec::with_capacity(plan.mounts.len());
        let mut id_maps = Vec::new();
        for (index, mount) in plan.mounts.iter().enumerate() {
            binds.push(match &mount.kind {
                MountKind::Bind { source, recursive } => {
                    let tree = clone_tree(&format!("mounts[{index}].source"), source, *recursive)?;
                    if let Some(map) = &mount.id_map {
                        set_id_map(&tree, map, &mut id_maps)?;
                    }
                    set_attributes(&tree, mount, *recursive, inherited)
                        .map_err(Error::system("set the mount options of", source.to_string_lossy()))?;
                    let stat = rustix::fs::fstat(&tree)
                        .map_err(Error::system("examine", source.to_string_lossy()))?;
                    let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
                    Some(Bind { mount: tree, directory })
                }
                _ => None,
            });
        }
        Ok(Sources { root, binds })
    }
}

/// What mounts taken from the host become: slaves or private copies; `None` leaves them peers of the host's, for a
/// container whose mounts shall travel to the host.
fn inherited_propagation(root: Propagation) -> Option<u64> {
    match root.kind {
        libc::MS_SHARED => None,
        libc::MS_SLAVE => Some(libc::MS_SLAVE),
        _ => Some(libc::MS_PRIVATE),
    }
}

fn clone_tree(field: &str, path: &Path, recursive: bool) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(CWD, path, flags).map_err(|errno| Error::Spec {
        path: field.to_owned(),
        reason: format!("cannot bind {}: {errno}", path.display()),
    })
}

/// The attributes that a bind has from its words alone once it has any. Access times are none of them: they stay as the
/// source's unless named.
const FLAGS: u64 = (MountAttrFlags::MOUNT_ATTR_RDONLY.bits()
    | MountAttrFlags::MOUNT_ATTR_NOSUID.bits()
    | MountAttrFlags::MOUNT_ATTR_NODEV.bits()
    | MountAttrFlags::MOUNT_ATTR_NOEXEC.bits()
    | MountAttrFlags::MOUNT_ATTR_NODIRATIME.bits()
    | MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW.bits()) as u64;

/// Gives a tree other owners; `made` holds the namespaces of mappings seen before, for most mounts have the same.
fn set_id_map<'a>(tree: &OwnedFd, map: &'a IdMap, made: &mut Vec<(&'a IdMap, OwnedFd)>) -> Result<()> {
    let same = |one: &IdMap| one.users == map.users && one.groups == map.groups;
    if !made.iter().any(|(known, _)| same(known)) {
        made.push((map, id_map::namespace(map)?));
    }
    let Some((_, namespace)) = made.iter().find(|(known, _)| same(known)) else { return Ok(()) };
    let attributes = MountAttributes {
        set: u64::from(MountAttrFlags::MOUNT_ATTR_IDMAP.bits()),
        user_namespace: namespace.as_raw_fd() as u64,
        ..Default::default()
    };
    mount_setattr(tree.as_fd(), &attributes, map.recursive)
        .map_err(Error::system("map the ids of", "a bind mount (does its file system support that?)"))
}

fn set_attributes(
    tree: &OwnedFd,
    mount: &crate::spec::plan::MountPlan,
    recursive: bool,
    inherited: Option<u64>,
) -> Result<(), rustix::io::Errno> {
    let options = &mount.options;
    // As with mount(8) remounting a bind: who names one flag has named them all, and the source's others go.
    let mut own = options.attributes;
    if options.names_flags {
        own.clear |= FLAGS & !own.set;
    }
    if recursive {
        let all = MountAttributes { propagation: inherited.unwrap_or(0), ..options.recursive_attributes };
        if !all.is_empty() {
            mount_setattr(tree.as_fd(), &all, true)?;
        }
        if !own.is_empty() {
            mount_setattr(tree.as_fd(), &own, false)?;
        }
    } else {
        // One mount, one call: recursive words mean the same as plain ones.
        let all = MountAttributes {
            set: own.set | options.recursive_attributes.set,
            clear: own.clear | options.recursive_attributes.clear,
            propagation: inherited.unwrap_or(0),
            user_namespace: 0,
        };
        if !all.is_empty() {
            mount_setattr(tree.as_fd(), &all, false)?;
        }
    }
    for propagation in &options.propagations {
        let asked = MountAttributes { propagation: propagation.kind, ..Default::default() };
        mount_setattr(tree.as_fd(), &asked, propagation.recursive && recursive)?;
    }
    Ok(())
}
