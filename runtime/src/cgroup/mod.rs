//! Cgroups: hierarchies found once, create, enter, limit, kill and remove, for v1, hybrid and v2.
//!
//! The order of a container's start, made so that nothing waits:
//! ```text
//! parent: Hierarchies::discover -> Cgroup::create -> entrance() -> clone child -> apply(resources) ...
//! child:  (v2: born in the cgroup by CLONE_INTO_CGROUP)  Entrance::enter -> unshare cgroup namespace -> mounts ...
//! ```
//! Moving *another* process into a v1 cgroup takes the kernel's lock of all thread groups, which after an idle gap
//! waits for a whole RCU grace period: 5 to 13 ms. A single-threaded process that moves *itself* by writing `0` to
//! `tasks`, and one that is born inside by `CLONE_INTO_CGROUP`, need no such lock: nine v1 hierarchies in 0.05 ms,
//! idle or not. So processes enter by [`Entrance`], and [`Cgroup::join`] is only for those that are not ours to run.
//!
//! Invariants: a [`CgroupPath`] is never empty and never the root, so no call here can touch the caller's own cgroup;
//! settings that we do not honour are errors or come back as a [`Notice`](crate::security::Notice), never silently dropped.

mod devices;
mod error;
mod freeze;
mod group;
mod kill;
mod mounts;
mod oom;
mod owner;
mod path;
mod remove;
mod rootless;
mod settings;
mod stats;
mod sub;
mod systemd;
mod tree;

pub use devices::DeviceRules;
pub use error::Error;
pub use freeze::is_frozen;
pub use group::{Cgroup, EnterFailure, Entrance};
pub use mounts::{Hierarchies, Hierarchy, Kind};
pub use oom::{OomWatch, oom_kills};
pub use path::CgroupPath;
pub use rootless::{Rootless, in_user_namespace};
pub use settings::check as check_resources;
pub use stats::Stats;
pub use sub::SubCgroup;
pub use systemd::{Occupant, Properties, Scope, Systemd};
