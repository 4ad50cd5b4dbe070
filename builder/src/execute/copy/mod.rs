//! Putting files into a stage's root: COPY, ADD of files, and the directories on the way.
//!
//! The destination is found inside the root with its links followed; everything below it is created on handles, never
//! through a link: an entry that replaces another is made new, a directory that is there must be a directory. Content
//! comes from the names that the walk saw, opened beneath the source's root without following links.

mod entry;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use self::entry::{copy_attributes, set_owner_and_mode, times};
use super::rooted::{Found, Last, Missing, NewDirectory, Owner, Place, walk};
use super::source::{Selected, SourceTree};
use crate::cache::shown;
use crate::cache::tree::{Directory, Entry, Tree, join, open_beneath};
use crate::dockerfile::mode;

/// Where things go and what they become.
#[derive(Debug)]
pub struct Target<'a> {
    /// The stage's root.
    pub root: BorrowedFd<'a>,
    /// Absolute path in it.
    pub destination: &'a str,
    /// The destination was written as a directory.
    pub into_directory: bool,
    /// Owner of everything, if one is asked for.
    pub owner: Option<Owner>,
    /// Owners are those of the source; otherwise 0:0.
    pub keep_owner: bool,
    /// Mode of everything, if one is asked for.
    pub mode: Option<&'a mode::Mode>,
}

/// What a file given in place is.
#[derive(Debug, Clone, Copy)]
pub struct Inline<'a> {
    /// Its name; may hold slashes.
    pub name: &'a str,
    /// Its bytes.
    pub content: &'a [u8],
}

/// Why files could not be put where they should go.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A system call on the destination failed.
    #[error("cannot {operation} {path} in the image")]
    Destination {
        /// The verb.
        operation: &'static str,
        /// The path below the stage's root.
        path: String,
        /// The kernel's answer.
        source: Errno,
    },
    /// A system call on the source failed.
    #[error("cannot {operation} {path}")]
    Source {
        /// The verb.
        operation: &'static str,
        /// The path below the source's root.
        path: String,
        /// The kernel's answer.
        source: Errno,
    },
    /// Something of another type stands at the destination.
    #[error("cannot put {what} {source_path} at {path}: {existing} stands there")]
    Conflict {
        /// What should go there: `directory`, `file`.
        what: &'static str,
        /// The path below the source's root.
        source_path: String,
        /// The path below the stage's root.
        path: String,
        /// What is there.
        existing: &'static str,
    },
    /// Several sources and one name.
    #[error("several sources need a directory, but {path} is none: add a / at its end")]
    Several {
        /// The destination.
        path: String,
    },
}

/// Copies into one destination. Keeps track of hard links over all sources of a step.
#[derive(Debug)]
pub struct Copier<'a> {
    target: Target<'a>,
    /// Where the first name of a file with several names went, by device and inode.
    linked: HashMap<(u64, u64), Vec<u8>>,
    buffer: Vec<u8>,
    /// The kernel copies between these two file systems by itself, as far as known.
    kernel_copies: bool,
    unsettled: bool,
}

