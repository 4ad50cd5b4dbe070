//! `kill -9` of `rcri` at any moment of a pod's life: the next one finds what is there, and can remove all of it.

use std::time::Instant;

use tests::cri::{Client, container, pod};
use tests::{Rcri, write_network};
use tests::{Sandbox, eventually, leaks, needs};

/// How many moments are tried.
const KILLS: u32 = 100;

/// A pod's life, as far as the server lives to see it.
fn live(client: &Client, name: &str) -> Result<(), tonic::Status> {
    let config = pod(name, false);
    let pod = client.run_pod(&config)?;
    let container = client.run(&pod, &container("main", "sleep 1000"), &config)?;
    client.exec(&container, &["true"], 10)?;
    client.stop(&container, 0)?;
    client.remove(&container)?;
    client.stop_pod(&pod)?;
    client.remove_pod(&pod)
}

#[test]
fn a_server_killed_at_any_moment_of_a_pods_life() {
    needs!("root", "cni");
    let sandbox = Sandbox::new();
    sandbox.import_busybox();
    write_network(&sandbox, "");
    let server = Rcri::start(&sandbox);
    let start = Instant::now();
    live(&server.client(), "first").expect("a whole life");
    let whole = start.elapsed();
    server.stop();
    for kill in 0..KILLS {
        let moment = whole.mul_f64(1.05 * f64::from(kill) / f64::from(KILLS));
        let server = Rcri::start(&sandbox);
        let client = server.client();
        let name = format!("pod-{kill}");
        let living = std::thread::spawn(move || live(&client, &name));
        std::thread::sleep(moment);
        server.kill();
        drop(living.join().expect("no panic"));

        let server = Rcri::start(&sandbox);
        let client = server.client();
        for pod in client.list_pods().expect("it serves") {
            client.stop_pod(&pod.id).unwrap_or_else(|error| panic!("after a kill at {moment:?}: {error}"));
            client.remove_pod(&pod.id).unwrap_or_else(|error| panic!("after a kill at {moment:?}: {error}"));
        }
        assert_eq!(client.list_containers().expect("it serves"), [], "after a kill at {moment:?}");
        // It would be waited for: this client does nothing between its calls, so it does not see that the server goes.
        drop(client);
        server.stop();
        let netns = sandbox.state().join("netns");
        eventually(&format!("nothing is left after a kill at {moment:?}: {:?}", sandbox.leaks()), || {
            sandbox.leaks().is_empty() && leaks::names_in(&netns).next().is_none()
        });
        for folder in ["containers", "pods"] {
            let left: Vec<String> = leaks::names_in(&sandbox.root().join(folder)).collect();
            assert!(left.is_empty(), "left in {folder} after a kill at {moment:?}: {left:?}");
        }
    }
    sandbox.nothing_remains(&[]);
}
