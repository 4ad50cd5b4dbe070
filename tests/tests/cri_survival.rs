//! What happens to pods when `rcri`, a monitor or a caller goes away, asks again, or changes its mind.

use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_cri::v1::{
    ContainerConfig, ContainerState, PodSandboxConfig, PodSandboxState, ReopenContainerLogRequest,
    RunPodSandboxRequest, StatusRequest,
};
use rustix::process::Signal;
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
    let missing =
        ContainerConfig { command: vec!["/no/such/program".to_owned()], ..container("missing", "") };
    let missing = world.client.create(&id, &missing, &config).unwrap();
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
    assert_eq!(world.client.status(&missing).unwrap().state, ContainerState::ContainerCreated as i32);
    let error = world.client.start(&missing).unwrap_err();
    assert!(error.message().contains("/no/such/program"), "{error}");
    assert_eq!(world.ended(&missing).reason, "StartError");
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
    assert_eq!(world.ended(&made).reason, "Unknown");
    assert_eq!(addresses_in_use(&world.sandbox).len(), 2);
    world.client.stop_pod(&other).unwrap();
    world.client.remove_pod(&other).unwrap();
    world.end(&id);
}

#[test]
fn a_monitor_that_does_not_answer_is_not_a_dead_one() {
    needs!("root", "overlay");
    let world = World::new();
    let config = world.pod("slow", true);
    let id = world.client.run_pod(&config).unwrap();
    let web = world.client.run(&id, &container("web", "sleep 1000"), &config).unwrap();
    let created = world.client.create(&id, &container("created", "sleep 1000"), &config).unwrap();
    let World { sandbox, server, client } = world;
    drop(client);
    server.kill();
    signal(is_monitor_of(&id), Signal::STOP);
    let server = Rcri::start(&sandbox);
    let world = World { client: server.client(), sandbox, server };
    let is_well = || {
        let states = [&web, &created].map(|it| world.client.status(it).unwrap().state);
        assert_eq!(states, [RUNNING, ContainerState::ContainerCreated as i32]);
        assert_eq!(world.client.pod_status(&id).unwrap().state, PodSandboxState::SandboxReady as i32);
    };
    is_well();
    // It gets ten seconds to answer.
    let began = std::time::Instant::now();
    while !world.server.messages().contains("did not answer in time") {
        assert!(began.elapsed() < Duration::from_secs(30), "{}", world.server.messages());
        std::thread::sleep(Duration::from_millis(100));
    }
    is_well();
    signal(is_monitor_of(&id), Signal::CONT);
    world.client.start(&created).unwrap();
    assert_eq!(world.client.exec(&web, &["echo", "hi"], 10).unwrap().stdout, b"hi\n");
    // It is followed again.
    world.client.stop(&web, 0).unwrap();
    assert_eq!(world.ended(&web).exit_code, 137);
    world.end(&id);
}

#[test]
fn what_cannot_be_read_is_told_and_kept() {
    needs!("root", "overlay");
    let world = World::new();
    let config = world.pod("damaged", true);
    let id = world.client.run_pod(&config).unwrap();
    let short = world.client.run(&id, &container("short", "exit 7"), &config).unwrap();
    let status = world.ended(&short);
    let record = world.sandbox.root().join("pods").join(&id).join("pod.json");
    let good = std::fs::read(&record).unwrap();
    let mut world = world;
    for bad in ["", r#"{"version":99,"changed":true}"#] {
        std::fs::write(&record, bad).unwrap();
        world = world.restart();
        assert_eq!(world.client.list_pods().unwrap(), []);
        assert_eq!(world.client.list_containers().unwrap(), []);
        let told = world.server.messages();
        assert!(told.contains(&id) && told.contains(&short) && told.contains("pod.json"), "{told}");
        assert!(world.sandbox.root().join("containers").join(&short).exists());
    }
    std::fs::write(&record, good).unwrap();
    let world = world.restart();
    assert_eq!(world.client.status(&short).unwrap(), status);
    world.end(&id);
}

#[test]
fn what_hangs_in_a_plugin_stops_nobody_else() {
    needs!("root", "overlay");
    let world = hanging_world();
    let hang = world.sandbox.write("hang", "");
    let configs: Vec<_> = (0..140).map(|n| world.pod(&format!("hanging-{n}"), false)).collect();
    world
        .client
        .wait(async {
            let pods = world.client.runtime();
            let run = |config: &PodSandboxConfig| {
                let (mut pods, config) = (pods.clone(), Some(config.clone()));
                let request = RunPodSandboxRequest { config, ..Default::default() };
                tokio::spawn(async move { pods.run_pod_sandbox(request).await })
            };
            let running: Vec<_> = configs.iter().map(run).collect();
            tokio::time::sleep(Duration::from_secs(5)).await;
            let began = std::time::Instant::now();
            let status = pods.clone().status(StatusRequest::default()).await;
            assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
            std::fs::remove_file(&hang).unwrap();
            for running in running {
                assert!(running.await.unwrap().is_err());
            }
            status
        })
        .unwrap();
    world.end_empty();
}

