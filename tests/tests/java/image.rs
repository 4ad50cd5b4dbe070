//! From the Dockerfile to a JVM in the foreground.

use rustix::process::Signal;
use tests::needs;

use crate::{PATIENCE, built, with_base};

#[test]
fn a_build_shows_its_steps_and_the_next_one_that_it_knows_them() {
    needs!("root", "debootstrap", "javac");
    let sandbox = with_base();
    let build = || sandbox.rbuild(["-t", "register:0.0.1", "."]).current_dir(sandbox.path().join("context"));

    let first = build().deadline(PATIENCE).run();
    first.succeeds();
    let steps = ["FROM java:8", "ADD register.jar /register.jar", "RUN bash -c 'touch /register.jar'"]
        .map(str::to_owned);
    for (number, step) in (1..).zip(&steps) {
        first.stderr_has(&format!("[{number}/3] {step}\n"));
    }
    for number in 2..=3 {
        let begin = format!("[{number}/3] done in ");
        let time = first.stderr().lines().find_map(|line| line.strip_prefix(&begin));
        let seconds = time.and_then(|time| time.strip_suffix(" s")).map(str::parse::<f64>);
        assert!(matches!(seconds, Some(Ok(_))), "no time of step {number}: {}", first.stderr());
    }
    let id = image_id(first.stderr());

    let second = build().run();
    second.succeeds().stderr_lacks("done in");
    for (number, step) in (1..).zip(&steps).skip(1) {
        second.stderr_has(&format!("[{number}/3] {step}  CACHED\n"));
    }
    assert_eq!(image_id(second.stderr()), id);
    let images = sandbox.rrun(["images"]).run();
    images.succeeds().stdout_has("register").stdout_has("0.0.1").stdout_has(&id[..12]);

    let config = sandbox.rrun(["inspect", "register:0.0.1"]).run().json()[0]["Config"].clone();
    assert_eq!(config["Entrypoint"][3], "/register.jar");
    assert!(config["ExposedPorts"].get("8888/tcp").is_some(), "{config}");
    assert!(config["Volumes"].get("/tmp").is_some(), "{config}");
    sandbox.nothing_remains(&[]);
}

/// The digits of the line that ends a build.
fn image_id(progress: &str) -> String {
    let line = progress.lines().find_map(|line| line.strip_prefix("image sha256:"));
    line.unwrap_or_else(|| panic!("no image id: {progress}")).to_owned()
}

#[test]
fn the_service_runs_in_the_foreground() {
    needs!("root", "debootstrap", "javac");
    let sandbox = built();
    let run = ["run", "--rm", "--network", "none"];

    // Java refuses its archive of loaded classes beside files of another age: the times of the base's files survived.
    let java = ["--entrypoint", "java", "register:0.0.1", "-Xshare:on", "-version"];
    sandbox.rrun(run).args(java).run().succeeds().stderr_has("OpenJDK 64-Bit Server VM");
    // The store of certificates was changed after it was made, so its digest is checked.
    let keytool =
        ["--entrypoint", "keytool", "register:0.0.1", "-list", "-cacerts", "-storepass", "changeit"];
    sandbox.rrun(run).args(keytool).run().succeeds().stdout_has("trustedCertEntry");
    // Through the image's own entry point, in a network of nothing but loopback.
    let check = sandbox.rrun(run).args(["register:0.0.1", "--self-check"]).run();
    check.succeeds().stdout_is("self-check passed\n");

    let mut service = sandbox.rrun(run).arg("register:0.0.1").spawn();
    service.wait_for_stdout("listening on 0.0.0.0:8888\n");
    service.signal(Signal::TERM);
    service.wait().exits(143).stdout_is("listening on 0.0.0.0:8888\nstopped\n");
    sandbox.nothing_remains(&[]);
}

#[test]
fn memory_and_processors_are_those_of_the_container() {
    needs!("root", "debootstrap", "javac");
    let sandbox = built();
    let run = ["run", "--rm", "--network", "none", "--memory", "128m", "--cpus", "1", "--entrypoint", "java"];
    let metrics = ["register:0.0.1", "-Xlog:os+container=info", "-XshowSettings:system", "-version"];
    let outcome = sandbox.rrun(run).args(metrics).run();
    outcome.succeeds().stderr_has("Memory Limit: 128.00M").stderr_has("Effective CPU Count: 1\n");
}
