//! What COPY and ADD take files from: the build context, or the root of a stage or image.
//!
//! A source path is resolved inside its root and links never lead out of it. What a path selects is a snapshot of
//! names and attributes ([`Tree`]); for the context with the digests of all files, which identify the step. Copying
//! opens the same names again and tells if they are no longer what was looked at.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::pattern::{has_wildcard, matches_component};
use super::rooted::{Last, Missing, Place, walk};
use crate::cache::digests::{self, Tick};
use crate::cache::key::KeyWriter;
use crate::cache::recorded::{self, Recorded};
use crate::cache::tree::{Directory, Entry, Filter, KeepAll, Tree, join, look_at};
use crate::cache::walk::names_in;
use crate::cache::{self, shown};

/// Files to copy from.
pub struct SourceTree {
    root: OwnedFd,
    filter: Box<dyn Filter + Send>,
    /// Present for the context: digests are wanted and remembered.
    memory: Option<Memory>,
    trees: Vec<Tree>,
    unsettled: bool,
}

/// What is known of the context's files, and where that is kept.
struct Memory {
    file: PathBuf,
    recorded: Recorded,
    tick: Tick,
}

/// One thing that a source path selects.
#[derive(Debug, Clone)]
pub struct Selected {
    /// The name under which it lands in a directory.
    pub name: Vec<u8>,
    /// Its attributes.
    pub entry: Entry,
    /// Position of the walk that saw it.
    tree: usize,
    /// For a directory its content; for anything else the directory that holds it.
    directory: usize,
}

/// Why a source path selects nothing.
#[derive(Debug, thiserror::Error)]
pub enum SelectError {
    /// There is no such file.
    #[error("{path} does not exist")]
    Missing {
        /// The path below the root.
        path: String,
        /// It exists, but the ignore file leaves it out.
        ignored: bool,
        /// A name in the same directory that is spelled nearly so.
        near: Option<String>,
    },
    /// The path runs through something that is no directory, or through too many links.
    #[error("cannot follow {path}")]
    Walk {
        /// The path below the root.
        path: String,
        /// The kernel's answer.
        source: Errno,
    },
    /// Looking at files or reading them failed.
    #[error(transparent)]
    Cache(#[from] cache::Error),
}

impl std::fmt::Debug for SourceTree {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("SourceTree").field("root", &self.root).field("walks", &self.trees.len()).finish()
    }
}

impl SourceTree {
    /// The build context at `path`, with the digests that earlier builds recorded in `cache`.
    pub fn context(path: &Path, filter: Box<dyn Filter + Send>, cache: &Path) -> Result<SourceTree, Errno> {
        let root =
            rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let file = recorded::file_for(cache, path);
        let memory = Memory { recorded: Recorded::read(&file), file, tick: Tick::now() };
        Ok(SourceTree { root, filter, memory: Some(memory), trees: Vec::new(), unsettled: false })
    }

    /// The root file system of a stage or image.
    pub fn root_file_system(root: OwnedFd) -> SourceTree {
        SourceTree { root, filter: Box::new(KeepAll), memory: None, trees: Vec::new(), unsettled: false }
    }

    /// The directory that all paths are below.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Whether a file changed while it was read: what is made of it must not be remembered.
    pub fn unsettled(&self) -> bool {
        self.unsettled
    }

    /// Notes that a file was no longer what was looked at.
    pub fn note_unsettled(&mut self) {
        self.unsettled = true;
    }

