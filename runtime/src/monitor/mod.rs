//! The monitor: parent of the processes of a pod or container, keeper of their output and exits.
//!
//! ```text
//!   rrun, rcri ... --[protocol over channel]--> event_loop --> the container's first process (pidfd, signals)
//!   our stdin, stdout, stderr or terminal <--[stdio]--> pipes or pseudo terminal of the container
//! ```
//!
//! One process, one epoll loop, no threads; after start-up nothing here allocates in proportion to what a
//! container or a caller sends.

pub mod channel;
pub mod client;
pub mod protocol;
pub mod stdio;