impl<'a> Copier<'a> {
    /// A copier for one step.
    pub fn new(target: Target<'a>) -> Copier<'a> {
        Copier { target, linked: HashMap::new(), buffer: Vec::new(), kernel_copies: true, unsettled: false }
    }

    /// Whether a file was no longer what the walk saw.
    pub fn unsettled(&self) -> bool {
        self.unsettled
    }

    /// Refuses several things with one name for all.
    pub fn expect(&self, things: usize) -> Result<(), CopyError> {
        if things < 2 || self.target.into_directory {
            return Ok(());
        }
        match self.look()? {
            Place::There(found) if found.is_directory() => Ok(()),
            _ => Err(CopyError::Several { path: self.target.destination.to_owned() }),
        }
    }

    /// Copies one selected thing: a directory's content, or a file or link.
    pub fn put(&mut self, source: &SourceTree, selected: &Selected) -> Result<(), CopyError> {
        if selected.entry.is_directory() {
            return self.put_content(source, selected);
        }
        let (parent, parent_path, name) = self.place_for(&selected.name)?;
        let holder = source.holder(selected);
        let from = open_directory(source.root(), holder)?;
        let holder_names = Names { directory: holder, from: from.as_fd() };
        self.entry(
            &holder_names,
            &selected.entry,
            Spot { parent: parent.as_fd(), parent_path: &parent_path, name: &name },
        )
    }

    /// Writes a file given in place.
    pub fn put_inline(&mut self, inline: &Inline<'_>) -> Result<(), CopyError> {
        let (parent, parent_path, name) = self.place_for(inline.name.as_bytes())?;
        let path = join(&parent_path, &name);
        let file = self.create(
            Spot { parent: parent.as_fd(), parent_path: &parent_path, name: &name },
            "here document",
        )?;
        let mut rest = inline.content;
        while !rest.is_empty() {
            let count =
                rustix::io::retry_on_intr(|| rustix::io::write(&file, rest)).map_err(to("write", &path))?;
            rest = &rest[count..];
        }
        let owner = self.target.owner.unwrap_or_default();
        let mode = self.target.mode.map_or(0o644, |mode| mode.apply(0o644, false));
        set_owner_and_mode(&file, owner, mode).map_err(to("set the owner and mode of", &path))
    }

    /// The directory, its path, and the name under which a single file called `name` goes.
    fn place_for(&self, name: &[u8]) -> Result<(OwnedFd, Vec<u8>, Vec<u8>), CopyError> {
        let destination = self.target.destination.as_bytes();
        let inside =
            self.target.into_directory || matches!(self.look()?, Place::There(found) if found.is_directory());
        let path = if inside { join(destination, name) } else { destination.to_vec() };
        if inside
            && let Place::There(found) = self.look()?
            && !found.is_directory()
        {
            return Err(CopyError::Conflict {
                what: "file",
                source_path: shown(name),
                path: format!("{}/", self.target.destination),
                existing: describe(found.file_type()),
            });
        }
        let place = walk(self.target.root, &path, Last::Follow, Missing::MakeParents(self.new_directory()))
            .map_err(to("make the directories of", &path))?;
        match place {
            Place::Free { parent, parent_path, name } => Ok((parent, parent_path, name)),
            Place::There(found) if found.is_directory() => Err(CopyError::Conflict {
                what: "file",
                source_path: shown(name),
                path: in_image(&path),
                existing: "a directory",
            }),
            Place::There(Found { path, .. }) => {
                let cut = path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
                let (parent_path, name) = (path[..cut.saturating_sub(1)].to_vec(), path[cut..].to_vec());
                let parent = open_beneath(self.target.root, &parent_path, OFlags::PATH | OFlags::DIRECTORY)
                    .map_err(to("open", &parent_path))?;
                Ok((parent, parent_path, name))
            }
            Place::Nowhere => Err(to("make the directories of", &path)(Errno::NOENT)),
        }
    }

    fn look(&self) -> Result<Place, CopyError> {
        let destination = self.target.destination.as_bytes();
        match walk(self.target.root, destination, Last::Follow, Missing::Report) {
            Err(errno) => Err(to("follow", destination)(errno)),
            Ok(place) => Ok(place),
        }
    }

    fn new_directory(&self) -> NewDirectory {
        let mode = self.target.mode.map_or(0o755, |mode| match mode {
            mode::Mode::Octal(bits) => *bits,
            mode::Mode::Symbolic(_) => 0o755,
        });
        NewDirectory { mode, owner: self.target.owner.unwrap_or_default() }
    }

    /// Copies what is in a directory. One that is made for it gets the source's attributes, one that is there keeps
    /// its own.
    fn put_content(&mut self, source: &SourceTree, selected: &Selected) -> Result<(), CopyError> {
        let destination = self.target.destination.as_bytes().to_vec();
        let place =
            walk(self.target.root, &destination, Last::Follow, Missing::MakeAll(self.new_directory()))
                .map_err(to("make", &destination))?;
        let (tree, start) = source.content(selected);
        let top = match place {
            Place::There(found) if found.is_directory() => found,
            Place::There(found) => {
                return Err(CopyError::Conflict {
                    what: "the content of directory",
                    source_path: shown(&tree.directories[start].path),
                    path: in_image(&destination),
                    existing: describe(found.file_type()),
                });
            }
            _ => return Err(to("make", &destination)(Errno::NOENT)),
        };
        let mut finish: Vec<(Vec<u8>, Entry, BorrowedSource<'_>)> = Vec::new();
        if top.made {
            finish.push((
                top.path.clone(),
                selected.entry,
                BorrowedSource { path: tree.directories[start].path.clone(), root: source.root() },
            ));
        }
        let mut queue = vec![(start, top.path)];
        while let Some((index, path)) = queue.pop() {
            self.directory(source, tree, index, &path, &mut queue, &mut finish)?;
        }
        // Times of a directory change while it is filled, so they are set last, the deepest first.
        for (path, entry, from) in finish.iter().rev() {
            self.finish_directory(path, entry, from)?;
        }
        Ok(())
    }

    /// Copies the entries of one directory; subdirectories are made and queued.
    fn directory<'s>(
        &mut self,
        source: &'s SourceTree,
        tree: &Tree,
        index: usize,
        path: &[u8],
        queue: &mut Vec<(usize, Vec<u8>)>,
        finish: &mut Vec<(Vec<u8>, Entry, BorrowedSource<'s>)>,
    ) -> Result<(), CopyError> {
        let directory = &tree.directories[index];
        let from = open_directory(source.root(), directory)?;
        let names = Names { directory, from: from.as_fd() };
        let into = open_beneath(self.target.root, path, OFlags::PATH | OFlags::DIRECTORY)
            .map_err(to("open", path))?;
        for entry in &directory.entries {
            let name = directory.name(entry);
            if entry.is_directory() {
                let below = join(path, name);
                self.make_directory(into.as_fd(), &names, entry, &below)?;
                let from = BorrowedSource { path: directory.path_of(entry), root: source.root() };
                finish.push((below.clone(), *entry, from));
                queue.push((entry.child as usize, below));
            } else {
                self.entry(&names, entry, Spot { parent: into.as_fd(), parent_path: path, name })?;
            }
        }
        Ok(())
    }

    fn make_directory(
        &self,
        into: BorrowedFd<'_>,
        names: &Names<'_>,
        entry: &Entry,
        path: &[u8],
    ) -> Result<(), CopyError> {
        let name = names.directory.name_for_call(entry);
        match rustix::fs::mkdirat(into, name, Mode::RWXU) {
            Ok(()) => return Ok(()),
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(to("make", path)(errno)),
        }
        let existing =
            rustix::fs::statat(into, name, AtFlags::SYMLINK_NOFOLLOW).map_err(to("look at", path))?;
        match FileType::from_raw_mode(existing.st_mode) {
            FileType::Directory => Ok(()),
            other => Err(CopyError::Conflict {
                what: "directory",
                source_path: shown(&names.directory.path_of(entry)),
                path: in_image(path),
                existing: describe(other),
            }),
        }
    }

    fn finish_directory(
        &self,
        path: &[u8],
        entry: &Entry,
        from: &BorrowedSource<'_>,
    ) -> Result<(), CopyError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let opened = open_beneath(self.target.root, path, flags).map_err(to("open", path))?;
        let (owner, mode) = self.attributes(entry);
        set_owner_and_mode(&opened, owner, mode).map_err(to("set the owner and mode of", path))?;
        let source = open_beneath(from.root, &from.path, flags).map_err(of("open", &from.path))?;
        copy_attributes(source.as_fd(), &opened).map_err(to("set the extended attributes of", path))?;
        rustix::fs::futimens(&opened, &times(entry)).map_err(to("set the time of", path))
    }
}

/// A name in a directory of the destination.
#[derive(Debug, Clone, Copy)]
struct Spot<'s> {
    parent: BorrowedFd<'s>,
    parent_path: &'s [u8],
    name: &'s [u8],
}

