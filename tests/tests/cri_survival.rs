//! What happens to pods when `rcri`, a monitor or a caller goes away, asks again, or changes its mind.

use std::path::{Path, PathBuf};

use k8s_cri::v1::{
    ContainerConfig, ContainerState, PodSandboxConfig, PodSandboxState, ReopenContainerLogRequest,
};
use tests::cri::{Client, container, pod};
use tests::{Rcri, World, addresses_in_use, eventually, needs, write_network};
use tonic::Code;

const EXITED: i32 = ContainerState::ContainerExited as i32;
const RUNNING: i32 = ContainerState::ContainerRunning as i32;

#[test]
fn a_server_that_was_killed_finds_everything_again() {
    needs!("root", "overlay", "cni");
    let world = World::new();
    write_network(&world.sandbox, "");
    let config = world.pod("again", false);
    let id = world.client.run_pod(&config).unwrap();
    let before = world.client.pod_status(&id).unwrap();
    let long = world.client.run(&id, &container("long", "sleep 1000"), &config).unwrap();
    let short = world.client.run(&id, &container("short", "exit 7"), &config).unwrap();
    let created = world.client.create(&id, &container("created", "true"), &config).unwrap();
    let later = world.client.run(&id, &container("later", "sleep 2; exit 9"), &config).unwrap();
    let status = world.ended(&short);

    let world = world.restart();
    assert_eq!(world.client.pod_status(&id).unwrap(), before);
    assert_eq!(world.client.status(&short).unwrap(), status);
    assert_eq!(world.client.status(&long).unwrap().state, RUNNING);
    assert_eq!(world.client.status(&created).unwrap().state, ContainerState::ContainerCreated as i32);
    assert_eq!(world.ended(&later).exit_code, 9);
    world.client.start(&created).unwrap();
    assert_eq!(world.ended(&created).reason, "Completed");
    assert_eq!(world.client.exec(&long, &["echo", "hi"], 10).unwrap().stdout, b"hi\n");
    world.client.stop(&long, 0).unwrap();
    assert_eq!(world.ended(&long).exit_code, 137);
    world.end(&id);
}

#[test]
fn a_monitor_that_was_killed_takes_its_pod_with_it() {
    needs!("root", "overlay", "cni");
    let world = World::new();
    write_network(&world.sandbox, "");
    let config = world.pod("lost", false);
    let id = world.client.run_pod(&config).unwrap();
    let made = world.client.run(&id, &container("web", "sleep 1000"), &config).unwrap();
    kill_monitor(&id);
    let status = world.ended(&made);
    assert_eq!((status.exit_code, status.reason.as_str()), (255, "Unknown"));
    let state = world.client.pod_status(&id).unwrap().state;
    assert_eq!(state, PodSandboxState::SandboxNotready as i32);
    // Once more, while no server is there to see it.
    let again = PodSandboxConfig { metadata: pod("lost-too", false).metadata, ..config.clone() };
    let other = world.client.run_pod(&again).unwrap();
    let made = world.client.run(&other, &container("web", "sleep 1000"), &again).unwrap();
    let World { sandbox, server, client } = world;
    drop(client);
    server.kill();
    kill_monitor(&other);
    let server = Rcri::start(&sandbox);
    let world = World { client: server.client(), sandbox, server };
    assert_eq!(world.client.status(&made).unwrap().reason, "Unknown");
    assert_eq!(addresses_in_use(&world.sandbox).len(), 2);
    world.client.stop_pod(&other).unwrap();
    world.client.remove_pod(&other).unwrap();
    world.end(&id);
}

/// Kills the monitor of a pod, as the out-of-memory killer might.
fn kill_monitor(pod: &str) {
    kill(|folder| {
        let command = std::fs::read(folder.join("cmdline")).unwrap_or_default();
        let text = String::from_utf8_lossy(&command);
        text.contains("monitor") && text.contains(pod)
    });
}

/// Kills the processes whose folder in `/proc` is meant.
fn kill(is_meant: impl Fn(&Path) -> bool) {
    for name in tests::leaks::names_in("/proc".as_ref()) {
        if let Some(pid) = name.parse().ok().and_then(rustix::process::Pid::from_raw)
            && is_meant(&Path::new("/proc").join(&name))
        {
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it lives");
        }
    }
}

