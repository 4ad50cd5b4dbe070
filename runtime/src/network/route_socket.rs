//! Questions and orders to the kernel about the devices and addresses of one network namespace (rtnetlink(7)), one at a time.
//!
//! `lo` of every new namespace is brought up without it, by one message that is always the same (`loopback`).

use std::convert::Infallible;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use netlink_packet_core::{
    DefaultNla, Emitable, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST,
    NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable, NlasIterator,
};
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    /// Its own name, of which it is asked by others too (`ip link property`).
    pub(super) name: String,
    pub(super) is_up: bool,
}

/// An address of a device: the `ifaddrmsg` but for the device, and the attributes that somebody chose.
#[derive(Clone, Debug)]
pub(super) struct Address {
    family: u8,
    prefix_length: u8,
    attributes: Vec<DefaultNla>,
}

/// One message: its number, and the fixed part and the attributes behind the header. The crates that know each attribute of each
/// message would be a seventh of this program.
#[derive(Debug)]
struct Body {
    kind: u16,
    bytes: Vec<u8>,
}

impl Body {
    /// About a device (`ifinfomsg`), of index 0 if its name says which; `up` sets it up.
    fn link(kind: u16, index: u32, up: bool, attributes: &[DefaultNla]) -> Body {
        let flags = if up { libc::IFF_UP as u32 } else { 0 };
        let mut bytes = vec![0; 4];
        // The flags, and which of them are meant.
        for number in [index, flags, flags] {
            bytes.extend(number.to_ne_bytes());
        }
        Body { kind, bytes }.with(attributes)
    }

    /// About an address (`ifaddrmsg`).
    fn address(kind: u16, index: u32, address: &Address) -> Body {
        let mut bytes = vec![address.family, address.prefix_length, 0, libc::RT_SCOPE_UNIVERSE];
        bytes.extend(index.to_ne_bytes());
        Body { kind, bytes }.with(&address.attributes)
    }

    fn with(mut self, attributes: &[DefaultNla]) -> Body {
        let fixed = self.bytes.len();
        self.bytes.resize(fixed + attributes.buffer_len(), 0);
        attributes.emit(&mut self.bytes[fixed..]);
        self
    }

    /// Four bytes of the fixed part.
    fn number(&self, at: usize) -> Option<u32> {
        Some(u32::from_ne_bytes(*self.bytes.get(at..)?.first_chunk()?))
    }

    /// The device that an answer is about.
    fn as_link(&self) -> Option<Link> {
        let is_up = self.number(8)? & libc::IFF_UP as u32 != 0;
        let mut attributes = NlasIterator::new(self.bytes.get(16..)?).map_while(Result::ok);
        let name = attributes.find(|attribute| attribute.kind() == libc::IFLA_IFNAME)?;
        let name = String::from_utf8_lossy(name.value()).trim_end_matches('\0').to_owned();
        (self.kind == libc::RTM_NEWLINK).then_some(Link { index: self.number(4)?, name, is_up })
    }

    /// The address that an answer is about, if the device has it for good and it means the same everywhere
    /// (`IFA_F_PERMANENT` and `RT_SCOPE_UNIVERSE`, runtime-spec, "Network Devices").
    fn as_lasting_address(&self, device: u32) -> Option<Address> {
        let (&[family, prefix_length, flags, scope], _) = self.bytes.split_first_chunk()?;
        let of_device = self.kind == libc::RTM_NEWADDR && self.number(4)? == device;
        let mut attributes = Vec::new();
        let mut flags = u32::from(flags);
        for attribute in NlasIterator::new(self.bytes.get(8..)?) {
            let attribute = attribute.ok()?;
            match attribute.kind() {
                // All of them: the fixed part has room for eight.
                libc::IFA_FLAGS => flags = u32::from_ne_bytes(*attribute.value().first_chunk()?),
                // Not the label, which has the device's name in it, nor what the kernel counts.
                kind @ (libc::IFA_ADDRESS | libc::IFA_LOCAL | libc::IFA_BROADCAST) => {
                    attributes.push(DefaultNla::new(kind, attribute.value().to_vec()));
                }
                _ => {}
            }
        }
        let lasts = flags & libc::IFA_F_PERMANENT != 0 && scope == libc::RT_SCOPE_UNIVERSE;
        (of_device && lasts).then_some(Address { family, prefix_length, attributes })
    }
}

