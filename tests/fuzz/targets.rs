//! The list of targets. A parser of foreign bytes that is not here is not fuzzed: add it with the parser.

use builder::dockerfile::fuzz;
use image::archive::{self, Format, ImportOptions, Saved};
use image::digest::Digest;
use image::document::{ImageConfig, Index, Manifest, media_type};
use image::layers::fuzz as layers;
use image::reference::Reference;
use image::store::Store;
use runtime::monitor::protocol::{self, Create, CreateFlags, Request, Subject, encode_request};

/// An entry point, what to begin with, and words it reacts to.
#[derive(Debug)]
pub struct Target {
    /// How the command line calls it.
    pub name: &'static str,
    /// Must return, whatever the bytes are.
    pub run: fn(&[u8]),
    /// Good inputs, and bad ones that once hurt.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Inserted as they are.
    pub words: &'static [&'static str],
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "dockerfile", run: fuzz::dockerfile, seeds: dockerfiles, words: DOCKERFILE_WORDS },
    Target {
        name: "expansion",
        run: fuzz::expansion,
        seeds: expansions,
        words: &["${", "}", ":-", ":+", "##", "%", "//"],
    },
    Target {
        name: "ignore-file",
        run: fuzz::ignore_file,
        seeds: ignore_files,
        words: &["**", "!", "[a-", "]", "/", "..", "\\"],
    },
    Target { name: "build-plan", run: builder::plan::fuzz, seeds: dockerfiles, words: DOCKERFILE_WORDS },
    Target {
        name: "recorded-digests",
        run: builder::cache::recorded::fuzz,
        seeds: recorded_digests,
        words: &["hullfd1\0", "\0\0\0\0\0\0\0\0", "\u{1}\0\0\0\0\0\0\0"],
    },
    Target { name: "image-documents", run: documents, seeds: document_seeds, words: DOCUMENT_WORDS },
    Target {
        name: "reference",
        run: reference,
        seeds: references,
        words: &["@sha256:", ":5000/", "//", ".", "localhost/"],
    },
    Target { name: "layer", run: layers::layer, seeds: layer_tars, words: LAYER_WORDS },
    Target { name: "archive-extraction", run: layers::archive, seeds: layer_tars, words: LAYER_WORDS },
    Target { name: "compression", run: layers::compressed, seeds: layers::compressed_seeds, words: &[] },
    Target { name: "image-archive", run: image_archive, seeds: image_archives, words: ARCHIVE_WORDS },
    Target { name: "monitor-protocol", run: protocol::fuzz, seeds: monitor_packets, words: &[] },
    Target {
        name: "container-log",
        run: runtime::monitor::log::read::fuzz,
        seeds: container_logs,
        words: &["\n", " stdout F ", " stderr P ", ":", "2026-08-13T07:07:37.123456789Z"],
    },
    Target { name: "network", run: runtime::network::fuzz, seeds: network_documents, words: NETWORK_WORDS },
];

const DOCKERFILE_WORDS: &[&str] = &[
    "\n",
    "\\\n",
    "FROM ",
    " AS ",
    "RUN ",
    "RUN <<EOF\n",
    "\nEOF\n",
    "COPY --from=",
    "ADD ",
    "ENV a=",
    "ARG ",
    "ONBUILD ",
    "SHELL [\"",
    "HEALTHCHECK ",
    "# escape=`\n",
    "--mount=type=cache,target=",
    "\"",
    "[\"",
    "\", \"",
    "\"]",
];

const NETWORK_WORDS: &[&str] = &[
    "\"plugins\":[]",
    "\"cniVersion\":\"1.0.0\"",
    "\"cniVersions\":[\"1.1.0\"]",
    "\"type\":\"../x\"",
    "\"interface\":9",
    "::/0",
    "null",
    "[[[[[[[[",
];

const DOCUMENT_WORDS: &[&str] = &[
    "\"manifests\":[]",
    "\"layers\":[]",
    "\"mediaType\":",
    "\"schemaVersion\":2,",
    "null",
    "[[[[[[[[",
    "{\"a\":",
    "\\u0000",
    "1e999",
    "-1",
];

const LAYER_WORDS: &[&str] = &[
    ".wh.",
    ".wh..wh..opq",
    "../",
    "/",
    "out/file",
    "ustar\0",
    "ustar  \0",
    "12 path=a/b\n",
    "12 size=1000\n",
    "30 SCHILY.xattr.user.a=value\n",
    "0000777\0",
];

const ARCHIVE_WORDS: &[&str] = &[
    "\"Config\":",
    "\"Layers\":[\"../x\"]",
    "\"RepoTags\":null",
    "ustar\0",
    "../",
    "blobs/sha256/",
    "manifest.json",
    "index.json",
];

