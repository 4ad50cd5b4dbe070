//! The mounts of config.json, in its order, each attached by handle to a place resolved in the root.

use std::fmt::{self, Display};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, OFlags, StatxFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags};

use super::sources::Bind;
use super::{CgroupView, Root, copy_up, masks, sources, target};
use crate::fault::{self, Defence};
use crate::init::{Step, StepFailure};
use crate::spec::plan::{MountKind, MountPlan};
use crate::sys::mount::{MountAttributes, mount_setattr};

/// What later steps have to know about the mounts.
#[derive(Debug, Default)]
pub struct Mounted {
    /// Mounts that become read-only when all is set up: we still write to them.
    later_read_only: Vec<OwnedFd>,
    /// /dev comes from the host as it is: no device is made there.
    pub dev_is_bind: bool,
    /// A devpts is at /dev/pts.
    pub has_devpts: bool,
    /// Handles kept open only because closing them one by one costs a call each; one call closes all.
    pub spent: Spent,
}

/// Descriptors to be closed together, bounded so that a long list of mounts cannot meet the limit of open files.
#[derive(Debug, Default)]
pub struct Spent(Vec<OwnedFd>);

impl Spent {
    /// Puts a descriptor aside.
    pub fn put(&mut self, descriptor: OwnedFd) {
        const MOST: usize = 128;
        if self.0.len() >= MOST {
            self.0.clear();
        }
        self.0.push(descriptor);
    }
}

