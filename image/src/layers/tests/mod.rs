//! Layers as a whole: what goes in comes out, and nothing of what hostile archives try.

mod attacks;
mod canary;
mod corpus;
mod folders;

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use rustix::fs::{Mode, OFlags};

use super::tar::{EntryKind, Writer};
use super::*;

/// A tar of entries that only their kinds describe; files hold their own name.
struct Tar {
    bytes: Vec<u8>,
}

impl Tar {
    fn of(entries: &[(&str, EntryKind)]) -> Vec<u8> {
        let mut tar = Tar { bytes: Vec::new() };
        let mut writer = Writer::new(&mut tar.bytes);
        for (name, kind) in entries {
            let size = if *kind == EntryKind::File { name.len() as u64 } else { 0 };
            let mode = if *kind == EntryKind::Directory { 0o755 } else { 0o644 };
            let attributes = Attributes { mode, ..Attributes::default() };
            writer.header(name.as_bytes(), kind, &attributes, size).unwrap();
            if size > 0 {
                writer.body(name.as_bytes()).unwrap();
                writer.pad(size).unwrap();
            }
        }
        writer.finish().unwrap();
        tar.bytes
    }
}

fn open(path: &Path) -> OwnedFd {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap()
}

fn unpacked(tar: &[u8]) -> (tempfile::TempDir, Result<Unpacked>) {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let result = unpack(tar, open(folder.path()).as_fd(), &Limits::default());
    (folder, result)
}

fn captured(folder: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    capture(open(folder).as_fd(), &mut bytes).unwrap();
    bytes
}

fn is_whiteout(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|stat| stat.rdev() == 0 && stat.mode() & 0o170_000 == 0o020_000)
}

fn is_opaque(path: &Path) -> bool {
    view::is_opaque(open(path).as_fd())
}

fn link(target: &str) -> EntryKind {
    EntryKind::Symlink(target.into())
}

fn hard(target: &str) -> EntryKind {
    EntryKind::HardLink(target.into())
}

#[test]
fn a_tar_of_an_unpacked_tar_is_the_same_tar() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    fs::create_dir(&root).unwrap();
    fs::create_dir_all(root.join("usr/bin")).unwrap();
    fs::write(root.join("usr/bin/tool"), vec![7; 70_000]).unwrap();
    fs::set_permissions(root.join("usr/bin/tool"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::hard_link(root.join("usr/bin/tool"), root.join("usr/again")).unwrap();
    symlink("usr/bin", root.join("bin")).unwrap();
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(200));
    fs::create_dir(root.join("d".repeat(120))).unwrap();
    fs::write(root.join(&long), "long").unwrap();
    fs::write(root.join("new\nline\u{1b}"), "").unwrap();
    std::os::unix::fs::chown(root.join(&long), Some(3_000_000), Some(4)).unwrap();
    rustix::fs::setxattr(root.join(&long), "user.note", b"kept", rustix::fs::XattrFlags::empty()).unwrap();
    rustix::fs::setxattr(root.join(&long), "trusted.note", b"gone", rustix::fs::XattrFlags::empty()).unwrap();
    let device = rustix::fs::makedev(1, 3);
    let null = root.join("null");
    rustix::fs::mknodat(rustix::fs::CWD, &null, rustix::fs::FileType::CharacterDevice, Mode::RUSR, device)
        .unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        root.join("gone"),
        rustix::fs::FileType::CharacterDevice,
        Mode::empty(),
        0,
    )
    .unwrap();
    fs::create_dir(root.join("hides")).unwrap();
    let hides = root.join("hides");
    rustix::fs::setxattr(&hides, "trusted.overlay.opaque", b"y", rustix::fs::XattrFlags::empty()).unwrap();

    let first = captured(&root);
    let (again, result) = unpacked(&first);
    assert!(result.unwrap().is_complete());
    assert_eq!(captured(again.path()), first);
    assert!(is_whiteout(&again.path().join("gone")));
    assert!(is_opaque(&again.path().join("hides")));
    let tool = again.path().join("usr/bin/tool").symlink_metadata().unwrap();
    assert_eq!((tool.mode() & 0o7777, tool.nlink(), tool.len()), (0o4755, 2, 70_000));
    let owned = again.path().join(&long).symlink_metadata().unwrap();
    assert_eq!((owned.uid(), owned.gid()), (3_000_000, 4));
}

