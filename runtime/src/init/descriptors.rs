//! Closing what a process must not keep.

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use super::{Step, StepFailure};
use crate::sys::fd::close_except;

/// Closes everything from `first` on, except `kept`. Owners of what is closed must not be used or dropped afterwards.
pub(super) fn close_others(first: RawFd, kept: [Option<BorrowedFd<'_>>; 2]) -> Result<(), StepFailure> {
    let mut numbers = kept.map(|kept| kept.map_or(RawFd::MAX, |kept| kept.as_raw_fd()));
    close_except(first, &mut numbers).map_err(StepFailure::of(Step::Descriptors, "descriptors"))
}