impl Spot<'_> {
    fn path(&self) -> Vec<u8> {
        join(self.parent_path, self.name)
    }
}

/// A directory of the source with its handle.
struct Names<'n> {
    directory: &'n Directory,
    from: BorrowedFd<'n>,
}

/// Where a directory's extended attributes are read from.
struct BorrowedSource<'s> {
    root: BorrowedFd<'s>,
    path: Vec<u8>,
}

fn open_directory(root: BorrowedFd<'_>, directory: &Directory) -> Result<OwnedFd, CopyError> {
    open_beneath(root, &directory.path, OFlags::PATH | OFlags::DIRECTORY).map_err(of("open", &directory.path))
}

/// A path of the image in a message.
fn in_image(path: &[u8]) -> String {
    format!("/{}", shown(path).trim_start_matches('/'))
}

fn to<'p>(operation: &'static str, path: &'p [u8]) -> impl Fn(Errno) -> CopyError + use<'p> {
    move |source| CopyError::Destination { operation, path: in_image(path), source }
}

fn of<'p>(operation: &'static str, path: &'p [u8]) -> impl Fn(Errno) -> CopyError + use<'p> {
    move |source| CopyError::Source { operation, path: shown(path), source }
}

fn describe(file_type: FileType) -> &'static str {
    match file_type {
        FileType::Directory => "a directory",
        FileType::RegularFile => "a file",
        FileType::Symlink => "a link",
        _ => "a device or socket",
    }
}
