//! Programs in memory that nobody can change: memfds with every seal.

use std::os::fd::OwnedFd;

use rustix::fs::{self, MemfdFlags, Mode, SealFlags};
use rustix::io::Errno;

/// Every change but that of the mode: content, size, and the seals themselves.
pub(super) fn all_seals() -> SealFlags {
    SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE
}

/// An empty memfd that can be sealed and executed.
pub(super) fn create(name: &str) -> Result<OwnedFd, Errno> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // MFD_EXEC is asked for since kernel 6.3 and unknown before.
    match fs::memfd_create(name, flags | MemfdFlags::EXEC) {
        Err(Errno::INVAL) => fs::memfd_create(name, flags),
        other => other,
    }
}

/// A sealed memfd with a program that any user may execute.
pub(crate) fn program(name: &str, mut bytes: &[u8]) -> Result<OwnedFd, Errno> {
    let memory = create(name)?;
    while !bytes.is_empty() {
        let count = rustix::io::retry_on_intr(|| rustix::io::write(&memory, bytes))?;
        bytes = &bytes[count..];
    }
    fs::fchmod(&memory, Mode::from_raw_mode(0o555))?;
    fs::fcntl_add_seals(&memory, all_seals())?;
    Ok(memory)
}
