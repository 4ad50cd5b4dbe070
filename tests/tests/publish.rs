//! Containers on the bridge: addresses, names, published ports, and that nothing of it stays.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use runtime::network::namespace::visit;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tests::{Outcome, Sandbox, cni_folder, eventually, leaks, needs};

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.import_busybox();
    sandbox
}

/// Answers every caller on port 80 with its name.
const SERVER: &str = "echo $HOSTNAME > /answer; nc -ll -p 80 -e cat /answer";

fn start(sandbox: &Sandbox, options: &[&str], script: &str) -> String {
    let outcome = sandbox.rrun(["run", "-d"]).args(options).args(["busybox", "sh", "-c", script]).run();
    outcome.succeeds();
    outcome.stdout().trim_end().to_owned()
}

/// A port that was free a moment ago, and likely stays so: the kernel gives others to those who ask for any.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

/// What a server says, empty where there is none.
fn ask(address: &str, port: u16) -> String {
    let address: SocketAddr = format!("{address}:{port}").parse().expect("an address");
    let mut text = String::new();
    if let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(2)) {
        let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
        let _ = stream.read_to_string(&mut text);
    }
    text.trim_end().to_owned()
}

fn answers(address: &str, port: u16, name: &str) {
    eventually(&format!("{name} answers at {address}:{port}"), || ask(address, port) == name);
}

fn inspect(sandbox: &Sandbox, name: &str, pointer: &str) -> Value {
    let outcome: Outcome = sandbox.rrun(["inspect", name]).run();
    outcome.succeeds();
    outcome.json()[0].pointer(pointer).cloned().unwrap_or_default()
}

#[test]
fn a_published_port_is_reached_from_everywhere_until_the_container_ends() {
    needs!("root", "cni");
    let sandbox = sandbox();
    let port = free_port();
    let id = start(&sandbox, &["--name", "web", "-h", "web-1", "-p", &format!("{port}:80")], SERVER);
    answers("127.0.0.1", port, "web-1");
    answers(&sandbox.gateway(), port, "web-1");
    // From another container, and from the container itself, by the host's address.
    let ask_host = format!("nc -w 2 {} {port} < /dev/null", sandbox.gateway());
    let client = sandbox.rrun(["run", "--rm", "busybox", "sh", "-c", &ask_host]).run();
    client.succeeds().stdout_is("web-1\n");
    sandbox.rrun(["exec", "web", "sh", "-c", &ask_host]).run().stdout_is("web-1\n");

    let address = inspect(&sandbox, "web", "/NetworkSettings/IPAddress");
    let address = address.as_str().expect("it has an address");
    answers(address, 80, "web-1");
    sandbox.rrun(["exec", "web", "cat", "/etc/hosts"]).run().stdout_has(&format!("{address}\tweb-1\n"));
    sandbox
        .rrun(["exec", "web", "ip", "route"])
        .run()
        .stdout_has(&format!("default via {}", sandbox.gateway()));
    assert_eq!(inspect(&sandbox, "web", "/NetworkSettings/Ports/80~1tcp/0/HostPort"), port.to_string());
    sandbox.rrun(["ps", "--format", "{{.Ports}}"]).run().stdout_is(&format!("0.0.0.0:{port}->80/tcp\n"));
    sandbox.rrun(["ps", "-q", "-f", &format!("publish={port}")]).run().stdout_is(&format!("{}\n", &id[..12]));
    sandbox.rrun(["port", "web"]).run().stdout_is(&format!("80/tcp -> 0.0.0.0:{port}\n"));
    sandbox.rrun(["port", "web", "80"]).run().stdout_is(&format!("0.0.0.0:{port}\n"));
    sandbox.rrun(["port", "web", "81"]).run().fails(1, &["81/tcp"]);

    sandbox.rrun(["stop", "-t", "0", "web"]).run().succeeds();
    assert_eq!(ask("127.0.0.1", port), "");
    // Its monitor gives everything back before that is told, and ends a moment later.
    eventually("the network is released and its monitor gone", || sandbox.leaks().is_empty());
    sandbox.rrun(["start", "web"]).run().succeeds();
    answers("127.0.0.1", port, "web-1");
    sandbox.rrun(["restart", "-t", "0", "web"]).run().succeeds();
    answers("127.0.0.1", port, "web-1");
    sandbox.rrun(["rm", "-f", "web"]).run().succeeds();
    assert_eq!(ask("127.0.0.1", port), "");
    sandbox.nothing_remains([&id]);
}