#[test]
fn everything_can_be_asked_twice() {
    needs!("root", "overlay");
    let world = World::new();
    for call in
        [Client::stop_pod, Client::remove_pod, |client: &Client, id: &str| client.stop(id, 1), Client::remove]
    {
        call(&world.client, "0123456789abcdef").unwrap();
    }
    let config = world.pod("twice", true);
    let id = world.client.run_pod(&config).unwrap();
    assert_eq!(world.client.run_pod(&config).unwrap(), id);
    let other = PodSandboxConfig { hostname: "other".to_owned(), ..config.clone() };
    assert_eq!(world.client.run_pod(&other).unwrap_err().code(), Code::AlreadyExists);
    let web = container("web", "sleep 1000");
    let made = world.client.create(&id, &web, &config).unwrap();
    assert_eq!(world.client.create(&id, &web, &config).unwrap(), made);
    let different = ContainerConfig { working_dir: "/tmp".to_owned(), ..web.clone() };
    assert_eq!(world.client.create(&id, &different, &config).unwrap_err().code(), Code::AlreadyExists);
    world.client.start(&made).unwrap();
    assert_eq!(world.client.start(&made).unwrap_err().code(), Code::FailedPrecondition);
    assert_eq!(world.client.create(&id, &web, &config).unwrap_err().code(), Code::AlreadyExists);
    // The first eleven digits are enough.
    world.client.stop(&made[..11], 0).unwrap();
    world.client.stop(&made, 0).unwrap();
    world.client.remove(&made).unwrap();
    world.client.remove(&made).unwrap();
    // Made again with the same name once the old one is gone.
    world.client.create(&id, &web, &config).unwrap();
    world.client.stop_pod(&id).unwrap();
    world.client.stop_pod(&id).unwrap();
    let left = world.client.list_containers().unwrap();
    assert_eq!(left.iter().map(|it| it.state).collect::<Vec<_>>(), [EXITED]);
    assert!(world.client.start(&left[0].id).is_err());
    world.client.remove_pod(&id).unwrap();
    world.client.remove_pod(&id).unwrap();
    world.end_empty();
}

#[test]
fn a_log_that_was_renamed_goes_on_in_a_new_file() {
    needs!("root", "overlay");
    let world = World::new();
    let config = world.pod("log", true);
    let id = world.client.run_pod(&config).unwrap();
    let script = "i=0; while true; do echo line $i; i=$((i+1)); sleep 0.01; done";
    let made = world.client.run(&id, &container("web", script), &config).unwrap();
    eventually("there are lines", || world.log("log", "web").lines().count() > 5);
    let path = PathBuf::from(world.client.status(&made).unwrap().log_path);
    let old = path.with_extension("old");
    std::fs::rename(&path, &old).unwrap();
    let reopen = |id: &str| {
        let request = ReopenContainerLogRequest { container_id: id.to_owned() };
        world.client.ask(async move |mut pods, _| pods.reopen_container_log(request).await)
    };
    reopen(&made).unwrap();
    assert!(path.exists());
    eventually("the new file has lines", || world.log("log", "web").lines().count() > 5);
    world.client.stop(&made, 0).unwrap();
    let text = std::fs::read_to_string(&old).unwrap() + &world.log("log", "web");
    let numbers: Vec<usize> =
        text.lines().map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
    assert_eq!(numbers, (0..numbers.len()).collect::<Vec<_>>(), "no line is lost or doubled");
    std::fs::remove_file(&path).unwrap();
    assert_eq!(reopen(&made).unwrap_err().code(), Code::FailedPrecondition);
    assert!(!path.exists());
    world.end(&id);
}

#[test]
fn a_pod_whose_pause_was_killed_is_not_ready_and_can_be_stopped() {
    needs!("root", "overlay");
    let world = World::new();
    let config = world.pod("pause", true);
    let id = world.client.run_pod(&config).unwrap();
    let made = world.client.run(&id, &container("web", "sleep 1000"), &config).unwrap();
    kill(|folder| {
        let text = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
        text("comm") == "pause\n" && text("cgroup").contains(&id)
    });
    let state = || world.client.pod_status(&id).unwrap().state;
    eventually("it is not ready", || state() == PodSandboxState::SandboxNotready as i32);
    assert_eq!(world.client.status(&made).unwrap().state, RUNNING);
    let another = world.client.create(&id, &container("late", "true"), &config).unwrap_err();
    assert_eq!(another.code(), Code::FailedPrecondition, "{another}");
    world.end(&id);
}
