//! The image detached with a published port, and then, with nothing exported or imported, as a pod.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use k8s_cri::v1::{ImageSpec, PodSandboxStatusRequest};
use tests::cri::Client;
use tests::http::{free_port, request};
use tests::{Rcri, Sandbox, needs, write_network};

use crate::{PATIENCE as BUILD_PATIENCE, with_base};

/// A JVM takes its time on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn two_instances_register_through_the_published_port_and_then_in_a_pod() {
    needs!("root", "cni", "debootstrap", "javac");
    let sandbox = with_base();
    sandbox.rbuild(["-t", "register:0.0.1", "context"]).deadline(BUILD_PATIENCE).run().succeeds();
    let port = free_port();
    let publish = format!("{port}:8888");
    let run = ["run", "-d", "--name", "register", "-p", &publish, "register:0.0.1"];
    let started = sandbox.rrun(run).run();
    started.succeeds();
    let id = started.stdout().trim().to_owned();
    let listed = sandbox.rrun(["ps"]).run();
    listed.succeeds().stdout_has(&format!("0.0.0.0:{port}->8888/tcp")).stdout_has(&id[..12]);
    registers_two((Ipv4Addr::LOCALHOST, port).into(), || sandbox.rrun(["logs", "register"]).run().stdout());
    sandbox.rrun(["logs", "register"]).run().succeeds().stdout_has("listening on 0.0.0.0:8888");
    let executed =
        sandbox.rrun(["exec", "register", "bash", "-c", "ls -l /register.jar; echo $HOSTNAME"]).run();
    executed.succeeds().stdout_has(&id[..12]);
    sandbox.rrun(["stop", "register"]).run().succeeds();
    // As JVMs end that were asked to.
    sandbox.rrun(["inspect", "-f", "{{.State.ExitCode}}", "register"]).run().stdout_is("143\n");
    sandbox.rrun(["rm", "register"]).run().succeeds();

    write_network(&sandbox, "");
    let server = Rcri::start(&sandbox);
    as_a_pod(&sandbox, &server.client());
    server.stop();
    sandbox.nothing_remains([&id]);
}

fn as_a_pod(sandbox: &Sandbox, client: &Client) {
    let config = tests::cri::pod("shop", false);
    let pod = client.run_pod(&config).expect("a pod");
    let mut container = tests::cri::container("register", "");
    // As its image says.
    container.command.clear();
    container.image = Some(ImageSpec { image: "register:0.0.1".to_owned(), ..ImageSpec::default() });
    let container = client.run(&pod, &container, &config).expect("a container");
    let status = PodSandboxStatusRequest { pod_sandbox_id: pod.clone(), verbose: false };
    let status = client.wait(client.runtime().pod_sandbox_status(status)).expect("its status").status;
    let address = status.and_then(|status| status.network).expect("it has a network").ip;
    let address = SocketAddr::new(address.parse().expect("an address"), 8888);
    registers_two(address, || sandbox.rrun(["logs", &container]).run().stderr().to_owned());
    sandbox.rrun(["ps"]).run().succeeds().stdout_has("k8s_register_shop_").stdout_has("k8s_POD_shop_");
    client.stop(&container, 10).expect("it stops");
    client.stop_pod(&pod).expect("it stops");
    client.remove_pod(&pod).expect("it goes");
}

/// Two instances register and are listed.
fn registers_two(address: SocketAddr, words: impl Fn() -> String) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !request(address, "GET /health", "").is_ok_and(|answer| answer.contains("200")) {
        assert!(std::time::Instant::now() < deadline, "it does not answer at {address}: {}", words());
        std::thread::sleep(Duration::from_millis(50));
    }
    for (instance, place) in [("one", "10.0.0.7:80"), ("two", "10.0.0.8:80")] {
        let answer =
            request(address, &format!("PUT /services/shop/{instance}?ttl=30"), place).expect("it listens");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let listed = request(address, "GET /services", "").expect("it listens");
    assert!(listed.contains("10.0.0.7:80") && listed.contains("10.0.0.8:80"), "{listed}");
}