fn dockerfiles() -> Vec<Vec<u8>> {
    let written = [
        "# syntax=docker/dockerfile:1\nARG V=1\nFROM busybox:${V} AS base\nRUN echo \"a b\" && \\\n  # comment\n  true\n",
        "FROM scratch\nCOPY --from=base --chown=1:2 --chmod=u+x [\"a b\", \"/c\"]\nADD x.tar /\nENV A=1 B=\"two words\" C\\ D=e\n",
        "FROM a\nRUN <<A <<-B\none\nA\n\ttwo\nB\nCOPY <<\"END\" /file\n$not\nEND\nHEALTHCHECK --interval=1m30s CMD [\"x\"]\n",
        "# escape=`\nFROM a\nRUN --mount=type=bind,from=b,source=/x,target=/y --network=none x `\n  y\nONBUILD RUN z\nSHELL [\"sh\"]\n",
        "FROM --platform=linux/arm64/v8 a@sha256:0 AS b\nEXPOSE 80/tcp 90-99/udp $P\nSTOPSIGNAL SIGRTMIN+3\nUSER 1:2\nVOLUME /a /b\nWORKDIR c\n",
    ];
    written.map(|text| text.as_bytes().to_vec()).to_vec()
}

/// One directory `d` with one entry `f`.
fn recorded_digests() -> Vec<Vec<u8>> {
    let entry = [&[7; 40 + 32][..], &[1, 0], b"f"].concat();
    let mut file = b"hullfd1\0".to_vec();
    file.extend(1u64.to_le_bytes());
    file.extend(1u32.to_le_bytes());
    file.extend(b"d");
    file.extend(2049u64.to_le_bytes());
    file.extend((entry.len() as u64).to_le_bytes());
    file.extend(entry);
    vec![file, b"hullfd1\0\0\0\0\0\0\0\0\0".to_vec()]
}

fn expansions() -> Vec<Vec<u8>> {
    let written = [
        "$A/${EMPTY:-d}/${A:+x}",
        "'$A' \"$A\" \\$A",
        "${PATH#*:}${PATH%%:*}${A/a/b}${A//l/${EMPTY}}",
        "${A?none} ${UNSET:?say}",
    ];
    written.map(|text| text.as_bytes().to_vec()).to_vec()
}

fn ignore_files() -> Vec<Vec<u8>> {
    let written = ["# comment\n*.txt\n!a/b/c.txt\n**/node_modules\n", "/a/../b\n[a-z]?\\*\n**/x/**/y**\n"];
    written.map(|text| text.as_bytes().to_vec()).to_vec()
}

fn documents(bytes: &[u8]) {
    let _ = Manifest::parse(bytes, media_type::MANIFEST);
    let _ = Index::parse(bytes, media_type::INDEX);
    let _ = ImageConfig::parse(bytes);
}

