//! What a runtime may tell plugins about one container: the values of capability arguments.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

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
}
