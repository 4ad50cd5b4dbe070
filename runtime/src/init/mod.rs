//! From a checked plan to a running process: bootstrap in the parent, ordered steps in the child.

mod failure;

pub use failure::{Step, StepFailure};
