//! Images as files, exchanged with other people's programs, and the image verbs on the way.

use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use tests::{Command, Outcome, Sandbox, SmallDisk, needs};

/// podman with storage of its own below the sandbox.
fn podman(sandbox: &Sandbox, arguments: &[&str]) -> Outcome {
    let storage = |name: &str| sandbox.path().join(name).into_os_string();
    // Plain folders: its overlay would leave mounts behind.
    let run: Command = sandbox
        .command("podman")
        .args(["--storage-driver".into(), "vfs".into(), "--root".into(), storage("podman")])
        .args(["--runroot".into(), storage("podman-run")])
        .args(arguments);
    run.run()
}

fn skopeo(sandbox: &Sandbox, arguments: &[&str]) -> Outcome {
    sandbox.command("skopeo").args(["--insecure-policy"]).args(arguments).run()
}

fn image_id(sandbox: &Sandbox, name: &str) -> String {
    let outcome = sandbox.rrun(["inspect", "--format", "{{.Id}}", name]).run();
    outcome.succeeds();
    outcome.stdout().trim().to_string()
}

/// Loads a file into a store of its own and returns what was printed.
fn load_afresh(sandbox: &Sandbox, file: &str) -> (Sandbox, Outcome) {
    let fresh = Sandbox::new();
    let outcome = fresh.rrun([Path::new("load"), Path::new("-i"), &sandbox.path().join(file)]).run();
    outcome.succeeds();
    fresh.store_is_clean();
    (fresh, outcome)
}

#[test]
fn podman_loads_what_we_save() {
    needs!("root", "podman");
    let sandbox = Sandbox::new();
    sandbox.import_busybox();
    let id = image_id(&sandbox, "busybox");
    sandbox.rrun(["tag", "busybox", "quay.io/x/y:2"]).run().succeeds();
    sandbox.rrun(["save", "-o", "docker.tar", "busybox", "quay.io/x/y:2"]).run().succeeds();
    sandbox.rrun(["save", "--format", "oci-archive", "-o", "oci.tar", "busybox"]).run().succeeds();
    for (file, names) in [
        ("docker.tar", &["docker.io/library/busybox:latest", "quay.io/x/y:2"][..]),
        ("oci.tar", &names_of_oci()),
    ] {
        podman(&sandbox, &["load", "-i", file]).succeeds();
        for name in names {
            podman(&sandbox, &["inspect", "--format", "{{.Id}}", name])
                .succeeds()
                .stdout_has(&id["sha256:".len()..]);
        }
        podman(&sandbox, &["rmi", "--all", "--force"]).succeeds();
    }
}

fn names_of_oci() -> [&'static str; 1] {
    ["docker.io/library/busybox:latest"]
}

#[test]
fn we_load_what_podman_saves() {
    needs!("root", "podman");
    let sandbox = Sandbox::new();
    sandbox.import_busybox();
    let id = image_id(&sandbox, "busybox");
    sandbox.rrun(["save", "-o", "ours.tar", "busybox"]).run().succeeds();
    podman(&sandbox, &["load", "-i", "ours.tar"]).succeeds();
    for (format, file) in
        [("docker-archive", "docker.tar"), ("oci-archive", "oci.tar"), ("oci-dir", "folder")]
    {
        podman(&sandbox, &["save", "--format", format, "-o", file, "docker.io/library/busybox:latest"])
            .succeeds();
        let (fresh, _) = load_afresh(&sandbox, file);
        fresh.rrun(["images", "--no-trunc", "-q"]).run().succeeds().stdout_is(&format!("{id}\n"));
    }
}

#[test]
fn skopeo_and_we_read_each_other() {
    needs!("root", "skopeo");
    let sandbox = Sandbox::new();
    sandbox.import_busybox();
    let id = image_id(&sandbox, "busybox");
    sandbox.rrun(["save", "-o", "ours.tar", "busybox"]).run().succeeds();
    sandbox.rrun(["save", "--format", "oci-archive", "-o", "ours-oci.tar", "busybox"]).run().succeeds();
    sandbox.rrun(["save", "--format", "oci-dir", "-o", "ours-dir", "busybox"]).run().succeeds();
    let name = "docker.io/library/busybox:latest";
    let sources = [
        format!("docker-archive:ours.tar:{name}"),
        format!("oci-archive:ours-oci.tar:{name}"),
        format!("oci:ours-dir:{name}"),
    ];
    for (number, source) in sources.iter().enumerate() {
        for (kind, compress) in [("docker-archive", "false"), ("oci-archive", "false"), ("oci", "true")] {
            let file = format!("{kind}-{number}");
            let target = format!("{kind}:{file}:{name}");
            let compress = format!("--dest-compress={compress}");
            skopeo(&sandbox, &["copy", &compress, source, &target]).succeeds();
            let (fresh, outcome) = load_afresh(&sandbox, &file);
            outcome.stdout_is("Loaded image: busybox:latest\n");
            assert_eq!(image_id(&fresh, "busybox"), id, "{source} {kind}");
        }
    }
}

