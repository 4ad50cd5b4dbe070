//! The CNI client with the plugins that Debian packages: a bridge with addresses and published ports.
//!
//! The "host" of each test is a network namespace of its own: its bridge, its firewall rules and its ports are nobody
//! else's, and whatever a failing test leaves there ends with it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use runtime::network::{
    Attachment, NetworkConfig, Plugins, PortMapping, Protocol, bring_up_loopback, namespace, release,
};
use serde_json::{Value, json};

/// Everything that a test cannot do without; the first that is missing is named.
fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("root".to_owned());
    }
    let plugins = ["bridge", "host-local", "portmap", "firewall"];
    if let Some(missing) = plugins.iter().find(|name| Plugins::default().find(name).is_err()) {
        return Some(format!("network plugin {missing}"));
    }
    let runs = |name: &&&str| Command::new(name).arg("-V").output().is_ok();
    ["ip", "iptables", "ip6tables"].iter().find(|name| !runs(name)).map(|name| (*name).to_owned())
}

/// A host of the test's own, with a place for files.
struct Host {
    folder: tempfile::TempDir,
}

impl Host {
    /// Runs `test` in a new network namespace, unless this machine lacks what it needs.
    fn run(test: impl FnOnce(&Host) + Send + 'static) {
        if let Some(missing) = missing() {
            // Past the capture of test output, so that a skipped test does not look like a passed one.
            let _ = writeln!(std::io::stderr(), "skipped: {missing} not found");
            return;
        }
        let host = Host { folder: tempfile::tempdir().unwrap() };
        let thread = std::thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            bring_up_loopback().unwrap();
            test(&host);
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn netns(&self) -> PathBuf {
        self.path("netns/box")
    }

    fn record(&self) -> PathBuf {
        self.path("network.json")
    }

    /// A bridge network with these address ranges.
    fn config(&self, subnets: &[&str]) -> Value {
        let ranges: Vec<Value> = subnets.iter().map(|subnet| json!([{ "subnet": subnet }])).collect();
        let routes: Vec<Value> = subnets
            .iter()
            .map(|subnet| json!({ "dst": if subnet.contains(':') { "::/0" } else { "0.0.0.0/0" } }))
            .collect();
        json!({
            "cniVersion": "1.0.0",
            "name": "hulltest",
            "plugins": [
                {
                    "type": "bridge", "bridge": "hulltest0", "isGateway": true, "ipMasq": true,
                    "hairpinMode": true,
                    "ipam": {
                        "type": "host-local", "dataDir": self.path("leases"), "ranges": ranges, "routes": routes
                    }
                },
                { "type": "portmap", "capabilities": { "portMappings": true } },
                { "type": "firewall" }
            ]
        })
    }

    /// A namespace and a written attachment with port 8080 published.
    fn attach(&self, subnets: &[&str]) -> Attachment {
        self.attach_to(&self.config(subnets))
    }

    fn attach_to(&self, config: &Value) -> Attachment {
        let source = Path::new("hulltest.conflist");
        let config = NetworkConfig::parse(config.to_string().as_bytes(), source).unwrap();
        let results = self.path("results");
        let mut attachment =
            Attachment::new("box", self.netns(), config, &Plugins::default(), results).unwrap();
        let port =
            PortMapping { host_port: 8080, container_port: 80, protocol: Protocol::Tcp, host_ip: None };
        attachment.capabilities.insert("portMappings".to_owned(), json!([port]));
        namespace::create(&self.netns()).unwrap();
        attachment.write(&self.record()).unwrap();
        attachment
    }

    /// Addresses that are given out.
    fn leases(&self) -> Vec<String> {
        let folder = std::fs::read_dir(self.path("leases/hulltest"));
        let names =
            folder.into_iter().flatten().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        // The others are the lock and the last address of each range.
        names.filter(|name| name.starts_with("10.") || name.starts_with("fd")).collect()
    }

    /// Interfaces of this host by what they are.
    fn veths(&self) -> String {
        command("ip", &["-o", "link", "show", "type", "veth"])
    }

    /// Rules of this host that name the container or one of its addresses.
    fn rules(&self) -> Vec<String> {
        let tables = ["filter", "nat"].iter().flat_map(|table| {
            let rules = |program| command(program, &["-t", table, "-S"]);
            [rules("iptables"), rules("ip6tables")]
        });
        let all: Vec<String> = tables.collect();
        let ours = |line: &&str| ["box", "8080", "10.", "fd00"].iter().any(|word| line.contains(word));
        all.iter().flat_map(|text| text.lines()).filter(ours).map(str::to_owned).collect()
    }

    #[track_caller]
    fn assert_nothing_left(&self) {
        assert_eq!(self.veths(), "");
        assert_eq!(self.leases(), Vec::<String>::new());
        assert_eq!(self.rules(), Vec::<String>::new());
        assert!(!self.netns().exists() && !self.record().exists());
        assert_eq!(std::fs::read_dir(self.path("results")).into_iter().flatten().count(), 0);
    }
}

impl Drop for Host {
    /// A failed test may have left its namespace pinned; the rest ends with the host.
    fn drop(&mut self) {
        let _ = namespace::remove(&self.netns());
    }
}

/// Runs a program on the calling thread's host.
#[track_caller]
fn command(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Answers one connection to port 80 in the container; the peer it saw.
fn serve(netns: &Path) -> std::thread::JoinHandle<String> {
    let netns = netns.to_owned();
    let (ready, wait) = std::sync::mpsc::channel();
    let server = std::thread::spawn(move || {
        let answer = || {
            let listener = TcpListener::bind("[::]:80").unwrap();
            ready.send(()).unwrap();
            let (mut stream, peer) = listener.accept().unwrap();
            stream.write_all(b"hello").unwrap();
            peer.ip().to_canonical().to_string()
        };
        namespace::visit(&netns, answer).unwrap()
    });
    wait.recv().unwrap();
    server
}

/// Tries for a while: a new bridge's own IPv6 address cannot be used until nobody else was found to have it.
#[track_caller]
fn assert_answers(address: &str) {
    let connect = || TcpStream::connect_timeout(&address.parse().unwrap(), Duration::from_millis(500)).ok();
    let mut stream = (0..20).find_map(|_| connect()).unwrap_or_else(|| panic!("no answer from {address}"));
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello", "{address}");
}

fn setting(netns: &Path, name: &str) -> String {
    let path = format!("/proc/sys/net/ipv6/conf/{name}");
    namespace::visit(netns, || std::fs::read_to_string(path).unwrap()).unwrap().trim().to_owned()
}

/// Addresses in the container by interface, as `ip` shows them.
fn addresses(netns: &Path) -> BTreeMap<String, Vec<String>> {
    let text = namespace::visit(netns, || command("ip", &["-o", "address"])).unwrap();
    let mut addresses: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        addresses.entry(words[1].to_owned()).or_default().push(words[3].to_owned());
    }
    addresses
}

#[test]
fn a_container_has_an_address_and_published_ports_until_it_is_released() {
    Host::run(|host| {
        let attachment = host.attach(&["10.111.7.0/24"]);
        let result = attachment.add().unwrap();
        assert_eq!(result.primary().unwrap().to_string(), "10.111.7.2");
        // IPv4 only: no link-local address that nobody asked for.
        assert_eq!(addresses(&host.netns())["eth0"], ["10.111.7.2/24"]);
        assert_eq!(addresses(&host.netns())["lo"], ["127.0.0.1/8", "::1/128"]);
        assert_eq!(setting(&host.netns(), "eth0/disable_ipv6"), "1");
        assert_eq!(host.leases(), ["10.111.7.2"]);
        assert_eq!(host.veths().lines().count(), 1);
        assert!(host.rules().iter().any(|rule| rule.contains("--dport 8080")));

        for address in ["10.111.7.2:80", "10.111.7.1:8080", "127.0.0.1:8080"] {
            let server = serve(&host.netns());
            assert_answers(address);
            assert_eq!(server.join().unwrap(), "10.111.7.1");
        }
        release(&host.record()).unwrap();
        host.assert_nothing_left();
        release(&host.record()).unwrap();
    });
}

#[test]
fn both_families_work_together() {
    Host::run(|host| {
        let result = host.attach(&["fd00:111:8::/64", "10.111.8.0/24"]).add().unwrap();
        let texts: Vec<String> = result.primary_first().iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["10.111.8.2", "fd00:111:8::2"]);
        // The default route came with the address: nobody else may announce one.
        assert_eq!(setting(&host.netns(), "eth0/accept_ra"), "0");
        assert_eq!(setting(&host.netns(), "eth0/disable_ipv6"), "0");
        for address in ["10.111.8.2:80", "[fd00:111:8::2]:80"] {
            let server = serve(&host.netns());
            assert_answers(address);
            server.join().unwrap();
        }
        release(&host.record()).unwrap();
        host.assert_nothing_left();
    });
}

