//! What `rrun` and `rcri` share: containers and pods on disk, their root file systems, networks and monitors.
//!
//! ```text
//! <root>/containers/<id>/   container.json (record), status.json (monitor), network.json, log, upper/, ...
//! <root>/pods/<id>/         pod.json (pods), status.json of the process that holds the namespaces, network.json
//! <root>/cni/               results and addresses of networks
//! <state>/oci/<id>/         the runtime's record          <state>/netns/<id>   a pinned network namespace
//! <state>/pods/<id>/monitor.sock                          where the monitor of a pod or container listens
//! ```
//!
//! What must hold:
//!
//! - A folder of a container or pod is locked by whoever is responsible for it: its maker, then its monitor, which gets
//!   the lock as a descriptor. The kernel frees the lock in whatever way that process ends; a free lock means that
//!   nobody cares, and who takes it owns the remains ([`Containers::sweep`]).
//! - How a container lives is observed, never remembered here: the lock, and the monitor's status.json ([`State`]).
//! - Records are written aside and renamed; a newer version is refused and never rewritten.
//! - Containers of Kubernetes lie in the same folder, so that they protect their images, and are not ours to remove
//!   unless the caller says so.

pub mod bridge;
mod containers;
pub mod control;
mod error;
pub mod exec;
mod files;
mod folder;
pub mod force;
mod id;
pub mod launch;
mod lookup;
pub mod names;
pub mod network_files;
mod pods;
pub mod ports;
mod record;
pub mod root;
mod state;
mod subnet;
mod sweep;
pub mod user;
pub mod volumes;

pub use containers::{Containers, network_file};
pub use error::{Error, Kind, Result};
pub use folder::Held;
pub use id::{new_id, short};
pub use pods::{PodRecord, Pods};
pub use record::{CriContainer, LogSettings, NetworkMode, Record};
pub use state::State;
pub use subnet::Subnet;
