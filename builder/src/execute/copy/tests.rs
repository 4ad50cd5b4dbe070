//! What lands where, with which attributes; and that links lead nowhere else.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{RenameFlags, XattrFlags};

use super::*;
use crate::cache::digests::kept_attributes;
use crate::cache::tree::KeepAll;
use crate::dockerfile::mode;

/// A context, a root, and a canary beside both.
struct World {
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        for name in ["context/dir/sub", "root", "cache", "canary"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        for (name, text) in [("a", "A"), ("b", "B"), ("dir/c", "C"), ("dir/sub/d", "D")] {
            fs::write(folder.path().join("context").join(name), text).unwrap();
        }
        fs::write(folder.path().join("canary/file"), "untouched").unwrap();
        World { folder }
    }

    fn context(&self, name: &str) -> PathBuf {
        self.folder.path().join("context").join(name)
    }

    fn root(&self, name: &str) -> PathBuf {
        self.folder.path().join("root").join(name)
    }

    fn canary(&self) -> PathBuf {
        self.folder.path().join("canary")
    }

    fn source(&self) -> SourceTree {
        SourceTree::context(&self.context(""), Box::new(KeepAll), &self.folder.path().join("cache")).unwrap()
    }

    /// `COPY sources destination`.
    fn copy(&self, sources: &[&str], destination: &str) -> Result<(), String> {
        self.copy_as(sources, destination, None, None)
    }

    fn copy_as(
        &self,
        sources: &[&str],
        destination: &str,
        owner: Option<Owner>,
        mode: Option<&mode::Mode>,
    ) -> Result<(), String> {
        let root = open(&self.root(""));
        let (path, into_directory) = crate::dockerfile::path::destination("/", destination);
        let target =
            Target { root: root.as_fd(), destination: &path, into_directory, owner, keep_owner: false, mode };
        let mut source = self.source();
        let mut copier = Copier::new(target);
        let mut all = Vec::new();
        for path in sources {
            all.extend(source.select(path).map_err(|error| error.to_string())?);
        }
        copier.expect(all.len()).map_err(|error| error.to_string())?;
        all.iter().try_for_each(|one| copier.put(&source, one)).map_err(|error| error.to_string())
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.root(name)).unwrap_or_else(|error| error.to_string())
    }

    fn canary_is_untouched(&self) {
        let names: Vec<_> =
            fs::read_dir(self.canary()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["file"]);
        assert_eq!(fs::read_to_string(self.canary().join("file")).unwrap(), "untouched");
    }
}

fn open(path: &Path) -> OwnedFd {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap()
}

#[test]
fn a_file_goes_under_its_new_name_or_into_a_directory() {
    let world = World::new();
    world.copy(&["a"], "/new/deep/name").unwrap();
    assert_eq!(world.text("new/deep/name"), "A");
    world.copy(&["a"], "/into/").unwrap();
    assert_eq!(world.text("into/a"), "A");
    world.copy(&["b"], "/into").unwrap();
    assert_eq!(world.text("into/b"), "B");
    world.copy(&["b"], "/into/a").unwrap();
    assert_eq!(world.text("into/a"), "B");
    world.copy(&["a"], "/dot/.").unwrap();
    assert_eq!(world.text("dot/a"), "A");
}

#[test]
fn a_directory_gives_its_content() {
    let world = World::new();
    world.copy(&["dir"], "/d").unwrap();
    assert_eq!((world.text("d/c"), world.text("d/sub/d")), ("C".into(), "D".into()));
    world.copy(&["."], "/").unwrap();
    assert_eq!(world.text("dir/sub/d"), "D");
    world.copy(&["dir", "a"], "/both/").unwrap();
    assert_eq!((world.text("both/c"), world.text("both/a")), ("C".into(), "A".into()));
}

#[test]
fn patterns_match_by_component() {
    let world = World::new();
    fs::write(world.context(".hidden"), "H").unwrap();
    world.copy(&["?"], "/letters/").unwrap();
    assert_eq!((world.text("letters/a"), world.text("letters/b")), ("A".into(), "B".into()));
    world.copy(&["d*/s*"], "/flat/").unwrap();
    assert_eq!(world.text("flat/d"), "D");
    world.copy(&["*n"], "/h/").unwrap();
    assert_eq!(world.text("h/.hidden"), "H");
    symlink("nowhere", world.context("xlink")).unwrap();
    world.copy(&["x*"], "/x/").unwrap();
    assert_eq!(fs::read_link(world.root("x/xlink")).unwrap(), Path::new("nowhere"));
    world.copy(&["nothing*"], "/none/").unwrap();
    assert!(!world.root("none").exists());
}

