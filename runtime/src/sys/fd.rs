//! Descriptors by number: those that a caller left open for us, and closing the rest.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::Errno;

use super::check;

/// What to do with a range of descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// Close them now.
    Close,
    /// Close them at the next exec.
    CloseOnExec,
}

/// `close_range(2)` over `first..=last`. Used only in processes of ours that are about to execute something else:
/// owners of closed numbers must never be used again.
pub fn close_range(first: RawFd, last: RawFd, range: Range) -> Result<(), Errno> {
    if first > last {
        return Ok(());
    }
    let flags = match range {
        Range::Close => 0,
        Range::CloseOnExec => libc::CLOSE_RANGE_CLOEXEC,
    };
    // SAFETY: no memory is passed. Closing numbers that values in this process own is upheld by the callers: the
    // init child calls it on its way to exec and touches only the descriptors it kept.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) }).map(drop)
}

/// Closes every descriptor from `first` on except the `kept` ones, which are sorted here.
///
/// As for [`close_range`], owners of closed numbers must never be used or dropped again.
pub fn close_except(first: RawFd, kept: &mut [RawFd]) -> Result<(), Errno> {
    kept.sort_unstable();
    let mut next = first;
    for number in kept.iter() {
        close_range(next, number.saturating_sub(1), Range::Close)?;
        next = next.max(number.saturating_add(1));
    }
    close_range(next, RawFd::MAX, Range::Close)
}

/// The kind of a namespace, as the `CLONE_NEW*` flag that makes one (ioctl_nsfs(2)). Ask only a file of nsfs: to another driver
/// the number may mean something else.
pub fn namespace_type(namespace: BorrowedFd<'_>) -> Result<i32, Errno> {
    const NS_GET_NSTYPE: libc::c_ulong = 0xb703;
    // SAFETY: no memory is passed; the descriptor is borrowed and thus open.
    let flag = check(unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_NSTYPE) }.into())?;
    Ok(flag as i32)
}

/// Takes over a descriptor whose number the caller of this program passed us; `None` if it is not open.
///
/// It is made close-on-exec. Taking the same number twice is a mistake of the command line layer, which calls this
/// once per option.
pub fn take_inherited(number: RawFd) -> Result<OwnedFd, Errno> {
    if number < 3 {
        return Err(Errno::BADF);
    }
    // SAFETY: no memory is passed; an invalid number is answered with EBADF.
    check(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) }.into())?;
    // SAFETY: the number is open (the call above succeeded) and nothing in this process owns it, because it was
    // inherited from our parent and is taken once, before anything else is opened.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Fails unless our caller left a descriptor open under this number. Ours are all close-on-exec, and none that was
/// inherited can be.
pub fn require_inherited(number: RawFd) -> Result<(), Errno> {
    // SAFETY: no memory is passed; an invalid number is answered with EBADF.
    let flags = check(unsafe { libc::fcntl(number, libc::F_GETFD) }.into())?;
    if flags & libc::c_long::from(libc::FD_CLOEXEC) == 0 { Ok(()) } else { Err(Errno::BADF) }
}

/// Opens /dev/null at each of the numbers 0 to 2 that our caller left closed: what is opened next would get that number,
/// and be written to as standard output.
pub fn open_standard_streams() -> Result<(), Errno> {
    let mut streams = [0, 1, 2].map(|fd| libc::pollfd { fd, events: 0, revents: 0 });
    // SAFETY: the array outlives the call and has the length that is told. Nothing is waited for.
    check(unsafe { libc::poll(streams.as_mut_ptr(), 3, 0) }.into())?;
    for _ in streams.iter().filter(|stream| stream.revents & libc::POLLNVAL != 0) {
        // SAFETY: the path is a C string. The lowest closed number is taken, which is the next of these, and it stays open.
        check(unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) }.into())?;
    }
    Ok(())
}