#[test]
fn containers_reach_each_other_by_address_and_given_names() {
    needs!("root", "cni");
    let sandbox = sandbox();
    let first = start(&sandbox, &["--name", "first", "-h", "one"], SERVER);
    let address = inspect(&sandbox, "first", "/NetworkSettings/IPAddress");
    let host = format!("db:{}", address.as_str().expect("it has an address"));
    let run = sandbox
        .rrun(["run", "--rm", "--add-host", &host, "--dns", "192.0.2.53", "busybox", "sh", "-c"])
        .arg("cat /etc/resolv.conf; until nc -w 2 db 80 < /dev/null; do sleep 0.05; done; cat /proc/net/if_inet6 | grep -c eth0")
        .run();
    // Addresses of IPv6 that nobody asked for are a way past rules for IPv4.
    run.exits(1).stdout_has("nameserver 192.0.2.53\n").stdout_has("one\n0\n");
    sandbox.rrun(["rm", "-f", "first"]).run().succeeds();
    sandbox.nothing_remains([&first]);
}

#[test]
fn ports_are_bound_where_asked_ranges_and_protocols_included() {
    needs!("root", "cni");
    let sandbox = sandbox();
    let (local, udp) = (free_port(), free_port());
    let id = start(
        &sandbox,
        &[
            "--name",
            "many",
            "-h",
            "many",
            "-p",
            &format!("127.0.0.1:{local}:80"),
            "-p",
            &format!("{udp}:53/udp"),
            "-p",
            "80",
        ],
        SERVER,
    );
    answers("127.0.0.1", local, "many");
    assert_eq!(ask(&sandbox.gateway(), local), "", "only the loopback was asked for");
    let mapped = sandbox.rrun(["port", "many", "80/tcp"]).run().stdout();
    let random: u16 = mapped
        .lines()
        .find_map(|line| line.strip_prefix("0.0.0.0:")?.parse().ok())
        .expect("a port was chosen");
    answers("127.0.0.1", random, "many");

    // There is no server for datagrams in busybox: we are one, in the container's network.
    let namespace = sandbox.state().join("netns").join(&id);
    let server = visit(&namespace, || UdpSocket::bind("0.0.0.0:53").expect("a socket")).expect("a namespace");
    server.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    std::thread::spawn(move || {
        let mut buffer = [0; 16];
        while let Ok((count, from)) = server.recv_from(&mut buffer) {
            let _ = server.send_to(&buffer[..count], from);
        }
    });
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
    eventually("the datagram comes back", || {
        let mut buffer = [0; 16];
        let _ = socket.send_to(b"ping", ("127.0.0.1", udp));
        socket.recv(&mut buffer).is_ok_and(|count| &buffer[..count] == b"ping")
    });
    sandbox.rrun(["rm", "-f", "many"]).run().succeeds();

    let first = free_port().min(65_000);
    let last = first + 2;
    let range = format!("{first}-{last}:{first}-{last}");
    let ranged = start(&sandbox, &["--name", "range", "-p", &range], "sleep 1000");
    let shown = format!("0.0.0.0:{first}-{last}->{first}-{last}/tcp\n");
    sandbox.rrun(["ps", "--format", "{{.Ports}}"]).run().stdout_is(&shown);
    // One of several: the first that nobody has.
    let any = start(&sandbox, &["--name", "any", "-p", &format!("{first}-{}:80", last + 20)], "sleep 1000");
    let chosen = sandbox.rrun(["port", "any", "80"]).run().stdout();
    let chosen: u16 =
        chosen.trim_end().rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    assert!(chosen > last, "{chosen}");
    sandbox.rrun(["rm", "-f", "range", "any"]).run().succeeds();
    sandbox.nothing_remains([&id, &ranged, &any]);
}

