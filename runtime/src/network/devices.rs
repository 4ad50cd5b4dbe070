//! Network devices of the host that become a container's (runtime-spec, "Network Devices").
//!
//! A device is moved and named by one message, so that it is never seen under a name that is another's there. The kernel takes its
//! addresses away on the way; those that were set for good are given back, and it is set up. At the end of the namespace
//! the kernel gives hardware back to the host and destroys what is virtual: that is nobody's business here.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use super::route_socket::{Address, Link, RouteSocket, own_namespace};
use crate::error::{Error, Result};
use crate::spec::plan::NetDevicePlan;

/// Refuses devices that the caller's network namespace does not have.
pub fn examine_devices(devices: &[NetDevicePlan]) -> Result<()> {
    if devices.is_empty() {
        return Ok(());
    }
    let here = RouteSocket::open().map_err(Error::system("open", "a netlink socket"))?;
    devices.iter().try_for_each(|device| match here.link(&device.host_name) {
        Ok(link) if link.name == device.host_name => Ok(()),
        // By another name it could be listed twice, and not be given its own back.
        Ok(link) => Err(Error::Spec {
            path: device.field(),
            reason: format!("it is another name of the network device {}: list that", link.name),
        }),
        Err(Errno::NODEV) => Err(Error::Spec {
            path: device.field(),
            reason: "there is no such network device in the runtime's network namespace".to_owned(),
        }),
        Err(errno) => {
            Err(Error::system("examine", format!("the network device {}", device.host_name))(errno))
        }
    })
}

/// Moves devices from the caller's network namespace into another one. If one cannot be moved those before it come back.
pub fn move_devices(devices: &[NetDevicePlan], namespace: BorrowedFd<'_>) -> Result<()> {
    let ways = Ways {
        here: RouteSocket::open().map_err(Error::system("open", "a netlink socket"))?,
        there: RouteSocket::open_in(namespace)
            .map_err(Error::system("open a netlink socket in", "the container's network namespace"))?,
        home: own_namespace().map_err(Error::system("open", "the runtime's network namespace"))?,
        target: namespace,
    };
    let mut moved = Vec::new();
    for device in devices {
        if let Err(error) = ways.send(device, &mut moved) {
            moved.iter().rev().for_each(|moved| ways.bring_back(moved));
            return Err(error);
        }
    }
    Ok(())
}

/// Both namespaces.
struct Ways<'a> {
    here: RouteSocket,
    there: RouteSocket,
    home: OwnedFd,
    target: BorrowedFd<'a>,
}

/// A device that is there, and what it was here.
struct Moved<'a> {
    device: &'a NetDevicePlan,
    index: u32,
    was: Link,
    addresses: Vec<Address>,
}

impl Ways<'_> {
    fn send<'a>(&self, device: &'a NetDevicePlan, moved: &mut Vec<Moved<'a>>) -> Result<()> {
        let name = &device.host_name;
        let failed = |operation| Error::system(operation, format!("the network device {name}"));
        let was = self.here.link(name).map_err(failed("find"))?;
        let addresses = self.here.lasting_addresses(was.index).map_err(failed("list the addresses of"))?;
        let before = self.there.links().map_err(failed("make room for"))?;
        if !device.is_template() && self.there.link(&device.name).is_ok() {
            return Err(Error::Spec {
                path: device.field(),
                reason: format!("the container's network namespace has a device {} already", device.name),
            });
        }
        if let Err(errno) = self.here.move_link(was.index, self.target.as_fd(), &device.name) {
            // The kernel moves first and names then, and the name may be another one of the device itself.
            if let (Err(Errno::NODEV), Ok(there)) = (self.here.link(name), self.there.link(name))
                && !before.contains(&there)
            {
                moved.push(Moved { device, index: there.index, was, addresses });
            }
            return Err(failed("move into the container")(errno));
        }
        let index = self.arrived(device, &before).map_err(failed("find in the container"))?;
        moved.push(Moved { device, index, was, addresses });
        let [.., last] = moved.as_slice() else { return Ok(()) };
        for address in &last.addresses {
            self.there.add_address(index, address).map_err(failed("give its addresses back to"))?;
        }
        self.there.set_up(index).map_err(failed("set up"))
    }

    /// The number that a device has there: that of its name, or, as the kernel made one, the number that was not there before.
    fn arrived(&self, device: &NetDevicePlan, before: &[Link]) -> Result<u32, Errno> {
        if !device.is_template() {
            return Ok(self.there.link(&device.name)?.index);
        }
        let known = |link: &Link| before.iter().any(|before| before.index == link.index);
        let new = self.there.links()?.into_iter().find(|link| !known(link));
        new.map(|link| link.index).ok_or(Errno::NODEV)
    }

    /// What fails here is not reported over the failure that led here.
    fn bring_back(&self, moved: &Moved<'_>) {
        let name = &moved.device.host_name;
        let _ = self.there.move_link(moved.index, self.home.as_fd(), name);
        let Ok(link) = self.here.link(name) else { return };
        for address in &moved.addresses {
            let _ = self.here.add_address(link.index, address);
        }
        if moved.was.is_up {
            let _ = self.here.set_up(link.index);
        }
    }
}
