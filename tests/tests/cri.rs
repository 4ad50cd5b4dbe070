//! Pods and containers as a kubelet sees them: real `rcri`, real pods.

use std::time::{Duration, Instant};

use k8s_cri::v1::{
    ContainerConfig, ContainerState, ImageFsInfoRequest, ImageSpec, ImageStatusRequest, Int64Value,
    LinuxContainerConfig, LinuxContainerResources, LinuxContainerSecurityContext, ListContainerStatsRequest,
    Mount, NamespaceMode, PodSandboxConfig, PodSandboxState, PullImageRequest, RemoveImageRequest,
    VersionRequest,
};
use tests::cri::container;
use tests::{World, eventually, needs, write_network};
use tonic::Code;

const EXITED: i32 = ContainerState::ContainerExited as i32;
const RUNNING: i32 = ContainerState::ContainerRunning as i32;

#[test]
fn a_pod_lives_and_leaves_nothing() {
    needs!("root", "overlay");
    let world = World::new();
    let version =
        world.client.ask(async |mut pods, _| pods.version(VersionRequest::default()).await).unwrap();
    assert_eq!((version.version.as_str(), version.runtime_api_version.as_str()), ("0.1.0", "v1"));

    let config = world.pod("life", true);
    let id = world.client.run_pod(&config).unwrap();
    let status = world.client.pod_status(&id).unwrap();
    assert_eq!(status.state, PodSandboxState::SandboxReady as i32);
    assert_eq!(status.metadata, config.metadata);
    assert_eq!(status.network.unwrap().ip, "");

    let made =
        world.client.create(&id, &container("web", "echo out; echo err >&2; sleep 1000"), &config).unwrap();
    let status = world.client.status(&made).unwrap();
    assert_eq!((status.state, status.started_at), (ContainerState::ContainerCreated as i32, 0));
    world.client.start(&made).unwrap();
    let status = world.client.status(&made).unwrap();
    assert_eq!(status.state, RUNNING);
    assert!(status.started_at >= status.created_at && status.image_id.starts_with("sha256:"));
    eventually("both lines are in the log", || world.log("life", "web").lines().count() == 2);
    assert!(
        world.log("life", "web").contains("stdout F out")
            && world.log("life", "web").contains("stderr F err")
    );

    let reply = world.client.exec(&made, &["sh", "-c", "echo hello; echo oops >&2; exit 3"], 10).unwrap();
    assert_eq!((&reply.stdout[..], &reply.stderr[..], reply.exit_code), (&b"hello\n"[..], &b"oops\n"[..], 3));

    // Busybox' shell as first process ignores SIGTERM.
    let began = Instant::now();
    world.client.stop(&made, 1).unwrap();
    assert!(began.elapsed() >= Duration::from_secs(1));
    let status = world.ended(&made);
    assert_eq!((status.exit_code, status.reason.as_str()), (137, "Error"));
    assert!(status.finished_at >= status.started_at);
    world.client.remove(&made).unwrap();
    assert_eq!(world.client.status(&made).unwrap_err().code(), Code::NotFound);
    world.end(&id);
}

#[test]
fn ends_have_codes_and_reasons() {
    needs!("root", "overlay");
    let world = World::new();
    let config = world.pod("ends", true);
    let id = world.client.run_pod(&config).unwrap();
    for (name, script, code, reason) in [
        ("zero", "true", 0, "Completed"),
        ("three", "exit 3", 3, "Error"),
        ("signal", "kill -TERM $$; sleep 1; kill -KILL $$", 137, "Error"),
    ] {
        let made = world.client.run(&id, &container(name, script), &config).unwrap();
        let mut status = world.client.status(&made).unwrap();
        if name == "signal" {
            // The kernel spares the first process of a PID namespace its own signals.
            world.client.stop(&made, 0).unwrap();
            status = world.client.status(&made).unwrap();
        }
        if status.state != EXITED {
            status = world.ended(&made);
        }
        assert_eq!((status.exit_code, status.reason.as_str()), (code, reason), "{name}");
    }
    let missing =
        ContainerConfig { command: vec!["/no/such/program".to_owned()], ..container("missing", "") };
    let made = world.client.create(&id, &missing, &config).unwrap();
    let error = world.client.start(&made).unwrap_err();
    assert!(error.message().contains("/no/such/program"), "{error}");
    let status = world.ended(&made);
    assert_eq!((status.exit_code, status.reason.as_str()), (128, "StartError"));
    assert!(status.message.contains("/no/such/program"));
    world.end(&id);
}