/// A bridge network whose plugin has nothing to masquerade: bridge 1.1.1 learns which rules to delete from the
/// addresses that it finds in the container, and forgets them when it finds none.
fn without_masquerading(host: &Host, subnet: &str) -> Value {
    let mut config = host.config(&[subnet]);
    config["plugins"][0]["ipMasq"] = json!(false);
    config
}

#[test]
fn an_attachment_whose_namespace_is_gone_gives_its_address_back() {
    Host::run(|host| {
        host.attach_to(&without_masquerading(host, "10.111.9.0/24")).add().unwrap();
        namespace::remove(&host.netns()).unwrap();
        assert_eq!(host.leases(), ["10.111.9.2"]);
        release(&host.record()).unwrap();
        // The kernel takes the interfaces of a namespace down after it has ended.
        for _ in 0..2000 {
            if host.veths().is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        host.assert_nothing_left();
    });
}

#[test]
fn a_failed_attempt_gives_everything_back() {
    Host::run(|host| {
        let mut config = host.config(&["10.111.10.0/24"]);
        // portmap fails at this, after bridge has given out an address.
        config["plugins"][1]["conditionsV4"] = json!(["--no-such-option"]);
        let error = host.attach_to(&config).add().unwrap_err().to_string();
        assert!(error.starts_with(r#"network plugin "portmap", ADD of network "hulltest": "#), "{error}");
        assert!(!error.contains("undoing"), "{error}");
        assert_eq!(host.leases(), Vec::<String>::new());
        release(&host.record()).unwrap();
        host.assert_nothing_left();
    });
}

#[test]
fn a_change_from_outside_is_noticed() {
    Host::run(|host| {
        let mut attachment = host.attach_to(&without_masquerading(host, "10.111.11.0/24"));
        // portmap 1.1.1 looks for the rules of both families among those of each.
        attachment.capabilities.clear();
        attachment.add().unwrap();
        attachment.check().unwrap();
        let flush = ["address", "flush", "dev", "eth0"];
        namespace::visit(&host.netns(), || command("ip", &flush)).unwrap();
        let error = attachment.check().unwrap_err().to_string();
        assert!(error.starts_with(r#"network plugin "bridge", CHECK of network "hulltest": "#), "{error}");
        release(&host.record()).unwrap();
        host.assert_nothing_left();
    });
}

/// The variable that makes this program the caller of ADD in the test below.
const CALLER: &str = "HULL_TEST_ATTACHMENT";

#[test]
fn a_caller_that_is_killed_leaves_what_its_record_can_undo() {
    if let Some(record) = std::env::var_os(CALLER) {
        Attachment::read(Path::new(&record)).unwrap().unwrap().add().unwrap();
        return;
    }
    Host::run(|host| {
        let mut finished = false;
        for attempt in 0.. {
            host.attach(&["10.111.12.0/24"]);
            let mut caller = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "a_caller_that_is_killed_leaves_what_its_record_can_undo"])
                .env(CALLER, host.record())
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap();
            // Each time a little later, until ADD is through.
            std::thread::sleep(Duration::from_millis(5 * attempt));
            finished = caller.try_wait().unwrap().is_some();
            caller.kill().unwrap();
            caller.wait().unwrap();
            release(&host.record()).unwrap();
            host.assert_nothing_left();
            if finished || attempt == 100 {
                break;
            }
        }
        assert!(finished);
    });
}
