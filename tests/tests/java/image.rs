//! From the Dockerfile to a JVM in the foreground.

use rustix::process::Signal;
use tests::{Command, Sandbox, needs};

use crate::{PATIENCE, with_base};

// One test, since to import the base takes seconds of disk.
#[test]
fn a_service_is_built_and_runs_in_the_foreground() {
    needs!("root", "debootstrap", "javac");
    let sandbox = with_base();
    a_build_shows_its_steps_and_the_next_one_that_it_knows_them(&sandbox);
    the_image_says_what_its_dockerfile_does(&sandbox);
    java_is_whole(&sandbox);
    memory_and_processors_are_those_of_the_container(&sandbox);
    the_service_ends_as_it_is_asked_to(&sandbox);
    sandbox.nothing_remains(&[]);
}

fn a_build_shows_its_steps_and_the_next_one_that_it_knows_them(sandbox: &Sandbox) {
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
}

/// The digits of the line that ends a build.
fn image_id(progress: &str) -> String {
    let line = progress.lines().find_map(|line| line.strip_prefix("image sha256:"));
    line.unwrap_or_else(|| panic!("no image id: {progress}")).to_owned()
}

fn the_image_says_what_its_dockerfile_does(sandbox: &Sandbox) {
    let config = sandbox.rrun(["inspect", "register:0.0.1"]).run().json()[0]["Config"].clone();
    assert_eq!(config["Entrypoint"][3], "/register.jar");
    assert!(config["ExposedPorts"].get("8888/tcp").is_some(), "{config}");
    assert!(config["Volumes"].get("/tmp").is_some(), "{config}");
}

fn java_is_whole(sandbox: &Sandbox) {
    // Java refuses its archive of loaded classes beside files of another age: the times of the base's files survived.
    let shared = ["--entrypoint", "java", "register:0.0.1", "-Xshare:on", "-version"];
    run(sandbox, shared).run().succeeds().stderr_has("OpenJDK 64-Bit Server VM");
    // base.sh changes the store of certificates after Java made it; the store has a digest of its own.
    let keytool =
        ["--entrypoint", "keytool", "register:0.0.1", "-list", "-cacerts", "-storepass", "changeit"];
    run(sandbox, keytool).run().succeeds().stdout_has("trustedCertEntry");
    // Through the image's own entry point, in a network of nothing but loopback.
    let check = run(sandbox, ["register:0.0.1", "--self-check"]).run();
    check.succeeds().stdout_is("self-check passed\n");
}

fn memory_and_processors_are_those_of_the_container(sandbox: &Sandbox) {
    let limits = ["--memory", "128m", "--cpus", "1", "--entrypoint", "java"];
    let show = ["register:0.0.1", "-XshowSettings:system", "-version"];
    let outcome = run(sandbox, limits).args(show).run();
    outcome.succeeds().stderr_has("Memory Limit: 128.00M").stderr_has("Effective CPU Count: 1\n");
}

fn the_service_ends_as_it_is_asked_to(sandbox: &Sandbox) {
    let mut service = run(sandbox, ["register:0.0.1"]).spawn();
    service.wait_for_stdout("listening on 0.0.0.0:8888\n");
    service.signal(Signal::TERM);
    service.wait().exits(143).stdout_is("listening on 0.0.0.0:8888\nstopped\n");
}

fn run<const COUNT: usize>(sandbox: &Sandbox, arguments: [&str; COUNT]) -> Command {
    sandbox.rrun(["run", "--rm", "--network", "none"]).args(arguments)
}