#[test]
fn too_much_memory_is_an_end_with_its_own_reason() {
    needs!("root", "overlay");
    let world = World::new();
    let config = world.pod("oom", true);
    let id = world.client.run_pod(&config).unwrap();
    let resources = LinuxContainerResources { memory_limit_in_bytes: 15 << 20, ..Default::default() };
    let linux = LinuxContainerConfig { resources: Some(resources), ..Default::default() };
    let hungry = container("hungry", "dd if=/dev/zero of=/dev/null bs=200M count=1");
    let hungry = ContainerConfig { linux: Some(linux), ..hungry };
    let made = world.client.run(&id, &hungry, &config).unwrap();
    let status = world.ended(&made);
    assert_eq!((status.exit_code, status.reason.as_str()), (137, "OOMKilled"));
    assert_eq!(status.resources.unwrap().linux.unwrap().memory_limit_in_bytes, 15 << 20);
    world.end(&id);
}

#[test]
fn a_command_that_takes_too_long_is_killed() {
    needs!("root", "overlay");
    let world = World::new();
    let config = world.pod("exec", true);
    let id = world.client.run_pod(&config).unwrap();
    let made = world.client.run(&id, &container("idle", "sleep 1000"), &config).unwrap();
    let error = world.client.exec(&made, &["sleep", "1234"], 1).unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded, "{error}");
    let processes = world.client.exec(&made, &["ps"], 10).unwrap();
    assert!(!String::from_utf8_lossy(&processes.stdout).contains("1234"));
    // Somebody else holds the pipes, and nobody waits for them.
    let began = Instant::now();
    let reply = world.client.exec(&made, &["sh", "-c", "sleep 1000 & echo done"], 60).unwrap();
    assert_eq!((&reply.stdout[..], reply.exit_code), (&b"done\n"[..], 0));
    assert!(began.elapsed() < Duration::from_secs(10));
    assert!(world.client.exec(&made, &["/no/such/program"], 10).is_err());
    // Not only its first process, and not only those of its session; what ran before goes on.
    let script = "setsid sleep 4321 & sleep 4322 & (sleep 4323; true) & sleep 4324";
    let error = world.client.exec(&made, &["sh", "-c", script], 1).unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded, "{error}");
    let processes = String::from_utf8(world.client.exec(&made, &["ps"], 10).unwrap().stdout).unwrap();
    assert!(!processes.contains("432") && processes.contains("sleep 1000"), "{processes}");
    assert_eq!(world.client.exec(&made, &[], 10).unwrap_err().code(), Code::InvalidArgument);
    world.end(&id);
}

#[test]
fn what_a_command_prints_fits_into_a_reply() {
    needs!("root", "overlay");
    let world = World::new();
    let config = world.pod("much", true);
    let id = world.client.run_pod(&config).unwrap();
    let made = world.client.run(&id, &container("idle", "sleep 1000"), &config).unwrap();
    let script = "dd if=/dev/zero bs=1M count=12; dd if=/dev/zero bs=1M count=12 >&2; exit 7";
    let reply = world.client.exec(&made, &["sh", "-c", script], 60).unwrap();
    assert_eq!(reply.exit_code, 7);
    let length = reply.stdout.len() + reply.stderr.len();
    assert!((15 << 20..16 << 20).contains(&length), "{length}");
    world.end(&id);
}

