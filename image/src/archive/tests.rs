//! Round trips through every format, and archives that lie.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::{
    digest::Digest,
    document::{CONFIG_LIMIT, MANIFEST_LIMIT, media_type},
    error::{Error, Kind, Result},
    store::{Image, Store},
};

struct World {
    folder: TempDir,
    store: Store,
}

fn world() -> World {
    let memory = Path::new("/dev/shm");
    let builder = tempfile::Builder::new();
    let folder = if memory.is_dir() { builder.tempdir_in(memory) } else { builder.tempdir() }.unwrap();
    let store = Store::open(&folder.path().join("store")).unwrap();
    World { folder, store }
}

impl World {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn image(&self, name: &str, files: &[(&str, &str)]) -> Image {
        let options = ImportOptions {
            name: Some(name.parse().unwrap()),
            source: "test".into(),
            ..ImportOptions::default()
        };
        import(&self.store, &tar_of(files)[..], &options).unwrap()
    }

    fn save(&self, names: &[&str], format: Format) -> Vec<u8> {
        let mut saved = Vec::new();
        names.iter().for_each(|name| Saved::add(&mut saved, self.store.find(name).unwrap(), name));
        let mut bytes = Vec::new();
        save(&self.store, &saved, format, &mut bytes).unwrap();
        bytes
    }

    /// Loads into a fresh store; on failure asserts that the store is as new.
    fn load_elsewhere(&self, bytes: &[u8]) -> Result<(Vec<Loaded>, World)> {
        let other = world();
        match load(&other.store, bytes) {
            Ok(loaded) => Ok((loaded, other)),
            Err(error) => {
                other.assert_empty();
                Err(error)
            }
        }
    }

    fn assert_empty(&self) {
        let report = self.store.check(false).unwrap();
        assert!(report.is_sound() && report.leftovers.is_empty() && report.images == 0, "{report:?}");
    }
}

fn tar_of(files: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    archive.into_inner().unwrap()
}

/// An archive taken apart, to be changed and put together again.
#[derive(Clone, Default)]
struct Parts(BTreeMap<String, Vec<u8>>);

