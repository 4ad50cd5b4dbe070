//! Closing what a process must not keep.

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use super::{Step, StepFailure};
use crate::sys::fd::close_except;

/// Closes everything from `first` on, except `kept`. Owners of what is closed must not be used or dropped afterwards.
pub(super) fn close_others<'a>(
    first: RawFd,
    kept: impl Iterator<Item = BorrowedFd<'a>>,
) -> Result<(), StepFailure> {
    let mut numbers: Vec<RawFd> = kept.map(|kept| kept.as_raw_fd()).collect();
    close_except(first, &mut numbers).map_err(StepFailure::of(Step::Descriptors, "descriptors"))
}
