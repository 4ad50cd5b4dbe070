//! Builds as a whole: what lands in the image, what is known from before, and what a Dockerfile cannot do.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use rustix::process::Signal;
use tests::{Canary, Sandbox, busybox_archive, eventually, needs};

/// Builds `context` as `built`; returns the id.
fn build(sandbox: &Sandbox, flags: &[&str]) -> String {
    let outcome = sandbox.rbuild(["-q", "-t", "built"]).args(flags).arg("context").run();
    outcome.succeeds();
    outcome.stdout().trim().to_owned()
}

/// What a shell in the image prints.
fn inside(sandbox: &Sandbox, script: &str) -> String {
    let outcome = sandbox.rrun(["run", "--rm", "--network", "none", "built", "sh", "-c", script]).run();
    outcome.succeeds();
    outcome.stdout()
}

/// The config of the image `built`.
fn config(sandbox: &Sandbox) -> serde_json::Value {
    let outcome = sandbox.rrun(["inspect", "built"]).run();
    outcome.succeeds();
    outcome.json()[0]["Config"].clone()
}

/// How many steps of a build were taken from the cache, and its id.
fn cached(sandbox: &Sandbox, flags: &[&str]) -> (usize, String) {
    let outcome = sandbox.rbuild(["-t", "built"]).args(flags).arg("context").run();
    outcome.succeeds();
    let progress = outcome.stderr();
    let id = progress.lines().find_map(|line| line.strip_prefix("image ")).unwrap_or_default();
    (progress.matches("  CACHED").count(), id.to_owned())
}

#[test]
fn instructions_reach_the_image() {
    needs!("root");
    let sandbox = Sandbox::with_context(&[
        (
            "Dockerfile",
            "FROM busybox\nARG WHO=world\nENV GREETING=\"hello $WHO\" LANG=C\nWORKDIR /srv/app\n\
             RUN echo $GREETING $WHO > said && mkdir -p /etc && echo app:x:1234:5::/:/bin/sh >> /etc/passwd\nCOPY --chown=app:5 --chmod=640 a.txt .\n\
             COPY <<one <<\"two\" /docs/\n$GREETING\none\n$GREETING\ntwo\nLABEL a=b\nEXPOSE 80 53/udp\nVOLUME /data\n\
             USER app\nSTOPSIGNAL SIGINT\nHEALTHCHECK --retries=2 CMD true\nSHELL [\"/bin/sh\", \"-ec\"]\n\
             ENTRYPOINT [\"sh\", \"-c\", \"cat said; id -u\"]\n",
        ),
        ("a.txt", "A\n"),
    ]);
    build(&sandbox, &["--build-arg", "WHO=you"]);
    let outcome = sandbox.rrun(["run", "--rm", "--network", "none", "built"]).run();
    outcome.succeeds().stdout_is("hello you you\n1234\n");
    let look = ["run", "--rm", "--network", "none", "--entrypoint", "sh", "built", "-c"];
    let script = "stat -c '%u %g %a' a.txt /srv; cat /docs/one /docs/two; pwd";
    let outcome = sandbox.rrun(look).arg(script).run();
    outcome.succeeds().stdout_is("1234 5 640\n0 0 755\nhello you\n$GREETING\n/srv/app\n");
    let config = config(&sandbox);
    assert_eq!(config["User"], "app");
    assert_eq!(config["WorkingDir"], "/srv/app");
    assert_eq!(config["Labels"]["a"], "b");
    assert!(config["ExposedPorts"].get("53/udp").is_some() && config["Volumes"].get("/data").is_some());
    assert_eq!(config["Healthcheck"]["Retries"], 2);
    assert_eq!(config["Shell"][1], "-ec");
    assert!(!config["Env"].to_string().contains("WHO"), "an ARG is not kept");
    sandbox.store_is_clean();
}

#[test]
fn only_needed_stages_are_built_and_copied_from() {
    needs!("root");
    let sandbox = Sandbox::with_context(&[(
        "Dockerfile",
        "FROM busybox AS unused\nRUN exit 7\nFROM busybox AS made\nRUN mkdir -p /out/d && echo made > /out/d/file && \
         ln -s d/file /out/link && chown -R 3:4 /out/d\nFROM busybox AS other\nRUN echo other > /other\n\
         FROM scratch AS none\nCOPY --from=made /out /\nFROM busybox\nCOPY --from=made /out/ /in/\n\
         COPY --from=2 /other /in/\nCOPY --from=busybox /bin/busybox /in/tool\n",
    )]);
    build(&sandbox, &[]);
    let script =
        "cat /in/d/file /in/link /in/other; stat -c '%u %g' /in/d /in/d/file; test -x /in/tool && echo tool";
    assert_eq!(inside(&sandbox, script), "made\nmade\nother\n3 4\n3 4\ntool\n");
    sandbox
        .rbuild(["-q", "--target", "unused", "context"])
        .run()
        .fails(1, &["exit 7", "Dockerfile:2", "unused"]);
    sandbox.rbuild(["-q", "--target", "NONE", "context"]).run().succeeds();
}