impl Parts {
    fn of(archive: &[u8]) -> Parts {
        let mut parts = Parts::default();
        for entry in tar::Archive::new(archive).entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().to_string_lossy().into_owned();
            std::io::copy(&mut entry, parts.0.entry(name).or_default()).unwrap();
        }
        parts
    }

    fn archive(&self) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for (name, content) in &self.0 {
            let mut header = tar::Header::new_ustar();
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            header.set_size(content.len() as u64);
            archive.append_data(&mut header, name, &content[..]).unwrap();
        }
        archive.into_inner().unwrap()
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&self.0[name]).unwrap()
    }

    fn set(&mut self, name: &str, value: &Value) {
        self.0.insert(name.into(), value.to_string().into_bytes());
    }

    /// Adds a blob; returns its descriptor's digest and size.
    fn blob(&mut self, content: &[u8]) -> (String, usize) {
        let digest = Digest::of(content);
        self.0.insert(format!("blobs/sha256/{}", digest.hex()), content.to_vec());
        (digest.to_string(), content.len())
    }

    /// Changes manifest or config and makes everything above agree again.
    fn rewrite(&mut self, change: impl FnOnce(&mut Value, &mut Value)) {
        let mut index = self.json("index.json");
        let named = |digest: &Value| format!("blobs/sha256/{}", &digest.as_str().unwrap()[7..]);
        let mut manifest = self.json(&named(&index["manifests"][0]["digest"]));
        let mut config = self.json(&named(&manifest["config"]["digest"]));
        change(&mut manifest, &mut config);
        let (digest, size) = self.blob(config.to_string().as_bytes());
        (manifest["config"]["digest"], manifest["config"]["size"]) = (json!(digest), json!(size));
        let (digest, size) = self.blob(manifest.to_string().as_bytes());
        (index["manifests"][0]["digest"], index["manifests"][0]["size"]) = (json!(digest), json!(size));
        self.set("index.json", &index);
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

#[test]
fn every_format_brings_the_same_image_back() {
    let here = world();
    let image = here.image("a:1", &[("file", "content"), ("folder/file", "more")]);
    here.image("b:2", &[("file", "other")]);
    let reference = |name: &str| name.parse().unwrap();
    for format in [Format::DockerArchive, Format::OciArchive] {
        let plain = here.save(&["a:1", "b:2"], format);
        assert_eq!(plain, here.save(&["a:1", "b:2"], format), "nothing but the images decides");
        for packed in [plain.clone(), gzip(&plain), zstd(&plain)] {
            let (loaded, there) = here.load_elsewhere(&packed).unwrap();
            assert_eq!(loaded.len(), 2);
            assert_eq!(
                (loaded[0].image.manifest, loaded[0].names.clone()),
                (image.manifest, vec![reference("a:1")])
            );
            let found = there.store.find("a:1").unwrap();
            assert_eq!(
                fs::read_to_string(found.layer_roots(&there.store)[0].join("folder/file")).unwrap(),
                "more"
            );
            assert!(there.store.check(false).unwrap().is_sound());
            assert_eq!(there.save(&["a:1", "b:2"], format), plain, "and saves to the same bytes");
        }
    }
}

#[test]
fn an_old_docker_archive_is_read_with_links_and_compressed_layers() {
    let here = world();
    let image = here.image("a:1", &[("file", "content")]);
    let parts = Parts::of(&here.save(&["a:1"], Format::DockerArchive));
    let layer = parts.0[&format!("blobs/sha256/{}", image.layers[0].digest.hex())].clone();
    let config = here.store.read_blob(&image.id, CONFIG_LIMIT).unwrap();
    for layer in [layer.clone(), gzip(&layer), zstd(&layer)] {
        let mut archive = tar::Builder::new(Vec::new());
        let mut add = |name: &str, content: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            header.set_size(content.len() as u64);
            archive.append_data(&mut header, name, content).unwrap();
        };
        add("real/layer.tar", &layer);
        add(&format!("{}.json", image.id.hex()), &config);
        let list = json!([{"Config": format!("{}.json", image.id.hex()), "RepoTags": ["x/y:z"], "Layers": ["1/layer.tar"]}]);
        add("manifest.json", list.to_string().as_bytes());
        let mut link = tar::Header::new_gnu();
        link.set_entry_type(tar::EntryType::Symlink);
        link.set_size(0);
        link.set_uid(0);
        link.set_gid(0);
        link.set_mtime(0);
        link.set_mode(0o777);
        archive.append_link(&mut link, "1/layer.tar", "../real/layer.tar").unwrap();
        let (loaded, there) = here.load_elsewhere(&archive.into_inner().unwrap()).unwrap();
        assert_eq!((loaded[0].image.id, loaded[0].names[0].familiar().as_str()), (image.id, "x/y:z"));
        assert_eq!(there.store.unpacked_size(&loaded[0].image), image.size);
        assert!(there.store.check(false).unwrap().is_sound());
    }
}

#[test]
fn a_folder_is_loaded_and_saved() {
    let here = world();
    let image = here.image("a:1", &[("file", "content")]);
    let saved = [Saved { image: image.clone(), names: image.names.clone() }];
    let folder = here.path("layout");
    save_folder(&here.store, &saved, &folder).unwrap();
    assert_eq!(save_folder(&here.store, &saved, &folder).unwrap_err().kind(), Kind::Invalid);
    let there = world();
    assert_eq!(load_path(&there.store, &folder).unwrap()[0].image.manifest, image.manifest);
    // A link in the folder is not followed, a FIFO not waited for.
    for round in 0..2 {
        let there = world();
        let blob = folder.join(format!("blobs/sha256/{}", image.id.hex()));
        let _ = fs::rename(&blob, here.path("elsewhere"));
        let _ = fs::remove_file(&blob);
        match round {
            0 => std::os::unix::fs::symlink(here.path("elsewhere"), &blob).unwrap(),
            _ => rustix::fs::mknodat(rustix::fs::CWD, &blob, rustix::fs::FileType::Fifo, 0o644.into(), 0)
                .unwrap(),
        }
        assert_eq!(load_path(&there.store, &folder).unwrap_err().kind(), Kind::Invalid);
        there.assert_empty();
    }
}

#[test]
fn a_byte_changed_anywhere_is_found() {
    let here = world();
    here.image("a:1", &[("file", "content")]);
    for format in [Format::DockerArchive, Format::OciArchive] {
        let good = Parts::of(&here.save(&["a:1"], format));
        for name in good.0.keys().filter(|name| name.starts_with("blobs/")) {
            for kind in 0..4 {
                let mut bad = good.clone();
                let content = bad.0.get_mut(name).unwrap();
                let middle = content.len() / 2;
                match kind {
                    0 => content[middle] ^= 1,
                    1 => content.push(b' '),
                    2 => drop(content.pop()),
                    _ => drop(bad.0.remove(name)),
                }
                let error = here.load_elsewhere(&bad.archive()).map(drop).unwrap_err();
                assert_eq!(error.kind(), Kind::Corrupt, "{format:?} {name} {kind}: {error}");
                // Also where the image is known.
                assert!(load(&here.store, &bad.archive()[..]).is_err(), "{format:?} {name} {kind}");
            }
        }
    }
}

