//! Where one step does its work, and the steps that need no program: files and directories.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use image::layers::{Overlay, Upper, commit_upper_until, root_attributes};
use image::store::{LayerDescriptor, Lease, Store};
use runtime::security::user;
use rustix::fs::Mode;

use super::copy::{Copier, CopyError, Inline, Target};
use super::error::{Error, Result, StepError};
use super::keys::{SelectedSource, SelectedSources};
use super::rooted::{Last, Missing, NewDirectory, Owner, Place, walk};
use super::source::{Selected, SourceTree};
use crate::plan::{CopyStep, Origin, WorkdirStep};

/// A stage's root with a fresh writable layer on top, mounted nowhere. Dropping it leaves nothing but a folder in the
/// lease's temporary directory.
#[derive(Debug)]
pub struct Workspace<'a> {
    store: &'a Store,
    lease: &'a Lease,
    folder: PathBuf,
    upper: Upper,
    below: Vec<PathBuf>,
    root: OwnedFd,
}

impl<'a> Workspace<'a> {
    /// A writable layer above these.
    pub(super) fn on(store: &'a Store, lease: &'a Lease, below: &[LayerDescriptor]) -> Result<Workspace<'a>> {
        let folder = lease.temporary_path();
        rustix::fs::mkdir(&folder, Mode::RWXU)
            .map_err(|errno| Error::file("create", &folder)(errno.into()))?;
        let lower: Vec<PathBuf> = below.iter().map(|layer| store.layer_path(&layer.folder)).collect();
        let upper = Upper::create(&folder, &root_attributes(&lower)?)?;
        // Synced once, when the image gets its name.
        let overlay = Overlay { lower: lower.clone(), upper: Some(upper.clone()), volatile: true };
        let root = overlay.mount_detached()?;
        Ok(Workspace { store, lease, folder, upper, below: lower, root })
    }

    /// The root.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// A folder for files of ours that belong to this step.
    pub fn folder(&self) -> &std::path::Path {
        &self.folder
    }

    /// Makes what was written a layer of the store, with no file later than `latest` (seconds since 1970).
    pub(super) fn commit(self, latest: Option<i64>) -> Result<LayerDescriptor> {
        let Workspace { store, lease, upper, below, root, .. } = self;
        // The overlay must be gone before its upper becomes a layer.
        drop(root);
        Ok(commit_upper_until(store, lease, &upper.upper, &below, latest)?)
    }
}

/// WORKDIR: makes the directory and what is missing above it. Directories that are there stay as they are.
pub(super) fn directory(work: &Workspace<'_>, step: &WorkdirStep) -> std::result::Result<(), StepError> {
    let owner = match step.user.as_str() {
        "" => Owner::default(),
        user => {
            let found =
                user::resolve(work.root(), user, &[]).map_err(|error| unknown_user("USER", user, &error))?;
            Owner { uid: found.uid, gid: found.gid }
        }
    };
    make_directory(work.root(), &step.path, owner)
}

/// Makes a directory in a root, with parents.
pub(super) fn make_directory(
    root: BorrowedFd<'_>,
    path: &str,
    owner: Owner,
) -> std::result::Result<(), StepError> {
    let new = NewDirectory { mode: 0o755, owner };
    match walk(root, path.as_bytes(), Last::Follow, Missing::MakeAll(new)) {
        Ok(Place::There(found)) if found.is_directory() => Ok(()),
        Ok(_) | Err(rustix::io::Errno::NOTDIR) => {
            Err(StepError::told(format!("cannot make directory {path} in the image: a file stands there")))
        }
        Err(source) => {
            Err(CopyError::Destination { operation: "make directory", path: path.to_owned(), source }.into())
        }
    }
}

/// COPY and ADD.
pub(super) fn files(
    work: &Workspace<'_>,
    step: &CopyStep,
    from: &mut SourceTree,
    selected: &SelectedSources,
) -> std::result::Result<(), StepError> {
    let owner = step.chown.as_deref().map(|text| owner_of(work.root(), text)).transpose()?;
    let target = Target {
        root: work.root(),
        destination: &step.destination,
        into_directory: step.into_directory,
        owner,
        keep_owner: step.origin != Origin::Context,
        mode: step.chmod.as_ref(),
    };
    let mut copier = Copier::new(target);
    let archives = if step.unpack { super::unpack::archives(from, selected)? } else { Vec::new() };
    if archives.is_empty() {
        copier.expect(selected.count())?;
    }
    let mut settled = true;
    for source in &selected.0 {
        match source {
            SelectedSource::Inline { name, content } => {
                copier.put_inline(&Inline { name, content: content.as_bytes() })?;
            }
            SelectedSource::Paths(paths) => {
                for one in paths {
                    match archives.iter().find(|archive| is_same(archive, one)) {
                        Some(_) => settled &= super::unpack::unpack(work.root(), step, owner, from, one)?,
                        None => copier.put(from, one)?,
                    }
                }
            }
        }
    }
    if copier.unsettled() || !settled {
        from.note_unsettled();
    }
    Ok(())
}

fn is_same(one: &Selected, other: &Selected) -> bool {
    (one.entry.device, one.entry.inode) == (other.entry.device, other.entry.inode)
}

/// The owner that `--chown` means: names are looked up in the stage, a number alone is user and group.
fn owner_of(root: BorrowedFd<'_>, text: &str) -> std::result::Result<Owner, StepError> {
    let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    let numeric = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let full = match (user, group) {
        ("", Some(group)) => format!("0:{group}"),
        (user, None) if !user.is_empty() && numeric(user) => format!("{user}:{user}"),
        _ => text.to_owned(),
    };
    let found = user::resolve(root, &full, &[]).map_err(|error| unknown_user("--chown", text, &error))?;
    Ok(Owner { uid: found.uid, gid: found.gid })
}

pub(super) fn unknown_user(option: &str, text: &str, error: &dyn std::error::Error) -> StepError {
    StepError::Told {
        message: format!("{option} {text}: {}", crate::plan::chain(error)),
        notes: Vec::new(),
        helps: vec!["create it in an earlier RUN, or use numbers; FROM scratch has no passwd".to_owned()],
    }
}
