//! What plugins answer to ADD: interfaces, addresses, routes, name servers.
//!
//! The forms of 0.3 to 0.4 and of 1.x differ in fields that we do not need, so one reader takes both. A result without
//! a version is taken for one of the version that was asked for, as libcni does.

use std::net::IpAddr;

use serde::Deserialize;
use serde_json::Value;

use super::config::Version;
use super::error::{Failure, printable};

/// How much of a wrong result is shown.
const EXCERPT: usize = 200;

/// What a network gave a container.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NetworkResult {
    /// The container's addresses in the order of the plugins.
    pub addresses: Vec<IpAddr>,
    /// All interfaces that were made or used, the host's ends too.
    pub interfaces: Vec<Interface>,
    /// What the network says about name servers.
    pub dns: Dns,
    /// The result as the last plugin wrote it.
    pub raw: Value,
    /// Whether there is a default route for IPv6.
    pub(super) routes_ipv6: bool,
}

/// An interface of a result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Interface {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Its hardware address.
    #[serde(default)]
    pub mac: String,
    /// The network namespace that it is in; empty for the host's.
    #[serde(default)]
    pub sandbox: String,
}

/// Name servers of a result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Dns {
    /// Addresses of servers.
    pub nameservers: Vec<String>,
    /// The local domain.
    pub domain: String,
    /// Domains to search.
    pub search: Vec<String>,
    /// Options as in resolv.conf.
    pub options: Vec<String>,
}

impl NetworkResult {
    /// The address to tell when there is place for one: the first of IPv4, or else the first.
    pub fn primary(&self) -> Option<IpAddr> {
        self.addresses.iter().find(|address| address.is_ipv4()).or(self.addresses.first()).copied()
    }

    /// All addresses, the primary one first.
    pub fn primary_first(&self) -> Vec<IpAddr> {
        let primary = self.primary();
        let rest = self.addresses.iter().copied().filter(|address| Some(*address) != primary);
        primary.into_iter().chain(rest).collect()
    }

    /// Reads what a plugin wrote when it was asked in version `asked`.
    pub(super) fn parse(bytes: &[u8], asked: &str) -> Result<NetworkResult, Failure> {
        let refuse = |reason: String| Failure::NoResult { reason, output: printable(&start(bytes), EXCERPT) };
        if bytes.trim_ascii().is_empty() {
            return Err(refuse("the output is empty".to_owned()));
        }
        let mut raw: Value = serde_json::from_slice(bytes).map_err(|error| refuse(error.to_string()))?;
        let Value::Object(members) = &mut raw else { return Err(refuse("it is no JSON object".to_owned())) };
        let version = members.entry("cniVersion").or_insert_with(|| asked.into());
        match version.as_str() {
            Some(text) if Version::supported(text).is_some() => {}
            Some(text) => return Err(Failure::Version { version: printable(text.as_bytes(), EXCERPT) }),
            None => return Err(refuse("its \"cniVersion\" is not a text".to_owned())),
        }
        let document = Document::deserialize(&raw).map_err(|error| refuse(error.to_string()))?;
        let addresses = document.addresses().map_err(refuse)?;
        let routes_ipv6 = document.routes.iter().flatten().any(|route| route.dst.trim() == "::/0");
        Ok(NetworkResult {
            addresses,
            interfaces: document.interfaces.unwrap_or_default(),
            dns: document.dns.unwrap_or_default(),
            raw,
            routes_ipv6,
        })
    }
}

/// Only the beginning of a wrong output is of use.
fn start(bytes: &[u8]) -> Vec<u8> {
    bytes[..bytes.len().min(EXCERPT)].to_vec()
}

/// The parts of a result that we use. Plugins in Go write `null` for an empty list.
#[derive(Deserialize)]
struct Document {
    interfaces: Option<Vec<Interface>>,
    ips: Option<Vec<Ip>>,
    routes: Option<Vec<Route>>,
    dns: Option<Dns>,
}

