//! Host paths as detached mounts, opened by the parent: the root before the child exists, binds when their turn has come,
//! so that the kernel's list of mounts has the order of config.json. That they are there is seen before anything is made.
//!
//! Each gets its attributes and propagation while nobody can see it, so there is no moment in which a read-only
//! bind can be written, and the child needs no host path: it may have no right to walk one (user namespaces), and sees
//! its own root where it is attached. Where only the child has the right to mount, the places are opened as the user who may
//! walk there, and the child copies them when their turn has come.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::sched::CloneFlags;
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, OpenTreeFlags};

use super::{id_map, target};
use crate::error::{Error, Result};
use crate::init::{Step, StepFailure};
use crate::namespaces::Opened;
use crate::spec::plan::{IdMap, MountKind, MountPlan, Plan, Propagation};
use crate::sys::mount::{MountAttributes, mount_setattr};

/// What a container's mounts come from.
#[derive(Debug)]
pub struct Sources {
    /// The root file system, a detached mount.
    pub root: OwnedFd,
    /// One for each mount of the plan: whether what it comes from is a folder.
    pub directories: Vec<bool>,
}

/// The source of a bind mount.
#[derive(Debug)]
pub(super) struct Bind {
    /// The detached mount.
    pub(super) mount: OwnedFd,
    /// Whether it is a folder.
    pub(super) directory: bool,
}

impl Sources {
    /// Opens the root of a plan and looks for its binds. `root` is a passed root file system. `None` where we may mount nothing
    /// in our mount namespace, as that belongs to a user namespace above ours: then the child does it.
    pub fn open(plan: &Plan, root: Option<OwnedFd>) -> Result<Option<Sources>> {
        let root = match root {
            Some(mount) => mount,
            None => match clone_host(&plan.root.path, true) {
                Err(Errno::PERM) => return Ok(None),
                root => root.map_err(|errno| cannot_bind("root.path", &plan.root.path, errno))?,
            },
        };
        set_root_propagation(plan, &root)?;
        let mut directories = Vec::with_capacity(plan.mounts.len());
        for (index, mount) in plan.mounts.iter().enumerate() {
            directories.push(match &mount.kind {
                MountKind::Bind { source, inside: None, .. } => {
                    let stat = rustix::fs::stat(source)
                        .map_err(|errno| cannot_bind(&source_field(index), source, errno))?;
                    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
                }
                _ => true,
            });
        }
        Ok(Some(Sources { root, directories }))
    }

    /// As [`Sources::open`], by the child in its own mount namespace, with what it needs to open the binds.
    pub fn open_by_child(plan: &Plan) -> Result<(Sources, Places)> {
        let root = clone_tree("root.path", &plan.root.path, true)?;
        set_root_propagation(plan, &root)?;
        let mut directories = Vec::with_capacity(plan.mounts.len());
        let mut places = Vec::with_capacity(plan.mounts.len());
        for (index, mount) in plan.mounts.iter().enumerate() {
            let MountKind::Bind { source, inside: None, .. } = &mount.kind else {
                directories.push(true);
                places.push(None);
                continue;
            };
            let failed = |errno| cannot_bind(&source_field(index), source, errno);
            let place = rustix::fs::openat(CWD, source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
                .map_err(failed)?;
            let kind = FileType::from_raw_mode(rustix::fs::fstat(&place).map_err(failed)?.st_mode);
            directories.push(kind == FileType::Directory);
            places.push(Some(place));
        }
        Ok((Sources { root, directories }, Places(places)))
    }
}

/// pivot_root takes no shared mount. One that shall be shared becomes so after the pivot.
fn set_root_propagation(plan: &Plan, root: &OwnedFd) -> Result<()> {
    let inherited = inherited_propagation(plan.root.propagation);
    let attributes =
        MountAttributes { propagation: inherited.unwrap_or(libc::MS_PRIVATE), ..Default::default() };
    mount_setattr(root.as_fd(), &attributes, inherited.is_some())
        .map_err(Error::system("set the propagation of", plan.root.path.to_string_lossy()))
}

/// Where binds of the host come from, one for each mount of the plan: opened while we were the user who may walk there.
#[derive(Debug)]
pub struct Places(Vec<Option<OwnedFd>>);

impl Places {
    /// As [`open_binds`]. What the host set on its mounts cannot be taken away.
    pub(crate) fn open_binds(
        &self,
        plan: &Plan,
        first: u32,
        count: u32,
    ) -> Result<Vec<OwnedFd>, StepFailure> {
        let mounts = plan.mounts.iter().zip(&self.0).skip(first as usize).take(count as usize);
        mounts
            .filter_map(|(mount, place)| match (&mount.kind, place) {
                (MountKind::Bind { source, recursive, .. }, Some(place)) => {
                    Some(copy(plan, mount, place, *recursive).map_err(|errno| StepFailure {
                        step: Step::Mount,
                        object: format!(
                            "{} at {}{}",
                            source.display(),
                            mount.destination.display(),
                            reason(errno, *recursive)
                        ),
                        errno,
                    }))
                }
                _ => None,
            })
            .collect()
    }
}

fn copy(plan: &Plan, mount: &MountPlan, place: &OwnedFd, recursive: bool) -> Result<OwnedFd, Errno> {
    if mount.id_map.is_some() {
        // That takes rights on the file system.
        return Err(Errno::PERM);
    }
    let tree = rustix::mount::open_tree(place, "", clone_flags(recursive) | OpenTreeFlags::AT_EMPTY_PATH)?;
    set_attributes(&tree, mount, recursive, inherited_propagation(plan.root.propagation), true)?;
    Ok(tree)
}

/// What the kernel means, after the place (mount_namespaces(7)).
fn reason(errno: Errno, recursive: bool) -> &'static str {
    match errno {
        Errno::INVAL if !recursive => " (mounts below it come with it only, by rbind)",
        Errno::PERM => " (flags of the host's mount stay, and ids are not mapped)",
        _ => "",
    }
}

