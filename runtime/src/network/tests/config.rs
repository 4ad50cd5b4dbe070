//! Reading configurations.

use std::os::unix::fs::symlink;

use serde_json::json;

use super::super::{Error, load_first, load_named};
use super::{config, parse};

#[test]
fn lists_and_single_plugins_are_read() {
    let list = json!({
        "name": "net", "cniVersion": "0.4.0", "disableCheck": "true", "unknown": 1,
        "plugins": [
            { "type": "bridge", "ipam": { "type": "host-local" } },
            { "type": "portmap", "capabilities": { "portMappings": true, "dns": false } }
        ]
    });
    let list = config(&list);
    assert_eq!((list.name(), list.cni_version()), ("net", "0.4.0"));
    assert!(list.check_disabled());
    assert!(list.declares("portMappings") && !list.declares("dns") && !list.declares("bandwidth"));
    assert_eq!(list.plugins()[0].address_plugin(), Some("host-local"));

    let single = config(&json!({ "name": "one", "cniVersion": "0.3.1", "type": "ptp", "mtu": 1400 }));
    assert_eq!(single.plugins()[0].name, "ptp");
    assert_eq!(single.plugins()[0].config["mtu"], 1400);

    let several = json!({ "name": "n", "cniVersions": ["0.4.0", "1.1.0", "1.0.0", "9.9.9"], "type": "ptp" });
    assert_eq!(config(&several).cni_version(), "1.1.0");
}

#[test]
fn a_record_keeps_the_text() {
    let text = "{ \"name\":\"n\",\n \"cniVersion\": \"1.0.0\", \"type\": \"ptp\" }";
    let written = serde_json::to_string(&parse(text).unwrap()).unwrap();
    let read: super::super::NetworkConfig = serde_json::from_str(&written).unwrap();
    assert_eq!(read.text(), text);
    assert_eq!(read, parse(text).unwrap());
    assert!(serde_json::from_str::<super::super::NetworkConfig>("\"{}\"").is_err());
}

#[test]
fn what_is_wrong_is_said() {
    let plugin = r#""type": "ptp""#;
    for (text, words) in [
        (String::new(), "EOF"),
        ("[]".to_owned(), "expected a map"),
        (format!(r#"{{ "cniVersion": "1.0.0", {plugin} }}"#), "no \"name\""),
        (format!(r#"{{ "name": "../n", "cniVersion": "1.0.0", {plugin} }}"#), "network \"../n\""),
        (format!(r#"{{ "name": "n", {plugin} }}"#), "no \"cniVersion\""),
        (format!(r#"{{ "name": "n", "cniVersion": "0.2.0", {plugin} }}"#), "0.3.0 to 1.1.0"),
        (format!(r#"{{ "name": "n", "cniVersion": "+1.0.0", {plugin} }}"#), "not supported"),
        (format!(r#"{{ "name": "n", "cniVersion": "2.0.0", {plugin} }}"#), "not supported"),
        (r#"{ "name": "n", "cniVersion": "1.0.0" }"#.to_owned(), "no \"type\""),
        (r#"{ "name": "n", "cniVersion": "1.0.0", "plugins": [] }"#.to_owned(), "no plugin"),
        (r#"{ "name": "n", "cniVersion": "1.0.0", "plugins": [1] }"#.to_owned(), "not an object"),
        (r#"{ "name": "n", "cniVersion": "1.0.0", "plugins": {} }"#.to_owned(), "not a list"),
        (r#"{ "name": "n", "cniVersion": "1.0.0", "type": "../sh" }"#.to_owned(), "\"../sh\""),
        (r#"{ "name": "n", "cniVersion": "1.0.0", "type": 7 }"#.to_owned(), "not a text"),
        (
            r#"{ "name": "n", "cniVersion": "1.0.0", "type": "ptp", "ipam": { "type": "../sh" } }"#
                .to_owned(),
            "\"../sh\"",
        ),
        (
            format!(r#"{{ "name": "n", "cniVersion": "1.0.0", "disableCheck": 1, {plugin} }}"#),
            "\"disableCheck\"",
        ),
    ] {
        let message = parse(&text).unwrap_err().to_string();
        assert!(message.contains(words), "{text}: {message}");
        assert!(message.contains("/etc/cni/net.d/x.conflist"), "{message}");
    }
    let many: Vec<_> = (0..65).map(|_| json!({ "type": "ptp" })).collect();
    assert!(parse(&json!({ "name": "n", "cniVersion": "1.0.0", "plugins": many }).to_string()).is_err());
}

#[test]
fn the_first_usable_file_counts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    assert_eq!(load_first(&path.join("missing")).unwrap(), None);
    assert_eq!(load_first(path).unwrap(), None);
    let text = |name: &str| json!({ "name": name, "cniVersion": "1.0.0", "type": "ptp" }).to_string();
    let write = |file: &str, text: &str| std::fs::write(path.join(file), text).unwrap();

    // Broken files only: an error that names each.
    write("10-broken.conflist", "{");
    rustix::fs::mkfifoat(rustix::fs::CWD, path.join("11-fifo.conf"), rustix::fs::Mode::RUSR).unwrap();
    write("12-large.conf", &" ".repeat((1 << 20) + 1));
    symlink("/nowhere", path.join("13-nowhere.conf")).unwrap();
    let message = load_first(path).unwrap_err();
    assert!(matches!(message, Error::NoValidConfig { .. }));
    let message = message.to_string();
    for name in ["10-broken", "11-fifo", "12-large", "13-nowhere"] {
        assert!(message.contains(name), "{message}");
    }

    write("00-other.txt", &text("other"));
    std::fs::create_dir(path.join("01-folder.conf")).unwrap();
    write("90-last.json", &text("last"));
    write("50-middle.conf", &text("middle"));
    assert_eq!(load_first(path).unwrap().unwrap().name(), "middle");
    assert_eq!(load_named(path, "last").unwrap().unwrap().name(), "last");
    assert_eq!(load_named(path, "other").unwrap(), None);
}
