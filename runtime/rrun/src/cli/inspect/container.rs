//! Docker's JSON about a container: what its record, its config.json, its state and its network say.

use std::path::Path;

use anyhow::Result;
use engine::{Containers, LogSettings, NetworkMode, Record, State, launch, network_file};
use image::document::Timestamp;
use runtime::network::{Attachment, PortMapping};
use serde_json::{Map, Value, json};

/// What docker writes for a time that never was.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// Everything about the container of `record`.
pub fn describe(containers: &Containers, record: &Record) -> Result<Value> {
    let folder = containers.folder(&record.id);
    let state = containers.state(&record.id)?;
    // One whose maker was killed has none.
    let spec = std::fs::read(folder.join("config.json"))
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or(Value::Null);
    let image = containers.store().image_by_manifest(&record.image).ok();
    Ok(json!({
        "Id": record.id,
        "Created": record.created,
        "Path": record.command.first(),
        "Args": record.command.get(1..).unwrap_or_default(),
        "State": describe_state(&state),
        "Image": image.as_ref().map(|image| image.id.to_string()),
        "ResolvConfPath": folder.join("resolv.conf"),
        "HostnamePath": folder.join("hostname"),
        "HostsPath": folder.join("hosts"),
        "LogPath": record.cri.as_ref().and_then(|cri| cri.log_path.clone()).unwrap_or_else(|| launch::log_file(&folder)),
        "Name": format!("/{}", record.shown_name()),
        "RestartCount": 0,
        "Driver": "overlay",
        "Platform": "linux",
        "HostConfig": host_config(record, &spec, &folder),
        "Mounts": binds(&spec, &folder).iter().map(mount).collect::<Vec<_>>(),
        "Config": config(record, &spec, image.as_ref()),
        "NetworkSettings": network_settings(record, &state, &folder),
    }))
}

fn describe_state(state: &State) -> Value {
    let (oom, error) = match state {
        State::Exited { oom, failure, .. } => (*oom, failure.clone().unwrap_or_default()),
        State::Lost { .. } => (false, "its monitor was killed".to_owned()),
        State::Created | State::Running { .. } => (false, String::new()),
    };
    let word = match state {
        State::Running { .. } => "running",
        State::Created | State::Exited { started: 0, .. } => "created",
        State::Exited { .. } | State::Lost { .. } => "exited",
    };
    json!({
        "Status": word,
        "Running": state.is_running(),
        "Paused": false,
        "Restarting": false,
        "OOMKilled": oom,
        "Dead": false,
        "Pid": state.pid(),
        "ExitCode": state.exit_code().unwrap_or(0),
        "Error": error,
        "StartedAt": moment(state.started()),
        "FinishedAt": moment(state.finished()),
    })
}

fn moment(nanoseconds: i64) -> String {
    if nanoseconds == 0 {
        return NEVER.to_owned();
    }
    let (seconds, rest) = (nanoseconds.div_euclid(1_000_000_000), nanoseconds.rem_euclid(1_000_000_000));
    Timestamp { seconds, nanoseconds: u32::try_from(rest).unwrap_or(0) }.to_string()
}

fn host_config(record: &Record, spec: &Value, folder: &Path) -> Value {
    let resources = &spec["linux"]["resources"];
    let number = |value: &Value| value.as_i64().unwrap_or(0);
    let period = number(&resources["cpu"]["period"]).max(1);
    let LogSettings { max_size, max_files } = record.log;
    let mut log = Map::new();
    log.insert("max-file".to_owned(), max_files.to_string().into());
    log.insert("max-size".to_owned(), max_size.map_or("-1".to_owned(), |size| size.to_string()).into());
    let bind =
        |bind: &(String, String, bool)| format!("{}:{}{}", bind.0, bind.1, if bind.2 { "" } else { ":ro" });
    json!({
        "Binds": binds(spec, folder).iter().map(bind).collect::<Vec<_>>(),
        "LogConfig": { "Type": "cri", "Config": log },
        "NetworkMode": record.network.as_str(),
        "PortBindings": bindings(&record.ports),
        "RestartPolicy": { "Name": "no", "MaximumRetryCount": 0 },
        "AutoRemove": record.remove,
        "Dns": record.dns,
        "ExtraHosts": record.extra_hosts.iter().map(|(name, at)| format!("{name}:{at}")).collect::<Vec<_>>(),
        "Privileged": false,
        "ReadonlyRootfs": spec["root"]["readonly"].as_bool().unwrap_or(false),
        "Memory": number(&resources["memory"]["limit"]),
        "MemorySwap": number(&resources["memory"]["swap"]),
        "NanoCpus": number(&resources["cpu"]["quota"]) * 1_000_000_000 / period,
        "Runtime": "roci",
    })
}

fn config(record: &Record, spec: &Value, image: Option<&image::store::Image>) -> Value {
    let process = &spec["process"];
    let own = image.map(|image| &image.config.config);
    let user = format!("{}:{}", process["user"]["uid"], process["user"]["gid"]);
    // The record has both in one, and an entry point of the user's own cannot be told from a command.
    let entrypoint = own.and_then(|own| own.entrypoint.as_deref());
    let entrypoint = entrypoint.filter(|entrypoint| record.command.starts_with(entrypoint));
    let command = &record.command[entrypoint.map_or(0, <[String]>::len)..];
    let exposed: Map<String, Value> = record
        .exposed
        .iter()
        .cloned()
        .chain(record.ports.iter().map(inside))
        .map(|port| (port, json!({})))
        .collect();
    json!({
        "Hostname": record.shown_hostname(),
        "User": if process["user"].is_null() || user == "0:0" { String::new() } else { user },
        "Tty": record.tty,
        "OpenStdin": record.interactive,
        "ExposedPorts": exposed,
        "Env": process["env"].as_array().cloned().unwrap_or_default(),
        "Cmd": (!command.is_empty()).then_some(command),
        "Image": record.image_name,
        "Volumes": own.map(|own| &own.volumes),
        "WorkingDir": process["cwd"].as_str().unwrap_or("/"),
        "Entrypoint": entrypoint,
        "Labels": record.labels,
        "StopSignal": record.stop_signal.as_deref().unwrap_or("SIGTERM"),
        "StopTimeout": record.stop_timeout,
    })
}

