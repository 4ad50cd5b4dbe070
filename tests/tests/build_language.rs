//! What a Dockerfile means, seen from outside: the image's config, its files, and the message where it goes wrong.

use serde_json::Value;
use tests::{Outcome, Sandbox, needs};

/// Builds `made` from this Dockerfile in the context.
fn build(sandbox: &Sandbox, dockerfile: &str) -> Outcome {
    sandbox.write("context/Dockerfile", dockerfile);
    sandbox.rbuild(["-t", "made", "context"]).run()
}

/// What a script prints in a container of `made`.
fn look(sandbox: &Sandbox, script: &str) -> String {
    let run = ["run", "--rm", "--network", "none", "--entrypoint", "/bin/sh", "made", "-c", script];
    let outcome = sandbox.rrun(run).run();
    outcome.succeeds();
    outcome.stdout()
}

/// The image's config as `inspect` shows it.
fn config(sandbox: &Sandbox) -> Value {
    let outcome = sandbox.rrun(["inspect", "made"]).run();
    outcome.succeeds();
    outcome.json()[0]["Config"].clone()
}

#[test]
fn every_instruction_reaches_the_config() {
    needs!("root");
    let sandbox = Sandbox::with_context(&[]);
    let dockerfile = "\
# syntax=docker/dockerfile:1
FROM busybox
ENV A=1 B=\"two words\" C=$A
ENV A=2 D=${A:-x}${NONE:-y}
LABEL one=\"1\" \"two words\"='$A'
LABEL one=2
EXPOSE 80 53/UDP 8000-8001
VOLUME /data [\"not\"]
VOLUME [\"/with blank\"]
WORKDIR /work
WORKDIR sub/../deep
USER 7:8
STOPSIGNAL SIGUSR1
HEALTHCHECK --interval=5s --retries=3 CMD test -e /ok
SHELL [\"/bin/sh\", \"-e\", \"-c\"]
ONBUILD RUN echo later
MAINTAINER someone
CMD first
ENTRYPOINT [\"/bin/echo\", \"$A\"]
CMD [\"second\"]
";
    build(&sandbox, dockerfile).succeeds();
    let config = config(&sandbox);
    let env: Vec<&str> = config["Env"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(env[env.len() - 4..], ["A=2", "B=two words", "C=", "D=1y"], "{config:#}");
    assert!(env[0].starts_with("PATH="), "{env:?}");
    assert_eq!(config["Labels"]["one"], "2");
    assert_eq!(config["Labels"]["two words"], "$A");
    for port in ["80/tcp", "53/udp", "8000/tcp", "8001/tcp"] {
        assert!(config["ExposedPorts"][port].is_object(), "{port} {config:#}");
    }
    for volume in ["/data", "[\"not\"]", "/with blank"] {
        assert!(config["Volumes"][volume].is_object() || volume.starts_with('['), "{volume} {config:#}");
    }
    assert_eq!(config["WorkingDir"], "/work/deep");
    assert_eq!(config["User"], "7:8");
    assert_eq!(config["StopSignal"], "SIGUSR1");
    assert_eq!(config["Healthcheck"]["Test"], serde_json::json!(["CMD-SHELL", "test -e /ok"]));
    assert_eq!(config["Healthcheck"]["Interval"], 5_000_000_000_i64);
    assert_eq!(config["Healthcheck"]["Retries"], 3);
    assert_eq!(config["Shell"], serde_json::json!(["/bin/sh", "-e", "-c"]));
    assert_eq!(config["OnBuild"], serde_json::json!(["RUN echo later"]));
    assert_eq!(config["Entrypoint"], serde_json::json!(["/bin/echo", "$A"]));
    assert_eq!(config["Cmd"], serde_json::json!(["second"]));
    sandbox.store_is_clean();
}

#[test]
fn run_has_its_environment_user_folder_and_nothing_else() {
    needs!("root");
    let sandbox = Sandbox::with_context(&[]);
    let dockerfile = "\
FROM busybox
ARG GIVEN=default
ENV KEPT=env
RUN echo \"$GIVEN $KEPT $(pwd) $(id -u):$(id -g)\" > /one
WORKDIR /made/here
USER nobody
RUN id -u > /tmp/two; pwd >> /tmp/two; cat >> /tmp/two; hostname > /dev/null
USER 12:34
RUN [\"/bin/sh\", \"-c\", \"id -u; id -g > /tmp/three; echo $KEPT >> /tmp/three\"]
USER root
SHELL [\"/bin/sh\", \"-x\", \"-c\"]
RUN echo $0 > /four && \\
    # a comment in between
    echo more >> /four
RUN touch /etc/hosts.mine && ! ls /no-such
";
    build(&sandbox, dockerfile).succeeds();
    let seen = look(
        &sandbox,
        "cat /one /tmp/two /tmp/three /four; stat -c '%U' /made/here; ls /etc/hosts 2>&1 | wc -l",
    );
    let expected = "default env / 0:0\n65534\n/made/here\n34\nenv\n/bin/sh\nmore\nroot\n1\n";
    assert_eq!(seen, expected);
    // A mount point made for the step is not part of the layer, and neither is an argument.
    assert!(!config(&sandbox)["Env"].to_string().contains("GIVEN"));
    sandbox.rrun(["save", "-o", "made.tar", "made"]).run().succeeds();
}

#[test]
fn heredocs_run_and_are_copied() {
    needs!("root");
    let sandbox = Sandbox::with_context(&[("plain", "plain\n")]);
    let dockerfile = "\
FROM busybox
ENV NAME=world
RUN <<EOF
echo \"hello $NAME\" > /one
cd /tmp
pwd >> /one
EOF
RUN <<-\"EOF\"
\t#!/bin/sh -e
\techo \"script $0\" > /two
\tEOF
RUN cat <<A > /three && cat <<'B' >> /three
$NAME
A
$NAME
B
COPY <<one.conf <<\"two.conf\" plain /conf/
a = $NAME \"quoted\" \\$NAME
one.conf
a = $NAME
two.conf
COPY --chmod=600 --chown=7:8 <<EOF /single
x
EOF
";
    build(&sandbox, dockerfile).succeeds();
    let seen = look(&sandbox, "cat /one /two /three /conf/*; stat -c '%a %u:%g' /single /conf/one.conf");
    let expected = "hello world\n/tmp\nscript /dev/pipes/EOF\nworld\n$NAME\n\
        a = world \"quoted\" $NAME\nplain\na = $NAME\n600 7:8\n644 0:0\n";
    assert_eq!(seen, expected);
    assert_eq!(look(&sandbox, "ls /dev/pipes 2>&1 | grep -c EOF || true"), "0\n");
}

#[test]
fn copies_land_where_the_language_says() {
    needs!("root");
    let sandbox = Sandbox::with_context(&[
        ("a.txt", "a"),
        ("b.txt", "b"),
        ("with blank.txt", "blank"),
        ("dir/one", "1"),
        ("dir/sub/two", "2"),
        ("dir/skip.log", "no"),
        ("dir/keep.log", "yes"),
        (".dockerignore", "**/*.log\n!dir/keep.log\n"),
    ]);
    let dockerfile = "\
FROM busybox
WORKDIR /w
COPY a.txt renamed
COPY a.txt into/
COPY a.txt b.txt several/
COPY *.txt /wild/
COPY dir content
COPY dir/ /content2/
COPY [\"with blank.txt\", \"/with blank/\"]
RUN mkdir -p /real/below && ln -s /real /link
COPY a.txt b.txt /link/below/
COPY --chown=nobody:daemon --chmod=u=rw,go= a.txt owned
COPY ../../a.txt /up
COPY /dir/./sub /abs
COPY a.txt /made/deep/down/file
";
    build(&sandbox, dockerfile).succeeds();
    let script = "cat /w/renamed /w/into/a.txt /w/several/b.txt /up; echo; ls /wild; find /w/content | sort; \
        ls /content2 /abs; cat '/with blank/with blank.txt'; ls /real/below; stat -c '%U:%G %a' /w/owned; \
        stat -c '%u %a' /made/deep";
    let expected = "aaba\na.txt\nb.txt\nwith blank.txt\n/w/content\n/w/content/keep.log\n/w/content/one\n\
        /w/content/sub\n/w/content/sub/two\n/abs:\ntwo\n\n/content2:\nkeep.log\none\nsub\nblanka.txt\nb.txt\n\
        nobody:daemon 600\n0 755\n";
    assert_eq!(look(&sandbox, script), expected);
}

#[test]
fn add_unpacks_archives_and_copies_the_rest() {
    needs!("root");
    let sandbox = Sandbox::with_context(&[("src/inner", "inside"), ("fake.tar.gz", "no archive")]);
    let folder = sandbox.path().join("context");
    let tar =
        sandbox.command("tar").args(["-C"]).arg(folder.join("src")).args(["-czf"]).arg(folder.join("a.tgz"));
    tar.arg("inner").run().succeeds();
    let dockerfile = "\
FROM busybox
ADD a.tgz /unpacked/
ADD --unpack=false a.tgz /kept/
ADD fake.tar.gz /fake/
ADD src /tree
COPY a.tgz /copied/
";
    build(&sandbox, dockerfile).succeeds();
    let script = "cat /unpacked/inner /fake/fake.tar.gz /tree/inner; echo; ls /kept /copied";
    assert_eq!(look(&sandbox, script), "insideno archiveinside\n/copied:\na.tgz\n\n/kept:\na.tgz\n");
}

#[test]
fn stages_give_files_variables_and_configs() {
    needs!("root");
    let sandbox = Sandbox::with_context(&[("file", "from context")]);
    let dockerfile = "\
ARG BASE=busybox
ARG VERSION=global
FROM ${BASE} AS Builder
ARG VERSION
ARG LOCAL=stage
ENV KEEP=1
WORKDIR /out
RUN echo \"$VERSION $LOCAL\" > result

FROM builder AS child
RUN echo \"child sees $LOCAL $KEEP in $(pwd)\" > second

FROM does-not-exist AS unreachable
RUN exit 1

FROM busybox
COPY --from=BUILDER /out/result /one
COPY --from=child /out/second /two
COPY --from=0 out/result /three
COPY --from=busybox /etc/passwd /passwd
";
    build(&sandbox, dockerfile).succeeds();
    let expected = "global stage\nchild sees stage 1 in /out\nglobal stage\n";
    assert_eq!(look(&sandbox, "cat /one /two /three && test -s /passwd"), expected);
    let arguments = ["--build-arg", "VERSION=given", "--build-arg", "LOCL=x", "--target", "Child"];
    let given = sandbox.rbuild(["-t", "made"]).args(arguments).arg("context").run();
    given.succeeds().stderr_has("LOCL").stderr_has("did you mean LOCAL?");
    assert_eq!(look(&sandbox, "cat /out/result"), "given stage\n");
}

#[test]
fn triggers_run_in_the_child_and_only_there() {
    needs!("root");
    let sandbox = Sandbox::with_context(&[("app", "app")]);
    let parent = "FROM busybox\nONBUILD COPY app /app\nONBUILD RUN <<E\necho trigger > /ran\nE\n";
    sandbox.write("context/Dockerfile", parent);
    sandbox.rbuild(["-t", "parent", "context"]).run().succeeds();
    build(&sandbox, "FROM parent\nRUN cat /ran /app > /both\n").succeeds();
    assert_eq!(look(&sandbox, "cat /both"), "trigger\napp");
    assert!(config(&sandbox)["OnBuild"].as_array().is_none_or(Vec::is_empty));
    build(&sandbox, "FROM parent AS x\nFROM x\nRUN rm /ran\nFROM x\nRUN ! test -e /no").succeeds();
}

#[test]
fn an_image_from_nothing() {
    needs!("root");
    let sandbox = Sandbox::with_context(&[("file", "x")]);
    build(&sandbox, "FROM scratch\n").succeeds();
    let config = config(&sandbox);
    assert_eq!(config["WorkingDir"], "/");
    assert!(config["Env"][0].as_str().is_some_and(|env| env.starts_with("PATH=")), "{config:#}");
    build(&sandbox, "FROM scratch\nCOPY file /\nRUN echo x\n")
        .fails(1, &["Dockerfile:3", "/bin/sh", "JSON form"]);
    sandbox.store_is_clean();
}

#[test]
fn mistakes_are_told_with_place_cause_and_remedy() {
    needs!("root");
    let sandbox =
        Sandbox::with_context(&[("file", "x"), ("file2", "y"), ("dir/inner", "z"), ("hidden.log", "h")]);
    sandbox.write("context/.dockerignore", "# first\n*.log\n");
    let foreign = "FROM busybox\n\
        RUN printf '\\177ELF\\2\\1\\1\\0\\0\\0\\0\\0\\0\\0\\0\\0\\2\\0\\267\\0' > /arm && chmod +x /arm\n\
        RUN [\"/arm\"]\n";
    for (dockerfile, words) in [
        ("FROM busybox\nRNU x\n", &["Dockerfile:2", "unknown instruction RNU", "did you mean RUN?"][..]),
        ("FROM busybox\nCOPY --form=x a b\n", &["Dockerfile:2", "--form", "did you mean --from?"]),
        ("FROM busybox\nCOPY --chown 1:1 file /\n", &["Dockerfile:2", "write COPY --chown=1:1 file /"]),
        ("FROM busybox\nCOPY file\n", &["Dockerfile:2", "source and a destination"]),
        ("FROM busybox\nCOPY flie /\n", &["Dockerfile:2", "flie", "did you mean file?"]),
        ("FROM busybox\nCOPY hidden.log /\n", &["Dockerfile:2", "hidden.log", ".dockerignore:2"]),
        ("FROM busybox\nCOPY ../x/nothing /\n", &["Dockerfile:2", "nothing", ".."]),
        (
            "FROM busybox AS build\nFROM busybox\nCOPY --from=biuld /a /b\n",
            &["Dockerfile:3", "did you mean build?"],
        ),
        (
            "FROM busybox AS one\nCOPY --from=late /a /b\nFROM busybox AS late\nCOPY --from=one /x /y\n",
            &["Dockerfile:2", "late", "Dockerfile:3"],
        ),
        ("FROM bsuybox\n", &["Dockerfile:1", "did you mean busybox?"]),
        ("ARG X\nFROM $X\n", &["Dockerfile:2", "$X", "before the first FROM"]),
        ("FROM busybox\nENV a=b c d=e\n", &["Dockerfile:2", "c is not KEY=VALUE"]),
        ("FROM busybox\nCMD [\"a\", 1]\n", &["Dockerfile:2", "item 2", "strings only"]),
        ("FROM busybox\nRUN <<EOF\nx\n EOF\n", &["Dockerfile:2-4", "unterminated heredoc", "EOF", "tabs"]),
        ("ENV a=b\nFROM busybox\n", &["Dockerfile:1", "only ARG may come before FROM"]),
        ("FROM busybox AS 1x\n", &["Dockerfile:1", "stage name", "1x"]),
        ("FROM busybox\nCOPY file file2 /target\n", &["Dockerfile:2", "/target", "add a /"]),
        (
            "FROM busybox\nRUN mkdir /target\nCOPY file /target\nCOPY dir /target/file\n",
            &["Dockerfile:4", "/target/file", "a file"],
        ),
        ("FROM busybox\nRUN mkdir -p /t/file\nCOPY file /t\n", &["Dockerfile:3", "/t/file", "a directory"]),
        (
            "FROM busybox\nCOPY --chown=whoever file /\n",
            &["Dockerfile:2", "whoever", "passwd", "use numbers"],
        ),
        ("FROM busybox\nUSER whoever\nRUN true\n", &["Dockerfile:3", "whoever", "passwd"]),
        ("FROM scratch\nRUN true\n", &["Dockerfile:2", "/bin/sh", "JSON form"]),
        ("FROM busybox\nSHELL /bin/sh\n", &["Dockerfile:2", "JSON", "for example"]),
        ("FROM busybox\nEXPOSE 99999\n", &["Dockerfile:2", "99999", "65535"]),
        ("FROM busybox\nARG P=x\nEXPOSE $P\n", &["Dockerfile:3", "invalid port x"]),
        ("FROM busybox\nHEALTHCHECK --interval=5 CMD x\n", &["Dockerfile:2", "duration 5", "30s"]),
        ("FROM busybox\nSTOPSIGNAL SIGTREM\n", &["Dockerfile:2", "did you mean SIGTERM?"]),
        ("FROM busybox\nRUN --network=host true\n", &["Dockerfile:2", "--network host"]),
        ("FROM busybox\nRUN --mount=type=cache,target=/c true\n", &["Dockerfile:2", "--mount"]),
        ("FROM busybox\nWORKDIR ${X:?must be given}\n", &["Dockerfile:2", "X: must be given"]),
        (
            "FROM busybox\nRUN echo first\nRUN echo words; exit 3\n",
            &["Dockerfile:3", "exit code 3", "words", "3/3"],
        ),
        ("FROM busybox\nRUN [\"/bin/nothing\"]\n", &["Dockerfile:2", "/bin/nothing"]),
        ("FROM busybox\nRUN [\"nothing-at-all\"]\n", &["Dockerfile:2", "nothing-at-all"]),
        (foreign, &["Dockerfile:3", "exec format", "arm64"]),
    ] {
        println!("{dockerfile}");
        build(&sandbox, dockerfile).fails(1, words);
    }
    sandbox.rbuild(["--target", "biuld", "context"]).run().fails(1, &["biuld"]);
    sandbox.store_is_clean();
}

#[test]
fn checks_are_shown_skipped_and_enforced() {
    needs!("root");
    let sandbox = Sandbox::with_context(&[]);
    let shown = build(&sandbox, "FROM busybox\nCMD true\n");
    shown.succeeds().stderr_has("JSONArgsRecommended").stderr_has("Dockerfile:2");
    let skipped = "# check=skip=JSONArgsRecommended,UndefinedVar\nFROM busybox\nENV A=$UNKNOWN\nCMD true\n";
    build(&sandbox, skipped).succeeds().stderr_lacks("JSONArgsRecommended").stderr_lacks("UndefinedVar");
    build(&sandbox, "FROM busybox\nENV A=$UNKNOWN\n").succeeds().stderr_has("UndefinedVar");
    build(&sandbox, "# check=error=true\nFROM busybox\nCMD true\n")
        .fails(1, &["JSONArgsRecommended", "check"]);
    let argument = ["--build-arg", "BUILDKIT_DOCKERFILE_CHECK=skip=all", "-t", "made", "context"];
    sandbox.rbuild(argument).run().succeeds().stderr_lacks("JSONArgsRecommended");
}

#[test]
fn stages_are_based_on_stages_as_deep_as_they_may_be() {
    needs!("root");
    let sandbox = Sandbox::with_context(&[]);
    let bases: String = (1..500).map(|n| format!("FROM s{} AS s{n}\nENV LAST={n}\n", n - 1)).collect();
    build(&sandbox, &format!("FROM busybox AS s0\n{bases}")).succeeds();
    assert!(config(&sandbox)["Env"].to_string().contains("LAST=499"));
    let copies: String =
        (1..499).map(|n| format!("FROM scratch AS s{n}\nCOPY --from=s{} /bin/echo /bin/\n", n - 1)).collect();
    let dockerfile = format!("FROM nothing AS s0\n{copies}FROM busybox\nCOPY --from=s498 / /\n");
    build(&sandbox, &dockerfile).fails(1, &["Dockerfile:1", "nothing"]);
}
