//! From a checked plan to a running process: bootstrap in the parent, ordered steps in the child.
//!
//! ```text
//! parent                                    child (one clone3, born in its namespaces and v2 cgroup)
//!   cgroup, its limits
//!   write id maps        -- IdsMapped -->     (host paths, where the parent may not) become root of the user namespace
//!                                             enter v1 cgroups, names, mounts, devices, masks, pivot
//!   open binds           <-- BindsDue ---
//!                        --- Binds ----->
//!   take the terminal    <-- Console ---      terminal
//!                        <-- Ready ----       user, capabilities, directory, command found
//!   record, pid file     --- Start ---->      (gate) filter, exec: the channel closes by itself
//! ```
//!
//! The child does as little as possible: whatever can be prepared is prepared before the clone. A step that fails is
//! sent as data ([`StepFailure`]) and ends the child; the end of either side ends the other.

mod command;
mod container;
mod credentials;
mod descriptors;
mod enter;
mod failure;
mod handoff;
mod launch;
mod pause;
mod protocol;
mod scheduling;
mod sysctl;
mod terminal;

pub use container::ContainerChild;
pub use enter::EnteringChild;
pub use failure::{Step, StepFailure};
pub use handoff::{PreparedProcess, StartGate, StartHooks};
pub(crate) use launch::{Awaited, Ready};
pub use launch::{Child, ChildEndHandle, FailureReport, Kinship, Launched, launch};
pub use pause::PauseChild;
pub(crate) use protocol::{Failure, FromChild, ParentEnd, send_with};
