//! The monitor: parent of the processes of a pod or container, keeper of their output and exits.
//!
//! ```text
//!   rrun, rcri ... --[protocol over channel]--> server in event_loop --> the container's first process (pidfd)
//!   our stdin, stdout, stderr or terminal <--[stdio]--> pipes or pseudo terminal of the container
//!   log, attached callers <--[output]-- the same, when more than one is to have it
//! ```
//!
//! One process, one epoll loop, no threads; after start-up nothing here allocates in proportion to what a
//! container or a caller sends. [`foreground`] is the monitor that `rrun run` becomes.

pub mod background;
mod callers;
pub mod channel;
pub mod client;
mod container;
pub mod detached;
pub mod event_loop;
pub mod foreground;
mod jobs;
pub mod log;
pub mod output;
pub mod protocol;
mod reaping;
mod removal;
mod requests;
pub mod signals;
pub mod status_record;
pub mod stdio;
mod streams;
mod wire;
mod worker;
mod workers;
