//! A typical service on the JVM, `fixtures/register-java`, from its sources to a container.
//!
//! - `service`: the program answers as its smaller brother, the demo's service, does.
//! - `image`: its base and its Dockerfile become an image, which runs in the foreground.
//! - `detached`: the image runs detached with a published port, and then as a pod.
//!
//! Each way to run it beyond that is a file of its own here, and starts from [`with_base`].

mod detached;
mod image;
mod service;

use std::time::Duration;

use tests::{Sandbox, java_base, project_dir, register_jar};

/// Time for what moves the whole base image, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(300);

/// A sandbox with the image `java:8`, and a folder `context` to build the service from.
fn with_base() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.rrun(["import"]).arg(java_base()).arg("java:8").deadline(PATIENCE).run().succeeds();
    let context = sandbox.folder("context");
    let fixture = project_dir().join("fixtures/register-java");
    let files = ["Dockerfile", ".dockerignore"].map(|name| (fixture.join(name), name));
    for (source, name) in files.into_iter().chain([(register_jar(), "register.jar")]) {
        std::fs::copy(&source, context.join(name))
            .unwrap_or_else(|error| panic!("cannot copy {}: {error}", source.display()));
    }
    sandbox
}
