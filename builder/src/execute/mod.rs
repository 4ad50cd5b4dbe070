//! Running steps: RUN in a container, COPY and ADD by handle, WORKDIR; and the image at the end.
//!
//! Each step that makes a layer works on a detached overlay with a fresh upper in the lease's temporary folder; what
//! was written is then moved into the store as a layer ([`made`]). Nothing is mounted where anyone could see it, so a
//! killed build leaves only a dead lease, which the next one sweeps.
//!
//! What always holds:
//! - paths of images and of the context are resolved on handles, inside their root ([`rooted`], [`source`], [`copy`]);
//! - a result is remembered under a key that covers everything it was made from ([`build`]), and only if nothing it
//!   was made from changed meanwhile;
//! - a program of a RUN sees nothing of the caller but what the command line names ([`run`]).

mod architecture;
pub mod build;
pub mod copy;
mod error;
pub mod ignored;
mod keys;
pub mod made;
pub mod pattern;
mod report;
pub mod rooted;
pub mod run;
pub mod source;
pub mod stubs;
mod unpack;

pub use build::Build;
pub use error::{Error, Result};
