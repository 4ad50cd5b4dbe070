//! Small files read without allocating and without asking for their size first.

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

/// Opens, reads once and closes: three calls, enough for the one-shot files of /proc and /sys.
pub fn read_into(path: &str, buffer: &mut [u8]) -> Result<usize, Errno> {
    let file = rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::read(&file, buffer)
}
