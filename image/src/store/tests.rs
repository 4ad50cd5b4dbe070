//! Tests of the store as a whole: names and removal, damage, collection, several processes at once.

use std::{
    os::{fd::AsFd, unix::fs::PermissionsExt},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use tempfile::TempDir;

use super::*;
use crate::{document::ImageConfig, error::Kind, layers, reference::Reference};

/// In memory where that is possible: naming syncs the whole file system, and others write to this one.
fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    let builder = tempfile::Builder::new();
    if memory.is_dir() { builder.tempdir_in(memory).unwrap() } else { builder.tempdir().unwrap() }
}

fn store() -> (TempDir, Store) {
    let folder = scratch();
    let store = Store::open(&folder.path().join("store")).unwrap();
    (folder, store)
}

fn name(text: &str) -> Reference {
    text.parse().unwrap()
}

/// A layer as a build leaves it: a folder, no blob.
fn built_layer(lease: &Lease, content: &str) -> LayerDescriptor {
    let upper = lease.temporary_path();
    layer_files(&upper, content);
    layers::commit_upper(lease.store(), lease, &upper, &[]).unwrap()
}

fn layer_files(folder: &Path, content: &str) {
    fs::create_dir(folder).unwrap();
    fs::write(folder.join("file"), content).unwrap();
    for path in [folder.join("file"), folder.to_path_buf()] {
        fs::File::open(path).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    }
}

/// The diff id of the layer with that content.
fn layer_of(content: &str) -> Digest {
    let folder = scratch();
    let path = folder.path().join("layer");
    layer_files(&path, content);
    let mut output = crate::digest::DigestWriter::new(std::io::sink());
    layers::capture(fs::File::open(path).unwrap().as_fd(), &mut output).unwrap();
    output.finish().1
}

fn commit(store: &Store, lease: &Lease, contents: &[&str]) -> Image {
    let layers: Vec<_> = contents.iter().map(|content| built_layer(lease, content)).collect();
    let mut config = ImageConfig::scratch();
    config.rootfs.diff_ids = layers.iter().map(|layer| layer.diff_id).collect();
    store.commit_image(lease, &config.to_bytes(), &layers).unwrap()
}

fn named(store: &Store, text: &str, contents: &[&str]) -> Image {
    let lease = store.lease("test").unwrap();
    let image = commit(store, &lease, contents);
    store.set_name(&lease, &image, &name(text)).unwrap();
    image
}

