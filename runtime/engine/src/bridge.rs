//! The network of containers outside of Kubernetes: a bridge of ours, its addresses, and ways in and out.
//!
//! It is an ordinary CNI configuration, made anew for each container from two options: name and subnets of the bridge.
//! What a container got is in its `network.json`, whatever the options say later. The bridge itself stays, as docker0
//! does: it costs nothing, and a host's firewall may name it.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use runtime::network::{Attachment, NetworkConfig, NetworkResult, Plugins, PortMapping, namespace, release};
use serde_json::{Value, json};

use crate::containers::{Containers, network_file};
use crate::error::{Error, Result};
use crate::record::Record;
use crate::subnet::Subnet;

/// Where installers put plugins.
pub const PLUGIN_FOLDERS: &[&str] = &["/opt/cni/bin", "/usr/libexec/cni", "/usr/lib/cni"];

/// How the bridge is called where nobody says otherwise.
pub const DEFAULT_NAME: &str = "hull0";

/// Its addresses where nobody says otherwise: away from docker's, podman's and Kubernetes' usual ones.
pub const DEFAULT_SUBNET: &str = "10.212.0.0/16";

/// The longest name of an interface.
const LONGEST_NAME: usize = 15;

/// Our network.
#[derive(Clone, Debug)]
pub struct Bridge {
    name: String,
    subnets: Vec<Subnet>,
    plugins: Plugins,
}

impl Bridge {
    /// A network on the bridge `name` with the addresses of `subnets`: one of IPv4, or one of each kind separated by a
    /// comma.
    pub fn new(name: &str, subnets: &str, plugin_folders: Vec<PathBuf>) -> Result<Bridge> {
        let usable = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        if !(1..=LONGEST_NAME).contains(&name.len())
            || !name.bytes().all(usable)
            || !name.as_bytes()[0].is_ascii_alphanumeric()
        {
            let reason = "a bridge has 1 to 15 letters, digits and _ . -, the first a letter or digit";
            return Err(Error::Invalid(format!("{name:?} is no name of a bridge: {reason}")));
        }
        let subnets: Vec<Subnet> =
            subnets.split(',').map(str::parse).collect::<Result<_, _>>().map_err(Error::Invalid)?;
        let of_kind = |ipv6| subnets.iter().filter(|subnet| subnet.is_ipv6() == ipv6).count();
        if of_kind(false) != 1 || of_kind(true) > 1 {
            return Err(Error::Invalid("a bridge has one subnet of IPv4 and at most one of IPv6".to_owned()));
        }
        let folders = match plugin_folders.is_empty() {
            true => PLUGIN_FOLDERS.iter().map(PathBuf::from).collect(),
            false => plugin_folders,
        };
        Ok(Bridge { name: name.to_owned(), subnets, plugins: Plugins::new(folders) })
    }

    /// Gives the container of `record` a network namespace of its own on this network, with its ports published.
    ///
    /// What undoing it takes is in the container's folder before anything exists; after a failure nothing is left.
    pub fn attach(&self, containers: &Containers, record: &Record) -> Result<NetworkResult> {
        self.check_ports(&record.ports)?;
        self.check_overlap()?;
        let state = containers.store().root().join("cni");
        let path = containers.network_namespace(&record.id);
        let config = self.config(&state.join("networks"), !record.ports.is_empty())?;
        let mut attachment =
            Attachment::new(&record.id, &path, config, &self.plugins, state.join("results"))?;
        if !record.ports.is_empty() {
            attachment.capabilities.insert("portMappings".to_owned(), mappings(&record.ports)?);
        }
        let file = network_file(&containers.folder(&record.id));
        attachment.write(&file)?;
        let added = namespace::create(&path).and_then(|()| attachment.add());
        added.map_err(|failure| Error::from(failure).and_undo(release(&file).map_err(Error::from)))
    }

    /// The configuration for a container; addresses that are given away are noted below `addresses`.
    fn config(&self, addresses: &Path, publishes: bool) -> Result<NetworkConfig> {
        let ranges: Vec<Value> =
            self.subnets.iter().map(|subnet| json!([{ "subnet": subnet.to_string() }])).collect();
        let everywhere = |subnet: &Subnet| if subnet.is_ipv6() { "::/0" } else { "0.0.0.0/0" };
        let routes: Vec<Value> = self.subnets.iter().map(|it| json!({ "dst": everywhere(it) })).collect();
        let mut plugins = vec![json!({
            "type": "bridge",
            "bridge": self.name,
            "isGateway": true,
            "ipMasq": true,
            // A container reaches itself and its neighbours by their published ports.
            "hairpinMode": true,
            "ipam": { "type": "host-local", "dataDir": addresses, "ranges": ranges, "routes": routes },
        })];
        if publishes {
            plugins
                .push(json!({ "type": "portmap", "capabilities": { "portMappings": true }, "snat": true }));
        }
        // Forwards for the container also where the host forwards for nobody else, as where docker is installed.
        plugins.push(json!({ "type": "firewall" }));
        let list = json!({ "cniVersion": "1.0.0", "name": self.name, "plugins": plugins });
        Ok(NetworkConfig::parse(list.to_string().as_bytes(), Path::new("(the network of rrun)"))?)
    }

