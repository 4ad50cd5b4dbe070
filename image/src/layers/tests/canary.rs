//! A tree that attacks aim at, compared in all its attributes before and after.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

/// Everything that an attack could change about one file.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    mode: u32,
    owner: (u32, u32),
    links: u64,
    changed: (i64, i64),
    content: Vec<u8>,
    xattrs: Vec<u8>,
}

/// A tree outside of what is unpacked.
pub(super) struct Canary {
    folder: tempfile::TempDir,
    before: BTreeMap<PathBuf, Seen>,
}

impl Canary {
    pub(super) fn new() -> Canary {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "sings").unwrap();
        fs::create_dir_all(at("etc/deep")).unwrap();
        fs::write(at("etc/passwd"), "root::0:0").unwrap();
        symlink("etc/passwd", at("link")).unwrap();
        rustix::fs::setxattr(at("file"), "user.note", b"here", rustix::fs::XattrFlags::empty()).unwrap();
        let before = seen(folder.path());
        Canary { folder, before }
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The path of something in the tree, absolute.
    pub(super) fn at(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    pub(super) fn assert_unchanged(&self, attack: impl std::fmt::Debug) {
        assert_eq!(seen(self.folder.path()), self.before, "{attack:?}");
    }
}

fn seen(top: &Path) -> BTreeMap<PathBuf, Seen> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![top.to_path_buf()];
    while let Some(path) = waiting.pop() {
        let stat = path.symlink_metadata().unwrap();
        let kind = stat.file_type();
        let content = if kind.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            Vec::new()
        } else if kind.is_symlink() {
            fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec()
        } else {
            fs::read(&path).unwrap()
        };
        let mut names = vec![0; 4096];
        let length = rustix::fs::llistxattr(&path, &mut names).unwrap();
        names.truncate(length);
        let seen = Seen {
            mode: stat.mode(),
            owner: (stat.uid(), stat.gid()),
            links: stat.nlink(),
            // The change time alone would do: nobody can set it.
            changed: (stat.ctime() * 1_000_000_000 + stat.ctime_nsec(), stat.mtime_nsec()),
            content,
            xattrs: names,
        };
        found.insert(path, seen);
    }
    found
}
