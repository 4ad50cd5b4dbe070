//! The known attacks on unpackers, each with what it tries and a canary that must not notice.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::canary::Canary;
use super::*;

fn file() -> EntryKind {
    EntryKind::File
}

fn directory() -> EntryKind {
    EntryKind::Directory
}

/// Links, hard links, `..`, absolute names, the root replaced, modes through links, removals through links:
/// CVE-2014-9356, -9358, -6407, CVE-2020-10696, CVE-2021-29136, CVE-2021-32760, RUSTSEC-2026-0067.
#[test]
fn nothing_is_written_through_links_or_upwards() {
    let canary = Canary::new();
    let (out, target, passwd) = (canary.at(""), canary.at("file"), canary.at("etc/passwd"));
    let up = format!("{}{}", "../".repeat(20), &target[1..]);
    let device = EntryKind::Character { major: 1, minor: 3 };
    let cases: Vec<(bool, Vec<(&str, EntryKind)>)> = vec![
        (false, vec![(&up, file())]),
        (false, vec![("a/../../x", file())]),
        (false, vec![("..", directory())]),
        (false, vec![("l", link(&out)), ("l/file", file())]),
        (false, vec![("l", link(&out)), ("l/new/", directory())]),
        (false, vec![("l", link("../../../../../../..")), ("l/tmp/x", file())]),
        (false, vec![("l", link("/proc/self/root")), ("l/tmp/x", file())]),
        (true, vec![("l", link(&target)), ("l", file())]),
        (true, vec![("l", link(&out)), ("l/", directory()), ("l/file", file())]),
        (true, vec![("l", link(&target)), ("l", device.clone())]),
        (true, vec![("l", link(&target)), ("l", EntryKind::Fifo)]),
        (false, vec![("l", link(&out)), ("l/.wh.file", file())]),
        (false, vec![("l", link(&out)), ("l/.wh..wh..opq", file())]),
        (true, vec![("l", link(&out)), (".wh.l", file())]),
        (true, vec![("h", hard(&target)), ("h", file())]),
        // Left to the layers below, which have no such file either.
        (true, vec![("l", link(&out)), ("h", hard("l/file"))]),
        (true, vec![("l", link(&target)), ("h", hard("l")), ("h", file())]),
        (true, vec![("l", link(&passwd)), ("h", hard("l")), ("l", file())]),
        (false, vec![("h", hard(&up))]),
        (false, vec![("h", hard("."))]),
        (false, vec![("d/", directory()), ("h", hard("d"))]),
        (false, vec![(".", link(&out)), ("file", file())]),
        (false, vec![("./", hard("x"))]),
        (false, vec![("", file())]),
        (false, vec![("/", EntryKind::Fifo)]),
        (true, vec![(&target, file())]),
        (false, vec![("zero", EntryKind::Character { major: 0, minor: 0 })]),
        (false, vec![(".wh.x", file()), ("y", hard("x"))]),
        (false, vec![("bad", hard("bad/../../x"))]),
    ];
    for (accepted, case) in cases {
        let (folder, result) = unpacked(&Tar::of(&case));
        canary.assert_unchanged(&case);
        assert_eq!(result.is_ok(), accepted, "{case:?}: {result:?}");
        assert!(folder.path().symlink_metadata().unwrap().is_dir(), "{case:?}");
        // The same archive in a tree of others: ADD.
        let folder = tempfile::tempdir().unwrap();
        symlink(&out, folder.path().join("planted")).unwrap();
        let _ = extract(&Tar::of(&case), folder.path());
        canary.assert_unchanged(&case);
    }
}