#[test]
fn a_port_in_use_is_refused_before_anything_is_made() {
    needs!("root", "cni");
    let sandbox = sandbox();
    let listener = TcpListener::bind("0.0.0.0:0").expect("a port");
    let taken = listener.local_addr().expect("an address").port();
    let run =
        |options: &[&str]| sandbox.rrun(["run", "-d"]).args(options).args(["busybox", "sleep", "1000"]).run();
    run(&["-p", &format!("{taken}:80")]).fails(125, &[&taken.to_string(), "in use"]);
    run(&["-p", "8000-8003:80-85"]).fails(125, &["8000-8003", "80-85", "different length"]);
    run(&["-p", "70000:80"]).fails(125, &["70000"]);
    run(&["-p", "192.0.2.7:8080:80"]).fails(125, &["192.0.2.7:8080"]);
    run(&["-p", "[::1]:8080:80"]).fails(125, &["::1", "127.0.0.1"]);
    run(&["-p", "[::]:8080:80"]).fails(125, &["::", "--bridge-subnet"]);
    run(&["--network", "none", "-p", "80:80"]).fails(125, &["--network none"]);
    let twice = format!("{}:80", free_port());
    run(&["-p", &twice, "-p", &twice]).fails(125, &["twice"]);
    sandbox.rrun(["ps", "-aq"]).run().stdout_is("");
    assert_eq!(leaks::names_in(&sandbox.root().join("containers")).count(), 0);

    let port = free_port();
    let publish = format!("{port}:80");
    run(&["--name", "owner", "-p", &publish]).succeeds();
    run(&["-p", &publish]).fails(125, &["owner", &port.to_string()]);
    run(&["-p", &format!("127.0.0.1:{port}:81")]).fails(125, &["owner"]);
    sandbox.rrun(["stop", "-t", "0", "owner"]).run().succeeds();
    // It is free now, and its former owner is refused.
    run(&["--name", "next", "-p", &publish]).succeeds();
    sandbox.rrun(["start", "owner"]).run().fails(1, &["next", &port.to_string()]);
    sandbox.rrun(["rm", "-f", "owner", "next"]).run().succeeds();
    sandbox.nothing_remains([]);
}

#[test]
fn a_foreground_container_is_on_the_network_and_leaves_it() {
    needs!("root", "cni");
    let sandbox = sandbox();
    let port = free_port();
    let publish = format!("{port}:80");
    let script = "echo up; nc -l -p 80 -e hostname; exit 3";
    let mut running =
        sandbox.rrun(["run", "--rm", "-h", "front", "-p", &publish, "busybox", "sh", "-c", script]).spawn();
    running.wait_for_stdout("up");
    answers("127.0.0.1", port, "front");
    running.wait().exits(3);
    assert_eq!(sandbox.leaks(), Vec::<String>::new());
    // A failure undoes the network, too.
    sandbox.rrun(["run", "--rm", "-p", &publish, "busybox", "no-such"]).run().exits(127);
    sandbox.rrun(["run", "-d", "--rm", "-p", &publish, "busybox", "no-such"]).run().exits(127);
    sandbox.rrun(["run", "--rm", "-u", "nobody-here", "busybox", "id"]).run().exits(125);
    sandbox.nothing_remains([]);
}

#[test]
fn both_kinds_of_addresses_where_both_were_asked_for() {
    needs!("root", "cni");
    let sandbox = sandbox();
    let number = std::process::id();
    let prefix = format!("fd00:{:x}:{:x}:", number >> 16, number & 0xffff);
    let subnets = format!("{},{prefix}:/64", sandbox.subnet());
    let port = free_port();
    let publish = format!("[::]:{port}:80");
    let run = [
        "--bridge-subnet",
        &subnets,
        "run",
        "-d",
        "--name",
        "both",
        "-p",
        &publish,
        "busybox",
        "sleep",
        "1000",
    ];
    let outcome = sandbox.rrun(run).run();
    outcome.succeeds();
    let address = inspect(&sandbox, "both", "/NetworkSettings/GlobalIPv6Address");
    let address = address.as_str().expect("an address").to_owned();
    let namespace = sandbox.state().join("netns").join(outcome.stdout().trim_end());
    let server = visit(&namespace, || TcpListener::bind("[::]:80").expect("a socket")).expect("a namespace");
    std::thread::spawn(move || {
        for _ in 0..2 {
            if let Ok((mut stream, _)) = server.accept() {
                let _ = stream.write_all(b"both\n");
            }
        }
    });
    answers(&format!("[{address}]"), 80, "both");
    answers(&format!("[{prefix}:1]"), port, "both");
    sandbox.rrun(["port", "both"]).run().stdout_is(&format!("80/tcp -> [::]:{port}\n"));
    sandbox.rrun(["rm", "-f", "both"]).run().succeeds();
    sandbox.nothing_remains([]);
}

#[test]
fn a_killed_monitor_leaves_its_network_to_the_next_caller() {
    needs!("root", "cni");
    let sandbox = sandbox();
    let publish = format!("{}:80", free_port());
    let mut ids = Vec::new();
    for options in [&["--name", "kept", "-p", &publish][..], &["--rm"]] {
        let id = start(&sandbox, options, "sleep 1000");
        let monitor = leaks::processes_with(&format!("--id\0{id}"));
        kill_process(Pid::from_raw(monitor[0]).expect("a pid"), Signal::KILL).expect("it lives");
        eventually("it is gone", || leaks::processes_with(&format!("--id\0{id}")).is_empty());
        ids.push(id);
    }
    sandbox.rrun(["ps", "-a", "--format", "{{.Names}} {{.Status}}"]).run().stdout_has("kept Exited (255)");
    eventually("the network is released", || sandbox.leaks().is_empty());
    sandbox.rrun(["start", "kept"]).run().succeeds();
    sandbox.rrun(["rm", "-f", "kept"]).run().succeeds();
    sandbox.nothing_remains(&ids);
}

