//! What `ps` shows of a container or pod.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::Result;
use engine::{Containers, NetworkMode, PodRecord, Pods, Record, State, short};
use image::digest::Digest;
use image::document::Timestamp;
use image::reference::Reference;
use runtime::network::PortMapping;
use serde_json::{Value, json};

use crate::format;

/// Longest command that is shown, in characters.
const LONGEST_COMMAND: usize = 20;

/// The process that holds a pod's namespaces comes with the runtime and has no image.
const PAUSE_IMAGE: &str = "pause (built in)";

/// A container, or the process that holds the namespaces of a pod.
#[derive(Debug)]
pub struct Entry {
    pub id: String,
    pub image: String,
    pub manifest: Option<Digest>,
    pub command: Vec<String>,
    pub created: Option<Timestamp>,
    pub state: State,
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub ports: Vec<PortMapping>,
    pub exposed: Vec<String>,
    pub network: NetworkMode,
}

impl Entry {
    /// All that there are.
    pub fn all(containers: &Containers) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for record in containers.records()? {
            let state = containers.state(&record.id)?;
            entries.push(Entry::of(record, state));
        }
        let pods = Pods::new(containers.store())?;
        for pod in pods.records()? {
            let state = pods.state(&pod.id)?;
            entries.push(Entry::of_pod(pod, state));
        }
        Ok(entries)
    }

    fn of(record: Record, state: State) -> Entry {
        Entry {
            name: record.shown_name(),
            id: record.id,
            image: record.image_name,
            manifest: Some(record.image),
            command: record.command,
            created: record.created.parse().ok(),
            state,
            labels: record.labels,
            ports: record.ports,
            exposed: record.exposed,
            network: record.network,
        }
    }

    fn of_pod(pod: PodRecord, state: State) -> Entry {
        Entry {
            name: pod.shown_name(),
            id: pod.id,
            image: PAUSE_IMAGE.to_owned(),
            manifest: None,
            command: vec!["/pause".to_owned()],
            created: pod.created.parse().ok(),
            state,
            labels: pod.labels,
            ports: Vec::new(),
            exposed: Vec::new(),
            network: if pod.network_namespace.is_some() { NetworkMode::Pod } else { NetworkMode::Host },
        }
    }

    /// Its id, cut short unless asked not to.
    pub fn shown_id(&self, no_trunc: bool) -> &str {
        if no_trunc { &self.id } else { short(&self.id) }
    }

    /// Docker's word for its state.
    pub fn state_word(&self) -> &'static str {
        match &self.state {
            State::Running { .. } => "running",
            State::Created | State::Exited { started: 0, .. } => "created",
            State::Exited { .. } | State::Lost { .. } => "exited",
        }
    }

    /// The fields of a template.
    pub fn row(&self, no_trunc: bool) -> Value {
        let labels: Vec<String> = self.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let ports =
            if self.state.is_running() { display_ports(&self.ports, &self.exposed) } else { String::new() };
        json!({
            "ID": self.shown_id(no_trunc),
            "Image": shown_image(&self.image, no_trunc),
            "Command": shown_command(&self.command, no_trunc),
            "CreatedAt": format::moment(self.created),
            "RunningFor": format::since(self.created),
            "Ports": ports,
            "State": self.state_word(),
            "Status": shown_status(&self.state),
            "Names": self.name,
            "Labels": labels.join(","),
            "Networks": self.network.as_str(),
        })
    }
}

/// `Up 5 minutes`, `Exited (0) 3 minutes ago`, `Created`.
pub fn shown_status(state: &State) -> String {
    let time = |nanoseconds: i64| Some(Timestamp::from_seconds(nanoseconds / 1_000_000_000));
    match state {
        State::Created | State::Exited { started: 0, .. } => "Created".to_owned(),
        State::Running { since, .. } => format!("Up {}", format::age(time(*since))),
        State::Exited { code, finished, .. } => format!("Exited ({code}) {}", format::since(time(*finished))),
        State::Lost { finished: 0, .. } => "Exited (255)".to_owned(),
        State::Lost { finished, .. } => format!("Exited (255) {}", format::since(time(*finished))),
    }
}

/// As its user called it; what Kubernetes calls in full is shortened as docker does, and an image without a name is its
/// id.
fn shown_image(image: &str, no_trunc: bool) -> String {
    match image.strip_prefix("sha256:") {
        Some(digits) if !no_trunc => return short(digits).to_owned(),
        _ => {}
    }
    let in_full = image.starts_with("docker.io/").then(|| image.parse::<Reference>().ok()).flatten();
    in_full.map_or_else(|| image.to_owned(), |name| name.familiar())
}

/// As docker does: words joined, those with spaces in quotes, cut, and written as a text of Go.
fn shown_command(command: &[String], no_trunc: bool) -> String {
    let word = |(index, word): (usize, &String)| match index > 0 && word.contains(' ') {
        true => format!("'{word}'"),
        false => word.clone(),
    };
    let line = command.iter().enumerate().map(word).collect::<Vec<_>>().join(" ");
    let cut = if no_trunc || line.chars().count() <= LONGEST_COMMAND {
        line
    } else {
        line.chars().take(LONGEST_COMMAND - 1).chain(['…']).collect()
    };
    quoted(&cut)
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            letter if letter.is_ascii_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(letter))),
            letter if letter.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(letter))),
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