#[test]
fn documents_that_contradict_each_other_are_refused() {
    let here = world();
    let image = here.image("a:1", &[("file", "content")]);
    let good = Parts::of(&here.save(&["a:1"], Format::OciArchive));
    let other = Digest::of(b"another layer").to_string();
    type Change<'a> = Box<dyn Fn(&mut Value, &mut Value) + 'a>;
    let changes: Vec<(&str, Change<'_>)> = vec![
        ("wrong diff id", Box::new(|_, config| config["rootfs"]["diff_ids"][0] = json!(other))),
        ("no diff id", Box::new(|_, config| config["rootfs"]["diff_ids"] = json!([]))),
        (
            "one more diff id",
            Box::new(|_, config| config["rootfs"]["diff_ids"] = json!([image.layers[0].diff_id, other])),
        ),
        ("wrong layer digest", Box::new(|manifest, _| manifest["layers"][0]["digest"] = json!(other))),
        ("wrong layer size", Box::new(|manifest, _| manifest["layers"][0]["size"] = json!(1))),
        ("no layers", Box::new(|manifest, _| manifest["layers"] = json!([]))),
        (
            "a path for a digest",
            Box::new(|manifest, _| manifest["layers"][0]["digest"] = json!("sha256:../../../etc/passwd")),
        ),
        ("also an index", Box::new(|manifest, _| manifest["manifests"] = json!([]))),
        ("another type", Box::new(|manifest, _| manifest["mediaType"] = json!(media_type::INDEX))),
        (
            "unknown layer type",
            Box::new(|manifest, _| manifest["layers"][0]["mediaType"] = json!("application/zip")),
        ),
        (
            "foreign layer",
            Box::new(|manifest, _| manifest["layers"][0]["urls"] = json!(["http://127.0.0.1/x"])),
        ),
    ];
    for (what, change) in changes {
        let mut bad = good.clone();
        bad.rewrite(&*change);
        assert!(here.load_elsewhere(&bad.archive()).is_err(), "{what}");
    }
    let mut same = good.clone();
    same.rewrite(|_, _| {});
    assert!(here.load_elsewhere(&same.archive()).is_ok());
    for (field, value) in [
        ("digest", json!(other)),
        ("size", json!(7)),
        ("mediaType", json!(media_type::INDEX)),
        ("mediaType", json!("text/plain")),
    ] {
        let mut bad = good.clone();
        let mut index = bad.json("index.json");
        index["manifests"][0][field] = value;
        bad.set("index.json", &index);
        assert!(here.load_elsewhere(&bad.archive()).is_err(), "index {field}");
    }
}

#[test]
fn names_in_an_archive_do_not_become_paths() {
    let here = world();
    let image = here.image("a:1", &[("file", "content")]);
    fs::write(here.path("outside"), here.store.read_blob(&image.id, CONFIG_LIMIT).unwrap()).unwrap();
    let good = Parts::of(&here.save(&["a:1"], Format::DockerArchive));
    let outside = here.path("outside").to_string_lossy().into_owned();
    for config in ["../outside", "/etc/passwd", &outside, "a/../../outside", "", ".", "blobs", "\0"] {
        let mut bad = Parts(
            good.0
                .iter()
                .filter(|(name, _)| !name.starts_with("oci") && *name != "index.json")
                .map(|(n, c)| (n.clone(), c.clone()))
                .collect(),
        );
        let mut list = bad.json("manifest.json");
        list[0]["Config"] = json!(config);
        bad.set("manifest.json", &list);
        assert!(here.load_elsewhere(&bad.archive()).is_err(), "{config:?}");
    }
    for name in ["../evil:1", "A:1", "a:1 ", "a@sha256:00", "http://x/y"] {
        let mut bad = good.clone();
        bad.0.remove("index.json");
        let mut list = bad.json("manifest.json");
        list[0]["RepoTags"] = json!([name]);
        bad.set("manifest.json", &list);
        assert!(here.load_elsewhere(&bad.archive()).is_err(), "{name:?}");
    }
}