#[test]
fn several_things_need_a_directory() {
    let world = World::new();
    let error = world.copy(&["a", "b"], "/one").unwrap_err();
    assert!(error.contains("add a /"), "{error}");
    world.copy(&["a", "b"], "/one/").unwrap();
    world.copy(&["a", "b"], "/one").unwrap();
}

#[test]
fn what_stands_in_the_way_is_an_error() {
    let world = World::new();
    fs::write(world.root("file"), "").unwrap();
    fs::create_dir_all(world.root("d/c")).unwrap();
    fs::write(world.root("e"), "").unwrap();
    fs::create_dir(world.root("f")).unwrap();
    fs::write(world.root("f/sub"), "").unwrap();
    for (sources, destination, words) in [
        (&["dir"][..], "/file", ["directory dir", "/file"]),
        (&["a"], "/file/", ["a", "/file/"]),
        (&["dir"], "/d", ["c", "/d/c"]),
        (&["dir"], "/f", ["dir/sub", "/f/sub"]),
    ] {
        let error = world.copy(sources, destination).unwrap_err();
        assert!(words.iter().all(|word| error.contains(word)), "{destination}: {error}");
    }
}

#[test]
fn attributes_are_kept_or_as_asked() {
    let world = World::new();
    fs::set_permissions(world.context("a"), fs::Permissions::from_mode(0o4751)).unwrap();
    fs::set_permissions(world.context("dir"), fs::Permissions::from_mode(0o750)).unwrap();
    let file = fs::File::options().write(true).open(world.context("a")).unwrap();
    file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000)).unwrap();
    rustix::fs::fsetxattr(&file, "user.kept", b"value", XattrFlags::empty()).unwrap();
    rustix::fs::fsetxattr(&file, "trusted.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
    world.copy(&["a"], "/a").unwrap();
    let seen = fs::metadata(world.root("a")).unwrap();
    assert_eq!((seen.mode() & 0o7777, seen.uid(), seen.gid(), seen.mtime()), (0o4751, 0, 0, 1_000_000));
    let copied = fs::File::open(world.root("a")).unwrap();
    assert_eq!(kept_attributes(copied.as_fd()).unwrap(), [(b"user.kept".to_vec(), b"value".to_vec())]);
    let mut value = [0u8; 8];
    assert!(rustix::fs::fgetxattr(&copied, "trusted.overlay.opaque", &mut value[..]).is_err());
    world.copy(&["dir"], "/new").unwrap();
    assert_eq!(fs::metadata(world.root("new")).unwrap().mode() & 0o7777, 0o750);
    fs::create_dir(world.root("old")).unwrap();
    world.copy(&["dir"], "/old").unwrap();
    assert_eq!(fs::metadata(world.root("old")).unwrap().mode() & 0o7777, 0o755);

    let owner = Some(Owner { uid: 5, gid: 6 });
    let mode = mode::parse("u=rwX,go=rX").unwrap();
    world.copy_as(&["dir"], "/made/owned", owner, Some(&mode)).unwrap();
    for (name, mode) in
        [("made", 0o755), ("made/owned", 0o755), ("made/owned/c", 0o644), ("made/owned/sub/d", 0o644)]
    {
        let seen = fs::metadata(world.root(name)).unwrap();
        assert_eq!((seen.mode() & 0o7777, seen.uid(), seen.gid()), (mode, 5, 6), "{name}");
    }
}

#[test]
fn hard_links_and_special_files_stay_what_they_are() {
    let world = World::new();
    fs::hard_link(world.context("dir/c"), world.context("dir/sub/again")).unwrap();
    symlink("c", world.context("dir/link")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        world.context("dir/fifo"),
        FileType::Fifo,
        Mode::from_raw_mode(0o640),
        0,
    )
    .unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(world.context("dir/socket")).unwrap();
    world.copy(&["dir"], "/d").unwrap();
    let inode = |name: &str| fs::metadata(world.root(name)).unwrap().ino();
    assert_eq!(inode("d/c"), inode("d/sub/again"));
    assert_eq!(fs::read_link(world.root("d/link")).unwrap(), Path::new("c"));
    assert_eq!(fs::symlink_metadata(world.root("d/fifo")).unwrap().mode() & 0o777, 0o640);
    assert!(!world.root("d/socket").exists());
}

