//! The container's root file system: mounts, devices, masks and the pivot.
//!
//! ```text
//! parent: Sources::open   the root becomes a detached mount      open_binds   so do binds, when asked for
//!         (Sources::open_by_child and Places, where the parent may mount nothing)
//! child:  Root::attach -> mounts -> devices -> read-only and masked paths -> pivot
//! ```
//!
//! What must hold:
//! - every path in the root is resolved by the kernel from the root's descriptor and cannot leave it; what was
//!   resolved is used by that descriptor, so there is no time between check and use;
//! - a host path is resolved by the parent, or as its user, before anything of the container runs, and only named by config.json;
//! - no mount of the container is ever visible outside its mount namespace.

mod cgroups;
mod copy_up;
mod devices;
mod id_map;
mod masks;
mod mounts;
pub mod options;
mod root;
mod sources;
mod target;

pub use cgroups::CgroupView;
pub use devices::{make_devices, with_defaults};
pub use masks::{HostNull, is_null_device, protect_paths};
pub use mounts::{Creator, Mounted, mount_all};
pub use root::Root;
pub(crate) use root::change_root;
pub use sources::{Places, Sources};
pub(crate) use sources::{map_ids, open_binds};
pub use target::create_directory;