fn network_settings(record: &Record, state: &State, folder: &Path) -> Value {
    let result = Attachment::read(&network_file(folder)).ok().flatten().and_then(|it| it.result());
    let raw = result.as_ref().map_or(Value::Null, |result| result.raw.clone());
    let (address, bits, gateway) = first_address(&raw, false);
    let (address6, bits6, gateway6) = first_address(&raw, true);
    let mac = result
        .iter()
        .flat_map(|result| &result.interfaces)
        .find(|interface| !interface.sandbox.is_empty())
        .map(|interface| interface.mac.clone())
        .unwrap_or_default();
    let network = json!({
        "IPAddress": address,
        "IPPrefixLen": bits,
        "Gateway": gateway,
        "GlobalIPv6Address": address6,
        "GlobalIPv6PrefixLen": bits6,
        "IPv6Gateway": gateway6,
        "MacAddress": mac,
    });
    let mut ports = bindings(if state.is_running() { &record.ports } else { &[] });
    for port in record.exposed.iter().filter(|_| state.is_running()) {
        ports.entry(port.clone()).or_insert(Value::Null);
    }
    let mut settings = network.clone();
    settings["Ports"] = ports.into();
    settings["SandboxKey"] = match record.network {
        NetworkMode::Bridge => spec_namespace(folder),
        _ => Value::String(String::new()),
    };
    settings["Networks"] = json!({ record.network.as_str(): network });
    settings
}

fn spec_namespace(folder: &Path) -> Value {
    let attachment = Attachment::read(&network_file(folder)).ok().flatten();
    attachment.map_or(Value::String(String::new()), |attachment| json!(attachment.netns))
}

/// The first address of a kind in a result of CNI, with its length and gateway.
fn first_address(raw: &Value, ipv6: bool) -> (String, u64, String) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let found = raw["ips"].as_array().into_iter().flatten().find_map(|ip| {
        let address = text(&ip["address"]);
        let (address, bits) = address.split_once('/')?;
        (address.contains(':') == ipv6).then(|| (address.to_owned(), bits.parse().ok(), text(&ip["gateway"])))
    });
    found.map_or_else(Default::default, |(address, bits, gateway)| (address, bits.unwrap_or(0), gateway))
}

/// Docker's map from `80/tcp` to where it is reached.
fn bindings(ports: &[PortMapping]) -> Map<String, Value> {
    let mut bindings = Map::new();
    for port in ports {
        let address = port.host_ip.map_or("0.0.0.0".to_owned(), |address| address.to_string());
        let binding = json!({ "HostIp": address, "HostPort": port.host_port.to_string() });
        if let Value::Array(list) = bindings.entry(inside(port)).or_insert_with(|| json!([])) {
            list.push(binding);
        }
    }
    bindings
}

fn inside(port: &PortMapping) -> String {
    format!("{}/{}", port.container_port, port.protocol)
}

/// Source, destination and whether it can be written, of what the user had bound.
fn binds(spec: &Value, folder: &Path) -> Vec<(String, String, bool)> {
    let mounts = spec["mounts"].as_array().into_iter().flatten();
    mounts
        .filter(|mount| mount["type"] == "bind")
        .filter_map(|mount| {
            let source = mount["source"].as_str()?;
            let options = mount["options"].as_array().into_iter().flatten();
            let read_only = options.filter_map(Value::as_str).any(|option| matches!(option, "ro" | "rro"));
            let ours = Path::new(source).starts_with(folder);
            (!ours).then(|| {
                (source.to_owned(), mount["destination"].as_str().unwrap_or_default().to_owned(), !read_only)
            })
        })
        .collect()
}

fn mount((source, destination, writable): &(String, String, bool)) -> Value {
    json!({
        "Type": "bind",
        "Source": source,
        "Destination": destination,
        "Mode": if *writable { "" } else { "ro" },
        "RW": writable,
        "Propagation": "rprivate",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_from_the_result_of_the_network() {
        let raw = json!({ "ips": [
            { "address": "fd00::2/64", "gateway": "fd00::1" },
            { "address": "10.9.0.2/16", "gateway": "10.9.0.1" },
        ]});
        assert_eq!(first_address(&raw, false), ("10.9.0.2".to_owned(), 16, "10.9.0.1".to_owned()));
        assert_eq!(first_address(&raw, true).0, "fd00::2");
        assert_eq!(first_address(&Value::Null, false), (String::new(), 0, String::new()));
    }

    #[test]
    fn times_that_never_were_are_dockers_zero() {
        assert_eq!(moment(0), NEVER);
        assert_eq!(moment(1_767_360_217_500_000_000), "2026-01-02T13:23:37.5Z");
    }

    #[test]
    fn what_is_ours_is_not_the_users_bind() {
        let spec = json!({ "mounts": [
            { "type": "bind", "source": "/c/hosts", "destination": "/etc/hosts", "options": ["rbind"] },
            { "type": "bind", "source": "/data", "destination": "/d", "options": ["rbind", "rro"] },
            { "type": "proc", "source": "proc", "destination": "/proc" },
        ]});
        assert_eq!(binds(&spec, Path::new("/c")), [("/data".to_owned(), "/d".to_owned(), false)]);
    }
}