/// A link in a lower layer, an entry or a hard link behind it in a higher one (CVE-2020-10696).
#[test]
fn links_of_lower_layers_lead_nowhere() {
    let canary = Canary::new();
    let (lower, result) = unpacked(&Tar::of(&[("l", link(&canary.at("")))]));
    result.unwrap();
    for case in [vec![("l/file", file())], vec![("h", hard("l/file"))], vec![("l/h", hard("l/file"))]] {
        let (upper, result) = unpacked(&Tar::of(&case));
        let below = view::View::open(&[lower.path().to_path_buf()]).unwrap();
        let completed = fixup::complete(&open(upper.path()), &result.unwrap(), &below);
        assert!(completed.is_err(), "{case:?}");
        canary.assert_unchanged(&case);
    }
}

/// Marks that only overlayfs may make, labels, and names that mean something to us: dropped, and the rest kept.
#[test]
fn foreign_marks_and_labels_are_left_out() {
    let mut tar = Vec::new();
    let mut writer = Writer::new(&mut tar);
    let pairs = [
        ("security.selinux", "label"),
        ("trusted.overlay.metacopy", ""),
        ("trusted.overlay.opaque", "y"),
        ("trusted.overlay.redirect", "/etc"),
        ("user.note", "kept"),
        ("user.overlay.opaque", "y"),
        ("user.overlay.redirect", "/etc"),
    ];
    let xattrs = pairs.map(|(name, value)| (name.into(), value.into())).to_vec();
    let attributes = Attributes { xattrs, ..Attributes::default() };
    writer.header(b"d/", &directory(), &attributes, 0).unwrap();
    writer.header(b"f", &file(), &attributes, 0).unwrap();
    writer.finish().unwrap();
    let (folder, result) = unpacked(&tar);
    result.unwrap();
    for name in ["d", "f"] {
        let handle = File::open(folder.path().join(name)).unwrap();
        let names = attributes::xattr_names(handle.as_fd(), &Name::from(name)).unwrap();
        assert_eq!(names, [b"user.note".to_vec()], "{name}");
    }
}

/// Names that readers and terminals stumble over (class "name tricks").
#[test]
fn odd_names_have_one_result() {
    let long = "n".repeat(256);
    for (name, kind) in [("a\0b", file()), (&long, file()), ("x/\0", directory())] {
        let mut tar = Vec::new();
        let mut writer = Writer::new(&mut tar);
        // A long name goes into a PAX record, where a NUL survives.
        let padded = format!("{}{name}", "p/".repeat(150));
        writer.header(padded.as_bytes(), &kind, &Attributes::default(), 0).unwrap();
        writer.finish().unwrap();
        let (_folder, result) = unpacked(&tar);
        assert!(result.is_err(), "{name:?}");
    }
    let (folder, result) = unpacked(&Tar::of(&[
        ("new\nline", file()),
        ("./a//b/./c", file()),
        ("/absolute", file()),
        ("twice", file()),
        ("twice", link("second")),
        ("link/", link("elsewhere")),
        ("both/", directory()),
        ("both/x", file()),
        ("both", file()),
        ("both/", directory()),
    ]));
    result.unwrap();
    let at = |name: &str| folder.path().join(name);
    assert!(at("new\nline").is_file() && at("a/b/c").is_file() && at("absolute").is_file());
    assert_eq!(fs::read_link(at("twice")).unwrap(), Path::new("second"));
    assert_eq!(fs::read_link(at("link")).unwrap(), Path::new("elsewhere"));
    assert_eq!(fs::read_dir(at("both")).unwrap().count(), 0);
    let (_folder, result) = unpacked(&Tar::of(&[("../\u{1b}[31mred\n", file())]));
    let message = result.unwrap_err().to_string();
    assert!(!message.contains('\u{1b}') && !message.contains('\n'), "{message:?}");
}

