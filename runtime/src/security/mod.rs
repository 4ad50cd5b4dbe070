//! What confines a container: capabilities, seccomp, rlimits, users, and the protection of our own executable.
//!
//! Everything is planned and checked before the clone; what the child does with it is a few system calls and no
//! allocation. A failing step aborts the start: only what [`Notice`] says was narrowed, and that is never a
//! security setting.

pub mod capabilities;
pub mod defaults;
pub mod labels;
mod notice;
pub mod own_executable;
pub mod rlimits;
pub(crate) mod sealed;
pub mod seccomp;
pub mod user;

pub use notice::Notice;
