//! IPv6 on interfaces of a container that did not ask for it.
//!
//! The kernel gives every interface a link-local address and listens to whoever claims to be a router. In a network
//! that only has IPv4 nobody expects that: rules are not written for it, and a neighbour that sends router
//! advertisements gets the container's traffic (CVE-2020-10749, CVE-2024-32473). So after ADD:
//!
//! | the result has | then on the container's interfaces |
//! | --- | --- |
//! | IPv4 addresses only | `disable_ipv6=1`: no address, nothing is received or sent |
//! | a default route for IPv6 | `accept_ra=0`: the route is known, nobody else may set another |
//! | neither | nothing: an interface without addresses may well be meant to configure itself |
//!
//! It is done after ADD and not before, because some plugins give an interface IPv6 addresses without switching IPv6
//! on. Nothing of the container runs yet. `lo` keeps `::1`. The host's ends are the business of the plugins, which
//! switch `accept_ra` off there.

use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use super::error::{Error, Result};
use super::result::NetworkResult;
use super::{names, namespace};

/// Closes what the result of ADD does not ask for.
pub(super) fn restrict(netns: &Path, interface: &str, result: &NetworkResult) -> Result<()> {
    let (setting, value) = match result.addresses.iter().any(|address| address.is_ipv6()) {
        false if !result.addresses.is_empty() => ("disable_ipv6", "1"),
        true if result.routes_ipv6 => ("accept_ra", "0"),
        _ => return Ok(()),
    };
    let inside = result.interfaces.iter().filter(|interface| !interface.sandbox.is_empty());
    let mut interfaces: Vec<&str> = inside.map(|interface| interface.name.as_str()).collect();
    interfaces.push(interface);
    interfaces.retain(|name| *name != "lo" && names::is_interface(name));
    interfaces.sort_unstable();
    interfaces.dedup();
    namespace::visit(netns, || interfaces.iter().try_for_each(|name| set(name, setting, value)))?
}

/// Writes a setting of an interface of the calling thread's network namespace.
fn set(interface: &str, setting: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/net/ipv6/conf/{interface}/{setting}");
    let written = rustix::fs::openat(CWD, &path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        .and_then(|file| rustix::io::write(&file, value.as_bytes()));
    match written {
        // No IPv6 in this kernel, or no such interface: some plugins attach what the kernel does not show.
        Ok(_) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(Error::system("set", path)(errno)),
    }
}
