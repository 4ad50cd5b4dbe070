//! Folders on top of each other: what is completed by lower layers, what overlayfs makes of it, what a commit cleans.

use std::time::SystemTime;

use super::*;
use crate::digest::Digest;
use crate::store::{LayerDescriptor, Lease, Store};

/// Adds a plain tar as a blob of the store.
fn blob(lease: &Lease, tar: &[u8]) -> LayerDescriptor {
    let digest = lease.write_blob(tar).unwrap();
    LayerDescriptor::built(digest, tar.len() as u64)
}

fn with_attributes(entries: &[(&str, EntryKind, Attributes)]) -> Vec<u8> {
    let mut tar = Vec::new();
    let mut writer = Writer::new(&mut tar);
    for (name, kind, attributes) in entries {
        writer.header(name.as_bytes(), kind, attributes, 0).unwrap();
    }
    writer.finish().unwrap();
    tar
}

fn mtime(path: &Path) -> i64 {
    path.symlink_metadata().unwrap().mtime()
}

/// Implied parents look like those below, hard links become copies, and neither changes the time of a directory that
/// the layer describes.
#[test]
fn lower_layers_complete_a_layer() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let lease = store.lease("test").unwrap();
    let etc = Attributes { mode: 0o750, uid: 3, gid: 4, seconds: 1000, ..Attributes::default() };
    let dated = Attributes { seconds: 77, ..Attributes::default() };
    let base = with_attributes(&[
        ("etc/", EntryKind::Directory, etc.clone()),
        ("etc/file", EntryKind::File, Attributes { mode: 0o640, ..etc.clone() }),
        ("etc/link", link("file"), dated.clone()),
    ]);
    let top = with_attributes(&[
        ("etc/new/file", EntryKind::File, dated.clone()),
        ("own/", EntryKind::Directory, dated.clone()),
        ("own/copy", hard("etc/file"), dated.clone()),
        ("own/again", hard("etc/file"), dated.clone()),
        ("own/link", hard("etc/link"), dated.clone()),
    ]);
    let mut layers = [blob(&lease, &base), blob(&lease, &top)];
    unpack_image(&store, &lease, &mut layers).unwrap();
    assert_eq!(layers[0].folder, layers[0].diff_id);
    assert_eq!(layers[1].folder, Digest::chain(&[layers[0].diff_id, layers[1].diff_id])[1]);
    let at = |name: &str| store.layer_path(&layers[1].folder).join(name);
    let found = Attributes::of(open(&at("etc")).as_fd(), "etc".into()).unwrap();
    assert_eq!(found, etc);
    let made = Attributes::of(open(&at("etc/new")).as_fd(), "etc/new".into()).unwrap();
    assert_eq!(made, Attributes::default());
    let copy = at("own/copy").symlink_metadata().unwrap();
    assert_eq!((copy.mode() & 0o7777, copy.uid(), copy.mtime(), copy.nlink()), (0o640, 3, 1000, 2));
    assert_eq!(fs::read_link(at("own/link")).unwrap(), Path::new("file"));
    assert_eq!(mtime(&at("own")), 77);
}

/// A layer that was the lowest of one image is not good above others in the next one.
#[test]
fn a_layer_completed_by_nothing_is_made_again_above_others() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let lease = store.lease("test").unwrap();
    let implied = with_attributes(&[("etc/file", EntryKind::File, Attributes::default())]);
    let mut alone = [blob(&lease, &implied)];
    unpack_image(&store, &lease, &mut alone).unwrap();
    let etc = Attributes { mode: 0o700, uid: 9, ..Attributes::default() };
    let base = with_attributes(&[("etc/", EntryKind::Directory, etc.clone())]);
    let mut stacked = [blob(&lease, &base), blob(&lease, &implied)];
    unpack_image(&store, &lease, &mut stacked).unwrap();
    assert_ne!(stacked[1].folder, alone[0].folder);
    let found = |layer: &LayerDescriptor| {
        Attributes::of(open(&store.layer_path(&layer.folder).join("etc")).as_fd(), "etc".into()).unwrap()
    };
    assert_eq!(found(&stacked[1]), etc);
    assert_eq!(found(&alone[0]), Attributes::default());
    // Both are found again.
    let (first, second) = (alone[0].folder, stacked[1].folder);
    unpack_image(&store, &lease, &mut alone).unwrap();
    unpack_image(&store, &lease, &mut stacked).unwrap();
    assert_eq!((alone[0].folder, stacked[1].folder), (first, second));
}