#[test]
fn the_start_does_not_wait_for_what_has_to_be_undone() {
    needs!("root", "overlay");
    let world = hanging_world();
    let hang = world.sandbox.write("hang", "");
    let configs: Vec<_> = (0..3).map(|n| world.pod(&format!("half-{n}"), false)).collect();
    let clients: Vec<_> = configs.iter().map(|_| world.server.client()).collect();
    let running = std::thread::scope(|scope| {
        let running: Vec<_> = clients
            .iter()
            .zip(&configs)
            .map(|(client, config)| scope.spawn(|| client.run_pod(config)))
            .collect();
        eventually("all hang", || calls(&world, "ADD") == 3);
        signal(|folder| folder.ends_with(world.server.pid().to_string()), Signal::KILL);
        running.into_iter().map(|running| running.join().unwrap().is_err()).collect::<Vec<_>>()
    });
    assert_eq!(running, [true; 3]);
    let World { sandbox, server, client } = world;
    drop((clients, client, server));
    let server = start_hanging(&sandbox);
    let world = World { client: server.client(), sandbox, server };
    let listed = world.client.list_pods().unwrap();
    assert_eq!(
        listed.iter().map(|pod| pod.state).collect::<Vec<_>>(),
        [PodSandboxState::SandboxNotready as i32; 3]
    );
    eventually("all are being undone", || calls(&world, "DEL") == 3);
    std::fs::remove_file(&hang).unwrap();
    eventually("they are gone", || world.client.list_pods().unwrap().is_empty());
    world.end_empty();
}

#[test]
fn a_pod_that_is_being_made_can_be_removed() {
    needs!("root", "overlay");
    let world = hanging_world();
    let hang = world.sandbox.write("hang", "");
    let config = world.pod("unborn", false);
    let other = world.server.client();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| other.run_pod(&config));
        eventually("it hangs", || calls(&world, "ADD") == 1);
        let pods = world.sandbox.root().join("pods");
        let id = tests::leaks::names_in(&pods).next().expect("it is on record");
        assert_eq!(world.client.list_pods().unwrap(), []);
        let freed = scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(500));
            std::fs::remove_file(&hang).unwrap();
        });
        world.client.remove_pod(&id).unwrap();
        assert!(!hang.exists() && !pods.join(&id).exists(), "it was waited for");
        freed.join().unwrap();
        assert!(running.join().unwrap().is_err());
    });
    drop(other);
    world.end_empty();
}

/// A network whose only plugin hangs as long as there is a file `hang`, and then fails to attach anything.
fn hanging_world() -> World {
    let sandbox = tests::Sandbox::new();
    sandbox.import_busybox();
    let script = r#"#!/bin/sh
echo $CNI_COMMAND >> FOLDER/calls
while [ -e FOLDER/hang ]; do sleep 0.1; done
[ "$CNI_COMMAND" != ADD ]
"#;
    let plugin =
        sandbox.write("plugins/hangs", script.replace("FOLDER", &sandbox.path().display().to_string()));
    std::fs::set_permissions(&plugin, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("the plugin is ours");
    sandbox.write("cni/10-hangs.conf", r#"{"cniVersion":"0.4.0","name":"hangs","type":"hangs"}"#);
    let server = start_hanging(&sandbox);
    World { client: server.client(), sandbox, server }
}

fn start_hanging(sandbox: &tests::Sandbox) -> Rcri {
    let plugins = sandbox.path().join("plugins");
    Rcri::start_with(sandbox, &["--cni-bin-dir", plugins.to_str().expect("the folder is UTF-8")])
}

/// How often the plugin was called for this.
fn calls(world: &World, verb: &str) -> usize {
    let calls = std::fs::read_to_string(world.sandbox.path().join("calls")).unwrap_or_default();
    calls.lines().filter(|line| *line == verb).count()
}

/// Kills the monitor of a pod, as the out-of-memory killer might.
fn kill_monitor(pod: &str) {
    signal(is_monitor_of(pod), Signal::KILL);
}

fn is_monitor_of(pod: &str) -> impl Fn(&Path) -> bool {
    move |folder| {
        let command = std::fs::read(folder.join("cmdline")).unwrap_or_default();
        let text = String::from_utf8_lossy(&command);
        text.contains("monitor") && text.contains(pod)
    }
}

/// Signals the processes whose folder in `/proc` is meant.
fn signal(is_meant: impl Fn(&Path) -> bool, signal: Signal) {
    for name in tests::leaks::names_in("/proc".as_ref()) {
        if let Some(pid) = name.parse().ok().and_then(rustix::process::Pid::from_raw)
            && is_meant(&Path::new("/proc").join(&name))
        {
            rustix::process::kill_process(pid, signal).expect("it lives");
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
    let is_pause = |folder: &Path| {
        let text = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
        text("comm") == "pause\n" && text("cgroup").contains(&id)
    };
    signal(is_pause, Signal::KILL);
    let state = || world.client.pod_status(&id).unwrap().state;
    eventually("it is not ready", || state() == PodSandboxState::SandboxNotready as i32);
    assert_eq!(world.client.status(&made).unwrap().state, RUNNING);
    let another = world.client.create(&id, &container("late", "true"), &config).unwrap_err();
    assert_eq!(another.code(), Code::FailedPrecondition, "{another}");
    world.end(&id);
}
