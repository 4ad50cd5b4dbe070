//! `--publish` and `--expose`: ports, ranges of ports, and which one leads to which.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use runtime::network::{PortMapping, Protocol};

/// A port of the container, and where on the host it is to be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// The host's address; all when missing.
    pub host_ip: Option<IpAddr>,
    /// The host's port.
    pub host: HostPort,
    /// The container's port.
    pub container_port: u16,
    /// The protocol of both.
    pub protocol: Protocol,
}

/// The host's side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPort {
    /// This one.
    Fixed(u16),
    /// The first of these that is free.
    AnyOf(RangeInclusive<u16>),
    /// Any of the host's ephemeral range.
    Any,
}

/// Ports that a container listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposed {
    ports: RangeInclusive<u16>,
    protocol: Protocol,
}

impl Publish {
    /// The mapping to `host_port`.
    pub fn to(&self, host_port: u16) -> PortMapping {
        let Publish { host_ip, container_port, protocol, .. } = *self;
        PortMapping { host_port, container_port, protocol, host_ip }
    }
}

impl Exposed {
    /// Each port as docker writes it: `80/tcp`.
    pub fn texts(&self) -> impl Iterator<Item = String> + '_ {
        self.ports.clone().map(|port| format!("{port}/{}", self.protocol))
    }
}

/// `[[ADDRESS:]HOST_PORT:]PORT[/PROTOCOL]`, where ports may be ranges.
pub fn publish(text: &str) -> Result<Vec<Publish>, String> {
    let (ports, protocol) = protocol(text)?;
    let (address, ports) = address(ports)?;
    let (host, container) = match ports.rsplit_once(':') {
        Some((host, container)) => (Some(host).filter(|host| !host.is_empty()), container),
        None if address.is_some() => return Err("there is no port after the address".to_owned()),
        None => (None, ports),
    };
    let container = range(container)?;
    let host = host.map(range).transpose()?;
    let one = |host, container_port| Publish { host_ip: address, host, container_port, protocol };
    Ok(match host {
        None => container.map(|port| one(HostPort::Any, port)).collect(),
        Some(host) if host.clone().count() == container.clone().count() => {
            host.zip(container).map(|(host, port)| one(HostPort::Fixed(host), port)).collect()
        }
        Some(host) if container.clone().count() == 1 => vec![one(HostPort::AnyOf(host), *container.start())],
        Some(host) => {
            return Err(format!(
                "the ranges are of different length: {}-{} on the host, {}-{} in the container",
                host.start(),
                host.end(),
                container.start(),
                container.end()
            ));
        }
    })
}

/// `PORT[-PORT][/PROTOCOL]`.
pub fn exposed(text: &str) -> Result<Exposed, String> {
    let (ports, protocol) = protocol(text)?;
    Ok(Exposed { ports: range(ports)?, protocol })
}

fn protocol(text: &str) -> Result<(&str, Protocol), String> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    match protocol.to_ascii_lowercase().as_str() {
        "tcp" => Ok((ports, Protocol::Tcp)),
        "udp" => Ok((ports, Protocol::Udp)),
        "sctp" => Ok((ports, Protocol::Sctp)),
        _ => Err(format!("{protocol:?} is no protocol: expected tcp, udp or sctp")),
    }
}

/// Takes the address off the front: one of IPv6 stands in brackets.
fn address(text: &str) -> Result<(Option<IpAddr>, &str), String> {
    let parse = |address: &str| {
        address.parse::<IpAddr>().map_err(|_| format!("{address:?} is no IP address of the host"))
    };
    if let Some(rest) = text.strip_prefix('[') {
        let (address, ports) =
            rest.split_once("]:").ok_or("an address in brackets is followed by a colon")?;
        return Ok((Some(parse(address)?), ports));
    }
    match text.splitn(3, ':').collect::<Vec<_>>()[..] {
        [address, host, container] if !container.contains(':') => {
            let rest = &text[text.len() - host.len() - container.len() - 1..];
            // As docker has it: an empty address is all of them.
            Ok((if address.is_empty() { None } else { Some(parse(address)?) }, rest))
        }
        [_, _, _] => Err("an address of IPv6 stands in brackets, as [::1]:80:80".to_owned()),
        _ => Ok((None, text)),
    }
}

fn range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let port = |text: &str| {
        let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse::<u16>().ok().filter(|port| plain && *port > 0);
        number.ok_or_else(|| format!("{text:?} is no port: expected a number from 1 to 65535"))
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (port(first)?, port(last)?),
        None => (port(text)?, port(text)?),
    };
    if first > last {
        return Err(format!("the range {text} ends before it begins"));
    }
    Ok(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        publish(text)
            .unwrap()
            .iter()
            .map(|it| {
                let host = match &it.host {
                    HostPort::Fixed(port) => port.to_string(),
                    HostPort::AnyOf(range) => format!("{}..{}", range.start(), range.end()),
                    HostPort::Any => "*".to_owned(),
                };
                let address = it.host_ip.map(|address| format!("{address} ")).unwrap_or_default();
                format!("{address}{host}->{}/{}", it.container_port, it.protocol)
            })
            .collect()
    }

    #[test]
    fn all_of_dockers_forms_are_understood() {
        for (text, expected) in [
            ("80", &["*->80/tcp"][..]),
            ("8080:80", &["8080->80/tcp"]),
            ("8080:80/udp", &["8080->80/udp"]),
            ("127.0.0.1:8080:80", &["127.0.0.1 8080->80/tcp"]),
            ("127.0.0.1::80", &["127.0.0.1 *->80/tcp"]),
            (":8080:80", &["8080->80/tcp"]),
            ("[::1]:8080:80", &["::1 8080->80/tcp"]),
            ("[::]::80/UDP", &[":: *->80/udp"]),
            ("8000-8002:80-82", &["8000->80/tcp", "8001->81/tcp", "8002->82/tcp"]),
            ("8000-8005:80", &["8000..8005->80/tcp"]),
            ("80-81", &["*->80/tcp", "*->81/tcp"]),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn everything_else_says_what_is_wrong() {
        for (text, words) in [
            ("", "no port"),
            ("0:80", "no port"),
            ("80:", "no port"),
            ("65536:80", "65536"),
            ("+80:80", "no port"),
            ("8080:80/icmp", "icmp"),
            ("8000-8003:80-85", "8000-8003 on the host, 80-85"),
            ("81-80:81-80", "ends before it begins"),
            ("localhost:80:80", "localhost"),
            ("::1:80:80", "brackets"),
            ("[::1]80:80", "colon"),
            ("[::1]:80", "no port after"),
            ("1.2.3.4:5:6:7", "brackets"),
            ("80-90-100:80", "no port"),
        ] {
            let refused = publish(text).unwrap_err();
            assert!(refused.contains(words), "{text:?}: {refused}");
        }
    }

    #[test]
    fn exposed_ports_may_be_ranges() {
        assert_eq!(exposed("80-81/udp").unwrap().texts().collect::<Vec<_>>(), ["80/udp", "81/udp"]);
        assert!(exposed("80:80").is_err());
    }
}
