//! Brings up `lo`, which is down in a new network namespace, by one netlink message (rtnetlink(7)).

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// The loopback device is the first of every network namespace.
const LOOPBACK_INDEX: i32 = 1;

const RTM_NEWLINK: u16 = 16;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLMSG_ERROR: u16 = 2;
const IFF_UP: u32 = 1;

/// A `nlmsghdr` and an `ifinfomsg`.
const LENGTH: usize = 32;

/// Brings up the loopback device of the calling process's network namespace.
pub fn bring_up_loopback() -> Result<(), Errno> {
    // NETLINK_ROUTE is protocol 0, the default.
    let socket =
        rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    rustix::net::send(&socket, &request(), SendFlags::empty())?;
    let mut answer = [0; 512];
    let (length, _) =
        rustix::io::retry_on_intr(|| rustix::net::recv(&socket, &mut answer, RecvFlags::empty()))?;
    error_in(&answer[..length.min(answer.len())])
}

/// Numbers in netlink messages have the machine's byte order.
fn request() -> [u8; LENGTH] {
    let mut message = [0; LENGTH];
    message[0..4].copy_from_slice(&(LENGTH as u32).to_ne_bytes());
    message[4..6].copy_from_slice(&RTM_NEWLINK.to_ne_bytes());
    message[6..8].copy_from_slice(&(NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
    // Sequence and port stay 0: there is one request. ifi_family and ifi_type stay unspecified.
    message[20..24].copy_from_slice(&LOOPBACK_INDEX.to_ne_bytes());
    message[24..28].copy_from_slice(&IFF_UP.to_ne_bytes());
    message[28..32].copy_from_slice(&IFF_UP.to_ne_bytes());
    message
}

/// The kernel answers a request for acknowledgement with an error message; error 0 is the acknowledgement.
fn error_in(answer: &[u8]) -> Result<(), Errno> {
    let (Some(kind), Some(error)) = (answer.get(4..6), answer.get(16..20)) else { return Err(Errno::BADMSG) };
    if kind != NLMSG_ERROR.to_ne_bytes() {
        return Err(Errno::BADMSG);
    }
    match i32::from_ne_bytes([error[0], error[1], error[2], error[3]]) {
        0 => Ok(()),
        error => Err(Errno::from_raw_os_error(error.saturating_neg())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lo_comes_up_in_a_new_namespace() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: root");
            return;
        }
        // A thread of its own: its network namespace ends with it.
        let up = std::thread::spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            bring_up_loopback().unwrap();
            std::net::TcpListener::bind("127.0.0.1:0")
                .and_then(|listener| std::net::TcpStream::connect(listener.local_addr()?))
                .is_ok()
        });
        assert!(up.join().unwrap());
    }

    #[test]
    fn answers_are_read_with_care() {
        assert_eq!(error_in(&[]), Err(Errno::BADMSG));
        assert_eq!(error_in(&[0; 36]), Err(Errno::BADMSG));
        let mut answer = [0; 36];
        answer[4] = 2;
        assert_eq!(error_in(&answer), Ok(()));
        answer[16..20].copy_from_slice(&(-1i32).to_ne_bytes());
        assert_eq!(error_in(&answer), Err(Errno::PERM));
    }
}