#[test]
fn zstd_layers_of_skopeo_are_loaded() {
    needs!("root", "skopeo");
    let sandbox = Sandbox::new();
    sandbox.import_busybox();
    let id = image_id(&sandbox, "busybox");
    sandbox.rrun(["save", "--format", "oci-dir", "-o", "ours", "busybox"]).run().succeeds();
    let source = "oci:ours:docker.io/library/busybox:latest";
    skopeo(
        &sandbox,
        &["copy", "--dest-compress-format", "zstd", "--dest-compress", source, "oci:packed:x:1"],
    )
    .succeeds();
    let (fresh, _) = load_afresh(&sandbox, "packed");
    assert_eq!(image_id(&fresh, "x:1"), id);
}

#[test]
fn umoci_unpacks_our_layout_as_we_do() {
    needs!("root", "umoci", "tar");
    let sandbox = Sandbox::new();
    sandbox.import_busybox();
    sandbox.rrun(["save", "--format", "oci-dir", "-o", "layout", "busybox"]).run().succeeds();
    sandbox
        .command("umoci")
        .args(["unpack", "--image", "layout:docker.io/library/busybox:latest", "bundle"])
        .run()
        .succeeds();
    let root = sandbox.busybox_root("reference");
    let difference =
        sandbox.command("diff").args(["-r", "--no-dereference"]).arg(root).arg("bundle/rootfs").run();
    difference.succeeds().stdout_is("");
}

#[test]
fn the_store_itself_is_a_layout_that_others_read() {
    needs!("root", "skopeo");
    let sandbox = Sandbox::new();
    sandbox.import_busybox();
    let images = sandbox.root().join("images");
    // A built layer has no blob, so only its documents can be read there.
    let source = format!("oci:{}:docker.io/library/busybox:latest", images.display());
    skopeo(&sandbox, &["inspect", "--raw", &source])
        .succeeds()
        .stdout_has("application/vnd.oci.image.manifest.v1+json");
    skopeo(&sandbox, &["inspect", "--config", &source]).succeeds().stdout_has("diff_ids");
}

#[test]
fn archives_come_and_go_through_pipes_and_compressed() {
    needs!("root", "tar");
    let sandbox = Sandbox::new();
    sandbox.import_busybox();
    let saved = sandbox.rrun(["save", "busybox"]).run();
    saved.succeeds();
    sandbox.write("plain.tar", saved.stdout_bytes());
    sandbox.command("tar").args(["-tf", "plain.tar"]).run().succeeds().stdout_has("manifest.json\n");
    sandbox.command("gzip").args(["-k", "plain.tar"]).run().succeeds();
    let packed = std::fs::read(sandbox.path().join("plain.tar.gz")).expect("gzip wrote it");
    let fresh = Sandbox::new();
    for input in [saved.stdout_bytes(), &packed] {
        fresh.rrun(["load"]).stdin(input).run().succeeds().stdout_is("Loaded image: busybox:latest\n");
        fresh.rrun(["rmi", "busybox"]).run().succeeds();
    }
    fresh.store_is_clean();
    fresh.rrun(["load", "-q", "-i", "-"]).stdin(saved.stdout_bytes()).run().succeeds().stdout_has("sha256:");
    let again = fresh.rrun(["save", "busybox"]).run();
    assert!(again.stdout_bytes() == saved.stdout_bytes(), "what was loaded is saved as the same bytes");
}

#[test]
fn images_are_listed_tagged_and_removed_as_with_docker() {
    needs!("root");
    let sandbox = Sandbox::new();
    sandbox.import_busybox();
    let id = image_id(&sandbox, "busybox");
    let short = &id["sha256:".len()..][..12];
    sandbox.rrun(["tag", "busybox", "other:1"]).run().succeeds().stdout_is("");
    let table = sandbox.rrun(["images"]).run();
    table.succeeds().stdout_has("REPOSITORY   TAG       IMAGE ID       CREATED").stdout_has(short);
    assert_eq!(table.stdout().lines().count(), 3);
    let lines = |arguments: &[&str]| sandbox.rrun(arguments).run().succeeds().stdout();
    assert_eq!(lines(&["images", "--format", "{{.Repository}}:{{.Tag}}"]), "busybox:latest\nother:1\n");
    assert_eq!(lines(&["images", "--format", "{{.Tag}}", "other"]), "1\n");
    assert_eq!(lines(&["images", "-q", "--filter", "reference=busy*"]), format!("{short}\n"));
    assert_eq!(lines(&["images", "-q", "--filter", "dangling=true"]), "");
    assert_eq!(lines(&["rmi", "other:1"]), "Untagged: other:1\n");
    // A name that moves leaves the old image without one.
    sandbox
        .rrun(["import", "-c", "CMD [\"sh\"]", "-m", "second", "-", "busybox"])
        .stdin(archive())
        .run()
        .succeeds();
    assert_eq!(lines(&["images", "-q", "--filter", "dangling=true"]), format!("{short}\n"));
    assert_eq!(lines(&["images", "--format", "{{.Repository}}", "--filter", "dangling=true"]), "<none>\n");
    sandbox
        .rrun(["history", "busybox"])
        .run()
        .succeeds()
        .stdout_has("import standard input")
        .stdout_has("second");
    sandbox.rrun(["rmi", short]).run().succeeds().stdout_has(&format!("Deleted: {id}\n"));
    let described = sandbox.rrun(["inspect", "busybox"]).run().succeeds().json();
    assert_eq!(described[0]["RepoTags"], json!(["busybox:latest"]));
    assert_eq!(described[0]["Config"]["Cmd"], json!(["sh"]));
    assert_eq!(described[0]["RootFS"]["Layers"].as_array().map(Vec::len), Some(1));
    sandbox
        .rrun(["rmi", "busybox"])
        .run()
        .succeeds()
        .stdout_has("Untagged: busybox:latest\nDeleted: sha256:");
    assert_eq!(lines(&["images", "-q"]), "");
    sandbox.store_is_clean();
}

