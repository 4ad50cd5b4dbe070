//! Ports of the host that lead to containers: which are free.
//!
//! A published port is a rule of the host's firewall and no socket, so the kernel does not keep two containers from the
//! same port: we do, while the folder of all containers is locked ([`crate::Containers::create`]).

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};
use std::ops::RangeInclusive;

use runtime::network::{PortMapping, Protocol};

use crate::error::{Error, Result};

/// The ephemeral range where the kernel does not tell.
const EPHEMERAL: (u16, u16) = (32768, 60999);

/// Fails unless every port could be listened on by somebody now.
pub fn check_free(ports: &[PortMapping]) -> Result<()> {
    for (index, port) in ports.iter().enumerate() {
        if ports[..index].iter().any(|other| conflict(port, other)) {
            return Err(Error::Invalid(format!("port {} is published twice", shown(port))));
        }
        listen(port).map_err(|error| match error.kind() {
            ErrorKind::AddrInUse => Error::PortTaken { port: shown(port), by: "another program".to_owned() },
            _ => Error::Port { port: shown(port), source: error },
        })?;
    }
    Ok(())
}

/// The first free port of `range` on `address`, or everywhere.
pub fn choose(
    address: Option<IpAddr>,
    protocol: Protocol,
    range: RangeInclusive<u16>,
    taken: &[PortMapping],
) -> Result<u16> {
    let (first, last) = (*range.start(), *range.end());
    let free = range.into_iter().find(|port| is_free(*port, address, protocol, taken));
    free.ok_or_else(|| Error::Invalid(format!("all ports from {first} to {last} are in use")))
}

/// A free port of the host's ephemeral range on `address`, or everywhere: the first one after some place in it.
pub fn choose_ephemeral(address: Option<IpAddr>, protocol: Protocol, taken: &[PortMapping]) -> Result<u16> {
    let (first, last) = ephemeral_range();
    let mut bytes = [0; 2];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| Error::Random(errno.into()))?;
    let start = first + u16::from_le_bytes(bytes) % (last - first);
    choose(address, protocol, start..=last, taken).or_else(|_| choose(address, protocol, first..=last, taken))
}

fn is_free(host_port: u16, host_ip: Option<IpAddr>, protocol: Protocol, taken: &[PortMapping]) -> bool {
    let port = PortMapping { host_port, container_port: 1, protocol, host_ip };
    !taken.iter().any(|other| conflict(&port, other)) && listen(&port).is_ok()
}

/// Would both listen on the same port of the same address?
pub(crate) fn conflict(one: &PortMapping, other: &PortMapping) -> bool {
    let everywhere = |address: Option<IpAddr>| address.is_none_or(|address| address.is_unspecified());
    one.host_port == other.host_port
        && one.protocol == other.protocol
        && (one.host_ip == other.host_ip || everywhere(one.host_ip) || everywhere(other.host_ip))
}

/// The host's side of a mapping, as docker prints it.
pub fn shown(port: &PortMapping) -> String {
    let address = port.host_ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    format!("{}/{}", std::net::SocketAddr::new(address, port.host_port), port.protocol)
}

fn listen(port: &PortMapping) -> std::io::Result<()> {
    let address = (port.host_ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), port.host_port);
    match port.protocol {
        Protocol::Tcp => TcpListener::bind(address).map(drop),
        Protocol::Udp => UdpSocket::bind(address).map(drop),
        // Nobody but the containers that we know uses it.
        Protocol::Sctp => Ok(()),
    }
}

fn ephemeral_range() -> (u16, u16) {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut numbers = text.split_whitespace().map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(first)), Some(Ok(last))) if first < last => (first, last),
        _ => EPHEMERAL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(host_port: u16, address: Option<&str>) -> PortMapping {
        let host_ip = address.map(|address| address.parse().unwrap());
        PortMapping { host_port, container_port: 80, protocol: Protocol::Tcp, host_ip }
    }

    #[test]
    fn a_port_that_somebody_listens_on_is_not_free() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let number = listener.local_addr().unwrap().port();
        for address in [None, Some("127.0.0.1")] {
            let refused = check_free(&[port(number, address)]).unwrap_err();
            assert!(matches!(refused, Error::PortTaken { .. }), "{refused}");
        }
        check_free(&[port(number, Some("127.0.0.2"))]).unwrap();
        check_free(&[PortMapping { protocol: Protocol::Udp, ..port(number, Some("127.0.0.1")) }]).unwrap();
        // An address that no interface has.
        assert!(
            check_free(&[port(number, Some("192.0.2.1"))]).unwrap_err().to_string().contains("192.0.2.1")
        );
    }

    #[test]
    fn everywhere_is_also_there() {
        for (one, other, expected) in [
            (None, None, true),
            (None, Some("127.0.0.1"), true),
            (Some("0.0.0.0"), Some("127.0.0.1"), true),
            (Some("127.0.0.1"), Some("127.0.0.2"), false),
        ] {
            assert_eq!(conflict(&port(80, one), &port(80, other)), expected, "{one:?} {other:?}");
        }
        assert!(!conflict(&port(80, None), &port(81, None)));
        assert!(check_free(&[port(1, None), port(1, None)]).is_err());
    }

    #[test]
    fn a_chosen_port_is_of_the_ephemeral_range() {
        let (first, last) = ephemeral_range();
        let chosen = choose_ephemeral(None, Protocol::Tcp, &[]).unwrap();
        assert!((first..=last).contains(&chosen));
        let taken = port(chosen, Some("127.0.0.1"));
        assert!(choose(None, Protocol::Tcp, chosen..=chosen, &[taken]).is_err());
        assert_eq!(shown(&port(chosen, Some("::1"))), format!("[::1]:{chosen}/tcp"));
    }
}