    /// What cannot be led to a container: anything of IPv6 where that has no such address, and the loopback of IPv6,
    /// from which the kernel leads nothing elsewhere (there is no `route_localnet`).
    fn check_ports(&self, ports: &[PortMapping]) -> Result<()> {
        let has_ipv6 = self.subnets.iter().any(Subnet::is_ipv6);
        for address in ports.iter().filter_map(|port| port.host_ip).filter(|address| address.is_ipv6()) {
            let reason = if address.is_loopback() {
                "the kernel leads nothing from the loopback of IPv6 to a container, publish on 127.0.0.1"
                    .to_owned()
            } else if has_ipv6 {
                continue;
            } else {
                let (name, subnet) = (&self.name, self.subnets[0]);
                format!(
                    "the network {name} has no IPv6, give it a subnet with --bridge-subnet {subnet},fd00:...::/64"
                )
            };
            return Err(Error::Invalid(format!("cannot publish a port on {address}: {reason}")));
        }
        Ok(())
    }

    /// Before the bridge is made for the first time: are its addresses in use?
    fn check_overlap(&self) -> Result<()> {
        if Path::new("/sys/class/net").join(&self.name).exists() {
            return Ok(());
        }
        let routes = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
        for (interface, taken) in routes.lines().skip(1).filter_map(route) {
            if let Some(subnet) = self.subnets.iter().find(|subnet| subnet.overlaps(&taken)) {
                return Err(Error::Invalid(format!(
                    "the subnet {subnet} of the network {} is in use: there is a route to {taken} by {interface}; \
                     choose another with --bridge-subnet",
                    self.name
                )));
            }
        }
        Ok(())
    }
}

/// The CNI argument for published ports.
fn mappings(ports: &[PortMapping]) -> Result<Value> {
    serde_json::to_value(ports).map_err(|error| Error::Invalid(format!("cannot encode the ports: {error}")))
}

/// Interface and destination of a line of `/proc/net/route`, without the default route.
fn route(line: &str) -> Option<(&str, Subnet)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let hexadecimal = |index: usize| u32::from_str_radix(fields.get(index)?, 16).ok();
    let (destination, mask) = (hexadecimal(1)?.swap_bytes(), hexadecimal(7)?.swap_bytes());
    let bits = mask.leading_ones() as u8;
    (bits > 0).then(|| (fields[0], Subnet::around(Ipv4Addr::from(destination).into(), bits)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bridge(subnets: &str) -> Result<Bridge> {
        Bridge::new("hull-unit", subnets, Vec::new())
    }

    #[test]
    fn names_and_subnets_are_checked() {
        for name in ["", "a/b", "-x", "a bridge", "longer-than-15-b"] {
            assert!(Bridge::new(name, DEFAULT_SUBNET, Vec::new()).is_err(), "{name:?}");
        }
        for subnets in ["", "fd00::/64", "10.0.0.0/16,10.1.0.0/16", "10.0.0.0/16,x"] {
            assert!(bridge(subnets).is_err(), "{subnets:?}");
        }
        assert!(bridge("fd00::/64,10.0.0.0/16").is_ok());
        assert!(Bridge::new(DEFAULT_NAME, DEFAULT_SUBNET, Vec::new()).is_ok());
    }

    #[test]
    fn the_configuration_is_one_that_we_read() {
        let config = bridge("10.9.0.0/16,fd00::/64").unwrap().config(Path::new("/x"), true).unwrap();
        let names: Vec<&str> = config.plugins().iter().map(|plugin| plugin.name.as_str()).collect();
        assert_eq!(names, ["bridge", "portmap", "firewall"]);
        assert_eq!(config.plugins()[0].address_plugin(), Some("host-local"));
        assert!(config.declares("portMappings"));
        assert_eq!(config.plugins()[0].config["ipam"]["routes"][1]["dst"], "::/0");
        assert_eq!(bridge("10.9.0.0/16").unwrap().config(Path::new("/x"), false).unwrap().plugins().len(), 2);
    }

    #[test]
    fn an_address_of_ipv6_needs_a_subnet_of_ipv6() {
        let port = |address: &str| PortMapping {
            host_port: 80,
            container_port: 80,
            protocol: runtime::network::Protocol::Tcp,
            host_ip: Some(address.parse().unwrap()),
        };
        let refused = bridge("10.9.0.0/16").unwrap().check_ports(&[port("::")]).unwrap_err().to_string();
        assert!(refused.contains("--bridge-subnet 10.9.0.0/16,"), "{refused}");
        let both = bridge("10.9.0.0/16,fd00::/64").unwrap();
        both.check_ports(&[port("::"), port("127.0.0.1")]).unwrap();
        assert!(both.check_ports(&[port("::1")]).unwrap_err().to_string().contains("127.0.0.1"));
    }

    #[test]
    fn routes_are_read_in_the_kernels_byte_order() {
        let line = "eth0\t0000D40A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0";
        let (interface, subnet) = route(line).unwrap();
        assert_eq!((interface, subnet.to_string().as_str()), ("eth0", "10.212.0.0/16"));
        assert!(route("eth0 00000000 0102A8C0 0003 0 0 0 00000000 0 0 0").is_none());
        assert!(route("Iface").is_none());
    }
}