#[test]
fn an_image_label_or_annotation_selects_nothing() {
    needs!("root");
    let sandbox = Sandbox::new();
    let keys =
        ["io.containerd.image.name", "org.opencontainers.image.ref.name", "image", "hull", "io.hull.pinned"];
    let mut arguments = vec!["import".to_string()];
    for key in keys {
        arguments.extend(["-c".to_string(), format!("LABEL {key}=docker.io/library/stolen:1")]);
    }
    arguments.extend(["-".to_string(), "labelled".to_string()]);
    sandbox.rrun(&arguments).stdin(archive()).run().succeeds();
    sandbox.rrun(["save", "-o", "x.tar", "labelled"]).run().succeeds();
    let (fresh, _) = load_afresh(&sandbox, "x.tar");
    fresh
        .rrun(["images", "--format", "{{.Repository}}:{{.Tag}}"])
        .run()
        .succeeds()
        .stdout_is("labelled:latest\n");
}

#[test]
fn a_full_disk_names_the_store_and_leaves_it_whole() {
    needs!("root");
    let mut sandbox = Sandbox::new();
    let disk = SmallDisk::new(&sandbox, 6 << 20);
    sandbox.import_busybox();
    sandbox.rrun(["save", "-o", "plain.tar", "busybox"]).run().succeeds();
    sandbox.command("gzip").args(["-k", "plain.tar"]).run().succeeds();
    sandbox.set_root(disk.path().join("root"));
    sandbox.rrun(["images"]).run().succeeds();
    // Room for the blob, not for the folder; then for neither.
    for left in [3 << 20, 1 << 20] {
        let ballast = disk.fill(left);
        for file in ["plain.tar", "plain.tar.gz"] {
            let outcome = sandbox.rrun(["load", "-i", file]).run();
            outcome.fails(1, &[file, "o space left", "--root"]);
            sandbox.rrun(["system", "check"]).run().succeeds().stdout_is("0 images checked, no damage\n");
        }
        std::fs::remove_file(ballast).expect("it was just made");
    }
    sandbox.rrun(["load", "-i", "plain.tar"]).run().succeeds();
    sandbox.store_is_clean();
}

#[test]
fn a_load_killed_at_any_point_leaves_nothing_for_long() {
    needs!("root");
    let sandbox = Sandbox::new();
    sandbox.write("big", vec![7; 40 << 20]);
    sandbox.command("tar").args(["-cf", "root.tar", "big"]).run().succeeds();
    let source = Sandbox::new();
    source
        .rrun(["import".as_ref(), sandbox.path().join("root.tar").as_os_str(), "big".as_ref()])
        .run()
        .succeeds();
    source
        .rrun(["save".as_ref(), "-o".as_ref(), sandbox.path().join("big.tar").as_os_str(), "big".as_ref()])
        .run()
        .succeeds();
    for round in 0..25 {
        let verb: &[&str] =
            if round % 2 == 0 { &["load", "-i", "big.tar"] } else { &["import", "root.tar", "big"] };
        let running = sandbox.rrun(verb).spawn();
        std::thread::sleep(Duration::from_millis(round * 9));
        running.signal(Signal::KILL);
        running.wait();
        sandbox.store_is_clean();
    }
    sandbox.rrun(["load", "-i", "big.tar"]).run().succeeds();
    sandbox.rrun(["system", "check"]).run().succeeds().stdout_lacks("left over");
    let kept = std::fs::read_dir(sandbox.root().join("trash")).map(Iterator::count);
    assert_eq!(kept.expect("the store is there"), 0);
}

fn archive() -> Vec<u8> {
    std::fs::read(tests::busybox_archive()).expect("the archive was just made")
}