/// Opens the sources of `count` binds of host paths, which follow each other from number `first` of the plan's mounts on.
pub(crate) fn open_binds(plan: &Plan, first: u32, count: u32, joined: &Opened) -> Result<Vec<OwnedFd>> {
    let mut id_maps = Vec::new();
    let inherited = inherited_propagation(plan.root.propagation);
    let in_user_namespace = plan.namespaces.has(CloneFlags::CLONE_NEWUSER);
    let mounts = plan.mounts.iter().enumerate().skip(first as usize).take(count as usize);
    let mut trees = Vec::with_capacity(count as usize);
    for (index, mount) in mounts {
        let MountKind::Bind { source, recursive, .. } = &mount.kind else { continue };
        let tree = clone_tree(&source_field(index), source, *recursive)?;
        if let Some(map) = &mount.id_map {
            set_id_map(&tree, &source.to_string_lossy(), map, joined, &mut id_maps)?;
        }
        set_attributes(&tree, mount, *recursive, inherited, in_user_namespace)
            .map_err(Error::system("set the mount options of", source.to_string_lossy()))?;
        trees.push(tree);
    }
    Ok(trees)
}

fn source_field(index: usize) -> String {
    format!("mounts[{index}].source")
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
    clone_host(path, recursive).map_err(|errno| cannot_bind(field, path, errno))
}

fn clone_host(path: &Path, recursive: bool) -> Result<OwnedFd, Errno> {
    rustix::mount::open_tree(CWD, path, clone_flags(recursive))
}

fn clone_flags(recursive: bool) -> OpenTreeFlags {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive { flags | OpenTreeFlags::AT_RECURSIVE } else { flags }
}

fn cannot_bind(field: &str, path: &Path, errno: Errno) -> Error {
    Error::Spec { path: field.to_owned(), reason: format!("cannot bind {}: {errno}", path.display()) }
}

/// The attributes that a bind has from its words alone once it has any. Access times are none of them: they stay as the
/// source's unless named.
const FLAGS: u64 = LOCKABLE | MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW.bits() as u64;

/// Those of them that the kernel locks when a mount is copied into the mount namespace of another user namespace.
const LOCKABLE: u64 = (MountAttrFlags::MOUNT_ATTR_RDONLY.bits()
    | MountAttrFlags::MOUNT_ATTR_NOSUID.bits()
    | MountAttrFlags::MOUNT_ATTR_NODEV.bits()
    | MountAttrFlags::MOUNT_ATTR_NOEXEC.bits()) as u64;

/// The flags that a mount has, as attributes.
fn flags_of(mount: &OwnedFd) -> Result<u64, Errno> {
    use rustix::fs::StatVfsMountFlags as Flags;
    let there = rustix::fs::fstatvfs(mount)?.f_flag;
    let pairs = [
        (Flags::RDONLY, MountAttrFlags::MOUNT_ATTR_RDONLY),
        (Flags::NOSUID, MountAttrFlags::MOUNT_ATTR_NOSUID),
        (Flags::NODEV, MountAttrFlags::MOUNT_ATTR_NODEV),
        (Flags::NOEXEC, MountAttrFlags::MOUNT_ATTR_NOEXEC),
    ];
    let present = pairs.iter().filter(|(flag, _)| there.contains(*flag));
    Ok(present.fold(0, |bits, (_, attribute)| bits | u64::from(attribute.bits())))
}