#[test]
fn a_layer_that_reaches_out_is_refused() {
    let here = world();
    here.image("a:1", &[("file", "content")]);
    let good = Parts::of(&here.save(&["a:1"], Format::OciArchive));
    let outside = here.path("outside");
    fs::write(&outside, "kept").unwrap();
    let up = format!("{}{}", "../".repeat(30), outside.display()).replace("//", "/");
    for hostile in [up.as_str(), "../x", "a/../../x", ".wh..wh.x", "\u{1}/.wh..."] {
        let mut bytes = tar_of(&[("0", "evil")]);
        // The library that writes this tar would refuse the name.
        bytes[..hostile.len()].copy_from_slice(hostile.as_bytes());
        let sum: u32 = bytes[..512]
            .iter()
            .enumerate()
            .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
            .sum();
        bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let mut bad = good.clone();
        let (digest, size) = bad.blob(&bytes);
        bad.rewrite(|manifest, config| {
            manifest["layers"][0]["digest"] = json!(digest);
            manifest["layers"][0]["size"] = json!(size);
            config["rootfs"]["diff_ids"][0] = json!(digest);
        });
        if let Ok((_, there)) = here.load_elsewhere(&bad.archive()) {
            assert!(there.store.check(false).unwrap().is_sound(), "{hostile}: taken for a name inside");
        }
        assert_eq!(fs::read_to_string(&outside).unwrap(), "kept", "{hostile}");
    }
}

#[test]
fn indexes_are_walked_within_bounds() {
    let here = world();
    let image = here.image("a:1", &[("file", "content")]);
    let good = Parts::of(&here.save(&["a:1"], Format::OciArchive));
    let manifest = good.json("index.json")["manifests"][0].clone();
    let index_of = |manifests: Value| json!({"schemaVersion": 2, "mediaType": media_type::INDEX, "manifests": manifests});
    let descriptor = |parts: &mut Parts, document: &Value| {
        let (digest, size) = parts.blob(document.to_string().as_bytes());
        json!({"mediaType": media_type::INDEX, "digest": digest, "size": size})
    };
    // One image for several machines: this one's is taken, and gets the name.
    let mut several = good.clone();
    let mut foreign = manifest.clone();
    foreign["platform"] = json!({"os": "linux", "architecture": "s390x"});
    foreign["digest"] = json!(Digest::of(b"not in the archive"));
    let mut mine = manifest.clone();
    mine["platform"] = json!(crate::document::Platform::host());
    let mut outer = descriptor(&mut several, &index_of(json!([foreign, mine])));
    outer["annotations"] = json!({"io.containerd.image.name": "docker.io/library/several:1"});
    several.set("index.json", &index_of(json!([outer])));
    let (loaded, _) = here.load_elsewhere(&several.archive()).unwrap();
    assert_eq!(
        (loaded.len(), loaded[0].image.id, loaded[0].names[0].familiar()),
        (1, image.id, "several:1".to_string())
    );
    // Deep, and one that fans out to the same index again and again.
    let mut deep = good.clone();
    let mut inner = index_of(json!([manifest]));
    for _ in 0..8 {
        inner = index_of(json!([descriptor(&mut deep, &inner)]));
    }
    deep.set("index.json", &inner);
    assert_eq!(here.load_elsewhere(&deep.archive()).map(drop).unwrap_err().kind(), Kind::Limit);
    let mut wide = good.clone();
    let mut inner = index_of(json!([]));
    for _ in 0..3 {
        let one = descriptor(&mut wide, &inner);
        inner = index_of(Value::Array(vec![one; 900]));
    }
    wide.set("index.json", &inner);
    assert_eq!(
        here.load_elsewhere(&wide.archive()).map(drop).unwrap_err().kind(),
        Kind::Invalid,
        "walked once, nothing found"
    );
}

#[test]
fn metadata_is_bounded() {
    let here = world();
    here.image("a:1", &[("file", "content")]);
    let good = Parts::of(&here.save(&["a:1"], Format::DockerArchive));
    for (name, size) in [("index.json", MANIFEST_LIMIT + 1), ("oci-layout", 5000)] {
        let mut bad = good.clone();
        bad.0.get_mut(name).unwrap().resize(size as usize, b' ');
        assert!(here.load_elsewhere(&bad.archive()).is_err(), "{name}");
    }
    let mut bad = good.clone();
    bad.0.remove("index.json");
    bad.0.get_mut("manifest.json").unwrap().resize(MANIFEST_LIMIT as usize + 1, b' ');
    assert!(here.load_elsewhere(&bad.archive()).is_err());
    let list = bad.0.get_mut("manifest.json").unwrap();
    *list = Value::Array(vec![json!({"Config": "x", "Layers": []}); 1001]).to_string().into_bytes();
    assert_eq!(here.load_elsewhere(&bad.archive()).map(drop).unwrap_err().kind(), Kind::Limit);
}