/// Docker's column PORTS: ports that are the same on both sides are joined to ranges, others stand behind them, one by
/// one.
pub fn display_ports(published: &[PortMapping], exposed: &[String]) -> String {
    let mut single = Vec::new();
    let mut same: Vec<(u16, String, String)> = Vec::new();
    for port in sorted(published) {
        let address = port.host_ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let (host, inside, protocol) = (port.host_port, port.container_port, port.protocol.as_str());
        if host == inside {
            same.push((inside, address.to_string(), protocol.to_owned()));
        } else {
            single.push(format!("{}->{inside}/{protocol}", SocketAddr::new(address, host)));
        }
    }
    for text in exposed {
        let Some((port, protocol)) = text.split_once('/') else { continue };
        let is_published = |it: &&PortMapping| format!("{}/{}", it.container_port, it.protocol) == *text;
        if let (Ok(port), None) = (port.parse(), published.iter().find(is_published)) {
            same.push((port, String::new(), protocol.to_owned()));
        }
    }
    same.sort_by(|one, other| (&one.1, &one.2, one.0).cmp(&(&other.1, &other.2, other.0)));
    let mut groups: Vec<(u16, u16, String, String)> = Vec::new();
    for (port, address, protocol) in same {
        match groups.last_mut() {
            Some((_, last, of, by)) if *of == address && *by == protocol && *last + 1 == port => *last = port,
            _ => groups.push((port, port, address, protocol)),
        }
    }
    groups.sort();
    let groups = groups.iter().map(|(first, last, address, protocol)| {
        let range = if first == last { first.to_string() } else { format!("{first}-{last}") };
        match address.as_str() {
            "" => format!("{range}/{protocol}"),
            address if address.contains(':') => format!("[{address}]:{range}->{range}/{protocol}"),
            address => format!("{address}:{range}->{range}/{protocol}"),
        }
    });
    groups.chain(single).collect::<Vec<_>>().join(", ")
}

fn sorted(ports: &[PortMapping]) -> Vec<&PortMapping> {
    let mut sorted: Vec<&PortMapping> = ports.iter().collect();
    sorted.sort_by_key(|port| (port.container_port, port.host_ip, port.host_port, port.protocol.as_str()));
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::network::Protocol;

    fn port(host_port: u16, container_port: u16, host_ip: Option<&str>) -> PortMapping {
        let host_ip = host_ip.map(|address| address.parse().unwrap());
        PortMapping { host_port, container_port, protocol: Protocol::Tcp, host_ip }
    }

    #[test]
    fn ports_are_shown_as_docker_shows_them() {
        for (published, exposed, expected) in [
            (vec![port(8888, 8888, None)], vec!["8888/tcp"], "0.0.0.0:8888->8888/tcp"),
            (vec![port(8080, 80, None)], vec!["80/tcp", "443/tcp"], "443/tcp, 0.0.0.0:8080->80/tcp"),
            (vec![port(80, 80, None), port(81, 81, None)], vec![], "0.0.0.0:80-81->80-81/tcp"),
            (
                vec![port(8000, 80, Some("127.0.0.1")), port(8001, 81, Some("127.0.0.1"))],
                vec![],
                "127.0.0.1:8000->80/tcp, 127.0.0.1:8001->81/tcp",
            ),
            (
                vec![port(80, 80, Some("::1")), port(81, 8081, Some("::1"))],
                vec![],
                "[::1]:80->80/tcp, [::1]:81->8081/tcp",
            ),
            (vec![], vec!["1/udp", "2/udp", "4/udp"], "1-2/udp, 4/udp"),
        ] {
            let exposed: Vec<String> = exposed.into_iter().map(str::to_owned).collect();
            assert_eq!(display_ports(&published, &exposed), expected);
        }
    }

    #[test]
    fn commands_are_quoted_and_cut() {
        let command = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let java = command(&["java", "-Djava.security.egd=file:/dev/./urandom", "-jar", "/register.jar"]);
        assert_eq!(shown_command(&java, false), "\"java -Djava.securit…\"");
        assert_eq!(shown_command(&command(&["sh", "-c", "echo a"]), false), "\"sh -c 'echo a'\"");
        assert_eq!(shown_command(&command(&["a\"b\\\n\u{1}"]), true), r#""a\"b\\\n\x01""#);
    }

    #[test]
    fn states_are_in_dockers_words() {
        let now = Timestamp::now().seconds * 1_000_000_000;
        let minutes = |minutes: i64| now - minutes * 60 * 1_000_000_000;
        let exited =
            |started, code| State::Exited { code, started, finished: minutes(3), oom: false, failure: None };
        for (state, expected) in [
            (State::Created, "Created"),
            (State::Running { pid: 1, since: minutes(5) }, "Up 5 minutes"),
            (exited(minutes(5), 0), "Exited (0) 3 minutes ago"),
            (exited(0, 127), "Created"),
            (State::Lost { started: minutes(5), finished: minutes(2) }, "Exited (255) 2 minutes ago"),
        ] {
            assert_eq!(shown_status(&state), expected);
        }
        assert_eq!(shown_image("docker.io/library/busybox:1", false), "busybox:1");
        assert_eq!(shown_image("busybox", false), "busybox");
        assert_eq!(shown_image(&format!("sha256:{}", "ab".repeat(32)), false), "abababababab");
    }
}