/// Devices, set-id bits and capabilities arrive as they are: the store is closed to other users.
#[test]
fn devices_and_privileges_are_exact() {
    let (folder, result) = unpacked(&Tar::of(&[
        ("null", EntryKind::Character { major: 1, minor: 3 }),
        ("disk", EntryKind::Block { major: 7, minor: 200 }),
        ("pipe", EntryKind::Fifo),
    ]));
    result.unwrap();
    let device = |name: &str| folder.path().join(name).symlink_metadata().unwrap().rdev();
    assert_eq!(device("null"), rustix::fs::makedev(1, 3));
    assert_eq!(device("disk"), rustix::fs::makedev(7, 200));
    let capability = [&[1, 0, 0, 2, 0, 4][..], &[0; 14]].concat();
    let mut tar = Vec::new();
    let mut writer = Writer::new(&mut tar);
    let xattrs = vec![(b"security.capability".to_vec(), capability.clone())];
    let attributes = Attributes { mode: 0o6755, uid: 5, gid: 6, xattrs, ..Attributes::default() };
    writer.header(b"ping", &file(), &attributes, 0).unwrap();
    writer.finish().unwrap();
    let (folder, result) = unpacked(&tar);
    result.unwrap();
    let path = folder.path().join("ping");
    let found = Attributes::of(File::open(&path).unwrap().as_fd(), path.as_path().into()).unwrap();
    assert_eq!((found.mode, found.uid, found.gid), (0o6755, 5, 6));
    assert_eq!(found.xattrs, [(b"security.capability".to_vec(), capability)]);
    assert_eq!(captured(folder.path()), tar);
}

/// What has no end, or a dear one: each trips a limit with its name.
#[test]
fn bombs_and_endless_archives_trip_limits() {
    let folder = tempfile::tempdir().unwrap();
    let run = |from: &mut dyn std::io::Read, limits: &Limits| {
        unpack(from, open(folder.path()).as_fd(), limits).unwrap_err().to_string()
    };
    // Extended headers without end, and one of a gibibyte.
    let mut global = vec![0; 1024];
    global[..512].copy_from_slice(&Tar::of(&[("x", EntryKind::Fifo)])[..512]);
    global[156] = b'g';
    global[124..135].copy_from_slice(b"00000000013");
    fix_checksum(&mut global[..512]);
    global[512..523].copy_from_slice(b"11 comment=");
    global[522] = b'\n';
    global[512..523].copy_from_slice(b"11 abc=def\n");
    let mut endless = Repeat { block: &global, at: 0 };
    let limits = Limits { entries: 1000, ..Limits::default() };
    assert!(run(&mut endless, &limits).contains("entries above the limit of 1000"));
    global[124..135].copy_from_slice(b"10000000000");
    fix_checksum(&mut global[..512]);
    let message = run(&mut Repeat { block: &global, at: 0 }, &Limits::default());
    assert!(message.contains("an extension header with bytes above"), "{message}");
    // A source that never ends in time.
    let late = Limits { until: Some(Instant::now()), ..Limits::default() };
    let message = run(&mut Tar::of(&[("x", file())]).as_slice(), &late);
    assert!(message.contains("longer than the time limit"), "{message}");
    // Gzip of zeros, a thousand to one.
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let header = {
        let mut tar = Vec::new();
        Writer::new(&mut tar).header(b"zeros", &file(), &Attributes::default(), 1 << 32).unwrap();
        tar
    };
    gzip.write_all(&header).unwrap();
    for _ in 0..64 {
        gzip.write_all(&[0; 1 << 20]).unwrap();
    }
    let packed = gzip.finish().unwrap();
    let limits = Limits { bytes: 4 << 20, ..Limits::default() };
    let message = run(&mut decompress(&packed[..]).unwrap(), &limits);
    assert!(message.contains("bytes above the limit"), "{message}");
}