/// What is mounted from unpacked layers is what the image specification says.
#[test]
fn a_mounted_stack_follows_the_removals() {
    let (low, result) = unpacked(&Tar::of(&[
        ("kept", EntryKind::File),
        ("gone", EntryKind::File),
        ("dir/", EntryKind::Directory),
        ("dir/old", EntryKind::File),
        ("replaced/", EntryKind::Directory),
        ("replaced/old", EntryKind::File),
        ("file", EntryKind::File),
    ]));
    result.unwrap();
    let (high, result) = unpacked(&Tar::of(&[
        (".wh.gone", EntryKind::File),
        ("dir/.wh..wh..opq", EntryKind::File),
        ("dir/new", EntryKind::File),
        (".wh.replaced", EntryKind::File),
        ("replaced/", EntryKind::Directory),
        ("replaced/new", EntryKind::File),
        ("file/", EntryKind::Directory),
    ]));
    result.unwrap();
    let lower = vec![low.path().to_path_buf(), high.path().to_path_buf()];
    let mount = Overlay { lower, ..Overlay::default() }.mount_detached().unwrap();
    let list = |name: &str| {
        let handle =
            rustix::fs::openat(&mount, name, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let entries = rustix::fs::Dir::read_from(&handle).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().to_str().unwrap().to_owned());
        let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
        names.sort();
        names
    };
    assert_eq!(list("."), ["dir", "file", "kept", "replaced"]);
    assert_eq!(list("dir"), ["new"]);
    assert_eq!(list("replaced"), ["new"]);
    assert!(list("file").is_empty());
}

/// A build step's upper: overlayfs's marks go, except where they hide something, and the result is what was seen.
#[test]
fn a_commit_cleans_what_overlayfs_left() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let lease = store.lease("test").unwrap();
    let base = Tar::of(&[
        ("dir/", EntryKind::Directory),
        ("dir/old", EntryKind::File),
        ("file", EntryKind::File),
        ("gone", EntryKind::File),
    ]);
    let mut layers = vec![blob(&lease, &base)];
    unpack_image(&store, &lease, &mut layers).unwrap();
    let lower = vec![store.layer_path(&layers[0].folder)];
    let work = lease.temporary_path();
    fs::create_dir(&work).unwrap();
    let upper = Upper::create(&work, &root_attributes(&lower).unwrap()).unwrap();
    let overlay = Overlay { lower: lower.clone(), upper: Some(upper.clone()), volatile: true };
    let mount = overlay.mount_detached().unwrap();
    let make = |name: &str| rustix::fs::mkdirat(&mount, name, Mode::from_raw_mode(0o755)).unwrap();
    let flags = OFlags::CREATE | OFlags::WRONLY;
    make("new");
    make("new/below");
    rustix::fs::openat(&mount, "new/file", flags, Mode::RUSR).unwrap();
    rustix::fs::chmodat(&mount, "file", Mode::RUSR, rustix::fs::AtFlags::empty()).unwrap();
    rustix::fs::unlinkat(&mount, "gone", rustix::fs::AtFlags::empty()).unwrap();
    rustix::fs::unlinkat(&mount, "dir/old", rustix::fs::AtFlags::empty()).unwrap();
    rustix::fs::unlinkat(&mount, "dir", rustix::fs::AtFlags::REMOVEDIR).unwrap();
    make("dir");
    drop(mount);
    let latest = 1_000_000;
    let layer = commit_upper_until(&store, &lease, &upper.upper, &lower, Some(latest)).unwrap();
    let root = store.layer_path(&layer.folder);
    let mut marked = Vec::new();
    for name in ["", "new", "new/below", "new/file", "file", "dir"] {
        let path = root.join(name);
        let handle = File::open(&path).unwrap();
        let names = attributes::xattr_names(handle.as_fd(), &Name::from(name)).unwrap();
        marked.extend(names.into_iter().map(|mark| format!("{name}: {}", String::from_utf8(mark).unwrap())));
        assert!(mtime(&path) <= latest, "{name}");
    }
    assert_eq!(marked, ["dir: trusted.overlay.opaque"]);
    assert!(is_whiteout(&root.join("gone")));
    let tar = captured(&root);
    assert_eq!((Digest::of(&tar), tar.len() as u64), (layer.diff_id, layer.size));
    let (again, result) = unpacked(&tar);
    result.unwrap();
    assert_eq!(captured(again.path()), tar);
}