#[test]
fn a_pod_has_a_network_and_its_containers_share_it() {
    needs!("root", "overlay", "cni");
    let world = World::new();
    write_network(&world.sandbox, "");
    let config = PodSandboxConfig { hostname: "web-0".to_owned(), ..world.pod("net", false) };
    let id = world.client.run_pod(&config).unwrap();
    let address = world.client.pod_status(&id).unwrap().network.unwrap().ip;
    assert!(address.starts_with("10."), "{address:?}");
    let server = container("server", "mkdir /www; echo pod > /www/index.html; exec httpd -f -p 8080 -h /www");
    world.client.run(&id, &server, &config).unwrap();
    // From the host by the pod's address, and from another container by localhost.
    let fetch = format!("http://{address}:8080/");
    eventually("the pod answers at its address", || {
        let got = std::process::Command::new("busybox").args(["wget", "-qO-", &fetch]).output().unwrap();
        got.stdout == b"pod\n"
    });
    let other = world.client.run(&id, &container("other", "sleep 1000"), &config).unwrap();
    let shell = |script: &str| {
        let reply = world.client.exec(&other, &["sh", "-c", script], 10).unwrap();
        String::from_utf8(reply.stdout).unwrap()
    };
    assert_eq!(shell("wget -qO- http://localhost:8080/"), "pod\n");
    assert_eq!(shell("hostname; cat /etc/hostname"), "web-0\nweb-0\n");
    assert_eq!(shell("cat /proc/sys/net/ipv4/ip_unprivileged_port_start"), "0\n");
    assert_eq!(shell("df -m /dev/shm | tail -1 | awk '{print $2}'; ls /dev/shm"), "64\n");
    world.end(&id);
}

#[test]
fn users_mounts_and_rights_are_as_asked_for() {
    needs!("root", "overlay");
    let world = World::new();
    let config = world.pod("rights", true);
    let id = world.client.run_pod(&config).unwrap();
    let shared = world.sandbox.folder("shared");
    std::os::unix::fs::symlink("shared", world.sandbox.path().join("link")).unwrap();
    let mount = |host: &str, readonly| Mount {
        host_path: world.sandbox.path().join(host).display().to_string(),
        container_path: "/data".to_owned(),
        readonly,
        ..Default::default()
    };
    let security = LinuxContainerSecurityContext {
        run_as_user: Some(Int64Value { value: 1000 }),
        supplemental_groups: vec![1234],
        readonly_rootfs: true,
        no_new_privs: true,
        ..container("x", "").linux.unwrap().security_context.unwrap()
    };
    let linux = LinuxContainerConfig { security_context: Some(security), ..Default::default() };
    let script =
        "id -u; id -G; touch /x 2>&1; grep -E 'NoNewPrivs|CapEff' /proc/self/status; ls /data; sleep 1000";
    let plain = ContainerConfig {
        mounts: vec![mount("link", true)],
        linux: Some(linux),
        ..container("plain", script)
    };
    std::fs::write(shared.join("from-the-host"), "").unwrap();
    let made = world.client.run(&id, &plain, &config).unwrap();
    eventually("it has looked", || world.log("rights", "plain").contains("from-the-host"));
    let log = world.log("rights", "plain");
    for expected in
        ["F 1000\n", "F 0 1234\n", "Read-only file system", "NoNewPrivs:\t1", "CapEff:\t0000000000000000"]
    {
        assert!(log.contains(expected), "{expected:?} in {log}");
    }
    let status = world.client.status(&made).unwrap();
    assert_eq!(status.mounts, plain.mounts);
    let user = status.user.unwrap().linux.unwrap();
    assert_eq!((user.uid, user.gid, user.supplemental_groups), (1000, 0, vec![0, 1234]));
    // A missing folder of the host is made.
    let writes = ContainerConfig {
        mounts: vec![mount("new/folder", false)],
        ..container("writes", "echo x > /data/file")
    };
    let made = world.client.run(&id, &writes, &config).unwrap();
    assert_eq!(world.ended(&made).exit_code, 0);
    assert!(world.sandbox.path().join("new/folder/file").exists());
    world.end(&id);
}

#[test]
fn a_shared_pid_namespace_has_pause_as_its_first_process() {
    needs!("root", "overlay");
    let world = World::new();
    let mut config = world.pod("pids", true);
    let options =
        config.linux.as_mut().unwrap().security_context.as_mut().unwrap().namespace_options.as_mut();
    options.unwrap().pid = NamespaceMode::Pod as i32;
    let id = world.client.run_pod(&config).unwrap();
    let mut web = container("web", "sleep 1000");
    web.linux.as_mut().unwrap().security_context.as_mut().unwrap().namespace_options.as_mut().unwrap().pid =
        NamespaceMode::Pod as i32;
    let made = world.client.run(&id, &web, &config).unwrap();
    let shell = |script: &str| {
        let reply = world.client.exec(&made, &["sh", "-c", script], 10).unwrap();
        String::from_utf8(reply.stdout).unwrap()
    };
    assert!(shell("cat /proc/1/comm").contains("pause"), "{}", shell("ps"));
    world.end(&id);
}