#[test]
fn a_rebuild_knows_what_did_not_change() {
    needs!("root");
    let sandbox = Sandbox::with_context(&[
        (
            "Dockerfile",
            "FROM busybox\nCOPY dir /dir\nARG X\nRUN cat /dir/* > /all; echo \"$X\" > /x\nWORKDIR /w\nENV A=1\n",
        ),
        ("dir/a", "1"),
        ("other", "x"),
    ]);
    let (hits, first) = cached(&sandbox, &[]);
    assert_eq!(hits, 0);
    assert_eq!(cached(&sandbox, &[]), (3, first.clone()), "nothing changed");
    sandbox.write("context/other", "y");
    assert_eq!(cached(&sandbox, &[]), (3, first.clone()), "what is not copied does not count");
    let file = fs::File::options().write(true).open(sandbox.path().join("context/dir/a")).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(cached(&sandbox, &[]), (3, first.clone()), "times do not count");
    assert_eq!(cached(&sandbox, &["--build-arg", "X=1"]).0, 1, "an argument counts from its declaration");
    sandbox.write("context/dir/a", "2");
    let (hits, second) = cached(&sandbox, &[]);
    assert_eq!(hits, 0);
    assert_ne!(first, second);
    assert_eq!(inside(&sandbox, "cat /all"), "2");
    sandbox.write("context/dir/a", "1");
    assert_eq!(cached(&sandbox, &[]), (3, first), "what was built once is known again");
    assert_eq!(cached(&sandbox, &["--no-cache"]).0, 0);
    let mode = fs::Permissions::from_mode(0o600);
    fs::set_permissions(sandbox.path().join("context/dir/a"), mode).unwrap();
    assert_eq!(cached(&sandbox, &[]).0, 0, "modes count");
}

#[test]
fn with_source_date_epoch_two_builds_are_one_image() {
    needs!("root");
    let sandbox = Sandbox::with_context(&[
        ("Dockerfile", "FROM busybox\nRUN mkdir /made && echo x > /made/x\nWORKDIR /w\nCOPY dir /dir\n"),
        ("dir/a", "1"),
    ]);
    let dated = ["--build-arg", "SOURCE_DATE_EPOCH=1000000000"];
    let (_, plain) = cached(&sandbox, &[]);
    let (hits, first) = cached(&sandbox, &dated);
    assert_eq!(hits, 0, "what was made without a date has other times");
    assert_ne!(first, plain);
    assert_eq!(inside(&sandbox, "stat -c %Y /made/x /w /dir /dir/a"), "1000000000\n".repeat(4));
    // Times below the second would tell two runs apart.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let again = ["--no-cache", dated[0], dated[1]];
    assert_eq!(cached(&sandbox, &again), (0, first));
}

#[test]
fn a_stage_that_is_only_copied_from_need_not_be_there() {
    needs!("root");
    let sandbox = Sandbox::with_context(&[(
        "Dockerfile",
        "FROM busybox AS made\nRUN echo x > /x\nFROM busybox\nCOPY --from=made /x /x\n",
    )]);
    let (_, first) = cached(&sandbox, &[]);
    assert_eq!(cached(&sandbox, &[]), (1, first.clone()));
    // Whatever is removed from the store is made again, and gives the same content.
    for layer in fs::read_dir(sandbox.root().join("layers")).unwrap().flatten() {
        if layer.path().join("root/x").exists() && !layer.path().join("root/bin").exists() {
            fs::remove_dir_all(layer.path()).unwrap();
        }
    }
    sandbox.rrun(["rmi", "built"]).run().succeeds();
    build(&sandbox, &[]);
    assert_eq!(inside(&sandbox, "cat /x"), "x\n");
}