fn document_seeds() -> Vec<Vec<u8>> {
    let zeros = "0".repeat(64);
    let descriptor = |kind: &str| format!(r#"{{"mediaType":"{kind}","digest":"sha256:{zeros}","size":12}}"#);
    let (config, layer) = (descriptor(media_type::CONFIG), descriptor(media_type::LAYER_GZIP));
    let (manifest, kind) = (descriptor(media_type::MANIFEST), media_type::MANIFEST);
    vec![
        format!(r#"{{"schemaVersion":2,"mediaType":"{kind}","config":{config},"layers":[{layer}]}}"#).into_bytes(),
        format!(r#"{{"schemaVersion":2,"manifests":[{manifest}],"annotations":{{"a":"b"}}}}"#).into_bytes(),
        format!(
            r#"{{"architecture":"amd64","os":"linux","created":"2026-01-02T03:04:05.678Z","config":{{"Env":["A=b"],"Cmd":["x"],"User":"1:2","ExposedPorts":{{"80/tcp":{{}}}},"Healthcheck":{{"Test":["NONE"]}}}},"rootfs":{{"type":"layers","diff_ids":["sha256:{zeros}"]}},"history":[{{"created_by":"x","empty_layer":true}}]}}"#
        )
        .into_bytes(),
    ]
}

fn reference(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = text.parse::<Digest>();
    if let Ok(reference) = text.parse::<Reference>() {
        // What is shown in full must mean the same when it is typed.
        let shown = reference.to_string();
        assert_eq!(shown.parse::<Reference>().ok().as_ref(), Some(&reference), "{shown}");
    }
}

fn references() -> Vec<Vec<u8>> {
    let digest = format!("sha256:{}", "a".repeat(64));
    vec![
        b"register:0.0.1".to_vec(),
        b"localhost:5000/a/b_c/d-e:Tag.1".to_vec(),
        format!("example.org/x@{digest}").into_bytes(),
        format!("x:y@{digest}").into_bytes(),
        digest.into_bytes(),
    ]
}

/// Whatever an archive holds, a load that fails leaves the store as it was.
fn image_archive(bytes: &[u8]) {
    let folder = scratch();
    let store = Store::open(folder.path()).expect("an empty folder becomes a store");
    let loaded = archive::load(&store, bytes);
    let report = store.check(false).expect("the store can be checked");
    assert!(report.is_sound() && report.leftovers.is_empty(), "{report:?}");
    assert!(loaded.is_ok() || report.images == 0, "{report:?}");
}

/// In memory where that is possible: a load syncs the whole file system.
fn scratch() -> tempfile::TempDir {
    let memory = std::path::Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    folder.expect("the temporary folder can be written")
}

fn image_archives() -> Vec<Vec<u8>> {
    let folder = scratch();
    let store = Store::open(folder.path()).expect("an empty folder becomes a store");
    let options = ImportOptions { name: "seed:1".parse().ok(), ..ImportOptions::default() };
    let files = tar_of(&[("file", b"content"), ("folder/other", b"more")]);
    let image = archive::import(&store, &files[..], &options).expect("a plain archive is imported");
    let mut seeds = Vec::new();
    for format in [Format::DockerArchive, Format::OciArchive] {
        let mut bytes = Vec::new();
        let saved = [Saved { image: image.clone(), names: image.names.clone() }];
        archive::save(&store, &saved, format, &mut bytes).expect("a whole image is saved");
        seeds.push(bytes);
    }
    let config = store.read_blob(&image.id, 1 << 20).expect("the image was just made");
    let list =
        format!(r#"[{{"Config":"{0}.json","RepoTags":["old:1"],"Layers":["1/layer.tar"]}}]"#, image.id.hex());
    let name = format!("{}.json", image.id.hex());
    seeds.push(tar_of(&[(&name, &config), ("1/layer.tar", &files), ("manifest.json", list.as_bytes())]));
    seeds
}

/// One of every kind of entry.
fn layer_tars() -> Vec<Vec<u8>> {
    let kinds = [
        ("a/", tar::EntryType::Directory, ""),
        ("a/.wh.gone", tar::EntryType::Regular, ""),
        ("a/file", tar::EntryType::Regular, ""),
        ("link", tar::EntryType::Symlink, "../canary"),
        ("hard", tar::EntryType::Link, "a/file"),
        ("lower", tar::EntryType::Link, "usr/x"),
        ("null", tar::EntryType::Char, ""),
        ("pipe", tar::EntryType::Fifo, ""),
        ("b/.wh..wh..opq", tar::EntryType::Regular, ""),
    ];
    let mut archive = tar::Builder::new(Vec::new());
    for (name, kind, target) in kinds {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_uid(1);
        header.set_gid(2);
        header.set_mtime(3);
        header.set_size(0);
        let numbered = header.set_device_major(1).and_then(|()| header.set_device_minor(3));
        numbered.and_then(|()| header.set_path(name)).expect("the names are short");
        if !target.is_empty() {
            header.set_link_name(target).expect("the names are short");
        }
        header.set_cksum();
        archive.append(&header, &[][..]).expect("memory can be written");
    }
    let long = "long/".repeat(60);
    vec![archive.into_inner().expect("memory can be written"), tar_of(&[("x", &[7; 1500])]), {
        let mut header = tar::Header::new_gnu();
        header.set_size(4);
        header.set_mode(0o4755);
        let mut archive = tar::Builder::new(Vec::new());
        archive.append_data(&mut header, format!("{long}file"), &b"deep"[..]).expect("memory can be written");
        archive.into_inner().expect("memory can be written")
    }]
}

fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, name, *content).expect("memory can be written");
    }
    archive.into_inner().expect("memory can be written")
}

fn monitor_packets() -> Vec<Vec<u8>> {
    let subject = Subject::Container("c1");
    let flags = CreateFlags { stdin: true, bound: true, ..CreateFlags::default() };
    let create =
        Create { container: "c1", folder: "/c1", log: Some("/l"), log_size: Some(9), log_files: 2, flags };
    let requests = [
        Request::Status { container: None },
        Request::Signal { subject, number: 15, all: true },
        Request::Resize { subject: Subject::Exec, rows: 24, columns: 80 },
        Request::Create(create),
    ];
    requests.iter().map(|request| encode_request(request, 1).as_bytes().to_vec()).collect()
}

fn container_logs() -> Vec<Vec<u8>> {
    let entry = |stream: &str, tag: &str, content: &str| {
        format!("2026-08-13T07:07:37.123456789Z {stream} {tag} {content}\n")
    };
    let lines = [entry("stdout", "F", "hello"), entry("stderr", "P", "be"), entry("stderr", "F", "gun")];
    let long = entry("stdout", "F", &"x".repeat(70_000));
    vec![lines.concat().into_bytes(), [&lines[0], &long, &lines[1]].map(String::as_str).concat().into_bytes()]
}

fn network_documents() -> Vec<Vec<u8>> {
    let texts = [
        r#"{"cniVersion":"1.0.0","name":"n","disableCheck":true,"plugins":[{"type":"bridge","isGateway":true,"ipam":{"type":"host-local","ranges":[[{"subnet":"10.1.0.0/16"}]]}},{"type":"portmap","capabilities":{"portMappings":true}}]}"#,
        r#"{"cniVersion":"0.3.1","name":"n","type":"ptp"}"#,
        r#"{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","mac":"aa","sandbox":"/n"}],"ips":[{"interface":0,"address":"10.1.0.2/16","gateway":"10.1.0.1"},{"address":"fd00::2/64"}],"routes":[{"dst":"::/0"}],"dns":{"nameservers":["1.1.1.1"]}}"#,
        r#"{"cniVersion":"1.0.0","code":7,"msg":"no","details":"way"}"#,
    ];
    texts.into_iter().map(|text| text.as_bytes().to_vec()).collect()
}