#[test]
fn removals_hide_what_is_below_and_nothing_of_their_own_layer() {
    let (folder, result) = unpacked(&Tar::of(&[
        ("d/", EntryKind::Directory),
        ("d/.wh.gone", EntryKind::File),
        ("d/kept", EntryKind::File),
        ("d/.wh.kept", EntryKind::File),
        ("o/", EntryKind::Directory),
        ("o/.wh..wh..opq", EntryKind::File),
        ("again/", EntryKind::Directory),
        (".wh.again", EntryKind::File),
        (".wh.later", EntryKind::File),
        ("later/", EntryKind::Directory),
        (".wh.file", EntryKind::File),
        ("file", EntryKind::File),
    ]));
    result.unwrap();
    let at = |name: &str| folder.path().join(name);
    assert!(is_whiteout(&at("d/gone")));
    assert_eq!(fs::read_to_string(at("d/kept")).unwrap(), "d/kept");
    assert!(is_opaque(&at("o")) && is_opaque(&at("again")) && is_opaque(&at("later")));
    assert!(!is_opaque(&at("d")));
    assert_eq!(fs::read_to_string(at("file")).unwrap(), "file");
}

#[test]
fn odd_removals_are_refused() {
    for name in [".wh.", ".wh..", ".wh...", "a/.wh..wh.plnk", ".wh.d/x", ".wh..wh..wh..opq"] {
        let (_folder, result) = unpacked(&Tar::of(&[(name, EntryKind::File)]));
        assert!(matches!(result, Err(Error::Refused { .. })), "{name}: {result:?}");
    }
}

#[test]
fn later_entries_replace_earlier_ones_of_any_kind() {
    let (folder, result) = unpacked(&Tar::of(&[
        ("a", EntryKind::File),
        ("a/", EntryKind::Directory),
        ("a/b", EntryKind::File),
        ("c/", EntryKind::Directory),
        ("c/d", EntryKind::File),
        ("c", link("a")),
        ("e", link("a")),
        ("e", EntryKind::File),
    ]));
    result.unwrap();
    assert_eq!(fs::read_to_string(folder.path().join("a/b")).unwrap(), "a/b");
    assert!(is_opaque(&folder.path().join("a")));
    assert_eq!(fs::read_link(folder.path().join("c")).unwrap(), Path::new("a"));
    assert_eq!(fs::read_to_string(folder.path().join("e")).unwrap(), "e");
}

#[test]
fn what_only_lower_layers_know_is_returned() {
    let (_folder, result) = unpacked(&Tar::of(&[("etc/conf.d/x", EntryKind::File), ("y", hard("usr/y"))]));
    let rest = result.unwrap();
    assert_eq!(rest.implied_parents, [b"etc".to_vec(), b"etc/conf.d".to_vec()]);
    assert_eq!(rest.lower_hard_links, [(b"y".to_vec(), b"usr/y".to_vec())]);
}

#[test]
fn limits_trip_with_their_names() {
    let many = Tar::of(&[("a", EntryKind::File), ("b", EntryKind::File), ("c", EntryKind::File)]);
    let deep = Tar::of(&[(&"d/".repeat(3000), EntryKind::Directory)]);
    let folder = tempfile::tempdir().unwrap();
    for (tar, limits, what) in [
        (&many, Limits { entries: 2, ..Limits::default() }, "entries"),
        (&many, Limits { bytes: 1000, ..Limits::default() }, "bytes"),
        (&deep, Limits::default(), "a name with bytes"),
    ] {
        let error = unpack(&tar[..], open(folder.path()).as_fd(), &limits).unwrap_err();
        assert!(matches!(error, Error::Limit { what: tripped, .. } if tripped == what), "{error}");
    }
}

#[test]
fn a_bomb_ends_at_the_limit() {
    let mut packed = zstd::Encoder::new(Vec::new(), 1).unwrap();
    let mut writer = Writer::new(&mut packed);
    writer.header(b"bomb", &EntryKind::File, &Attributes::default(), 1 << 30).unwrap();
    for _ in 0..1024 {
        writer.body(&[0; 1 << 20]).unwrap();
    }
    writer.finish().unwrap();
    let packed = packed.finish().unwrap();
    assert!(packed.len() < 1 << 20);
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { bytes: 10 << 20, ..Limits::default() };
    let error = unpack(decompress(&packed[..]).unwrap(), open(folder.path()).as_fd(), &limits).unwrap_err();
    assert!(matches!(error, Error::Limit { what: "bytes", .. }), "{error}");
}