#[test]
fn ignored_files_do_not_exist() {
    needs!("root");
    let sandbox = Sandbox::with_context(&[
        ("Dockerfile", "FROM busybox\nCOPY . /c\n"),
        (".dockerignore", "# comment\n*.log\nnode\n!node/keep\n**/secret\n"),
        ("a.log", ""),
        ("a.txt", ""),
        ("node/keep/x", ""),
        ("node/drop", ""),
        ("deep/er/secret", ""),
        ("deep/er/open", ""),
    ]);
    build(&sandbox, &[]);
    let expected = "./.dockerignore\n./Dockerfile\n./a.txt\n./deep/er/open\n./node/keep/x\n";
    assert_eq!(inside(&sandbox, "cd /c; find . -type f | sort"), expected);
    sandbox.write("context/Dockerfile.dockerignore", "*\n!a.txt\n");
    build(&sandbox, &[]);
    assert_eq!(
        inside(&sandbox, "cd /c; find . -type f | sort"),
        "./a.txt\n",
        "the file's own ignore file wins"
    );
}

#[test]
fn archives_are_unpacked_by_content() {
    needs!("root");
    let sandbox = Sandbox::with_context(&[(
        "Dockerfile",
        "FROM busybox\nADD base /unpacked\nADD --chown=7:8 base.txt /owned/\nADD --unpack=false base /asis\nADD plain.gz /\n",
    )]);
    let archive = busybox_archive();
    fs::copy(archive, sandbox.path().join("context/base")).unwrap();
    fs::copy(archive, sandbox.path().join("context/base.txt")).unwrap();
    fs::write(sandbox.path().join("context/plain.gz"), "not a gzip").unwrap();
    build(&sandbox, &[]);
    let script =
        "test -x /unpacked/bin/busybox && stat -c '%u %g' /owned/bin/busybox; test -f /asis && cat /plain.gz";
    assert_eq!(inside(&sandbox, script), "7 8\nnot a gzip");
}

#[test]
fn a_step_sees_only_what_it_is_given() {
    needs!("root");
    let script = "env | sort > /env; cat /proc/self/status > /status; ls /sys/class/net > /net; \
                  ls /proc/self/fd > /fds; cat /proc/self/cgroup > /cgroup; tty > /tty; readlink /proc/self/fd/0 > /stdin; \
                  cat /etc/hostname > /name; echo evil > /etc/hosts; true";
    let sandbox =
        Sandbox::with_context(&[("Dockerfile", &format!("FROM busybox\nARG A=1\nENV E=2\nRUN {script}\n"))]);
    let outcome = sandbox
        .rbuild(["-q", "-t", "built", "--build-arg", "HTTP_PROXY=http://p", "context"])
        .env("CALLER_SECRET", "s3cret")
        .run();
    outcome.succeeds();
    let env = inside(&sandbox, "cat /env");
    let names: Vec<&str> = env.lines().filter_map(|line| line.split('=').next()).collect();
    assert_eq!(
        names,
        ["A", "E", "HOME", "HOSTNAME", "HTTP_PROXY", "PATH", "PWD", "SHLVL"],
        "PWD and SHLVL are the shell's"
    );
    let status = inside(&sandbox, "cat /status");
    let field = |name: &str| -> String {
        let line = status.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(1)).unwrap_or_default().to_owned()
    };
    assert_eq!(field("Seccomp:"), "2");
    assert_eq!(field("CapEff:"), "00000000a80425fb");
    assert_eq!(field("CapBnd:"), "00000000a80425fb");
    assert_eq!((field("CapInh:"), field("CapAmb:")), ("0".repeat(16), "0".repeat(16)));
    assert_eq!(inside(&sandbox, "cat /net"), "lo\n");
    assert_eq!(inside(&sandbox, "cat /name"), "rbuild\n");
    assert_eq!(inside(&sandbox, "cat /stdin"), "/dev/null\n");
    let history = sandbox.rrun(["history", "--no-trunc", "built"]).run().stdout();
    assert!(!history.contains("http://p"), "{history}");
    assert_eq!(config(&sandbox)["Env"].as_array().map(Vec::len), Some(2), "PATH and E");
    // None of the files bound over those of the image is part of it, nor the places they were bound to.
    let layers = fs::read_dir(sandbox.root().join("layers")).unwrap().flatten();
    let own: Vec<_> =
        layers.map(|layer| layer.path().join("root")).filter(|root| root.join("env").exists()).collect();
    assert_eq!(own.len(), 1);
    for stub in ["etc/hosts", "etc/resolv.conf", "etc/hostname", "proc", "sys", "dev"] {
        let seen = fs::symlink_metadata(own[0].join(stub));
        assert!(seen.is_err(), "{stub} is in the layer");
    }
}