#[test]
fn what_is_no_archive_of_images_is_refused() {
    let here = world();
    let empty = tar_of(&[]);
    let plain = tar_of(&[("file", "content")]);
    let noise = vec![0x5a; 70_000];
    let cut = gzip(&plain);
    for bytes in [
        &b""[..],
        b"x",
        &empty,
        &plain,
        &noise,
        &gzip(b""),
        &cut[..cut.len() / 2],
        &[0x1f, 0x8b],
        &[0x28, 0xb5, 0x2f, 0xfd],
    ] {
        assert!(here.load_elsewhere(bytes).is_err());
    }
    let image = here.image("a:1", &[("file", "content")]);
    let whole = here.save(&["a:1"], Format::OciArchive);
    for length in (0..whole.len() - 1024).step_by(512) {
        assert!(here.load_elsewhere(&whole[..length]).is_err(), "cut at {length} of {}", whole.len());
    }
    assert!(here.store.find(&image.id.to_string()).is_ok());
}

#[test]
fn a_failed_load_leaves_other_images_as_they_were() {
    let here = world();
    here.image("a:1", &[("file", "content")]);
    here.image("b:1", &[("file", "other")]);
    let mut parts = Parts::of(&here.save(&["a:1", "b:1"], Format::OciArchive));
    let b = here.store.find("b:1").unwrap();
    parts.0.remove(&format!("blobs/sha256/{}", b.id.hex()));
    let there = world();
    there.image("a:1", &[("file", "content of another a")]);
    let before = there.store.find("a:1").unwrap();
    assert!(load(&there.store, &parts.archive()[..]).is_err());
    assert_eq!(there.store.find("a:1").unwrap().manifest, before.manifest);
    let report = there.store.check(false).unwrap();
    assert!(report.is_sound() && report.leftovers.is_empty() && report.images == 1, "{report:?}");
    // A good one says which name it takes.
    let good = here.save(&["a:1"], Format::OciArchive);
    let loaded = load(&there.store, &good[..]).unwrap();
    assert_eq!(loaded[0].taken, [("a:1".parse().unwrap(), before.id)]);
}

#[test]
fn a_damaged_layer_is_not_saved() {
    let here = world();
    let image = here.image("a:1", &[("file", "content")]);
    fs::write(image.layer_roots(&here.store)[0].join("file"), "changed").unwrap();
    let saved = [Saved { image, names: vec![] }];
    let error = save(&here.store, &saved, Format::OciArchive, &mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
}

#[test]
fn an_import_that_fails_leaves_nothing() {
    let here = world();
    let good = tar_of(&[("file", "content")]);
    for (bytes, change) in [(&good[..good.len() - 1500], ""), (&b"noise"[..], ""), (&good[..], "RUN x")] {
        let changes = if change.is_empty() { vec![] } else { vec![change.to_string()] };
        let options = ImportOptions { changes, ..ImportOptions::default() };
        assert!(import(&here.store, bytes, &options).is_err());
        here.assert_empty();
    }
    for packed in [good.clone(), gzip(&good), zstd(&good)] {
        let options = ImportOptions {
            changes: vec!["CMD [\"x\"]".into()],
            message: Some("m".into()),
            ..ImportOptions::default()
        };
        let image = import(&here.store, &packed[..], &options).unwrap();
        assert_eq!(image.config.config.cmd, Some(vec!["x".to_string()]));
        assert_eq!(image.config.history[0].comment.as_deref(), Some("m"));
    }
    let digests: std::collections::BTreeSet<_> =
        here.store.images().unwrap().iter().map(|image| image.layers[0].digest).collect();
    assert_eq!(digests.len(), 1, "the layer is a function of the files");
}

#[test]
fn errors_name_what_they_are_about() {
    let here = world();
    let error: Error = here.load_elsewhere(&tar_of(&[("manifest.json", "{")])).map(drop).unwrap_err();
    assert_eq!(error.to_string(), "file \"manifest.json\" of the archive is malformed");
    let list = r#"[{"Config": "c.json", "Layers": []}]"#;
    let error = here.load_elsewhere(&tar_of(&[("manifest.json", list)])).map(drop).unwrap_err();
    assert_eq!(error.to_string(), "the archive has no file \"c.json\"");
}