impl NetlinkSerializable for Body {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        self.bytes.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.bytes);
    }
}

impl NetlinkDeserializable for Body {
    type Error = Infallible;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Body, Infallible> {
        Ok(Body { kind: header.message_type, bytes: payload.to_vec() })
    }
}

/// A name as an attribute: with the byte that ends it.
fn name_attribute(name: &str) -> DefaultNla {
    DefaultNla::new(libc::IFLA_IFNAME, [name.as_bytes(), &[0]].concat())
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
        let question = Body::link(libc::RTM_GETLINK, 0, false, &[name_attribute(name)]);
        self.ask(question, 0)?.iter().find_map(Body::as_link).ok_or(Errno::NODEV)
    }

    /// All devices.
    pub(super) fn links(&self) -> Result<Vec<Link>, Errno> {
        let question = Body::link(libc::RTM_GETLINK, 0, false, &[]);
        Ok(self.ask(question, NLM_F_DUMP)?.iter().filter_map(Body::as_link).collect())
    }

    /// Moves a device into another namespace, under a name that may be a template (`eth%d`). It is down there.
    pub(super) fn move_link(&self, index: u32, to: BorrowedFd<'_>, name: &str) -> Result<(), Errno> {
        let namespace = DefaultNla::new(libc::IFLA_NET_NS_FD, to.as_raw_fd().to_ne_bytes().to_vec());
        self.order(Body::link(libc::RTM_NEWLINK, index, false, &[namespace, name_attribute(name)]), 0)
    }

    /// Sets a device up.
    pub(super) fn set_up(&self, index: u32) -> Result<(), Errno> {
        self.order(Body::link(libc::RTM_NEWLINK, index, true, &[]), 0)
    }

    /// The addresses of a device that somebody set for good and that mean the same everywhere.
    pub(super) fn lasting_addresses(&self, device: u32) -> Result<Vec<Address>, Errno> {
        let any = Address { family: 0, prefix_length: 0, attributes: Vec::new() };
        let answers = self.ask(Body::address(libc::RTM_GETADDR, 0, &any), NLM_F_DUMP)?;
        Ok(answers.iter().filter_map(|answer| answer.as_lasting_address(device)).collect())
    }

    /// Gives a device an address that it had in another namespace.
    pub(super) fn add_address(&self, index: u32, address: &Address) -> Result<(), Errno> {
        self.order(Body::address(libc::RTM_NEWADDR, index, address), NLM_F_CREATE | NLM_F_EXCL)
    }

    fn order(&self, order: Body, flags: u16) -> Result<(), Errno> {
        self.ask(order, NLM_F_ACK | flags).map(drop)
    }

    /// Sends one message and returns what the kernel answers, up to its last word.
    fn ask(&self, message: Body, flags: u16) -> Result<Vec<Body>, Errno> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
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
                let answer = NetlinkMessage::<Body>::deserialize(rest).map_err(|_| Errno::BADMSG)?;
                // Messages are padded to four bytes.
                let length = (answer.header.length as usize).next_multiple_of(4);
                match answer.payload {
                    NetlinkPayload::Error(error) => match error.code {
                        None => return Ok(answers),
                        Some(code) => return Err(Errno::from_raw_os_error(code.get().saturating_neg())),
                    },
                    NetlinkPayload::Done(done) if done.code < 0 => {
                        return Err(Errno::from_raw_os_error(done.code.saturating_neg()));
                    }
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