fn container(store: &Store, id: &str, image: &Image) -> PathBuf {
    let folder = store.containers_dir().join(id);
    fs::create_dir_all(&folder).unwrap();
    let record = format!(r#"{{"image":"{}","name":"x"}}"#, image.manifest);
    fs::write(folder.join("container.json"), record).unwrap();
    folder
}

fn assert_clean(store: &Store) {
    let report = store.check(false).unwrap();
    assert!(report.is_sound() && report.leftovers.is_empty(), "{report:?}");
}

#[test]
fn opening_lays_out_private_folders_and_puts_their_modes_back() {
    let (_folder, store) = store();
    for round in 0..2 {
        let again = Store::open(store.root()).unwrap();
        for folder in FOLDERS {
            let mode = fs::metadata(again.path(folder)).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o700, "{folder} in round {round}");
            fs::set_permissions(again.path(folder), fs::Permissions::from_mode(0o2775)).unwrap();
        }
    }
    assert_eq!(
        fs::read_to_string(store.path("images/oci-layout")).unwrap(),
        r#"{"imageLayoutVersion":"1.0.0"}"#
    );
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let (_folder, store) = store();
    fs::write(store.path("format"), r#"{"format":2}"#).unwrap();
    let error = Store::open(store.root()).unwrap_err();
    assert_eq!(error.kind(), Kind::Unsupported);
    assert_eq!(fs::read_to_string(store.path("format")).unwrap(), r#"{"format":2}"#);
    fs::write(store.path("format"), "nonsense").unwrap();
    assert_eq!(Store::open(store.root()).unwrap_err().kind(), Kind::Corrupt);
}

#[test]
fn an_image_is_found_by_name_by_id_and_by_the_start_of_its_id() {
    let (_folder, store) = store();
    let image = named(&store, "a:1", &["one"]);
    let id = image.id.hex();
    let pinned = format!("a@{}", image.manifest);
    for text in ["a:1", "docker.io/library/a:1", &id, &format!("sha256:{id}"), &id[..12], &id[..1], &pinned] {
        let found = store.find(text).unwrap();
        assert_eq!((found.id, found.names.as_slice()), (image.id, &[name("a:1")][..]), "{text}");
    }
    for (text, kind) in
        [("a", Kind::NotFound), ("b:1", Kind::NotFound), ("A", Kind::Invalid), ("", Kind::Invalid)]
    {
        assert_eq!(store.find(text).unwrap_err().kind(), kind, "{text}");
    }
    assert_eq!(store.image_by_manifest(&image.manifest).unwrap().id, image.id);
    assert_eq!(image.layer_roots(&store), [store.layer_path(&layer_of("one"))]);
    // Several images: one hexadecimal digit is soon ambiguous.
    let others: Vec<String> =
        (0..17).map(|number| named(&store, &format!("n{number}"), &[&number.to_string()]).id.hex()).collect();
    let shared =
        others.iter().find(|id| others.iter().any(|other| other != *id && other[..1] == id[..1])).unwrap();
    assert_eq!(store.find(&shared[..1]).unwrap_err().kind(), Kind::Invalid);
    assert!(store.find(&shared[..1]).unwrap_err().to_string().contains(&shared[..12]));
}

#[test]
fn a_name_that_moves_leaves_a_nameless_image() {
    let (_folder, store) = store();
    let first = named(&store, "a", &["one"]);
    let lease = store.lease("test").unwrap();
    let second = commit(&store, &lease, &["two"]);
    assert_eq!(store.set_name(&lease, &second, &name("a")).unwrap(), Some(first.id));
    assert_eq!(store.set_name(&lease, &second, &name("a")).unwrap(), None);
    drop(lease);
    assert_eq!(store.find("a").unwrap().id, second.id);
    assert_eq!(store.images().unwrap().len(), 2);
    assert!(store.find(&first.id.to_string()).unwrap().names.is_empty());
    let removed = store.remove(&first.id.short(), false).unwrap();
    assert_eq!(removed, Removed { untagged: vec![], deleted: vec![first.id, layer_of("one")] });
    assert_clean(&store);
}

#[test]
fn removing_takes_names_first_and_only_what_nothing_else_has() {
    let (_folder, store) = store();
    let image = named(&store, "a", &["base", "one"]);
    named(&store, "other", &["base", "two"]);
    store.tag("a", &name("b:2")).unwrap();
    let error = store.remove(&image.id.hex(), false).unwrap_err();
    assert_eq!((error.kind(), error.to_string().contains("b:2")), (Kind::InUse, true));
    assert_eq!(store.remove("a", false).unwrap(), Removed { untagged: vec![name("a")], deleted: vec![] });
    let removed = store.remove("b:2", false).unwrap();
    assert_eq!(removed, Removed { untagged: vec![name("b:2")], deleted: vec![image.id, layer_of("one")] });
    assert!(store.layer_path(&layer_of("base")).is_dir());
    assert_eq!(store.remove("a", false).unwrap_err().kind(), Kind::NotFound);
    assert_clean(&store);
}

#[test]
fn what_a_container_uses_stays() {
    let (_folder, store) = store();
    let image = named(&store, "a", &["one"]);
    let folder = container(&store, "c1", &image);
    let error = store.remove("a", false).unwrap_err();
    assert_eq!((error.kind(), error.to_string().contains("container c1")), (Kind::InUse, true));
    // Another name may go without force.
    store.tag("a", &name("b")).unwrap();
    store.remove("b", false).unwrap();
    assert_eq!(store.remove("a", true).unwrap(), Removed { untagged: vec![name("a")], deleted: vec![] });
    assert!(store.sweep().unwrap().is_empty());
    assert!(store.layer_path(&layer_of("one")).is_dir());
    assert_eq!(store.image_by_manifest(&image.manifest).unwrap().id, image.id);
    fs::remove_dir_all(folder).unwrap();
    assert_eq!(store.sweep().unwrap().layers, [layer_of("one")]);
    assert_clean(&store);
}

#[test]
fn a_container_record_that_cannot_be_read_stops_removal() {
    let (_folder, store) = store();
    let image = named(&store, "a", &["one"]);
    let folder = container(&store, "c1", &image);
    fs::write(folder.join("container.json"), "{").unwrap();
    assert_eq!(store.remove("a", true).unwrap_err().kind(), Kind::Corrupt);
    assert_eq!(store.sweep().unwrap_err().kind(), Kind::Corrupt);
    assert!(!store.check(false).unwrap().is_sound());
}

#[test]
fn a_live_lease_protects_and_a_dead_one_does_not() {
    let (_folder, store) = store();
    let lease = store.lease("test").unwrap();
    let image = commit(&store, &lease, &["one"]);
    assert!(store.sweep().unwrap().is_empty());
    drop(lease);
    let swept = store.sweep().unwrap();
    assert_eq!((swept.layers.len(), swept.blobs.len()), (1, 2));
    // As after kill -9: the folder stays, nobody holds the lock.
    let dead = store.path("leases").join(lease::random_name());
    make_folder(&dead.join("tmp/half")).unwrap();
    fs::write(dead.join("lock"), "").unwrap();
    assert_eq!(store.check(false).unwrap().leftovers.leases, 1);
    drop(store.lease("the next program").unwrap());
    assert_clean(&store);
    let error = store.lease("test").unwrap().keep_layer(&image.layers[0].folder).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
}

#[test]
fn a_discarded_lease_takes_back_only_what_it_added() {
    let (_folder, store) = store();
    named(&store, "a", &["base"]);
    let lease = store.lease("test").unwrap();
    commit(&store, &lease, &["base", "more"]);
    let swept = lease.discard().unwrap();
    assert_eq!(swept.layers, [layer_of("more")]);
    assert_clean(&store);
}

#[test]
fn layers_that_the_build_cache_mentions_survive_a_sweep_but_not_a_removal() {
    let (_folder, store) = store();
    let lease = store.lease("test").unwrap();
    let layer = built_layer(&lease, "step");
    drop(lease);
    fs::write(store.cache_dir().join("key"), format!("{{\"layer\":\"{}\"}}", layer.folder)).unwrap();
    assert!(store.sweep().unwrap().is_empty());
    assert_clean(&store);
    named(&store, "a", &["step"]);
    assert_eq!(store.remove("a", false).unwrap().deleted.len(), 2);
    assert!(!store.layer_path(&layer.folder).exists());
}

#[test]
fn every_document_that_was_tampered_with_is_refused() {
    let (_folder, store) = store();
    let image = named(&store, "a", &["one"]);
    for blob in [image.manifest, image.id] {
        let path = store.blob_path(&blob);
        let whole = fs::read(&path).unwrap();
        for damaged in [
            whole.replacen(b"amd64", b"arm64"),
            whole.replacen(b"\"size\":", b"\"size\":1"),
            [&whole[..], b" "].concat(),
            vec![],
        ] {
            if damaged == whole {
                continue;
            }
            fs::write(&path, &damaged).unwrap();
            assert_eq!(store.find("a").unwrap_err().kind(), Kind::Corrupt);
            let report = store.check(false).unwrap();
            assert!(!report.is_sound() && report.leftovers.trash == 0);
        }
        fs::write(&path, &whole).unwrap();
        assert!(store.find("a").is_ok());
    }
    fs::remove_file(store.blob_path(&image.id)).unwrap();
    assert_eq!(store.find("a").unwrap_err().kind(), Kind::NotFound);
    // A damaged image can be removed by name, and made again.
    store.remove("a", false).unwrap();
    store.sweep().unwrap();
    assert_clean(&store);
    named(&store, "a", &["one"]);
    assert!(store.find("a").is_ok());
}

#[test]
fn a_damaged_document_is_replaced_when_it_is_written_again() {
    let (_folder, store) = store();
    let image = named(&store, "a", &["one"]);
    fs::write(store.blob_path(&image.id), "damaged").unwrap();
    named(&store, "b", &["one"]);
    assert_eq!(store.find("a").unwrap().id, image.id);
}

#[test]
fn a_damaged_index_is_reported_not_rewritten() {
    let (_folder, store) = store();
    named(&store, "a", &["one"]);
    for damaged in [
        "",
        "{",
        "[]",
        r#"{"schemaVersion":2,"manifests":[{"mediaType":"x","digest":"sha256:../x","size":1}]}"#,
    ] {
        fs::write(store.path("images/index.json"), damaged).unwrap();
        assert_eq!(store.find("a").unwrap_err().kind(), Kind::Corrupt, "{damaged}");
        assert_eq!(store.sweep().unwrap_err().kind(), Kind::Corrupt);
        assert_eq!(fs::read_to_string(store.path("images/index.json")).unwrap(), damaged);
    }
}

#[test]
fn a_missing_layer_is_found_by_the_check_and_taken_out_by_the_repair() {
    let (_folder, store) = store();
    named(&store, "a", &["one"]);
    named(&store, "b", &["two"]);
    fs::remove_dir_all(store.layer_folder(&layer_of("one"))).unwrap();
    let report = store.check(false).unwrap();
    assert!(
        matches!(&report.problems[..], [Problem::Layer { image, .. }] if image == "a:latest"),
        "{report:?}"
    );
    store.check(true).unwrap();
    assert_clean(&store);
    assert_eq!(store.images().unwrap().len(), 1);
}

#[test]
fn a_built_layer_whose_files_changed_is_found_by_the_check() {
    let (_folder, store) = store();
    let image = named(&store, "a", &["one"]);
    assert_clean(&store);
    fs::write(image.layer_roots(&store)[0].join("file"), "two").unwrap();
    let report = store.check(false).unwrap();
    assert!(matches!(&report.problems[..], [Problem::Layer { .. }]), "{report:?}");
}

#[test]
fn another_process_sees_a_name_at_once() {
    let (_folder, store) = store();
    let other = Store::open(store.root()).unwrap();
    for round in 0..20 {
        let image = named(&store, "a", &[&round.to_string()]);
        assert_eq!(other.find("a").unwrap().id, image.id);
    }
}

#[test]
fn blobs_are_verified_while_they_stream_in() {
    let (_folder, store) = store();
    let lease = store.lease("test").unwrap();
    let digest = Digest::of(b"content");
    for (bytes, size) in
        [(&b"contenT"[..], 7), (b"conten", 7), (b"content!", 7), (b"content", 8), (b"content", 6), (b"", 7)]
    {
        assert_eq!(lease.copy_blob(bytes, &digest, size, "blob").unwrap_err().kind(), Kind::Corrupt);
        assert!(!store.has_blob(&digest));
    }
    lease.copy_blob(&b"content"[..], &digest, 7, "blob").unwrap();
    assert_eq!(store.read_blob(&digest, 100).unwrap(), b"content");
    assert_eq!(store.read_blob(&digest, 6).unwrap_err().kind(), Kind::Corrupt);
}

#[test]
fn work_of_a_crashed_boot_that_no_sync_covered_is_dropped() {
    let (_folder, store) = store();
    named(&store, "a", &["synced"]);
    let lease = store.lease("test").unwrap();
    built_layer(&lease, "not synced");
    fs::write(store.cache_dir().join("key"), layer_of("not synced").to_string()).unwrap();
    drop(lease);
    drop(store.lease("same boot").unwrap());
    assert!(store.layer_path(&layer_of("not synced")).exists());
    let synced = store.path("synced");
    let when = fs::metadata(&synced).unwrap().modified().unwrap();
    fs::write(&synced, "another boot\n").unwrap();
    fs::File::options().write(true).open(&synced).unwrap().set_modified(when).unwrap();
    drop(store.lease("next boot").unwrap());
    assert!(!store.layer_path(&layer_of("not synced")).exists());
    assert!(!store.cache_dir().join("key").exists());
    assert!(store.find("a").is_ok());
    assert_clean(&store);
}

#[test]
fn a_tree_of_any_depth_is_removed_without_following_links() {
    let folder = scratch();
    let outside = folder.path().join("outside");
    fs::write(&outside, "kept").unwrap();
    let tree = folder.path().join("tree");
    fs::create_dir(&tree).unwrap();
    std::os::unix::fs::symlink(&outside, tree.join("link")).unwrap();
    std::os::unix::fs::symlink(folder.path(), tree.join("up")).unwrap();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let mut inner = rustix::fs::open(&tree, flags, Mode::empty()).unwrap();
    for _ in 0..3000 {
        rustix::fs::mkdirat(&inner, "d", Mode::RWXU).unwrap();
        inner = rustix::fs::openat(&inner, "d", flags, Mode::empty()).unwrap();
    }
    drop(inner);
    remove_tree(&tree).unwrap();
    remove_tree(&tree).unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(outside).unwrap(), "kept");
}

#[test]
fn many_threads_name_remove_and_sweep_at_once() {
    let (_folder, store) = store();
    thread::scope(|scope| {
        for worker in 0..4 {
            let store = Store::open(store.root()).unwrap();
            scope.spawn(move || {
                for round in 0..15 {
                    let kept = format!("kept{worker}");
                    let image = named(&store, &kept, &["shared", &format!("{worker} {round}")]);
                    assert_eq!(store.find(&kept).unwrap().id, image.id);
                    assert!(image.layer_roots(&store).iter().all(|root| root.join("file").exists()));
                    named(&store, &format!("gone{worker}"), &["shared too", &format!("{worker} {round}")]);
                    store.remove(&format!("gone{worker}"), false).unwrap();
                }
            });
        }
        for _ in 0..2 {
            let store = Store::open(store.root()).unwrap();
            scope.spawn(move || (0..30).for_each(|_| drop(store.sweep().unwrap())));
        }
    });
    let images = store.images().unwrap();
    assert_eq!(images.iter().filter(|image| !image.names.is_empty()).count(), 4);
    store.sweep().unwrap();
    assert_clean(&store);
}

#[test]
fn processes_killed_at_any_point_leave_a_store_that_a_sweep_cleans() {
    let (_folder, store) = store();
    named(&store, "stays", &["stays"]);
    let program = std::env::current_exe().unwrap();
    for round in 0..12 {
        let spawn = |_| {
            let mut command = Command::new(&program);
            command.args(["--exact", "store::tests::names_until_killed", "--nocapture"]);
            command.env("HULL_TEST_STORE", store.root()).stdout(Stdio::null()).stderr(Stdio::null());
            command.spawn().unwrap()
        };
        let mut children: Vec<_> = (0..3).map(spawn).collect();
        thread::sleep(Duration::from_millis(8 + 7 * round));
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let report = store.check(false).unwrap();
        assert!(report.is_sound(), "{report:?}");
        drop(store.lease("the next program").unwrap());
        store.sweep().unwrap();
        assert_clean(&store);
    }
    assert!(store.find("stays").is_ok());
}

/// Not a test by itself: the process that the test above kills.
#[test]
fn names_until_killed() {
    let Some(root) = std::env::var_os("HULL_TEST_STORE") else { return };
    let store = Store::open(Path::new(&root)).unwrap();
    for round in 0.. {
        let text = format!("p{}", round % 3);
        named(&store, &text, &["base", &format!("{} {round}", std::process::id())]);
        if round % 3 == 2 {
            // Another one may have been quicker.
            let _ = store.remove(&text, true);
        }
    }
}

trait ReplaceBytes {
    fn replacen(&self, from: &[u8], to: &[u8]) -> Vec<u8>;
}

impl ReplaceBytes for Vec<u8> {
    fn replacen(&self, from: &[u8], to: &[u8]) -> Vec<u8> {
        match self.windows(from.len()).position(|window| window == from) {
            Some(at) => [&self[..at], to, &self[at + from.len()..]].concat(),
            None => self.clone(),
        }
    }
}
