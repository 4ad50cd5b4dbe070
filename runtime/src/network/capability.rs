//! What a runtime may tell plugins about one container: the values of capability arguments.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::{Error, Result};

/// A port of the host that leads to a port of the container: an entry of the capability `portMappings`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortMapping {
    /// The host's port.
    pub host_port: u16,
    /// The container's port.
    pub container_port: u16,
    /// The protocol of both.
    pub protocol: Protocol,
    /// The address of the host to listen on; all when absent.
    #[serde(rename = "hostIP", default, skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<IpAddr>,
}

/// A protocol with ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// Its name as CNI, docker and Kubernetes' lower case forms have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Refuses port mappings that portmap refuses: it does so on DEL too, so the attachment could never be undone.
pub(super) fn check(capabilities: &Map<String, Value>) -> Result<()> {
    let refuse =
        |value: &Value, reason| Err(Error::Value { what: "port mapping", value: value.to_string(), reason });
    let mappings = match capabilities.get("portMappings") {
        None => return Ok(()),
        Some(Value::Array(mappings)) => mappings,
        Some(other) => return refuse(other, "it is not a list"),
    };
    for value in mappings {
        let usable = PortMapping::deserialize(value)
            .is_ok_and(|mapping| mapping.host_port != 0 && mapping.container_port != 0);
        if !usable {
            return refuse(value, "it needs a protocol and two ports from 1 to 65535");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_port_mapping_is_written_as_plugins_read_it() {
        let mut mapping =
            PortMapping { host_port: 8080, container_port: 80, protocol: Protocol::Udp, host_ip: None };
        let written = json!({ "hostPort": 8080, "containerPort": 80, "protocol": "udp" });
        assert_eq!(serde_json::to_value(&mapping).unwrap(), written);
        mapping.host_ip = Some("127.0.0.1".parse().unwrap());
        let value = serde_json::to_value(&mapping).unwrap();
        assert_eq!(value["hostIP"], "127.0.0.1");
        assert_eq!(serde_json::from_value::<PortMapping>(value).unwrap(), mapping);
    }

    #[test]
    fn a_mapping_that_cannot_be_undone_is_refused() {
        let all = |mapping: Value| Map::from_iter([("portMappings".to_owned(), json!([mapping]))]);
        let good = json!({ "hostPort": 1, "containerPort": 65535, "protocol": "sctp", "hostIP": "::1" });
        check(&all(good.clone())).unwrap();
        check(&Map::new()).unwrap();
        for (key, value) in [
            ("hostPort", json!(0)),
            ("containerPort", json!(0)),
            ("containerPort", json!(65536)),
            ("protocol", json!("TCP")),
            ("hostIP", json!("localhost")),
        ] {
            let mut bad = good.clone();
            bad[key] = value;
            assert!(check(&all(bad)).is_err(), "{key}");
        }
    }
}
