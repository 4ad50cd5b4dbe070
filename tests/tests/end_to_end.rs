//! The way through: a Dockerfile becomes an image, the image runs, and another machine can have it.

use std::net::Ipv4Addr;

use rustix::process::Signal;
use tests::http::{free_port, request};
use tests::{Running, Sandbox, eventually, needs, project_dir};

/// The service of the demo, built.
fn register(sandbox: &Sandbox) {
    sandbox.import_busybox();
    let context = project_dir().join("fixtures/register");
    assert!(context.join("bin/register").exists(), "fixtures/register/bin is empty: run `make build`");
    sandbox.rbuild(["-t", "register:0.0.1"]).arg(&context).run().succeeds();
}

#[test]
fn a_service_is_built_run_asked_and_stopped() {
    needs!("root");
    let sandbox = Sandbox::new();
    register(&sandbox);
    sandbox.rrun(["images"]).run().succeeds().stdout_has("register").stdout_has("0.0.1");

    let port = free_port();
    let listen = format!("REGISTER_LISTEN=127.0.0.1:{port}");
    let run = ["run", "--rm", "--network", "host", "-e", &listen, "register:0.0.1"];
    let mut service: Running = sandbox.rrun(run).spawn();
    service.wait_for_stdout("listening on");
    let address = (Ipv4Addr::LOCALHOST, port);
    let answer = request(address, "POST /services/shop/one?ttl=30", "10.0.0.7:80").expect("it listens");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let answer = request(address, "GET /services", "").expect("it listens");
    assert!(answer.contains(r#""address":"10.0.0.7:80""#), "{answer}");

    service.signal(Signal::TERM);
    service.wait().exits(0).stdout_has("ended by SIGTERM");
    eventually("its port is closed", || request(address, "GET /health", "").is_err());
    sandbox.nothing_remains(&[]);
}

#[test]
fn a_container_sees_itself_alone() {
    needs!("root");
    let sandbox = Sandbox::new();
    sandbox.import_busybox();
    let script = "id -u; echo pid $$; ls /sys/class/net; ls /proc/self/fd | wc -l";
    let run = ["run", "--rm", "--network", "none", "busybox", "sh", "-c", script];
    sandbox.rrun(run).run().succeeds().stdout_is("0\npid 1\nlo\n4\n");
}

#[test]
fn an_unchanged_build_is_all_cache_and_the_same_image() {
    needs!("root");
    let sandbox = Sandbox::new();
    register(&sandbox);
    let build = || sandbox.rbuild(["-q", "-t", "again"]).arg(project_dir().join("fixtures/register")).run();
    let first = build().succeeds().stdout();
    build().succeeds().stdout_is(&first);
}

#[test]
fn an_image_moves_to_another_machine() {
    needs!("root");
    let here = Sandbox::new();
    let there = Sandbox::new();
    here.import_busybox();
    here.write(
        "context/Dockerfile",
        "FROM busybox\nRUN echo made > /made && chmod 640 /made\nCMD [\"cat\", \"/made\"]\n",
    );
    here.rbuild(["-t", "moved:1", "context"]).run().succeeds();
    let archive = here.path().join("moved.tar");
    here.rrun(["save", "-o"]).arg(&archive).arg("moved:1").run().succeeds();
    there.rrun(["load", "-i"]).arg(&archive).run().succeeds();
    there.rrun(["run", "--rm", "moved:1"]).run().succeeds().stdout_is("made\n");
    let id = |sandbox: &Sandbox| {
        let facts = sandbox.rrun(["inspect", "moved:1"]).run().json();
        facts[0]["Id"].as_str().map(str::to_owned).expect("inspect gives an id")
    };
    assert_eq!(id(&here), id(&there));
    there.store_is_clean();
}

#[test]
fn many_at_once_do_not_disturb_each_other() {
    needs!("root");
    let sandbox = Sandbox::new();
    sandbox.import_busybox();
    for number in 0..4 {
        let dockerfile = format!("FROM busybox\nRUN echo common > /common\nRUN echo {number} > /own\n");
        sandbox.write(&format!("context{number}/Dockerfile"), dockerfile);
    }
    let builds: Vec<Running> = (0..4)
        .map(|number| sandbox.rbuild(["-t", &format!("many:{number}"), &format!("context{number}")]).spawn())
        .collect();
    let runs: Vec<Running> = (0..8)
        .map(|number| sandbox.rrun(["run", "--rm", "busybox", "echo", &number.to_string()]).spawn())
        .collect();
    for (number, run) in runs.into_iter().enumerate() {
        run.wait().succeeds().stdout_is(&format!("{number}\n"));
    }
    for build in builds {
        build.wait().succeeds();
    }
    for number in 0..4 {
        let run = ["run", "--rm", &format!("many:{number}"), "cat", "/own", "/common"];
        sandbox.rrun(run).run().succeeds().stdout_is(&format!("{number}\ncommon\n"));
    }
    sandbox.nothing_remains(&[]);
}