#[derive(Deserialize)]
struct Ip {
    address: String,
    interface: Option<usize>,
}

#[derive(Deserialize)]
struct Route {
    dst: String,
}

impl Document {
    /// The addresses in the container: those of an interface outside of it are left out.
    fn addresses(&self) -> Result<Vec<IpAddr>, String> {
        let none = Vec::new();
        let interfaces = self.interfaces.as_ref().unwrap_or(&none);
        let mut addresses = Vec::new();
        for ip in self.ips.iter().flatten() {
            let text = ip.address.split_once('/').map_or(ip.address.as_str(), |(address, _)| address);
            let address = text.parse().map_err(|_| {
                format!("{:?} is not an IP address", printable(ip.address.as_bytes(), EXCERPT))
            })?;
            let inside = match ip.interface.map(|index| (index, interfaces.get(index))) {
                None => true,
                Some((_, Some(interface))) => !interface.sandbox.is_empty(),
                Some((index, None)) => return Err(format!("it has no interface {index} for {address}")),
            };
            if inside {
                addresses.push(address);
            }
        }
        Ok(addresses)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(value: &Value) -> Result<NetworkResult, Failure> {
        NetworkResult::parse(&serde_json::to_vec(value).unwrap(), "1.0.0")
    }

    #[test]
    fn both_forms_are_read() {
        let modern = json!({
            "cniVersion": "1.0.0",
            "interfaces": [{ "name": "br0", "mac": "aa" }, { "name": "eth0", "sandbox": "/n" }],
            "ips": [
                { "interface": 1, "address": "fd00::2/64" },
                { "interface": 1, "address": "10.1.0.2/16", "gateway": "10.1.0.1" },
                { "interface": 0, "address": "10.1.0.1/16" }
            ],
            "routes": [{ "dst": "::/0" }],
            "dns": { "nameservers": ["1.1.1.1"] }
        });
        let result = parse(&modern).unwrap();
        let texts: Vec<String> = result.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["fd00::2", "10.1.0.2"]);
        assert_eq!(result.primary().unwrap().to_string(), "10.1.0.2");
        assert_eq!(result.primary_first()[1].to_string(), "fd00::2");
        assert_eq!(result.dns.nameservers, ["1.1.1.1"]);
        assert_eq!(result.interfaces[1].name, "eth0");
        assert!(result.routes_ipv6);
        assert_eq!(result.raw, modern);

        let older = json!({
            "cniVersion": "0.4.0",
            "interfaces": null,
            "ips": [{ "version": "4", "address": "10.1.0.2/16" }],
            "dns": {}
        });
        assert_eq!(parse(&older).unwrap().addresses.len(), 1);
        assert_eq!(parse(&json!({})).unwrap().raw, json!({ "cniVersion": "1.0.0" }));
    }

    #[test]
    fn anything_else_is_refused() {
        for (text, words) in [
            ("", "the output is empty"),
            (" \n", "the output is empty"),
            ("hello\x1b[31m world", "hello [31m world"),
            ("[]", "no JSON object"),
            ("{\"cniVersion\": 1}", "not a text"),
            ("{\"cniVersion\": \"0.2.0\"}", "version \"0.2.0\""),
            ("{\"cniVersion\": \"2.0.0\"}", "0.3.0 to 1.1.0 are known"),
            ("{\"ips\": [{\"address\": \"x\"}]}", "\"x\" is not an IP address"),
            ("{\"ips\": [{\"address\": \"10.0.0.1/8\", \"interface\": 3}]}", "no interface 3"),
            ("{\"ips\": 1}", "invalid type"),
            ("{} {}", "trailing characters"),
        ] {
            let failure = NetworkResult::parse(text.as_bytes(), "1.0.0").unwrap_err().to_string();
            assert!(failure.contains(words), "{text}: {failure}");
        }
        let deep = format!("{{\"a\":{}", "[".repeat(100_000));
        assert!(NetworkResult::parse(deep.as_bytes(), "1.0.0").is_err());
    }
}