/// Deep trees cost no descriptors, on the way in and on the way out.
#[test]
fn a_deep_tree_goes_in_and_out() {
    let names: Vec<String> = (1..=1500).map(|depth| "d/".repeat(depth)).collect();
    let entries: Vec<(&str, EntryKind)> =
        names.iter().map(|name| (name.as_str(), EntryKind::Directory)).collect();
    let tar = Tar::of(&entries);
    let (folder, result) = unpacked(&tar);
    result.unwrap();
    assert_eq!(captured(folder.path()), tar);
}

/// Other readers see the same entries in what we write, and we in what they write.
#[test]
fn gnu_tar_and_bsdtar_agree() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    fs::create_dir_all(root.join("some/where")).unwrap();
    fs::write(root.join("some/where/file"), "content").unwrap();
    fs::write(root.join("some").join("n".repeat(180)), "long").unwrap();
    fs::hard_link(root.join("some/where/file"), root.join("hard")).unwrap();
    symlink("t".repeat(150), root.join("link")).unwrap();
    let ours = captured(&root);
    fs::write(folder.path().join("ours.tar"), &ours).unwrap();
    for (tool, create) in [
        ("tar", &["--format=gnu"][..]),
        ("tar", &["--format=posix"]),
        ("tar", &["--format=ustar", "--exclude=n*", "--exclude=link"]),
        ("bsdtar", &["--format=pax"]),
        ("bsdtar", &["--format=gnutar"]),
    ] {
        if Command::new(tool).arg("--version").output().is_err() {
            println!("skipped: {tool} not found");
            continue;
        }
        let to = folder.path().join("to");
        fs::create_dir(&to).unwrap();
        let done = Command::new(tool).arg("-xpf").arg("../ours.tar").current_dir(&to).output().unwrap();
        assert!(done.status.success(), "{tool}: {}", String::from_utf8_lossy(&done.stderr));
        assert_eq!(captured(&to), ours, "{tool} reads our tar otherwise");
        let theirs =
            Command::new(tool).args(create).args(["-cf", "-", "-C"]).arg(&root).arg(".").output().unwrap();
        assert!(theirs.status.success());
        let (again, result) = unpacked(&theirs.stdout);
        result.unwrap();
        if create.len() == 1 {
            assert_eq!(captured(again.path()), ours, "we read a tar of {tool} {create:?} otherwise");
        }
        fs::remove_dir_all(&to).unwrap();
    }
}

#[test]
fn sizes_that_readers_disagree_about_are_refused() {
    let mut tar = Vec::new();
    let mut body = Vec::new();
    // A PAX record of size 0 before a header of size 512: one reader skips a block, the other reads it as a header.
    Writer::new(&mut body).header(b"hidden", &EntryKind::File, &Attributes::default(), 0).unwrap();
    let record = b"10 size=0\n";
    Writer::new(&mut tar)
        .header(b"x", &EntryKind::File, &Attributes::default(), record.len() as u64)
        .unwrap();
    tar[156] = b'x';
    fix_checksum(&mut tar[..512]);
    tar.extend_from_slice(record);
    tar.resize(1024, 0);
    let mut file = Vec::new();
    Writer::new(&mut file).header(b"file", &EntryKind::File, &Attributes::default(), 512).unwrap();
    tar.extend_from_slice(&file);
    tar.extend_from_slice(&body);
    tar.resize(tar.len() + 1024, 0);
    let (_folder, result) = unpacked(&tar);
    assert!(matches!(result, Err(Error::Malformed { .. })), "{result:?}");
}

fn fix_checksum(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

#[test]
fn an_archive_extracts_through_the_links_of_its_root() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::create_dir_all(root.join("usr/lib")).unwrap();
    symlink("/usr/lib", root.join("lib")).unwrap();
    fs::write(root.join("file"), "old").unwrap();
    let tar = Tar::of(&[("lib/x", EntryKind::File), ("file", EntryKind::File), ("h", hard("lib/x"))]);
    let options = ExtractOptions { owner: Some((5, 6)), ..ExtractOptions::default() };
    extract_archive(&tar[..], open(root).as_fd(), Path::new(""), &options).unwrap();
    let placed = root.join("usr/lib/x").symlink_metadata().unwrap();
    assert_eq!((placed.uid(), placed.gid(), placed.nlink()), (5, 6, 2));
    assert_eq!(fs::read_to_string(root.join("file")).unwrap(), "file");
    // A directory with content does not make way for a file.
    let tar = Tar::of(&[("usr", EntryKind::File)]);
    let error = extract_archive(&tar[..], open(root).as_fd(), Path::new(""), &options).unwrap_err();
    assert!(error.to_string().contains("a directory with this name exists"), "{error}");
}