/// Plugins that do what the real ones do not, in a folder of their own.
fn fakes(sandbox: &Sandbox, plugins: &[(&str, &str)]) -> String {
    let folder = sandbox.folder("plugins");
    let real = cni_folder().expect("cni was needed");
    for name in ["bridge", "host-local", "portmap", "firewall"] {
        let path = folder.join(name);
        let _ = fs::remove_file(&path);
        match plugins.iter().find(|(fake, _)| *fake == name) {
            Some((_, "")) => {}
            Some((_, script)) => {
                fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a file");
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
            }
            None => std::os::unix::fs::symlink(real.join(name), &path).expect("a link"),
        }
    }
    folder.to_string_lossy().into_owned()
}

#[test]
fn plugins_that_are_missing_fail_or_babble_are_named_and_undone() {
    needs!("root", "cni");
    let sandbox = sandbox();
    let publish = format!("{}:80", free_port());
    let failing = r#"cat > /dev/null; [ $CNI_COMMAND = DEL ] && exit 0; echo '{"code": 99, "msg": "no rules today"}'; exit 1"#;
    let babbling = "cat > /dev/null; [ $CNI_COMMAND = DEL ] && exit 0; echo hello";
    for (plugins, words) in [
        (&[("bridge", "")][..], &["bridge", "containernetworking-plugins", "--network none"][..]),
        (&[("host-local", "")], &["host-local", "containernetworking-plugins"]),
        (&[("portmap", "")], &["portmap", "containernetworking-plugins"]),
        (&[("firewall", failing)], &["firewall", "no rules today"]),
        (&[("portmap", babbling)], &["portmap", "no result"]),
    ] {
        let folder = fakes(&sandbox, plugins);
        for detach in [&["-d"][..], &[]] {
            let run = sandbox.rrun(["--cni-bin-dir", &folder, "run", "--rm", "-p", &publish]).args(detach);
            run.args(["busybox", "true"]).run().fails(125, words);
        }
        assert_eq!(sandbox.leaks(), Vec::<String>::new(), "{plugins:?}");
    }
    sandbox.nothing_remains([]);
}

#[test]
fn addresses_in_use_and_bad_names_are_refused() {
    needs!("root", "cni");
    let sandbox = sandbox();
    let first = start(&sandbox, &["--name", "first"], "sleep 1000");
    let other = |name: &str, subnet: &str| {
        sandbox
            .rrun(["--bridge-name", name, "--bridge-subnet", subnet, "run", "--rm", "busybox", "true"])
            .run()
    };
    // The sandbox's own bridge has a route to it.
    other("hlx", sandbox.subnet()).fails(125, &[sandbox.subnet(), sandbox.bridge(), "--bridge-subnet"]);
    other("a/b", "10.1.0.0/16").fails(125, &["a/b"]);
    other("hlx", "10.1.0.7/16").fails(125, &["10.1.0.7/16"]);
    other("hlx", "fd00::/64").fails(125, &["IPv4"]);
    sandbox.rrun(["rm", "-f", "first"]).run().succeeds();
    sandbox.nothing_remains([&first]);
}

#[test]
fn a_container_on_the_hosts_network_needs_no_ports() {
    needs!("root");
    let sandbox = sandbox();
    let run = sandbox.rrun(["run", "--rm", "--network", "host", "-p", "80:80", "busybox", "echo", "x"]).run();
    run.succeeds().stdout_is("x\n").stderr_has("discarded");
    sandbox.nothing_remains([]);
}

#[test]
fn input_reaches_a_service_through_a_published_port() {
    needs!("root", "cni");
    let sandbox = sandbox();
    let port = free_port();
    let id = start(&sandbox, &["--name", "echo", "-p", &format!("{port}:7")], "nc -ll -p 7 -e cat");
    let data: Vec<u8> = (0..100_000u32).map(|number| number as u8).collect();
    eventually("it comes back unchanged", || {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
        let mut writer = stream.try_clone().expect("a descriptor");
        let sent = data.clone();
        let writing = std::thread::spawn(move || {
            let _ = writer.write_all(&sent).and_then(|()| writer.shutdown(std::net::Shutdown::Write));
        });
        let mut back = Vec::new();
        let _ = stream.read_to_end(&mut back);
        writing.join().expect("a thread");
        back == data
    });
    sandbox.rrun(["rm", "-f", "echo"]).run().succeeds();
    sandbox.nothing_remains([&id]);
}