/// Gives a tree other owners; `made` holds the namespaces of mappings seen before, for most mounts have the same.
fn set_id_map<'a>(
    tree: &OwnedFd,
    source: &str,
    map: &'a IdMap,
    joined: &Opened,
    made: &mut Vec<(&'a IdMap, OwnedFd)>,
) -> Result<()> {
    let same = |one: &IdMap| one.users == map.users && one.groups == map.groups;
    let namespace = match joined.get(CloneFlags::CLONE_NEWUSER).filter(|_| map.users.is_empty()) {
        Some(joined) => joined,
        None => {
            if !made.iter().any(|(known, _)| same(known)) {
                made.push((map, id_map::namespace(map)?));
            }
            let Some((_, namespace)) = made.iter().find(|(known, _)| same(known)) else { return Ok(()) };
            namespace.as_fd()
        }
    };
    let attributes = MountAttributes {
        set: u64::from(MountAttrFlags::MOUNT_ATTR_IDMAP.bits()),
        user_namespace: namespace.as_raw_fd() as u64,
        ..Default::default()
    };
    mount_setattr(tree.as_fd(), &attributes, map.recursive)
        .map_err(Error::system("map the ids of", format!("{source} (does its file system support that?)")))
}

/// Gives a bind of a place in the root, taken by the child, the owners that the mount with this number is to have.
pub(crate) fn map_ids(plan: &Plan, number: u32, joined: &Opened, tree: &OwnedFd) -> Result<()> {
    let Some(mount) = plan.mounts.get(number as usize) else { return Ok(()) };
    let (MountKind::Bind { source, .. }, Some(map)) = (&mount.kind, &mount.id_map) else { return Ok(()) };
    set_id_map(tree, &source.to_string_lossy(), map, joined, &mut Vec::new())
}

/// A copy of a place in the root, found as in the root.
pub(super) fn clone_place(root: BorrowedFd<'_>, path: &Path, recursive: bool) -> Result<OwnedFd, Errno> {
    let place = target::open(root, path, OFlags::PATH)?;
    // A link of the image to our proc or sysfs: bound from here it would have neither masks nor read-only paths.
    let kind = rustix::fs::fstatfs(&place)?.f_type as u64;
    if matches!(kind, PROC_MAGIC | SYSFS_MAGIC) {
        return Err(Errno::XDEV);
    }
    rustix::mount::open_tree(&place, "", clone_flags(recursive) | OpenTreeFlags::AT_EMPTY_PATH)
}

/// `PROC_SUPER_MAGIC` and `SYSFS_MAGIC`.
const PROC_MAGIC: u64 = 0x9fa0;
const SYSFS_MAGIC: u64 = 0x6265_6572;

/// What a bind of a place in the root is to have before it is attached.
pub(super) fn finish_inside(
    tree: OwnedFd,
    mount: &MountPlan,
    recursive: bool,
    propagation: Propagation,
    locked: bool,
) -> Result<Bind, Errno> {
    set_attributes(&tree, mount, recursive, inherited_propagation(propagation), locked)?;
    let directory = FileType::from_raw_mode(rustix::fs::fstat(&tree)?.st_mode) == FileType::Directory;
    Ok(Bind { mount: tree, directory })
}

fn set_attributes(
    tree: &OwnedFd,
    mount: &MountPlan,
    recursive: bool,
    inherited: Option<u64>,
    in_user_namespace: bool,
) -> Result<(), Errno> {
    let options = &mount.options;
    // As with mount(8) remounting a bind: who names one flag has named them all, and the source's others go.
    let mut own = options.attributes;
    if in_user_namespace {
        // What the host set a user namespace may not take away. Words that ask for it are refused; silence keeps it.
        let locked = flags_of(tree)? & LOCKABLE;
        if own.clear & locked != 0 {
            return Err(Errno::PERM);
        }
        if options.names_flags {
            own.clear |= FLAGS & !own.set & !locked;
        }
    } else if options.names_flags {
        own.clear |= FLAGS & !own.set;
    }
    if options.names_times {
        let times =
            u64::from((MountAttrFlags::MOUNT_ATTR__ATIME | MountAttrFlags::MOUNT_ATTR_NODIRATIME).bits());
        own.clear |= times & !(own.set & u64::from(MountAttrFlags::MOUNT_ATTR_NODIRATIME.bits()));
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
