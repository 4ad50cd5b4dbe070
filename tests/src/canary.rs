//! Proof that an attack did not touch the host: a tree outside every root, and kernel settings, compared afterwards.
//!
//! The tree holds what attacks aim at: a plain file, a set-user-id file, a link, a hard link, an extended attribute,
//! folders of several modes. Compared are names, kinds, modes, owners, times, link targets, attributes and content.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{XattrFlags, lgetxattr, llistxattr, lsetxattr};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// Kernel settings that a container could be tempted to change.
const SETTINGS: &[&str] = &[
    "kernel/core_pattern",
    "kernel/domainname",
    "kernel/hostname",
    "kernel/modprobe",
    "kernel/msgmax",
    "kernel/panic",
    "kernel/shmmax",
    "kernel/sysrq",
    "net/ipv4/ip_forward",
    "net/ipv4/ping_group_range",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
];

/// A tree on the host and the state that it must keep.
#[derive(Debug)]
pub struct Canary {
    folder: TempDir,
    before: BTreeMap<String, String>,
}

impl Default for Canary {
    fn default() -> Canary {
        Canary::new()
    }
}

impl Canary {
    /// Makes the tree and remembers it.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn new() -> Canary {
        let folder = tempfile::Builder::new().prefix("hull-canary-").tempdir();
        let folder = folder.expect("the temporary folder can be written");
        populate(folder.path()).expect("the canary tree can be made");
        let before = state(folder.path());
        Canary { folder, before }
    }

    /// Where it is: what an attack aims at.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A file of it, for attacks that need an existing target.
    pub fn file(&self) -> PathBuf {
        self.path().join("secret")
    }

    /// Asserts that tree and settings are as they were.
    #[track_caller]
    pub fn is_untouched(&self) {
        let after = state(self.path());
        let names = self.before.keys().chain(after.keys());
        let changed = names.filter(|name| self.before.get(*name) != after.get(*name)).collect::<Vec<_>>();
        if let Some(name) = changed.first() {
            panic!("the host changed: {name}: was {:?}, is {:?}", self.before.get(*name), after.get(*name));
        }
    }
}

fn populate(folder: &Path) -> std::io::Result<()> {
    fs::create_dir_all(folder.join("folder/inner"))?;
    fs::write(folder.join("secret"), "canary secret\n")?;
    fs::write(folder.join("folder/inner/file"), "inner\n")?;
    fs::write(folder.join("setuid"), "#!/bin/false\n")?;
    symlink("secret", folder.join("link"))?;
    fs::hard_link(folder.join("secret"), folder.join("hard"))?;
    fs::set_permissions(folder.join("secret"), fs::Permissions::from_mode(0o600))?;
    fs::set_permissions(folder.join("setuid"), fs::Permissions::from_mode(0o4755))?;
    fs::set_permissions(folder.join("folder"), fs::Permissions::from_mode(0o1777))?;
    // A temporary folder may not hold user attributes; then there is one thing less to compare.
    let _ = lsetxattr(folder.join("secret"), "user.canary", b"sings", XattrFlags::empty());
    Ok(())
}

/// Everything observable, by name.
fn state(folder: &Path) -> BTreeMap<String, String> {
    let mut facts = BTreeMap::new();
    for setting in SETTINGS {
        let value = fs::read_to_string(Path::new("/proc/sys").join(setting)).unwrap_or_default();
        facts.insert(format!("/proc/sys/{setting}"), value);
    }
    describe(folder, &mut facts);
    facts
}

fn describe(path: &Path, facts: &mut BTreeMap<String, String>) {
    let Ok(metadata) = fs::symlink_metadata(path) else { return };
    let content = if metadata.is_file() {
        format!("{:x}", Sha256::digest(fs::read(path).unwrap_or_default()))
    } else {
        fs::read_link(path).map(|target| target.display().to_string()).unwrap_or_default()
    };
    let fact = format!(
        "mode {:o} owner {}:{} links {} mtime {}.{} attributes {:?} content {content}",
        metadata.mode(),
        metadata.uid(),
        metadata.gid(),
        metadata.nlink(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        attributes(path),
    );
    facts.insert(path.display().to_string(), fact);
    if metadata.is_dir() {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            describe(&entry.path(), facts);
        }
    }
}

fn attributes(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut names = vec![0; 4096];
    let length = llistxattr(path, names.as_mut_slice()).unwrap_or(0);
    let listed = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let values = listed.map(|name| {
        use std::os::unix::ffi::OsStrExt;
        let mut value = vec![0; 4096];
        let length = lgetxattr(path, OsStr::from_bytes(name), value.as_mut_slice()).unwrap_or(0);
        value.truncate(length);
        (String::from_utf8_lossy(name).into_owned(), value)
    });
    values.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_untouched_tree_passes() {
        Canary::new().is_untouched();
    }

    #[test]
    #[should_panic(expected = "the host changed")]
    fn a_changed_mode_is_seen() {
        let canary = Canary::new();
        fs::set_permissions(canary.file(), fs::Permissions::from_mode(0o644)).expect("our own file");
        canary.is_untouched();
    }

    #[test]
    #[should_panic(expected = "the host changed")]
    fn a_new_file_is_seen() {
        let canary = Canary::new();
        fs::write(canary.path().join("folder/new"), "").expect("our own folder");
        canary.is_untouched();
    }
}