#[test]
fn sources_follow_links_only_inside_the_context() {
    let world = World::new();
    symlink("dir/c", world.context("inside")).unwrap();
    symlink(world.canary().join("file"), world.context("absolute")).unwrap();
    symlink("../canary/file", world.context("relative")).unwrap();
    symlink("../canary", world.context("outdir")).unwrap();
    world.copy(&["inside"], "/").unwrap();
    assert_eq!(world.text("inside"), "C");
    for source in ["absolute", "relative", "outdir", "outdir/file", "../canary/file", "/../canary/file"] {
        assert!(world.copy(&[source], "/x/").is_err(), "{source}");
    }
    world.copy(&["."], "/all").unwrap();
    assert_eq!(fs::read_link(world.root("all/outdir")).unwrap(), Path::new("../canary"));
    assert_eq!(world.text("all/dir/c"), "C");
}

#[test]
fn destinations_follow_links_only_inside_the_root() {
    let world = World::new();
    fs::create_dir(world.root("real")).unwrap();
    fs::write(world.root("real/target"), "old").unwrap();
    for (target, name) in [
        ("real", "inside"),
        (world.canary().to_str().unwrap(), "absolute"),
        ("../canary", "relative"),
        ("real/target", "tofile"),
        ("../canary/file", "tocanary"),
    ] {
        symlink(target, world.root(name)).unwrap();
    }
    world.copy(&["a"], "/inside/").unwrap();
    assert_eq!(world.text("real/a"), "A");
    world.copy(&["a"], "/tofile").unwrap();
    assert_eq!(world.text("real/target"), "A");
    world.copy(&["a"], "/absolute/file").unwrap();
    world.copy(&["a"], "/relative/file").unwrap();
    world.copy(&["a"], "/tocanary").unwrap();
    // A link inside a copied tree replaces, and is replaced, by name.
    symlink("real/target", world.root("b")).unwrap();
    fs::create_dir(world.root("tree")).unwrap();
    symlink("../real/target", world.root("tree/c")).unwrap();
    world.copy(&["dir"], "/tree").unwrap();
    assert!(fs::symlink_metadata(world.root("tree/c")).unwrap().is_file());
    assert_eq!(world.text("real/target"), "A");
    world.canary_is_untouched();
}

#[test]
fn a_racer_in_the_context_leads_nowhere() {
    let world = World::new();
    fs::write(world.canary().join("file"), "untouched").unwrap();
    symlink("../canary", world.context("link")).unwrap();
    symlink("../../canary/file", world.context("dir/linked")).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| swap(&world.context(""), ["dir", "link"], &stop));
        scope.spawn(|| swap(&world.context("dir"), ["c", "linked"], &stop));
        let _end = End(&stop);
        for round in 0..1_000 {
            // Failing is fine; what must not happen is that the canary's content arrives.
            let destination = format!("/r{round}");
            let _ = world.copy(&["dir"], &destination);
            let _ = world.copy(&["dir/c"], &format!("{destination}/file"));
            for name in ["c", "linked", "file"] {
                let path = world.root(&format!("r{round}/{name}"));
                // A link that was copied as a link is not followed by us either.
                if fs::symlink_metadata(&path).is_ok_and(|seen| seen.is_file()) {
                    assert_ne!(fs::read_to_string(&path).unwrap_or_default(), "untouched");
                }
            }
            fs::remove_dir_all(world.root(&format!("r{round}"))).unwrap_or_default();
        }
    });
    world.canary_is_untouched();
}

#[test]
fn a_racer_in_the_destination_leads_nowhere() {
    let world = World::new();
    fs::create_dir_all(world.root("d/sub")).unwrap();
    symlink(world.canary(), world.root("link")).unwrap();
    symlink(world.canary(), world.root("d/link")).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| swap(&world.root(""), ["d", "link"], &stop));
        scope.spawn(|| swap(&world.root("d"), ["sub", "link"], &stop));
        let _end = End(&stop);
        for _ in 0..2_000 {
            let _ = world.copy(&["dir"], "/d");
            let _ = world.copy(&["a"], "/d/sub/file");
        }
    });
    world.canary_is_untouched();
}

/// Tells the racers to stop, also when an assertion failed.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Exchanges two names in a directory until told to stop.
fn swap(directory: &Path, names: [&str; 2], stop: &AtomicBool) {
    let directory = open(directory);
    while !stop.load(Ordering::Relaxed) {
        let _ = rustix::fs::renameat_with(&directory, names[0], &directory, names[1], RenameFlags::EXCHANGE);
    }
}
