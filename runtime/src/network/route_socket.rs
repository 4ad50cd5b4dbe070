//! Questions and orders to the kernel about the devices and addresses of one network namespace (rtnetlink(7)), one at a time.
//!
//! `lo` of every new namespace is brought up without it, by one message that is always the same (`loopback`).

use std::os::fd::{BorrowedFd, OwnedFd};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope,
};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use nix::sched::CloneFlags;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::namespaces::from_nix;

/// The kernel cuts its answers to a list at 32 KiB.
const LONGEST: usize = 64 << 10;

/// A socket that speaks of the network namespace in which it was made.
#[derive(Debug)]
pub(super) struct RouteSocket(OwnedFd);

/// A device as the kernel lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) is_up: bool,
}

/// The network namespace of the calling thread.
pub(super) fn own_namespace() -> Result<OwnedFd, Errno> {
    rustix::fs::openat(CWD, "/proc/thread-self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

impl RouteSocket {
    /// For the namespace of the calling thread.
    pub(super) fn open() -> Result<RouteSocket, Errno> {
        let flags = SocketFlags::CLOEXEC;
        // NETLINK_ROUTE is protocol 0, the default.
        rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None).map(RouteSocket)
    }

    /// For another namespace; the calling thread is in it for a moment.
    pub(super) fn open_in(namespace: BorrowedFd<'_>) -> Result<RouteSocket, Errno> {
        let own = own_namespace()?;
        nix::sched::setns(namespace, CloneFlags::CLONE_NEWNET).map_err(from_nix)?;
        let socket = RouteSocket::open();
        // We came from there with the rights to leave, so nothing refuses the way back.
        nix::sched::setns(own, CloneFlags::CLONE_NEWNET).map_err(from_nix)?;
        socket
    }

    /// A device by its name. ENODEV where there is none.
    pub(super) fn link(&self, name: &str) -> Result<Link, Errno> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        let found = self.ask(RouteNetlinkMessage::GetLink(message), 0)?;
        found.iter().find_map(link_in).ok_or(Errno::NODEV)
    }

    /// All devices.
    pub(super) fn links(&self) -> Result<Vec<Link>, Errno> {
        let found = self.ask(RouteNetlinkMessage::GetLink(LinkMessage::default()), NLM_F_DUMP)?;
        Ok(found.iter().filter_map(link_in).collect())
    }

    /// Moves a device into another namespace, under a name that may be a template (`eth%d`). It is down there.
    pub(super) fn move_link(&self, index: u32, to: BorrowedFd<'_>, name: &str) -> Result<(), Errno> {
        use std::os::fd::AsRawFd;
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes =
            vec![LinkAttribute::NetNsFd(to.as_raw_fd()), LinkAttribute::IfName(name.to_owned())];
        self.ask(RouteNetlinkMessage::NewLink(message), NLM_F_ACK).map(drop)
    }

    /// Sets a device up.
    pub(super) fn set_up(&self, index: u32) -> Result<(), Errno> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        self.ask(RouteNetlinkMessage::NewLink(message), NLM_F_ACK).map(drop)
    }

    /// The addresses of a device that somebody set for good and that mean the same everywhere.
    pub(super) fn lasting_addresses(&self, index: u32) -> Result<Vec<AddressMessage>, Errno> {
        let found = self.ask(RouteNetlinkMessage::GetAddress(AddressMessage::default()), NLM_F_DUMP)?;
        let addresses = found.into_iter().filter_map(|message| match message {
            RouteNetlinkMessage::NewAddress(address) => Some(address),
            _ => None,
        });
        Ok(addresses.filter(|address| address.header.index == index && is_lasting(address)).collect())
    }

    /// Gives a device an address that another one had, or itself in another namespace.
    pub(super) fn add_address(&self, index: u32, address: &AddressMessage) -> Result<(), Errno> {
        let mut message = AddressMessage::default();
        message.header = address.header.clone();
        message.header.index = index;
        // The label has the device's name in it, the rest is what the kernel counts.
        message.attributes =
            address.attributes.iter().filter(|attribute| is_chosen(attribute)).cloned().collect();
        self.ask(RouteNetlinkMessage::NewAddress(message), NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL).map(drop)
    }

    /// Sends one message and returns what the kernel answers, up to its last word.
    fn ask(&self, message: RouteNetlinkMessage, flags: u16) -> Result<Vec<RouteNetlinkMessage>, Errno> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::from(message));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        rustix::net::send(&self.0, &bytes, SendFlags::empty())?;
        let mut answers = Vec::new();
        let mut buffer = vec![0; LONGEST];
        loop {
            let (length, _) =
                rustix::io::retry_on_intr(|| rustix::net::recv(&self.0, &mut *buffer, RecvFlags::empty()))?;
            let mut rest = &buffer[..length.min(buffer.len())];
            while !rest.is_empty() {
                let answer =
                    NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest).map_err(|_| Errno::BADMSG)?;
                // Messages are padded to four bytes.
                let length = (answer.header.length as usize).next_multiple_of(4);
                match answer.payload {
                    NetlinkPayload::Error(error) => match error.code {
                        None => return Ok(answers),
                        Some(code) => return Err(Errno::from_raw_os_error(code.get().saturating_neg())),
                    },
                    NetlinkPayload::Done(_) => return Ok(answers),
                    NetlinkPayload::InnerMessage(message) => answers.push(message),
                    _ => {}
                }
                rest = rest.get(length..).unwrap_or_default();
            }
            // One answer to one question; lists and orders have a last word.
            if flags & (NLM_F_DUMP | NLM_F_ACK) == 0 {
                return Ok(answers);
            }
        }
    }
}

fn link_in(message: &RouteNetlinkMessage) -> Option<Link> {
    let RouteNetlinkMessage::NewLink(link) = message else { return None };
    Some(Link { index: link.header.index, is_up: link.header.flags.contains(LinkFlags::Up) })
}

/// `IFA_F_PERMANENT` and `RT_SCOPE_UNIVERSE` (runtime-spec, "Network Devices").
fn is_lasting(address: &AddressMessage) -> bool {
    let flags = address.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Flags(flags) => Some(flags.contains(AddressFlags::Permanent)),
        _ => None,
    });
    let permanent = flags.unwrap_or(address.header.flags.contains(AddressHeaderFlags::Permanent));
    permanent && address.header.scope == AddressScope::Universe
}

fn is_chosen(attribute: &AddressAttribute) -> bool {
    matches!(
        attribute,
        AddressAttribute::Address(_) | AddressAttribute::Local(_) | AddressAttribute::Broadcast(_)
    )
}
