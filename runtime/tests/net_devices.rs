//! Network devices of the host that become a container's: what they are stays, and nothing of the host is lost where they
//! cannot be moved. Pairs of virtual devices stand for hardware.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod common;

use std::path::Path;
use std::process::Command;

use common::{Bundle, Pair};
use runtime::network::namespace;
use serde_json::json;

fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What a device is, without its number and whom it is paired with.
fn shown(text: &str, name: &str) -> Vec<String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    assert!(words[1].starts_with(&format!("{name}@")), "{text}");
    let after = |word: &str| words.iter().skip_while(|other| **other != word).nth(1).unwrap().to_string();
    let mut shown = vec![after("mtu"), after("link/ether")];
    shown.extend(words.windows(2).filter(|pair| pair[0].starts_with("inet")).map(|pair| pair[1].to_owned()));
    shown
}

/// A device with an MTU, a hardware address, and addresses of which two are to be kept.
fn furnished() -> Pair {
    let pair = Pair::new();
    let name = &pair.name;
    ip(&format!("link set {name} mtu 1404 address 02:11:22:33:44:55"));
    ip(&format!("address add 198.51.100.7/24 broadcast 198.51.100.255 dev {name}"));
    ip(&format!("address add 2001:db8::7/64 dev {name} nodad"));
    ip(&format!("address add 169.254.7.7/16 scope link dev {name}"));
    ip(&format!("link set {name} up"));
    pair
}

const KEPT: [&str; 4] = ["1404", "02:11:22:33:44:55", "198.51.100.7/24", "2001:db8::7/64"];

#[test]
fn a_device_keeps_what_it_is_and_may_have_another_name() {
    for (user_namespace, name) in [(false, None), (false, Some("uplink")), (true, Some("uplink"))] {
        let pair = furnished();
        let inside = name.unwrap_or(&pair.name);
        let mut bundle = Bundle::new(&["/bin/busybox", "ip", "address", "show", "dev", inside]);
        bundle.set(
            "/linux/netDevices",
            json!({ &pair.name: name.map_or(json!({}), |name| json!({ "name": name })) }),
        );
        if user_namespace {
            bundle.set("/linux/namespaces/-", json!({ "type": "user" }));
            let map = json!([{ "containerID": 0, "hostID": 0, "size": 65_536 }]);
            bundle.set("/linux/uidMappings", map.clone());
            bundle.set("/linux/gidMappings", map);
        }
        let out = bundle.run().succeeded().out;
        // Its other end is down, but it is up itself.
        assert!(out.contains("UP") && out.contains("brd 198.51.100.255"), "{out}");
        let mut seen = shown(&out, inside);
        seen.retain(|word| !word.starts_with("fe80:"));
        assert_eq!(seen, KEPT);
        assert!(!pair.exists(), "the namespace has ended, and with it what is virtual in it");
        bundle.assert_nothing_left();
    }
}

#[test]
fn a_namespace_that_was_there_keeps_the_device() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net");
    namespace::create(&path).unwrap();
    let mut pairs = Vec::new();
    for expected in ["uplink0", "uplink1"] {
        let pair = furnished();
        // The kernel counts, also where the name is taken.
        let mut bundle = Bundle::new(&["/bin/busybox", "ip", "address", "show", "dev", expected]);
        bundle.set("/linux/namespaces/1/path", json!(path));
        bundle.set("/linux/netDevices", json!({ &pair.name: { "name": "uplink%d" } }));
        let out = bundle.run().succeeded().out;
        assert_eq!(shown(&out, expected)[..3], KEPT[..3]);
        let listed = in_namespace(&path, &format!("address show dev {expected}"));
        assert_eq!(shown(&listed, expected)[..3], KEPT[..3]);
        // Both cannot have the same addresses.
        in_namespace(&path, &format!("address flush dev {expected}"));
        pairs.push(pair);
    }
    namespace::remove(&path).unwrap();
}

fn in_namespace(path: &Path, arguments: &str) -> String {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", path.display())).arg("ip").args(arguments.split(' '));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn what_cannot_be_moved_is_refused_and_stays_what_it_was() {
    let (first, second) = (furnished(), Pair::new());
    let before = ip(&format!("address show dev {}", first.name));
    let mut bundle = Bundle::new(&["true"]);
    // The one that is moved first comes back with all it had when the other cannot follow.
    let (first_name, second_name) = (first.name.clone(), second.name.clone());
    bundle.set(
        "/linux/netDevices",
        json!({ &first_name: { "name": "uplink" }, &second_name: { "name": "lo" } }),
    );
    let words = format!(
        "linux.netDevices[\"{second_name}\"]: the container's network namespace has a device lo already"
    );
    assert!(first_name < second_name);
    bundle.run().failed(1, &words);
    bundle.assert_nothing_left();
    let after = ip(&format!("address show dev {}", first.name));
    let kept = |text: &str| {
        let mut kept = shown(text, &first_name);
        kept.retain(|word| !word.starts_with("fe80:") && !word.starts_with("169.254."));
        kept
    };
    assert_eq!(
        (kept(&after), kept(&before)),
        (KEPT.map(str::to_owned).to_vec(), KEPT.map(str::to_owned).to_vec())
    );
    assert!(after.contains("UP") && second.exists());

    // What can be known before is refused before anything exists.
    let name = &first.name;
    for (devices, words) in [
        (
            json!({ "nosuchdevice": {} }),
            "linux.netDevices[\"nosuchdevice\"]: there is no such network device",
        ),
        (json!({ name: { "name": "a/b" } }), "is no name of a network device"),
        (json!({ name: { "name": "a b" } }), "is no name of a network device"),
        (json!({ name: { "name": ".." } }), "is no name of a network device"),
        (json!({ name: { "name": "a%dx" } }), "is no name of a network device"),
        (json!({ name: { "name": "sixteenbyteslong" } }), "is no name of a network device"),
        (json!({ "eth%d": {} }), "is no name of a network device"),
        (json!({ "": {} }), "is no name of a network device"),
        (json!({ name: { "name": "x" }, &second.name: { "name": "x" } }), "another one is to be named \"x\""),
    ] {
        bundle.set("/linux/netDevices", devices);
        bundle.run().failed(1, words);
        bundle.assert_nothing_left();
    }
    // A device may have more names than its own.
    let other = format!("{name}b");
    ip(&format!("link property add dev {name} altname {other}"));
    for (devices, words) in [
        (json!({ &other: {} }), format!("it is another name of the network device {name}")),
        (
            json!({ name: { "name": &other } }),
            format!("cannot move into the container the network device {name}"),
        ),
    ] {
        bundle.set("/linux/netDevices", devices);
        bundle.run().failed(1, &words);
        bundle.assert_nothing_left();
        let after = ip(&format!("address show dev {name}"));
        assert_eq!(kept(&after), KEPT);
        assert!(after.contains("UP"));
    }
    bundle.set("/linux/netDevices", json!({ name: {} }));
    bundle.set("/linux/namespaces/1/path", json!(format!("/proc/{}/ns/net", std::process::id())));
    bundle.run().failed(1, "it would change the host");
    bundle.config["linux"]["namespaces"].as_array_mut().unwrap().remove(1);
    bundle.run().failed(1, "it cannot be moved without a network namespace");
    assert!(first.exists());
}