#[test]
fn the_host_network_needs_the_command_line() {
    needs!("root");
    let sandbox = Sandbox::with_context(&[(
        "Dockerfile",
        "FROM busybox\nRUN --network=host ls /sys/class/net > /net\n",
    )]);
    sandbox
        .rbuild(["-q", "context"])
        .run()
        .fails(1, &["--network=host", "Dockerfile:2", "rbuild --network host"]);
    build(&sandbox, &["--network", "host"]);
    let host = fs::read_dir("/sys/class/net").unwrap().count();
    assert_eq!(inside(&sandbox, "wc -l < /net").trim(), host.to_string());
    sandbox.write("context/Dockerfile", "FROM busybox\nRUN --network=none ls /sys/class/net > /net\n");
    build(&sandbox, &["--network", "host"]);
    assert_eq!(inside(&sandbox, "cat /net"), "lo\n");
}

#[test]
fn links_in_context_and_image_lead_nowhere_else() {
    needs!("root");
    let canary = Canary::new();
    let sandbox = Sandbox::with_context(&[("file", "from the context")]);
    let context = sandbox.path().join("context");
    symlink(canary.path(), context.join("out")).unwrap();
    symlink(canary.file(), context.join("outfile")).unwrap();
    for source in ["out", "outfile", "out/*", "../../../etc/passwd"] {
        sandbox.write("context/Dockerfile", format!("FROM busybox\nCOPY {source} /x/\n"));
        let outcome = sandbox.rbuild(["-q", "-t", "built", "context"]).run();
        match source {
            // A pattern may match nothing.
            "out/*" => outcome.succeeds(),
            _ => outcome.fails(1, &["Dockerfile:2"]),
        };
    }
    // The image's own links: made by a step, used by the next ones as destination, directory and source.
    let dockerfile = format!(
        "FROM busybox AS evil\nRUN ln -s {0} /esc && ln -s {0} /work && ln -s {1} /file && mkdir /d && ln -s {0} /d/sub\n\
         COPY file /esc/\nCOPY file /file\nWORKDIR /work/made\nRUN echo x > y\nADD file /d/sub/file2\n\
         FROM busybox\nCOPY --from=evil /esc /copied\nCOPY --from=evil /d /d\n",
        canary.path().display(),
        canary.file().display(),
    );
    sandbox.write("context/Dockerfile", dockerfile);
    build(&sandbox, &[]);
    assert_eq!(inside(&sandbox, "ls /copied; readlink /d/sub | wc -l"), "file\nfile2\nmade\nsecret\n1\n");
    canary.is_untouched();
    // The ignore file and the Dockerfile must be inside, and the ignore file a plain file.
    symlink(canary.file(), context.join(".dockerignore")).unwrap();
    sandbox.rbuild(["-q", "context"]).run().fails(1, &[".dockerignore", "regular file"]);
    fs::remove_file(context.join(".dockerignore")).unwrap();
    fs::remove_file(context.join("Dockerfile")).unwrap();
    symlink("/etc/hostname", context.join("Dockerfile")).unwrap();
    sandbox.rbuild(["-q", "context"]).run().fails(1, &["no Dockerfile"]);
}

#[test]
fn a_crafted_image_is_never_taken_for_a_result() {
    needs!("root");
    let sandbox = Sandbox::with_context(&[("Dockerfile", "FROM busybox\nRUN echo honest > /result\n")]);
    build(&sandbox, &[]);
    let history = sandbox.rrun(["inspect", "built"]).run().json()[0].to_string();
    // The same history on other content, under the name of the base: the base's layers are part of every key.
    sandbox.write(
        "context/Dockerfile.evil",
        "FROM busybox\nRUN echo evil > /result\nRUN echo evil > /bin/evil\nLABEL by=stranger\n",
    );
    sandbox.rbuild(["-q", "-t", "busybox", "-f", "context/Dockerfile.evil", "context"]).run().succeeds();
    sandbox.rbuild(["-q", "-t", "evil", "-f", "context/Dockerfile.evil", "context"]).run().succeeds();
    let (hits, _) = cached(&sandbox, &[]);
    assert_eq!(hits, 0, "another base has other results: {history}");
    assert_eq!(inside(&sandbox, "cat /result"), "honest\n");
}

