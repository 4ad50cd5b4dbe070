//! Pod sandboxes: a monitor, a pause process that holds namespaces, a network, a few files.
//!
//! ```text
//!          RunPodSandbox                                    pause or monitor gone, StopPodSandbox
//!  (record durable) -> monitor, network, files -> pause -> READY ------------------------> NOTREADY -> (removed)
//!          \-- any failure: everything undone, the record last; what cannot be undone stays, NOTREADY --/
//! ```
//!
//! Invariants: the record is there before anything else, durable where a network has to be released after a power cut, and
//! goes when nothing else is left; a pod whose status.json was never written was never handed out; changes of a pod take
//! its `gate`.

pub mod annotations;
pub mod create;
pub mod files;
pub mod network;
pub mod plan;
mod pod;
pub mod teardown;

pub use pod::{Pod, name_of};
