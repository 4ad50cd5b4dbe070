//! Closing what a process must not keep.

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use rustix::io::Errno;

use super::{Step, StepFailure};
use crate::sys::fd::{Range, close_range};

/// Closes everything from `first` on, except `kept`. Owners of what is closed must not be used or dropped afterwards.
pub(super) fn close_others(first: RawFd, kept: [Option<BorrowedFd<'_>>; 2]) -> Result<(), StepFailure> {
    let mut numbers = kept.map(|kept| kept.map_or(RawFd::MAX, |kept| kept.as_raw_fd()));
    numbers.sort_unstable();
    let mut next = first;
    let mut close = || -> Result<(), Errno> {
        for number in numbers {
            close_range(next, number.saturating_sub(1), Range::Close)?;
            next = number.saturating_add(1);
        }
        close_range(next, RawFd::MAX, Range::Close)
    };
    close().map_err(StepFailure::of(Step::Descriptors, "descriptors"))
}
