//! Hull's CRI server: what `rcri` does, without a command line.
//!
//! ```text
//! kubelet --gRPC--> server -> service/<call>: check, convert, delegate
//!                               -> index: pods and containers in memory, from which List and Status answer
//!                               -> sandbox/, container/: what changes them, on threads that may wait
//!                                    -> monitor (one for each pod): processes, logs, exits
//!                                    -> runtime::network: CNI      -> engine: records, roots      -> image: the store
//! monitors: one task for each pod follows what its monitor says    recovery: memory from disk at the start
//! ```
//!
//! What must hold:
//!
//! - Files first, memory second: whatever is in the index can be read back from `pods/*/pod.json` and
//!   `containers/*/container.json`, their status.json and their monitors. `rcri` may be killed at any moment.
//! - List and Status answer from memory and share no lock with anything slow.
//! - A change goes on when its caller has given up: it is a task of its own, and the same request again joins it. A name
//!   is taken by a running change or by an object that is there, and by nothing else.
//! - Whatever is half made is undone, the network included; what cannot be undone stays on record until it can.
//! - No thread of the async runtime waits for a file, a lock, a plugin or a monitor.

pub mod config;
pub mod container;
pub mod encoded;
pub mod error;
pub mod flight;
pub mod index;
pub mod logging;
pub mod monitors;
pub mod network;
pub mod node;
pub mod readable;
pub mod recovery;
pub mod sandbox;
pub mod server;
pub mod service;
pub mod stats;
pub mod text;

pub use error::{Error, Kind, Result};