/// Whoever created the process that mounts.
pub trait Creator {
    /// Gives a detached mount the owners that the mount with this number of the plan is to have: what takes rights on its
    /// file system.
    fn map_ids(&self, number: u32, tree: BorrowedFd<'_>) -> Result<(), StepFailure>;
    /// Opens the sources of binds of the host from this number of the plan's mounts on: at least one, and `count` at most.
    fn binds(&self, first: u32, count: u32) -> Result<Vec<OwnedFd>, StepFailure>;
    /// May we take no flags away from mounts, as those of the root are copies of what another user namespace has?
    fn keeps_flags(&self) -> bool;
    /// Takes a message for its log.
    fn debug(&self, message: fmt::Arguments<'_>);
}

impl Mounted {
    /// Makes read-only what was left for later.
    pub fn finish_read_only(&mut self, root: &Root<'_>) -> Result<(), Errno> {
        let read_only = MountAttributes {
            set: u64::from(MountAttrFlags::MOUNT_ATTR_RDONLY.bits()),
            ..Default::default()
        };
        for mount in &self.later_read_only {
            if root.is_detached() {
                // A copy, with what is mounted there, covers it.
                let copy = masks::clone(mount.as_fd(), OpenTreeFlags::AT_RECURSIVE)?;
                mount_setattr(copy.as_fd(), &read_only, false)?;
                attach(copy.as_fd(), mount.as_fd())?;
                self.spent.put(copy);
            } else {
                mount_setattr(mount.as_fd(), &read_only, false)?;
            }
        }
        Ok(())
    }
}

/// Mounts everything. `directories` says of each mount whether what it comes from is a folder.
pub fn mount_all(
    root: &Root<'_>,
    mounts: &[MountPlan],
    directories: &[bool],
    cgroups: &CgroupView,
    creator: &impl Creator,
) -> Result<Mounted, StepFailure> {
    let mut mounted = Mounted::default();
    let mut folders = Vec::new();
    let mut sources = Vec::new().into_iter();
    for (number, (mount, &directory)) in mounts.iter().zip(directories).enumerate() {
        creator.debug(format_args!("mounting {}", describe(mount)));
        let bind = match &mount.kind {
            MountKind::Bind { inside: Some(path), recursive, .. } => {
                Some(bind_inside(root, number as u32, mount, path, *recursive, creator)?)
            }
            MountKind::Bind { inside: None, .. } => {
                if sources.len() == 0 {
                    // All at once that follow each other: each time costs a turn of the creator.
                    let count = mounts[number..].iter().take_while(|mount| is_of_host(mount)).count();
                    sources = creator.binds(number as u32, count as u32)?.into_iter();
                }
                sources.next().map(|mount| Bind { mount, directory })
            }
            _ => None,
        };
        one(root, mount, bind.as_ref(), cgroups, &mut mounted)?;
        if let Some(Bind { mount: tree, directory }) = bind {
            if directory {
                let failed = |errno| failure(Step::Mount, describe(mount).to_string(), errno);
                folders.push((mount, mount_id(tree.as_fd()).map_err(failed)?));
            }
            mounted.spent.put(tree);
        }
    }
    if !folders.is_empty() && !fault::without(Defence::UncoveredKernelFolders) {
        refuse_covered(root, &folders)?;
    }
    Ok(mounted)
}

fn is_of_host(mount: &MountPlan) -> bool {
    matches!(mount.kind, MountKind::Bind { inside: None, .. })
}

/// A bind has to be where it was asked to be: an image in which /data is a link to /dev would have our devices and links
/// made in the host's folder, one to /proc would hide what is masked and read-only there. `folders` are the binds of
/// folders, each with the number of its mount.
fn refuse_covered(root: &Root<'_>, folders: &[(&MountPlan, u64)]) -> Result<(), StepFailure> {
    for kernels in ["/dev", "/proc", "/sys"].map(Path::new) {
        let failed = |errno| failure(Step::Target, kernels.display().to_string(), errno);
        let there = match target::open(root.handle(), kernels, OFlags::PATH) {
            Ok(place) => mount_id(place.as_fd()).map_err(failed)?,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
            Err(errno) => return Err(failed(errno)),
        };
        let covers = |(mount, id): &&(&MountPlan, u64)| *id == there && mount.destination != kernels;
        if let Some((mount, _)) = folders.iter().find(covers) {
            let object = format!("{}, a link to {}", mount.destination.display(), kernels.display());
            return Err(failure(Step::Target, object, Errno::LOOP));
        }
    }
    Ok(())
}

/// The kernel's number of the mount that a descriptor is on.
fn mount_id(file: BorrowedFd<'_>) -> Result<u64, Errno> {
    let stat = rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
    Ok(stat.stx_mnt_id)
}

fn one(
    root: &Root<'_>,
    mount: &MountPlan,
    bind: Option<&Bind>,
    cgroups: &CgroupView,
    mounted: &mut Mounted,
) -> Result<(), StepFailure> {
    let failed = |errno| failure(Step::Mount, describe(mount).to_string(), errno);
    let directory = bind.is_none_or(|bind| bind.directory);
    // Asked only where it matters: whether a tmpfs is to look like something that was there.
    let asks =
        filesystem_of(mount) == Some("tmpfs") && !mount.options.data.iter().any(|(key, _)| key == "mode");
    let there = asks && target::open(root.handle(), &mount.destination, OFlags::PATH).is_ok();
    let place = target::open_or_create(root.handle(), &mount.destination, directory).map_err(|errno| {
        let place = mount.destination.display();
        let ours = ["/proc", "/sys", "/dev"].iter().any(|ours| mount.destination.starts_with(ours));
        let object = match errno {
            Errno::LOOP if ours => format!("{place} (it must be mounted on ordinary directory, not a link)"),
            _ => place.to_string(),
        };
        failure(Step::Target, object, errno)
    })?;
    match (&mount.kind, bind) {
        (_, Some(bind)) => {
            attach(bind.mount.as_fd(), place.as_fd()).map_err(failed)?;
            mounted.dev_is_bind |= mount.destination == Path::new("/dev");
        }
        (MountKind::Cgroup, None) => {
            cgroups.mount(mount, place.as_fd(), root.is_detached(), &mut mounted.spent).map_err(failed)?
        }
        (MountKind::Filesystem { filesystem, source }, None) => {
            let later = mount.options.readonly() && written_by_us(filesystem, &mount.destination);
            let made =
                make(filesystem, source, mount, there.then_some(place.as_fd()), later, &mut mounted.spent)
                    .map_err(failed)?;
            set_recursive(made.as_fd(), mount).map_err(failed)?;
            if mount.options.copy_up {
                copy_up::copy(place.as_fd(), made.as_fd()).map_err(failed)?;
            }
            attach(made.as_fd(), place.as_fd()).map_err(failed)?;
            mounted.has_devpts |= filesystem == "devpts" && mount.destination == Path::new("/dev/pts");
            if later { mounted.later_read_only.push(made) } else { mounted.spent.put(made) }
        }
        (MountKind::Bind { .. }, None) => return Err(failed(Errno::INVAL)),
    }
    mounted.spent.put(place);
    Ok(())
}

/// The bind of a place in the root, which is what the mounts before it made of it.
fn bind_inside(
    root: &Root<'_>,
    number: u32,
    mount: &MountPlan,
    path: &Path,
    recursive: bool,
    creator: &impl Creator,
) -> Result<Bind, StepFailure> {
    let failed = |errno| failure(Step::Mount, describe(mount).to_string(), errno);
    let tree = sources::clone_place(root.handle(), path, recursive).map_err(failed)?;
    if mount.id_map.is_some() {
        creator.map_ids(number, tree.as_fd())?;
    }
    sources::finish_inside(tree, mount, recursive, root.propagation(), creator.keeps_flags()).map_err(failed)
}

fn filesystem_of(mount: &MountPlan) -> Option<&str> {
    match &mount.kind {
        MountKind::Filesystem { filesystem, .. } => Some(filesystem),
        _ => None,
    }
}

/// Devices go into /dev and mount points into any tmpfs, so these become read-only at the end.
fn written_by_us(filesystem: &str, destination: &Path) -> bool {
    filesystem == "tmpfs" || destination == Path::new("/dev")
}

/// A new file system, detached. `covered` is the folder that it is to look like.
fn make(
    filesystem: &str,
    source: &str,
    mount: &MountPlan,
    covered: Option<BorrowedFd<'_>>,
    later_read_only: bool,
    spent: &mut Spent,
) -> Result<OwnedFd, Errno> {
    let context = rustix::mount::fsopen(filesystem, FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(&context, "source", source)?;
    // Where the superblock may be shared with the host's, only our mount of it is read-only.
    let kernel_made = matches!(filesystem, "proc" | "sysfs" | "mqueue" | "devpts" | "tmpfs");
    if mount.options.readonly() && !kernel_made {
        rustix::mount::fsconfig_set_flag(&context, "ro")?;
    }
    // As with runc, a tmpfs looks like the folder that it covers unless told otherwise.
    if let Some(covered) = covered {
        let mode = rustix::fs::fstat(covered)?.st_mode & 0o7777;
        rustix::mount::fsconfig_set_string(&context, "mode", format!("{mode:o}"))?;
    }
    for (key, value) in &mount.options.data {
        match value {
            Some(value) => rustix::mount::fsconfig_set_string(&context, key.as_str(), value.as_str())?,
            // Every devpts is an instance of its own since kernel 4.7; the word is taken and means nothing.
            None if key == "newinstance" => {}
            None => rustix::mount::fsconfig_set_flag(&context, key.as_str())?,
        }
    }
    rustix::mount::fsconfig_create(&context)?;
    let mut attributes = mount.options.attributes.set;
    if later_read_only {
        attributes &= !u64::from(MountAttrFlags::MOUNT_ATTR_RDONLY.bits());
    }
    let made = rustix::mount::fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::from_bits_retain(attributes as u32),
    )?;
    spent.put(context);
    Ok(made)
}

/// Words of a bind's tree that someone gave to a new file system: one mount, so they mean this one.
fn set_recursive(made: BorrowedFd<'_>, mount: &MountPlan) -> Result<(), Errno> {
    let options = &mount.options;
    if !options.recursive_attributes.is_empty() {
        mount_setattr(made, &options.recursive_attributes, false)?;
    }
    for propagation in &options.propagations {
        let asked = MountAttributes { propagation: propagation.kind, ..Default::default() };
        mount_setattr(made, &asked, false)?;
    }
    Ok(())
}

/// Attaches a detached mount by handle on both sides.
pub(super) fn attach(mount: BorrowedFd<'_>, place: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(mount, "", place, "", flags)
}

fn describe(mount: &MountPlan) -> impl Display + '_ {
    fmt::from_fn(|out| {
        match &mount.kind {
            MountKind::Bind { source, .. } => source.display().fmt(out)?,
            MountKind::Cgroup => out.write_str("cgroup")?,
            MountKind::Filesystem { filesystem, .. } => out.write_str(filesystem)?,
        }
        write!(out, " at {}", mount.destination.display())
    })
}

fn failure(step: Step, object: String, errno: Errno) -> StepFailure {
    StepFailure { step, object, errno }
}
