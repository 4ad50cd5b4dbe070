//! The verbs with plugins that behave, or fail in the way that the specification provides for.

use serde_json::json;

use super::super::{Error, Verb, status};
use super::{Fakes, RESULT, SOME_NAMESPACE, config};

const REFUSE: &str =
    r#"echo '{ "cniVersion": "1.0.0", "code": 7, "msg": "no way", "details": "none" }'; exit 1"#;

/// A result that says whose it is.
fn answer(name: &str) -> String {
    format!(r#"echo '{{ "cniVersion": "1.0.0", "interfaces": [{{ "name": "{name}" }}] }}'"#)
}

#[test]
fn add_runs_the_plugins_in_order_and_del_in_reverse() {
    let fakes = Fakes::new();
    for name in ["a", "b", "c"] {
        fakes.plugin(name, &answer(name));
    }
    let mut attachment = fakes.attach(config(&json!({
        "name": "net", "cniVersion": "1.0.0",
        "plugins": [
            { "type": "a", "mtu": 1400, "capabilities": { "dns": true, "bandwidth": false } },
            { "type": "b", "capabilities": { "portMappings": true, "ips": true } },
            { "type": "c" }
        ]
    })));
    let ports = json!([{ "hostPort": 1, "containerPort": 2, "protocol": "tcp" }]);
    attachment.capabilities.insert("portMappings".to_owned(), ports.clone());
    attachment.capabilities.insert("dns".to_owned(), json!({ "servers": ["1.1.1.1"] }));
    attachment.capabilities.insert("bandwidth".to_owned(), json!({ "ingressRate": 1 }));

    let result = attachment.add().unwrap();
    assert_eq!(result.interfaces[0].name, "c");
    assert_eq!(result.primary(), None);
    assert_eq!(fakes.calls(), ["a ADD", "b ADD", "c ADD"]);

    let (a, b, c) = (fakes.input("a", "ADD"), fakes.input("b", "ADD"), fakes.input("c", "ADD"));
    assert_eq!((&a["name"], &a["cniVersion"], &a["mtu"]), (&json!("net"), &json!("1.0.0"), &json!(1400)));
    assert_eq!(a["runtimeConfig"], json!({ "dns": { "servers": ["1.1.1.1"] } }));
    assert_eq!(b["runtimeConfig"], json!({ "portMappings": ports }));
    assert!(c.get("runtimeConfig").is_none() && a.get("prevResult").is_none());
    assert_eq!(b["prevResult"]["interfaces"][0]["name"], "a");
    assert_eq!(c["prevResult"]["interfaces"][0]["name"], "b");

    let cached = fakes.cached().unwrap();
    assert_eq!(cached["kind"], "cniCacheV1");
    assert_eq!(cached["result"]["interfaces"][0]["name"], "c");
    assert_eq!(cached["capabilityArgs"]["portMappings"], ports);
    assert_eq!((&cached["networkName"], &cached["ifName"]), (&json!("net"), &json!("eth0")));

    attachment.check().unwrap();
    assert_eq!(fakes.calls(), ["a CHECK", "b CHECK", "c CHECK"]);
    assert_eq!(fakes.input("a", "CHECK")["prevResult"]["interfaces"][0]["name"], "c");

    attachment.delete().unwrap();
    assert_eq!(fakes.calls(), ["c DEL", "b DEL", "a DEL"]);
    assert_eq!(fakes.input("a", "DEL")["prevResult"]["interfaces"][0]["name"], "c");
    assert_eq!(fakes.input("b", "DEL")["runtimeConfig"], json!({ "portMappings": ports }));
    assert_eq!(fakes.cached(), None);

    // Once more is fine, now without a result.
    attachment.delete().unwrap();
    assert!(fakes.input("a", "DEL").get("prevResult").is_none());
    assert!(attachment.check().unwrap_err().to_string().contains("result of ADD"));
}

#[test]
fn plugins_get_the_variables_of_cni_and_no_others() {
    let fakes = Fakes::new();
    fakes.plugin("a", &format!("env >variables.$CNI_COMMAND\n{RESULT}"));
    let mut attachment = fakes.attach(fakes.config("1.0.0", &["a"]));
    attachment.args = vec![("IgnoreUnknown".into(), "1".into()), ("K8S_POD_NAME".into(), "web".into())];
    attachment.add().unwrap();
    let variables = std::fs::read_to_string(fakes.path("variables.ADD")).unwrap();
    let mut names: Vec<&str> = variables.lines().filter_map(|line| line.split('=').next()).collect();
    // The shell's own.
    names.retain(|name| !["PWD", "OLDPWD", "_", "SHLVL"].contains(name));
    names.sort_unstable();
    let expected =
        ["CNI_ARGS", "CNI_COMMAND", "CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS", "CNI_PATH", "PATH"];
    assert_eq!(names, expected);
    let bin = format!("CNI_PATH={}", fakes.path("bin").display());
    let netns = format!("CNI_NETNS={SOME_NAMESPACE}");
    for line in ["CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAME=web", "CNI_CONTAINERID=box", &bin, &netns] {
        assert!(variables.lines().any(|is| is == line), "{line}: {variables}");
    }
}

#[test]
fn a_failed_add_is_undone() {
    let fakes = Fakes::new();
    fakes.plugin("a", &answer("a")).plugin("b", &answer("b"));
    fakes.plugin("c", &format!("[ $CNI_COMMAND = DEL ] && exit\n{REFUSE}")).plugin("d", &answer("d"));
    let attachment = fakes.attach(fakes.config("1.0.0", &["a", "b", "c", "d"]));
    let error = attachment.add().unwrap_err();
    assert_eq!(error.to_string(), r#"network plugin "c", ADD of network "net": no way: none (code 7)"#);
    assert_eq!(fakes.calls(), ["a ADD", "b ADD", "c ADD", "d DEL", "c DEL", "b DEL", "a DEL"]);
    // Those who undo are told what had been given out by then.
    assert_eq!(fakes.input("a", "DEL")["prevResult"]["interfaces"][0]["name"], "b");
    assert_eq!(fakes.cached(), None);
}

#[test]
fn a_failed_undoing_is_told_with_the_failure_and_goes_to_the_end() {
    let fakes = Fakes::new();
    fakes.plugin("a", &answer("a")).plugin("b", REFUSE).plugin("c", "echo oops >&2; exit 3");
    let attachment = fakes.attach(fakes.config("1.0.0", &["a", "b", "c"]));
    let error = attachment.add().unwrap_err();
    assert_eq!(fakes.calls(), ["a ADD", "b ADD", "c DEL", "b DEL", "a DEL"]);
    let Error::NotUndone { failure, undoing } = &error else { panic!("{error}") };
    assert!(matches!(**failure, Error::Plugin { verb: Verb::Add, .. }));
    assert_eq!(undoing.len(), 2);
    assert!(error.to_string().contains("it ended with exit code 3: oops"), "{error}");
    // The result stays for the next try.
    assert_eq!(fakes.cached().unwrap()["result"]["interfaces"][0]["name"], "a");
    assert!(matches!(attachment.delete(), Err(Error::Several { failures }) if failures.len() == 2));
}

#[test]
fn older_versions_get_what_they_know() {
    let fakes = Fakes::new();
    fakes.plugin("a", r#"echo '{ "cniVersion": "0.3.1" }'"#);
    let attachment = fakes.attach(fakes.config("0.3.1", &["a"]));
    attachment.add().unwrap();
    attachment.check().unwrap();
    attachment.delete().unwrap();
    assert_eq!(fakes.calls(), ["a ADD", "a DEL"]);
    assert!(fakes.input("a", "DEL").get("prevResult").is_none());
    let quiet = json!({ "name": "net", "cniVersion": "1.0.0", "disableCheck": true, "type": "a" });
    fakes.attach(config(&quiet)).check().unwrap();
    assert!(fakes.calls().is_empty());
}

#[test]
fn status_is_asked_since_it_exists() {
    let fakes = Fakes::new();
    fakes.plugin("a", "").plugin("b", REFUSE);
    status(&fakes.config("1.0.0", &["b"]), &fakes.plugins()).unwrap();
    assert!(fakes.calls().is_empty());
    status(&fakes.config("1.1.0", &["a"]), &fakes.plugins()).unwrap();
    let error = status(&fakes.config("1.1.0", &["a", "b"]), &fakes.plugins()).unwrap_err();
    assert!(error.to_string().contains(r#""b", STATUS of network "net": no way"#), "{error}");
    assert_eq!(fakes.calls(), ["a STATUS", "a STATUS", "b STATUS"]);
}

#[test]
fn a_missing_plugin_is_found_missing_before_anything_runs() {
    let fakes = Fakes::new();
    fakes.plugin("a", RESULT).plugin("b", RESULT);
    let attachment = fakes.attach(fakes.config("1.0.0", &["a", "b"]));
    std::fs::remove_file(fakes.path("bin/b")).unwrap();
    assert!(matches!(attachment.add(), Err(Error::PluginMissing { .. })));
    assert!(fakes.calls().is_empty());
    let addresses =
        json!({ "name": "net", "cniVersion": "1.0.0", "type": "a", "ipam": { "type": "host-local" } });
    let refused = super::super::Attachment::new(
        "box",
        SOME_NAMESPACE,
        config(&addresses),
        &fakes.plugins(),
        fakes.path("results"),
    );
    assert!(refused.unwrap_err().to_string().contains("containernetworking-plugins"));
}