/// A disk that is too small is told from a broken archive.
#[test]
fn a_full_disk_is_called_one() {
    use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
    let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
    rustix::mount::fsconfig_set_string(context.as_fd(), "size", "64k").unwrap();
    rustix::mount::fsconfig_create(context.as_fd()).unwrap();
    let small =
        rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
            .unwrap();
    let mut tar = Vec::new();
    let mut writer = Writer::new(&mut tar);
    writer.header(b"large", &file(), &Attributes::default(), 1 << 20).unwrap();
    writer.body(&[1; 1 << 20]).unwrap();
    writer.finish().unwrap();
    let error = unpack(&tar[..], small.as_fd(), &Limits::default()).unwrap_err();
    assert_eq!(error.kind(), crate::error::Kind::NoSpace, "{error}");
    assert_eq!(error.to_string(), "cannot write large");
}

/// The same bytes again and again.
struct Repeat<'a> {
    block: &'a [u8],
    at: usize,
}

impl std::io::Read for Repeat<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let rest = &self.block[self.at..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.at = (self.at + count) % self.block.len();
        Ok(count)
    }
}

/// An adversary swaps directories, files and links for links to the canary while a layer is unpacked and an archive is
/// extracted in the same place, 10,000 rounds (CVE-2025-47290).
#[test]
fn a_swapper_never_gets_out() {
    let canary = Canary::new();
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    fs::create_dir_all(root.join("d")).unwrap();
    symlink(canary.path(), root.join("evil")).unwrap();
    symlink(canary.at("file"), root.join("evil-file")).unwrap();
    let tar = Tar::of(&[
        ("d/", directory()),
        ("d/file", file()),
        ("d/link", link("file")),
        ("d/pipe", EntryKind::Fifo),
        ("d/etc/", directory()),
        ("d/etc/passwd", file()),
        ("d/hard", hard("d/file")),
        ("f", file()),
        ("f", EntryKind::Fifo),
    ]);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let swap = |one: &str, two: &str| {
                let (one, two) = (root.join(one), root.join(two));
                let exchange = rustix::fs::RenameFlags::EXCHANGE;
                let _ = rustix::fs::renameat_with(rustix::fs::CWD, one, rustix::fs::CWD, two, exchange);
            };
            while !done.load(Ordering::Relaxed) {
                swap("d", "evil");
                swap("f", "evil-file");
            }
        });
        for round in 0..10_000 {
            // Most rounds fail in the middle; none may get out.
            if round % 2 == 0 {
                let _ = extract(&tar, &root);
            } else {
                let _ = unpack(&tar[..], open(&root).as_fd(), &Limits::default());
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    canary.assert_unchanged("a swapped directory");
}

/// Broken layers leak nothing (CVE-2026-114236) and never panic or hang (CVE-2021-20291, CVE-2021-21285).
#[test]
fn ten_thousand_broken_layers_leak_nothing() {
    let good = Tar::of(&[
        ("a/b/c/", directory()),
        ("a/b/c/d", file()),
        ("a/b/c/e", hard("a/b/c/d")),
        (&"long/".repeat(40), directory()),
        (".wh.gone", file()),
        ("a/b/.wh..wh..opq", file()),
        ("l", link("a")),
        ("null", EntryKind::Character { major: 1, minor: 3 }),
    ]);
    let folder = tempfile::tempdir().unwrap();
    let inside = || {
        // Other tests run in this process: only handles of this test's own folder count.
        let handles = fs::read_dir("/proc/self/fd").unwrap();
        let names = handles.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        names.filter(|name| name.starts_with(folder.path())).count()
    };
    for round in 0..10_000_usize {
        let mut bad = good.clone();
        let at = (round * 7919) % bad.len();
        bad[at] ^= 1 << (round % 8);
        if round % 3 > 0 {
            let header = at / 512 * 512;
            fix_checksum(&mut bad[header..header + 512]);
        }
        bad.truncate(bad.len() - (round * 31) % 4096);
        let _ = unpack(&bad[..], open(folder.path()).as_fd(), &Limits::default());
    }
    assert_eq!(inside(), 0);
}

fn extract(tar: &[u8], root: &Path) -> Result<()> {
    extract_archive(tar, open(root).as_fd(), Path::new(""), &ExtractOptions::default())
}
