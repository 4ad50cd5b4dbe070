//! Wrong input to the programs: a message that names the object, the right exit code, and a store that is whole after.

use std::fs;
use std::path::Path;

use rustix::process::Signal;
use tests::{Canary, Sandbox, SmallDisk, needs};

/// Asserts that a build of the context fails with all of `words`, and leaves images and store as they were.
#[track_caller]
fn build_fails(sandbox: &Sandbox, words: &[&str]) {
    let before = sandbox.rrun(["images", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"]).run().stdout();
    sandbox.rbuild(["-t", "broken", "context"]).run().fails(1, words);
    sandbox
        .rrun(["images", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"])
        .run()
        .succeeds()
        .stdout_is(&before);
    sandbox.store_is_clean();
}

#[test]
fn an_unknown_flag_is_named() {
    let sandbox = Sandbox::new();
    sandbox.rrun(["run", "--no-such-flag", "busybox"]).run().fails(125, &["--no-such-flag"]);
    sandbox.rrun(["images", "--no-such-flag"]).run().fails(125, &["--no-such-flag"]);
    sandbox.rbuild(["--no-such-flag", "."]).run().fails(1, &["--no-such-flag"]);
    sandbox.roci(["state", "--no-such-flag", "x"]).run().fails(1, &["--no-such-flag"]);
}

#[test]
fn an_unknown_verb_is_named() {
    let sandbox = Sandbox::new();
    sandbox.rrun(["frobnicate"]).run().fails(125, &["frobnicate"]);
    sandbox.roci(["frobnicate"]).run().fails(1, &["frobnicate"]);
}

#[test]
fn a_broken_dockerfile_is_shown_with_its_line() {
    needs!("root");
    let sandbox = Sandbox::with_context(&[("Dockerfile", "FROM busybox\nLABEL a=b\nRUNN true\n")]);
    build_fails(&sandbox, &["Dockerfile:3", "RUNN"]);
}

#[test]
fn a_missing_dockerfile_is_named() {
    needs!("root");
    let sandbox = Sandbox::with_context(&[("file", "")]);
    build_fails(&sandbox, &["Dockerfile"]);
}

#[test]
fn a_missing_context_is_named() {
    needs!("root");
    let sandbox = Sandbox::new();
    sandbox.rbuild(["no-such-folder"]).run().fails(1, &["no-such-folder"]);
}

#[test]
fn a_missing_base_image_is_named() {
    needs!("root");
    let sandbox = Sandbox::with_context(&[("Dockerfile", "FROM nothing:9.9\nRUN true\n")]);
    build_fails(&sandbox, &["nothing:9.9", "Dockerfile:1"]);
}

#[test]
fn a_copy_of_a_missing_file_is_named() {
    needs!("root");
    let sandbox = Sandbox::with_context(&[("Dockerfile", "FROM busybox\nCOPY absent.txt /\n")]);
    build_fails(&sandbox, &["absent.txt", "Dockerfile:2"]);
}

#[test]
fn a_copy_of_an_ignored_file_is_named_as_ignored() {
    needs!("root");
    let sandbox = Sandbox::with_context(&[
        ("Dockerfile", "FROM busybox\nCOPY secret.txt /\n"),
        ("secret.txt", "hidden"),
        (".dockerignore", "secret.txt\n"),
    ]);
    build_fails(&sandbox, &["secret.txt", ".dockerignore"]);
}

#[test]
fn a_failing_step_gives_its_command_and_code() {
    needs!("root");
    let sandbox = Sandbox::with_context(&[("Dockerfile", "FROM busybox\nRUN echo to be seen && exit 42\n")]);
    build_fails(&sandbox, &["exit 42", "42", "Dockerfile:2", "to be seen"]);
}

#[test]
fn what_is_not_built_yet_is_refused_by_name() {
    needs!("root");
    let sandbox =
        Sandbox::with_context(&[("Dockerfile", "FROM busybox\nRUN --mount=type=tmpfs,target=/t true\n")]);
    build_fails(&sandbox, &["--mount", "Dockerfile:2"]);
    sandbox.rrun(["pause", "x"]).run().fails(125, &["pause", "not available"]);
    sandbox.rrun(["run", "--restart", "always", "busybox", "true"]).run().fails(125, &["--restart"]);
    sandbox.rrun(["run", "--network", "mine", "busybox", "true"]).run().fails(125, &["bridge, none or host"]);
}

#[test]
fn a_missing_image_is_named() {
    needs!("root");
    let sandbox = Sandbox::new();
    for arguments in [
        &["run", "--rm", "--network", "none", "nothing:9.9", "true"][..],
        &["rmi", "nothing:9.9"],
        &["inspect", "nothing:9.9"],
        &["history", "nothing:9.9"],
        &["tag", "nothing:9.9", "other"],
        &["save", "-o", "x.tar", "nothing:9.9"],
    ] {
        let outcome = sandbox.rrun(arguments).run();
        outcome.stderr_has("nothing:9.9");
        assert_ne!(outcome.code(), 0, "{arguments:?}");
    }
    assert!(!sandbox.path().join("x.tar").exists(), "a failed save leaves no file");
}

#[test]
fn an_image_in_use_stays() {
    needs!("root");
    let sandbox = Sandbox::new();
    sandbox.import_busybox();
    let script = "trap 'exit 3' TERM; echo up; while :; do sleep 0.05; done";
    let mut running =
        sandbox.rrun(["run", "--rm", "--network", "none", "busybox", "sh", "-c", script]).spawn();
    running.wait_for_stdout("up");
    let outcome = sandbox.rrun(["rmi", "busybox"]).run();
    assert_ne!(outcome.code(), 0, "{outcome:?}");
    outcome.stderr_has("busybox").stderr_has("container");
    running.signal(Signal::TERM);
    running.wait().exits(3);
    sandbox.rrun(["rmi", "busybox"]).run().succeeds();
    sandbox.store_is_clean();
}

#[test]
fn corrupt_archives_are_refused_and_change_nothing() {
    needs!("root");
    let sandbox = Sandbox::new();
    sandbox.import_busybox();
    sandbox.rrun(["save", "-o", "good.tar", "busybox"]).run().succeeds();
    let good = fs::read(sandbox.path().join("good.tar")).expect("just saved");
    let mut flipped = good.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0xff;
    sandbox.write("flipped.tar", flipped);
    sandbox.write("short.tar", &good[..good.len() / 3]);
    sandbox.write("empty.tar", "");
    sandbox.write("noise.tar", vec![0x5a; 70_000]);
    let before = sandbox.rrun(["images", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"]).run().stdout();
    for name in ["flipped.tar", "short.tar", "empty.tar", "noise.tar", "absent.tar"] {
        let outcome = sandbox.rrun(["load", "-i", name]).run();
        outcome.stderr_has(name);
        assert_ne!(outcome.code(), 0, "{name} was loaded");
        sandbox.rrun(["images", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"]).run().stdout_is(&before);
        sandbox.store_is_clean();
    }
    for name in ["short.tar", "noise.tar", "absent.tar"] {
        let outcome = sandbox.rrun(["import", name, "broken"]).run();
        outcome.stderr_has(name);
        assert_ne!(outcome.code(), 0, "{name} was imported");
    }
    sandbox.rrun(["run", "--rm", "--network", "none", "busybox", "true"]).run().succeeds();
}

#[test]
fn hostile_archives_touch_nothing_outside() {
    needs!("root");
    let sandbox = Sandbox::new();
    let canary = Canary::new();
    let target = canary.path().to_string_lossy().into_owned();
    let up = format!("{}{}", "../".repeat(40), target.trim_start_matches('/'));
    let attacks: [(&str, Vec<Entry>); 6] = [
        ("dots", vec![Entry::file(&format!("{up}/secret"))]),
        ("absolute", vec![Entry::file(&format!("{target}/secret"))]),
        ("through-link", vec![Entry::link("out", &target), Entry::file("out/secret")]),
        ("through-root", vec![Entry::link(".", &target), Entry::file("secret")]),
        ("hard-link", vec![Entry::hard("mine", &format!("{up}/secret")), Entry::file("mine")]),
        (
            "folder-over-link",
            vec![Entry::link("out", &target), Entry::folder("out"), Entry::file("out/secret")],
        ),
    ];
    for (name, entries) in &attacks {
        let archive = sandbox.path().join(format!("{name}.tar"));
        fs::write(&archive, evil_tar(entries)).expect("the sandbox can be written");
        let outcome = sandbox.rrun([Path::new("import"), &archive, Path::new(name)]).run();
        assert!(outcome.code() < 126, "{name}: {outcome:?}");
        canary.is_untouched();
        sandbox.store_is_clean();
    }
}

#[test]
fn a_full_disk_is_an_error_and_no_ruin() {
    needs!("root");
    let mut sandbox = Sandbox::new();
    let disk = SmallDisk::new(&sandbox, 24 << 20);
    sandbox.set_root(disk.path().join("root"));
    sandbox.import_busybox();
    sandbox.write("context/big", vec![7; 30 << 20]);
    sandbox.write("context/small", "fits");
    sandbox.write("context/Dockerfile", "FROM busybox\nCOPY big /big\n");
    sandbox.write("context/Dockerfile.run", "FROM busybox\nRUN dd if=/dev/zero of=/big bs=1M count=40\n");
    sandbox.write("context/Dockerfile.small", "FROM busybox\nCOPY small /small\nRUN cat /small\n");

    sandbox.rbuild(["-t", "big", "context"]).run().fails(1, &["big", "o space left"]);
    sandbox.store_is_clean();
    sandbox
        .rbuild(["-t", "big", "-f", "context/Dockerfile.run", "context"])
        .run()
        .fails(1, &["o space left"]);
    sandbox.store_is_clean();
    sandbox.rbuild(["-t", "small", "-f", "context/Dockerfile.small", "context"]).run().succeeds();

    let ballast = disk.fill(64 << 10);
    let archive = tests::busybox_archive().to_string_lossy().into_owned();
    let outcome = sandbox.rrun(["import", &archive, "second"]).run();
    // The layer is there already: an import may well fit. What it may not do is half of it.
    if outcome.code() != 0 {
        outcome.stderr_has("o space left");
    }
    fs::remove_file(ballast).expect("it was just made");
    sandbox.store_is_clean();
    sandbox
        .rrun(["run", "--rm", "--network", "none", "small", "cat", "/small"])
        .run()
        .succeeds()
        .stdout_is("fits");
}

/// One member of a hostile archive.
struct Entry {
    name: String,
    kind: u8,
    target: String,
}

impl Entry {
    fn file(name: &str) -> Entry {
        Entry { name: name.to_owned(), kind: b'0', target: String::new() }
    }

    fn folder(name: &str) -> Entry {
        Entry { name: name.to_owned(), kind: b'5', target: String::new() }
    }

    fn link(name: &str, target: &str) -> Entry {
        Entry { name: name.to_owned(), kind: b'2', target: target.to_owned() }
    }

    fn hard(name: &str, target: &str) -> Entry {
        Entry { name: name.to_owned(), kind: b'1', target: target.to_owned() }
    }
}

/// The archive, header by header: a library would refuse to write such names.
fn evil_tar(entries: &[Entry]) -> Vec<u8> {
    let mut archive = Vec::new();
    for entry in entries {
        let body: &[u8] = if entry.kind == b'0' { b"overwritten" } else { b"" };
        let mut header = [0_u8; 512];
        put(&mut header, 0, entry.name.as_bytes());
        put(&mut header, 100, b"0000777\0");
        put(&mut header, 108, b"0000000\0");
        put(&mut header, 116, b"0000000\0");
        put(&mut header, 124, format!("{:011o}\0", body.len()).as_bytes());
        put(&mut header, 136, b"00000000000\0");
        put(&mut header, 148, b"        ");
        header[156] = entry.kind;
        put(&mut header, 157, entry.target.as_bytes());
        put(&mut header, 257, b"ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        put(&mut header, 148, format!("{sum:06o}\0 ").as_bytes());
        archive.extend_from_slice(&header);
        archive.extend_from_slice(body);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

fn put(header: &mut [u8; 512], at: usize, bytes: &[u8]) {
    header[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Streams that cannot be written are no crash, whoever asked.
#[test]
fn an_output_that_cannot_be_written_is_an_error_and_not_a_crash() {
    let sandbox = Sandbox::new();
    for (redirection, verb, code) in [
        (">/dev/full", "--version", 1),
        ("2>/dev/full", "--version", 0),
        ("2>/dev/full", "state nobody", 1),
        ("2>/dev/full", "nonsense", 1),
    ] {
        let script = format!("\"$HULL_ROCI\" {verb} {redirection}");
        sandbox.command("sh").args(["-c", &script]).run().exits(code);
    }
}

/// A named pipe without a writer is not waited for.
#[test]
fn a_dockerfile_that_is_a_pipe_is_refused_at_once() {
    let sandbox = Sandbox::with_context(&[]);
    let pipe = sandbox.folder("context").join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
    sandbox.rbuild(["-f", "context/pipe", "context"]).run().fails(1, &["pipe", "not a regular file"]);
}

/// What cannot be an archive is not copied to the disk first.
#[test]
fn an_endless_stream_is_no_archive() {
    let sandbox = Sandbox::new();
    sandbox.rrun(["load", "-i", "/dev/zero"]).run().fails(1, &["no archive of images"]);
}