/// A file that a mount of other options left is not what it seems, so it is no layer.
#[test]
fn an_upper_with_redirects_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("moved")).unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(folder.path().join("moved"), "trusted.overlay.redirect", b"/old", flags).unwrap();
    let below = view::View::open(&[]).unwrap();
    let error =
        capture::capture_upper(open(folder.path()).as_fd(), &below, None, std::io::sink()).unwrap_err();
    assert!(error.to_string().contains("redirect or metacopy"), "{error}");
}

/// ADD changes no time of directories that were there, and makes new ones as old as the epoch: the layer depends on
/// what went in, not on when.
#[test]
fn extraction_leaves_no_clock_in_the_tree() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("usr/lib")).unwrap();
    symlink("usr/lib", at("lib")).unwrap();
    for (name, time) in [("usr/lib", 100), ("usr", 200), ("", 300)] {
        let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(time);
        File::open(at(name)).unwrap().set_modified(time).unwrap();
    }
    let tar =
        Tar::of(&[("lib/new/x", EntryKind::File), ("usr/lib/y", EntryKind::File), ("top", EntryKind::File)]);
    extract_archive(&tar[..], open(folder.path()).as_fd(), Path::new(""), &ExtractOptions::default())
        .unwrap();
    let times: Vec<i64> =
        ["usr/lib", "usr", "", "usr/lib/new"].map(|name| mtime(&folder.path().join(name))).to_vec();
    assert_eq!(times, [100, 200, 300, 0]);
}

/// The root of an image looks as its highest layer says that says anything.
#[test]
fn a_layer_without_a_root_entry_does_not_hide_the_root_below() {
    let described = Attributes { mode: 0o711, uid: 1, ..Attributes::default() };
    let (low, result) = unpacked(&with_attributes(&[("./", EntryKind::Directory, described.clone())]));
    result.unwrap();
    let (high, result) = unpacked(&Tar::of(&[("x", EntryKind::File)]));
    result.unwrap();
    let stack = [low.path().to_path_buf(), high.path().to_path_buf()];
    assert_eq!(root_attributes(&stack).unwrap(), described);
    assert_eq!(root_attributes(&stack[1..]).unwrap(), Attributes::default());
}

/// Trees of random shape: tar(unpack(tar(f))) = tar(f).
#[test]
fn random_trees_survive_the_round_trip() {
    for seed in 0..40 {
        let folder = tempfile::tempdir().unwrap();
        grow(folder.path(), seed);
        let first = captured(folder.path());
        let (again, result) = unpacked(&first);
        assert!(result.unwrap().is_complete());
        assert_eq!(captured(again.path()), first, "seed {seed}");
    }
}

/// A tree that depends on its seed only: names of all lengths and bytes, modes, owners, times, links.
fn grow(top: &Path, seed: u64) {
    use std::os::unix::ffi::OsStringExt;
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut folders = vec![top.to_path_buf()];
    let mut files = Vec::new();
    for _ in 0..60 {
        let longest = if next(4) == 0 { 240 } else { 12 };
        let length = 1 + next(longest);
        let name: Vec<u8> = (0..length).map(|_| b"abcXYZ._- \n\xff\xc3~%"[next(15) as usize]).collect();
        let path = folders[next(folders.len() as u64) as usize].join(std::ffi::OsString::from_vec(name));
        if path.symlink_metadata().is_ok() || path.ends_with(".") || path.ends_with("..") {
            continue;
        }
        match next(6) {
            0 => {
                fs::create_dir(&path).unwrap();
                folders.push(path.clone());
            }
            1 => symlink("x".repeat(1 + next(300) as usize), &path).unwrap(),
            2 if !files.is_empty() => {
                let target: &std::path::PathBuf = &files[next(files.len() as u64) as usize];
                fs::hard_link(target, &path).unwrap();
                continue;
            }
            _ => {
                fs::write(&path, vec![7; next(3000) as usize]).unwrap();
                files.push(path.clone());
            }
        }
        let owner = |value| Some(if value % 5 == 0 { 3_000_000_000 } else { value as u32 });
        std::os::unix::fs::lchown(&path, owner(next(100_000)), owner(next(70_000))).unwrap();
        if !path.is_symlink() {
            fs::set_permissions(&path, fs::Permissions::from_mode(next(0o10000) as u32)).unwrap();
        }
        let seconds = next(1 << 34) as i64 - (1 << 33);
        let time = rustix::fs::Timespec { tv_sec: seconds / 4, tv_nsec: 5 };
        let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(rustix::fs::CWD, &path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
}
