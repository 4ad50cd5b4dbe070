//! Containers of pods.
//!
//! ```text
//!   CreateContainer            StartContainer           its end, as its monitor wrote it
//!  --------------------> CREATED ------------> RUNNING ---------------------------------> EXITED -> (removed)
//!                            \---- start failed, pod stopped, monitor killed ---------------/
//! ```
//!
//! Invariants: the state comes from status.json and the lock of the container's folder and only ever advances; what was
//! asked for is checked before anything exists ([`request`], pure); which request is allowed in which state is decided in
//! [`admission`], also pure.

pub mod admission;
pub mod command;
pub mod create;
pub mod devices;
mod entry;
pub mod exec;
pub mod log;
pub mod mounts;
pub mod remove;
pub mod request;
pub mod resources;
pub mod seccomp;
pub mod security;
pub mod session;
pub mod spec;
pub mod stop;
pub mod user;
pub mod volumes;

pub use entry::{Broken, Container, ImageUse, Shown};
