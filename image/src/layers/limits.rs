//! How much a foreign archive may ask of this machine.

use std::time::Instant;

/// Limits of one archive. Each trips with an error that names it, before the machine is short of anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Entries, whatever their kind.
    pub entries: u64,
    /// Bytes of the uncompressed stream: what ends compression bombs.
    pub bytes: u64,
    /// Bytes of one name. Also bounds how deep a tree gets.
    pub name_bytes: usize,
    /// When to stop, if the archive is not read by then: a slow source must not hold a worker for ever.
    pub until: Option<Instant>,
}

impl Default for Limits {
    /// Ten million entries, 512 GiB, the kernel's limit for a path (PATH_MAX without its terminator), and no end in
    /// time: only the caller knows how fast its source is.
    fn default() -> Limits {
        Limits { entries: 10_000_000, bytes: 512 << 30, name_bytes: 4095, until: None }
    }
}