#[test]
fn what_cannot_be_done_is_refused_and_leaves_nothing() {
    needs!("root", "overlay");
    let world = World::new();
    // No network configuration, and one with a plugin that nobody has.
    let config = world.pod("bad", false);
    let error = world.client.run_pod(&config).unwrap_err();
    assert!(error.message().contains("no network configuration"), "{error}");
    assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
    let mut bad = config.clone();
    bad.linux.as_mut().unwrap().sysctls = [("kernel.core_pattern".to_owned(), "|/x".to_owned())].into();
    let bad = [
        bad,
        PodSandboxConfig { log_directory: "relative".to_owned(), ..config.clone() },
        world.pod("semi;colon", false),
    ];
    for bad in bad {
        let error = world.client.run_pod(&bad).unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{error}");
    }
    world.sandbox.write("cni/10-bad.conf", r#"{"cniVersion":"1.0.0","name":"bad","type":"no-such-plugin"}"#);
    let error = world.client.run_pod(&config).unwrap_err();
    assert!(error.message().contains("no-such-plugin"), "{error}");
    let status = world
        .client
        .ask(async |mut pods, _| pods.status(k8s_cri::v1::StatusRequest::default()).await)
        .unwrap();
    let conditions = status.status.unwrap().conditions;
    assert!(conditions[0].status && !conditions[1].status);
    assert_eq!(conditions[1].reason, "NetworkPluginNotReady");
    assert!(world.client.run_pod(&PodSandboxConfig::default()).is_err());

    let config = world.pod("good", true);
    let id = world.client.run_pod(&config).unwrap();
    let create = |change: &dyn Fn(&mut ContainerConfig)| {
        let mut bad = container("bad", "true");
        change(&mut bad);
        world.client.create(&id, &bad, &config).unwrap_err()
    };
    let image = create(&|it| it.image.as_mut().unwrap().image = "no-such-image".to_owned());
    assert_eq!(image.code(), Code::NotFound, "{image}");
    create(&|it| it.log_path = "../../etc/cron.d/x".to_owned());
    create(&|it| it.mounts = vec![Mount { host_path: "relative".to_owned(), ..Default::default() }]);
    let up = world.sandbox.path().join("new/../../etc").display().to_string();
    let mount = Mount { host_path: up, container_path: "/x".to_owned(), ..Default::default() };
    let error = create(&|it| it.mounts = vec![mount.clone()]);
    assert_eq!(error.code(), Code::InvalidArgument, "{error}");
    assert!(!world.sandbox.path().join("new").exists());
    create(&|it| it.metadata = None);
    let security = |change: &dyn Fn(&mut LinuxContainerSecurityContext)| {
        create(&|it| change(it.linux.as_mut().unwrap().security_context.as_mut().unwrap()))
    };
    security(&|it| it.privileged = true);
    security(&|it| it.run_as_group = Some(Int64Value { value: 1 }));
    security(&|it| it.run_as_username = "nobody-knows".to_owned());
    security(&|it| it.capabilities = Some(capabilities("NOT_ONE")));
    let missing = world.client.create("ffff", &container("x", "true"), &config).unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
    assert_eq!(world.client.list_containers().unwrap(), []);
    world.end(&id);
}

fn capabilities(name: &str) -> k8s_cri::v1::Capability {
    k8s_cri::v1::Capability { add_capabilities: vec![name.to_owned()], ..Default::default() }
}

#[test]
fn images_are_those_of_the_store() {
    needs!("root", "overlay");
    let world = World::new();
    world.sandbox.rrun(["tag", "busybox", "example.org/tools/box:1"]).run().succeeds();
    let spec = |name: &str| Some(ImageSpec { image: name.to_owned(), ..Default::default() });
    let status = |name: &str| {
        let request = ImageStatusRequest { image: spec(name), verbose: false };
        world.client.ask(async |_, mut images| images.image_status(request).await).unwrap().image
    };
    let pull = |name: &str| {
        let request = PullImageRequest { image: spec(name), ..Default::default() };
        world.client.ask(async |_, mut images| images.pull_image(request).await)
    };
    let remove = |name: &str| {
        let request = RemoveImageRequest { image: spec(name) };
        world.client.ask(async |_, mut images| images.remove_image(request).await).unwrap();
    };
    let image = status("busybox").expect("it was imported");
    assert_eq!(image.repo_tags, ["docker.io/library/busybox:latest", "example.org/tools/box:1"]);
    assert!(image.size > 0 && image.id.starts_with("sha256:"));
    for name in [&image.id, "example.org/tools/box:1", &image.id["sha256:".len()..][..12]] {
        assert_eq!(status(name).expect(name), image);
    }
    assert_eq!(status("no-such-image"), None);
    assert_eq!(pull("busybox").unwrap().image_ref, image.id);
    let missing = pull("no-such-image").unwrap_err();
    assert!(missing.message().contains("not in the local store"), "{missing}");

    // What a container uses stays until it is gone.
    let config = world.pod("images", true);
    let id = world.client.run_pod(&config).unwrap();
    let made = world.client.run(&id, &container("web", "sleep 1000"), &config).unwrap();
    remove("example.org/tools/box:1");
    remove("busybox");
    assert_eq!(status("busybox"), None);
    assert_eq!(world.client.status(&made).unwrap().image_id, image.id);
    assert_eq!(world.client.exec(&made, &["true"], 10).unwrap().exit_code, 0);
    let info =
        world.client.ask(async |_, mut images| images.image_fs_info(ImageFsInfoRequest {}).await).unwrap();
    let place = info.image_filesystems[0].fs_id.clone().unwrap().mountpoint;
    assert!(std::path::Path::new(&place).is_dir());
    world.end(&id);
}

#[test]
fn what_containers_use_is_told() {
    needs!("root", "overlay");
    let world = World::new();
    let config = world.pod("stats", true);
    let id = world.client.run_pod(&config).unwrap();
    let script = "dd if=/dev/zero of=/file bs=1M count=3; while true; do sleep 0.01; done";
    let made = world.client.run(&id, &container("busy", script), &config).unwrap();
    world.client.run(&id, &container("over", "true"), &config).unwrap();
    let list = || {
        let request = ListContainerStatsRequest::default();
        world.client.ask(async |mut pods, _| pods.list_container_stats(request).await).unwrap().stats
    };
    eventually("only the running one is told of", || list().len() == 1);
    eventually("its file is counted", || {
        let stats = list().remove(0);
        assert_eq!(stats.attributes.unwrap().id, made);
        assert!(stats.cpu.unwrap().usage_core_nano_seconds.unwrap().value > 0);
        assert!(stats.memory.unwrap().working_set_bytes.unwrap().value > 0);
        let layer = stats.writable_layer.unwrap();
        // Counted once in a while, and perhaps before the file was there.
        layer.timestamp > 0 && layer.inodes_used.unwrap().value > 0
    });
    world.end(&id);
}

#[test]
fn a_volume_of_the_image_can_be_written_although_the_root_cannot() {
    needs!("root", "overlay");
    let world = World::new();
    world.sandbox.write(
        "context/Dockerfile",
        "FROM busybox\nRUN mkdir /data && echo old > /data/file\nVOLUME /data\n",
    );
    world.sandbox.rbuild(["-t", "with-volume", "context"]).run().succeeds();
    let config = world.pod("volume", true);
    let id = world.client.run_pod(&config).unwrap();
    for readonly_rootfs in [true, false] {
        let name = format!("readonly-{readonly_rootfs}");
        let mut web = container(&name, "cat /data/file && echo new > /data/file && cat /data/file");
        web.image.as_mut().unwrap().image = "with-volume".to_owned();
        web.linux.as_mut().unwrap().security_context.as_mut().unwrap().readonly_rootfs = readonly_rootfs;
        let made = world.client.run(&id, &web, &config).unwrap();
        assert_eq!(world.ended(&made).exit_code, 0, "{}", world.log("volume", &name));
        let log = world.log("volume", &name);
        assert!(log.contains("F old") && log.contains("F new"), "{log}");
    }
    world.end(&id);
}
