//! What is remembered, and undoing by it.

use serde_json::{Value, json};

use super::super::{Attachment, Error, NetworkConfig, release};
use super::{Fakes, RESULT, SOME_NAMESPACE};

/// A written attachment whose namespace is gone.
fn written(fakes: &Fakes, config: NetworkConfig) -> Attachment {
    let mut attachment = fakes.attach(config);
    attachment.netns = fakes.path("gone");
    attachment.write(&fakes.path("network.json")).unwrap();
    attachment
}

#[test]
fn an_attachment_is_read_as_it_was_written() {
    let fakes = Fakes::new();
    fakes.plugin("a", RESULT);
    let file = fakes.path("network.json");
    assert_eq!(Attachment::read(&file).unwrap(), None);
    let mut attachment = written(&fakes, fakes.config("1.0.0", &["a"]));
    assert_eq!(Attachment::read(&file).unwrap(), Some(attachment.clone()));
    attachment.args.push(("K8S_POD_UID".into(), "1".into()));
    attachment.capabilities.insert("portMappings".into(), json!([]));
    attachment.write(&file).unwrap();
    assert_eq!(Attachment::read(&file).unwrap(), Some(attachment));
}

#[test]
fn damaged_newer_and_hostile_records_are_refused() {
    let fakes = Fakes::new();
    fakes.plugin("a", RESULT);
    let file = fakes.path("network.json");
    written(&fakes, fakes.config("1.0.0", &["a"]));
    let good: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    for (key, value, words) in [
        ("version", json!(2), "version 2 is newer than 1"),
        ("containerId", json!("../../etc/x"), "container id \"../../etc/x\""),
        ("interface", json!("../x"), "network interface \"../x\""),
        ("args", json!([["a", "b;c=d"]]), "network argument"),
        ("config", json!("{}"), "no \"name\""),
    ] {
        let mut bad = good.clone();
        bad[key] = value;
        std::fs::write(&file, bad.to_string()).unwrap();
        let message = Attachment::read(&file).unwrap_err().to_string();
        assert!(message.contains(words), "{key}: {message}");
        assert!(release(&file).is_err());
    }
    std::fs::write(&file, "{ \"version\": 1").unwrap();
    assert!(matches!(Attachment::read(&file), Err(Error::Record { .. })));
    assert!(fakes.calls().is_empty());
    let config = fakes.config("1.0.0", &["a"]);
    assert!(Attachment::new("a/b", SOME_NAMESPACE, config, &fakes.plugins(), "/x").is_err());
}

#[test]
fn releasing_undoes_what_was_set_up_then_whatever_the_folders_say_now() {
    let fakes = Fakes::new();
    fakes.plugin("a", &format!("echo \"$CNI_NETNS\" >netns.$CNI_COMMAND\n{RESULT}")).plugin("b", RESULT);
    let file = fakes.path("network.json");
    let attachment = written(&fakes, fakes.config("1.0.0", &["a"]));
    attachment.add().unwrap();
    assert_eq!(fakes.calls(), ["a ADD"]);

    // The network has other plugins by now, and the cached result is what DEL gets.
    let _ = fakes.config("1.0.0", &["b"]);
    release(&file).unwrap();
    assert_eq!(fakes.calls(), ["a DEL"]);
    assert_eq!(fakes.input("a", "DEL")["prevResult"], json!({ "cniVersion": "1.0.0" }));
    // ADD is told the path, DEL that there is nothing at it.
    let told = |verb: &str| std::fs::read_to_string(fakes.path(&format!("netns.{verb}"))).unwrap();
    assert_eq!(told("ADD").trim(), fakes.path("gone").to_str().unwrap());
    assert_eq!(told("DEL").trim(), "");
    assert!(!file.exists());
    assert_eq!(fakes.cached(), None);

    release(&file).unwrap();
    assert!(fakes.calls().is_empty());
}

#[test]
fn a_record_stays_until_it_is_released() {
    let fakes = Fakes::new();
    fakes.plugin("a", &format!("[ -e broken ] && exit 9\n{RESULT}"));
    let file = fakes.path("network.json");
    written(&fakes, fakes.config("1.0.0", &["a"])).add().unwrap();
    std::fs::write(fakes.path("broken"), "").unwrap();
    assert!(release(&file).unwrap_err().to_string().contains("it ended with exit code 9"));
    assert!(file.exists() && fakes.cached().is_some());
    std::fs::remove_file(fakes.path("broken")).unwrap();
    // A damaged result is one that is not there.
    std::fs::write(fakes.path("results/net-box-eth0"), "{").unwrap();
    release(&file).unwrap();
    assert!(fakes.input("a", "DEL").get("prevResult").is_none());
    assert!(!file.exists() && fakes.cached().is_none());
}
