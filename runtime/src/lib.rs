//! Hull's OCI runtime: the life cycle of a container as a library, and the monitor that every pod has.
//!
//! `roci` is a thin command line over this crate. It knows no images, no HTTP and no async runtime: what it runs
//! is a bundle (`config.json` and a root file system) as the OCI runtime specification defines it.

pub mod cgroup;
pub mod container;
pub mod error;
pub mod fault;
pub mod features;
pub mod hooks;
pub mod init;
pub mod monitor;
pub mod namespaces;
pub mod network;
pub mod pause;
pub mod process;
pub mod resctrl;
pub mod rootfs;
pub mod security;
pub mod spec;
pub mod sys;
pub mod terminal;