#[test]
fn bad_owners_and_missing_shells_are_explained() {
    needs!("root");
    for (dockerfile, words) in [
        ("FROM busybox\nCOPY --chown=nobodyhere file /x\n", &["Dockerfile:2", "nobodyhere"][..]),
        ("FROM busybox\nUSER nobodyhere\nRUN true\n", &["Dockerfile:3", "nobodyhere"]),
        ("FROM scratch\nRUN true\n", &["Dockerfile:2", "/bin/sh is not in the image", "JSON form"]),
        ("FROM busybox\nRUN [\"/no/such\"]\n", &["Dockerfile:2", "/no/such"]),
        ("FROM busybox\nCOPY file file2 /one\n", &["Dockerfile:2", "/one", "add a /"]),
        (
            "FROM busybox\nRUN mkdir /d\nCOPY file /d/\nRUN mkdir /d/f\nCOPY f /d/\n",
            &["Dockerfile:5", "/d/f"],
        ),
        ("FROM busybox\nCOPY fiel /x\n", &["Dockerfile:2", "did you mean file"]),
        (
            "FROM busybox\nRUN echo first; echo second >&2; exit 3\n",
            &["exit code 3", "first", "second", "2/2"],
        ),
        ("FROM busybox\nRUN sh -c 'kill -9 $$'; exit $?\n", &["Dockerfile:2", "137"]),
    ] {
        let sandbox =
            Sandbox::with_context(&[("Dockerfile", dockerfile), ("file", "x"), ("file2", "x"), ("f", "x")]);
        sandbox.rbuild(["-q", "-t", "built", "context"]).run().fails(1, words);
        sandbox.store_is_clean();
    }
}

#[test]
fn archives_and_ids_are_written() {
    needs!("root");
    let sandbox =
        Sandbox::with_context(&[("Dockerfile", "FROM busybox\nRUN echo x > /x\nCMD [\"cat\", \"/x\"]\n")]);
    for (kind, file) in [("oci", "out.oci"), ("docker", "out.docker")] {
        let output = format!("type={kind},dest={file}");
        let flags = ["-q", "-t", "saved:1", "--iidfile", "id", "--output", &output, "context"];
        let outcome = sandbox.rbuild(flags).run();
        outcome.succeeds();
        let id = fs::read_to_string(sandbox.path().join("id")).unwrap();
        assert_eq!(outcome.stdout(), format!("{id}\n"));
        let other = Sandbox::new();
        let archive = sandbox.path().join(file);
        other.rrun(["load", "-i"]).arg(&archive).run().succeeds();
        other.rrun(["run", "--rm", "--network", "none", "saved:1"]).run().succeeds().stdout_is("x\n");
    }
    let stdout = sandbox.rbuild(["-q", "--output", "type=oci,dest=-", "context"]).run();
    stdout.succeeds();
    assert!(stdout.stdout_bytes().len() > 100_000);
}

#[test]
fn an_interrupted_build_takes_its_container_along() {
    needs!("root");
    for signal in [Signal::INT, Signal::TERM, Signal::KILL] {
        let sandbox = Sandbox::with_context(&[("Dockerfile", "FROM busybox\nRUN echo sleeps; sleep 1000\n")]);
        let running = sandbox.rbuild(["-t", "built", "context"]).spawn();
        eventually("the step runs", || running.stderr_so_far().contains("| sleeps"));
        running.signal(signal);
        let outcome = running.wait();
        assert_ne!(outcome.code(), 0);
        eventually("its container is gone", || sandbox.leaks().is_empty());
        sandbox.rrun(["images"]).run().succeeds().stdout_lacks("built");
        sandbox.write("context/Dockerfile", "FROM busybox\nRUN echo fine > /x\n");
        build(&sandbox, &[]);
        sandbox.nothing_remains(&[]);
    }
}

#[test]
fn modes_of_root_and_parents_let_users_in() {
    needs!("root");
    let sandbox = Sandbox::with_context(&[(
        "Dockerfile",
        "FROM busybox\nUSER 1000\nRUN ls / > /dev/null && touch /tmp/mine\n",
    )]);
    build(&sandbox, &[]);
    assert_eq!(inside(&sandbox, "ls -d / /tmp/mine; id -u"), "/\n/tmp/mine\n1000\n");
    let modes: BTreeMap<String, u32> = fs::read_dir(sandbox.root().join("layers"))
        .unwrap()
        .flatten()
        .map(|layer| {
            let mode = fs::metadata(layer.path().join("root")).unwrap().mode() & 0o7777;
            (layer.file_name().to_string_lossy().into_owned(), mode)
        })
        .collect();
    assert!(modes.values().all(|mode| *mode == 0o755), "{modes:?}");
}