    /// Looks at everything at once if one of these source paths is the root, so that no part is walked twice.
    pub fn prepare<'p>(&mut self, mut paths: impl Iterator<Item = &'p str>) -> Result<(), SelectError> {
        if paths.any(|path| path.split('/').all(|part| matches!(part, "" | "." | ".."))) {
            self.tree(b"")?;
        }
        Ok(())
    }

    /// What a source path or pattern selects, in order of names. A pattern may select nothing, a path may not.
    pub fn select(&mut self, source: &str) -> Result<Vec<Selected>, SelectError> {
        let parts: Vec<&str> = source.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        let Some(first) = parts.iter().position(|part| has_wildcard(part)) else {
            return Ok(vec![self.select_path(parts.join("/").as_bytes(), Last::Follow)?]);
        };
        let mut found = vec![parts[..first].join("/").into_bytes()];
        for part in &parts[first..] {
            let mut next = Vec::new();
            for directory in &found {
                self.matching(directory, part, &mut next)?;
            }
            found = next;
        }
        let select = |path: &Vec<u8>| match self.select_path(path, Last::Follow) {
            // A link that leads nowhere was not asked for by its name: it is copied as it is.
            Err(SelectError::Missing { ignored: false, .. }) => self.select_path(path, Last::Keep),
            selected => selected,
        };
        found.iter().map(select).collect()
    }

    /// The paths of entries of `directory` whose names match `pattern`. Not a directory is no match.
    fn matching(&self, directory: &[u8], pattern: &str, into: &mut Vec<Vec<u8>>) -> Result<(), SelectError> {
        let resolved = match walk(self.root(), directory, Last::Follow, Missing::Report) {
            Ok(Place::There(found)) if found.is_directory() => found.path,
            Ok(_) | Err(Errno::NOTDIR) => return Ok(()),
            Err(source) => return Err(SelectError::Walk { path: shown(directory), source }),
        };
        for name in names_in(self.root(), &resolved, self.filter.as_ref())? {
            if std::str::from_utf8(&name).is_ok_and(|name| matches_component(pattern, name)) {
                into.push(join(directory, &name));
            }
        }
        Ok(())
    }

    fn select_path(&mut self, path: &[u8], last: Last) -> Result<Selected, SelectError> {
        let found = match walk(self.root(), path, last, Missing::Report) {
            Ok(Place::There(found)) => found,
            Ok(_) | Err(Errno::NOTDIR) => return Err(self.missing(path, false)),
            Err(source) => return Err(SelectError::Walk { path: shown(path), source }),
        };
        let written_out = !path.split(|byte| *byte == b'/').any(|part| part == b"..");
        let directory = found.is_directory();
        if !found.path.is_empty()
            && (self.filter.leaves_out(&found.path, directory)
                || (written_out && self.filter.leaves_out(path, directory)))
        {
            return Err(self.missing(path, true));
        }
        let name = path.rsplit(|byte| *byte == b'/').next().filter(|name| *name != b"..").unwrap_or_default();
        if directory {
            let (tree, index) = self.tree(&found.path)?;
            let mut entry = look_at(self.root(), &found.path)?;
            entry.digest = digests::of_directory(self.root(), &found.path)?;
            return Ok(Selected { name: name.to_vec(), entry, tree, directory: index });
        }
        let (tree, index, entry) = self.single(&found.path)?;
        Ok(Selected { name: name.to_vec(), entry, tree, directory: index })
    }

    /// The walk that covers the directory `path`, and its position in it.
    fn tree(&mut self, path: &[u8]) -> Result<(usize, usize), SelectError> {
        for (number, tree) in self.trees.iter().enumerate() {
            let whole = tree.directories.first().is_some_and(|start| !start.partial);
            if let Some(index) = tree.find_directory(path).filter(|_| whole) {
                return Ok((number, index));
            }
        }
        let nothing = Recorded::default();
        let recorded = self.memory.as_ref().map_or(&nothing, |memory| &memory.recorded);
        let tree = Tree::scan(self.root.as_fd(), path, self.filter.as_ref(), recorded)?;
        Ok((self.add(tree)?, 0))
    }

    /// The entry at `path`, which is not a directory.
    fn single(&mut self, path: &[u8]) -> Result<(usize, usize, Entry), SelectError> {
        let cut = path.iter().rposition(|byte| *byte == b'/');
        let (parent, name) = cut.map_or((&path[..0], path), |at| (&path[..at], &path[at + 1..]));
        for (number, tree) in self.trees.iter().enumerate() {
            if let Some(index) = tree.find_directory(parent)
                && let Some(entry) = tree.find_in(index, name)
            {
                return Ok((number, index, *entry));
            }
        }
        let nothing = Recorded::default();
        let recorded = self.memory.as_ref().map_or(&nothing, |memory| &memory.recorded);
        let tree = Tree::single(self.root.as_fd(), parent, name, recorded)?;
        let number = self.add(tree)?;
        let entry = self.trees[number].directories[0].entries[0];
        Ok((number, 0, entry))
    }

    fn add(&mut self, mut tree: Tree) -> Result<usize, SelectError> {
        if self.memory.is_some() {
            self.unsettled |= digests::fill(self.root.as_fd(), &mut tree)?.unsettled;
        }
        self.trees.push(tree);
        Ok(self.trees.len() - 1)
    }

    /// Writes down the digests for the next build.
    pub fn remember(&self) -> Result<(), cache::Error> {
        match &self.memory {
            Some(memory) => recorded::record(&memory.file, &memory.recorded, &self.trees, memory.tick),
            None => Ok(()),
        }
    }

    fn missing(&self, path: &[u8], ignored: bool) -> SelectError {
        let parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
        let near = parts.split_last().and_then(|(name, parents)| {
            let parent = walk(self.root(), &parents.join(&b'/'), Last::Follow, Missing::Report).ok()?;
            let Place::There(parent) = parent else { return None };
            let names = names_in(self.root(), &parent.path, self.filter.as_ref()).ok()?;
            let names: Vec<String> =
                names.into_iter().filter_map(|name| String::from_utf8(name).ok()).collect();
            let wanted = std::str::from_utf8(name).ok()?;
            let near = crate::dockerfile::diagnostic::nearest(wanted, names.iter().map(String::as_str))?;
            Some(shown(&join(&parents.join(&b'/'), near.as_bytes())))
        });
        SelectError::Missing { path: shown(path), ignored, near: near.filter(|_| !ignored) }
    }

    /// The directories of a selected directory, with its own content first.
    pub fn content<'s>(&'s self, selected: &Selected) -> (&'s Tree, usize) {
        (&self.trees[selected.tree], selected.directory)
    }

    /// The directory that holds a selected entry.
    pub fn holder(&self, selected: &Selected) -> &Directory {
        &self.trees[selected.tree].directories[selected.directory]
    }

    /// Adds everything selected to a step's key: names relative to the source, types, modes, digests, device numbers,
    /// and which files are hard links of each other. Not times.
    pub fn add_to_key(&self, selected: &[Selected], key: &mut KeyWriter) {
        let mut links: HashMap<(u64, u64), u64> = HashMap::new();
        key.number(selected.len() as u64);
        let mut line = Vec::with_capacity(512);
        for one in selected {
            describe(&one.name, &one.entry, &mut links, &mut line);
            if one.entry.is_directory() {
                let (tree, index) = self.content(one);
                line.extend_from_slice(&(tree.directories[index].entries.len() as u64).to_le_bytes());
                let _ = tree.visit::<()>(index, &mut |directory, entry| {
                    describe(directory.name(entry), entry, &mut links, &mut line);
                    if let Some(child) = tree.directories.get(entry.child as usize) {
                        line.extend_from_slice(&(child.entries.len() as u64).to_le_bytes());
                    }
                    if line.len() > 60_000 {
                        key.bytes(&line);
                        line.clear();
                    }
                    Ok(())
                });
            }
        }
        key.bytes(&line);
    }
}

/// One entry in a key. A directory's own line is followed by the number of its entries.
fn describe(name: &[u8], entry: &Entry, links: &mut HashMap<(u64, u64), u64>, line: &mut Vec<u8>) {
    line.extend_from_slice(&(name.len() as u16).to_le_bytes());
    line.extend_from_slice(name);
    line.extend_from_slice(&entry.mode.to_le_bytes());
    line.extend_from_slice(&entry.digest);
    if matches!(entry.file_type(), FileType::CharacterDevice | FileType::BlockDevice) {
        line.extend_from_slice(&entry.node.to_le_bytes());
    }
    let linked = entry.links > 1 && entry.file_type() == FileType::RegularFile;
    line.push(u8::from(linked));
    if linked {
        let next = links.len() as u64;
        let group = *links.entry((entry.device, entry.inode)).or_insert(next);
        line.extend_from_slice(&group.to_le_bytes());
    }
}
